"""What a command was wrongly given is one line on stderr: the value, and what to give instead."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import pytest

from pld_nodes.cli import main
from tests.nodes.test_graph_probing import random_base, random_specialist
from tests.pld.recording_stream import record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of one episode, e0."""
    folder = tmp_path_factory.mktemp("refusals") / "run"
    record(folder)
    return folder


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs `pld` and returns its only line on stderr."""

    def said(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["pld", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert end.value.code == 2
        assert found.err.startswith("error: ")
        assert found.err.count("\n") == 1
        assert "error" not in found.out
        return found.err

    return said


def test_a_file_that_is_no_evaluation_names_the_one_to_give(refusal, tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    for content in ({"rates": []}, [1, 2]):
        file.write_text(json.dumps(content))
        said = refusal("run", "compare", tmp_path, file)
        assert f"{str(file)!r} is no evaluation" in said
        assert "give RUN/evaluation/POLICY/TASK/evaluation.json" in said


def test_commands_for_one_episode_say_so_of_a_run_folder(refusal, run: Path) -> None:
    words = f"{str(run)!r} holds 1 episodes; give one episode, such as {run}/episodes/e0"
    assert words in refusal("bag", "replay", run)
    assert words in refusal("bag", "label", run, "success")


def test_a_missing_folder_is_no_episode_that_was_never_closed(refusal, tmp_path: Path) -> None:
    said = refusal("bag", "label", tmp_path / "nope", "success")
    assert "nope' is not a folder; give one episode: RUN/episodes/ID" in said


def test_an_unfinished_bag_is_not_played(refusal, tmp_path: Path) -> None:
    folder = tmp_path / "e1"
    folder.mkdir()
    (folder / "e1.mcap.part").write_bytes(b"")
    assert f"rebuild it with: pld bag recover {folder}" in refusal("bag", "replay", folder)


@pytest.mark.parametrize("number", [1, 99, -2])
def test_an_episode_that_the_run_does_not_have_is_not_drawn(refusal, run: Path, number) -> None:
    said = refusal("run", "sheet", run, "--episode", str(number))
    assert f"episode {number}: {str(run)!r} has episodes 0 to 0; -1 takes the first success" in said
    assert not (run / "contact_sheet.png").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["graph", "--rates-hz", "abc"], "unknown control rate 'abc'; valid: 10, 20"),
        (["graph", "--rates-hz", "10,30"], "unknown control rate '30'; valid: 10, 20"),
        (["kill", "--nodes", "vla_node,foo"], "unknown node 'foo'; valid: "),
        (["safety-page", "nope.json"], "cannot read 'nope.json'"),
        (["safety-page", "pyproject.toml"], "is not JSON"),
        (["page", "--folder", "nope"], "no JSON file in 'nope'; write one with"),
    ],
)
def test_a_bench_refuses_what_it_cannot_use_before_it_starts(refusal, words, expected) -> None:
    assert expected in refusal("bench", *words)


def test_pages_are_made_of_what_benches_wrote_only(refusal, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    out = tmp_path / "page.md"
    said = refusal("bench", "page", "--folder", tmp_path, "--out", out)
    assert "was not written by a bench's --json" in said
    assert not out.exists()
    said = refusal("bench", "safety-page", tmp_path / "a.json")
    assert "was not written by `pld bench safety --json FILE`" in said


def test_a_specialist_in_place_of_a_base_is_recognised(refusal, tmp_path: Path) -> None:
    base = random_base(tmp_path / "base.safetensors")
    actor = tmp_path / "specialist.safetensors"
    random_specialist(actor, base)
    said = refusal("up", "sim", f"policy:={actor}", "rate_hz:=10", f"output_dir:={tmp_path}")
    assert "need 'pld-builtin-vla'; this is a specialist; give it as specialist:=" in said


def test_fine_tuning_never_writes_over_what_it_begins_from(refusal, tmp_path: Path) -> None:
    start = tmp_path / "policy.safetensors"
    random_base(start)
    before = start.read_bytes()
    said = refusal("train", "sft", start, tmp_path, "--output", tmp_path / ".")
    assert "holds the weights to begin from; name another" in said
    assert start.read_bytes() == before
    said = refusal("train", "sft", start, tmp_path, "--output", start)
    assert f"{str(start)!r} is a file; name a folder" in said


def test_a_refused_rate_leaves_no_settings_behind(refusal, tmp_path: Path) -> None:
    refusal("flywheel", "--rate-hz", "7", "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_the_graph_is_no_place_for_a_flywheel(refusal, tmp_path: Path) -> None:
    (tmp_path / "parameters.json").write_text("{}")
    said = refusal("flywheel", "--run", tmp_path)
    assert f"{str(tmp_path)!r} holds a run of the graph; choose another with --run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["parameters.json"]


def test_a_full_disk_is_one_line(refusal, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "data/x")

    monkeypatch.setattr("pld.run_folder.success_rows", full)
    assert "No space left on device: data/x; free some room" in refusal("run", "summary", tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["flywheel", "--task", "nothing"], "unknown task 'nothing'"),
        (["flywheel", "--controls", "rlpt"], "unknown control 'rlpt'"),
        (
            ["distill"],
            "there is no run in 'runs/flywheel/cube_pickup-seed0'; `pld flywheel` makes one",
        ),
        (["flywheel", "--rate-hz", "inf"], "rate_hz is inf; give a rate above 0"),
        (["flywheel", "--rate-hz", "7"], "no whole number of substeps"),
        (["flywheel", "--specialists", "9"], "round 9: this run has rounds 1 to 2"),
        (["train", "sft", "nope.safetensors", "nope", "--output", "o"], "no weights at 'nope"),
        (["train", "reward", "nope", "--output", "o.pt"], "ends in .safetensors"),
        (["results", "nope.json"], "cannot read 'nope.json'"),
    ],
)
def test_errors_of_training_are_one_line_on_stderr_too(
    refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, expected
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in refusal(*words)


def test_a_long_error_is_not_wrapped(refusal, tmp_path: Path) -> None:
    said = refusal("bag", "info", tmp_path / ("long" * 40))
    assert "is not a folder; give an episode or a run folder" in said
