"""`pld demo`: the flywheel in small through the graph, and what becomes of an interrupted one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from domain_coordinator import domain_id
from typer.testing import CliRunner

from pld.base_policy.builtin import BuiltinPolicy
from pld.conversion import ConversionRow
from pld.distill.episodes import read_episodes
from pld.errors import INTERRUPTED, ConfigError, RecordingError
from pld.evaluation.results import EpisodeResult, Evaluation
from pld.evaluation.seeds import Purpose, evaluation_seeds, purpose_of
from pld.flywheel.stage import SilentMeter
from pld.recording.bag import VERDICT_NAME
from pld.recording.recover import bag_path
from pld.recording.verdict import load_verdict
from pld.residual.actor import load_actor
from pld.run_evaluation import evaluation_of
from pld.run_folder import verdicts
from pld_nodes import cli
from pld_nodes.demo import _fine_tune, _record, _report
from pld_nodes.demo_settings import Demo, keep_settings, shipped_tasks
from pld_nodes.supervisor import RunFailedError
from tests.pld.recording_stream import record

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--evaluations", "1", "--probing", "2", "--sft-steps", "2", "--robot-ip", "127.0.0.71"]


def demo(run: Path) -> subprocess.CompletedProcess[str]:
    with domain_id() as domain:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", "pld_nodes.cli", "demo", "--run", str(run), *WORDS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )


@pytest.fixture(scope="module")
def turned(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("demo") / "d"
    found = demo(run)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]
    assert "before and after" in found.stdout
    return run


def test_the_demo_goes_from_bags_to_a_new_policy_on_the_same_starts(turned) -> None:
    figures = json.loads((turned / "demo.json").read_text())
    starts = [[e["seed"] for e in figures[name]["episodes"]] for name in ("before", "after")]
    assert starts[0] == starts[1]
    assert len(starts[0]) == 1
    assert all(purpose_of(v.seed) is Purpose.PROBING for v in verdicts(turned / "probing"))
    episodes = read_episodes(turned / "data")
    assert len(episodes) == figures["probing_successes"] >= 1
    assert figures["frames_of_the_specialist"] == sum(e.specialist_steps for e in episodes)
    base, _ = Demo(turned).weights()
    new = BuiltinPolicy.load(turned / "distilled" / "policy.safetensors", "peg_insertion")
    assert new.policy_id != BuiltinPolicy.load(base, "peg_insertion").policy_id
    assert "<h1>" in (turned / "report.html").read_text()


def test_what_is_there_is_not_recorded_again(turned) -> None:
    bags = sorted(turned.glob("*/episodes/*/*.mcap"))
    before = [path.stat().st_mtime_ns for path in bags]
    again = demo(turned)
    assert again.returncode == 0, again.stderr
    assert "episode before-00000" not in again.stdout
    assert [path.stat().st_mtime_ns for path in bags] == before


def test_the_shipped_specialist_belongs_to_the_shipped_base() -> None:
    base, residual = Demo(Path("unused")).weights()
    policy = BuiltinPolicy.load(base, "peg_insertion")
    assert load_actor(residual, "peg_insertion").card.base_policy_id == policy.policy_id


def test_a_task_without_shipped_weights_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Demo(Path("unused"), task="cube_pickup").weights()
    assert "weights come along for peg_insertion only" in str(caught.value)
    assert "`pld flywheel --task cube_pickup`, then add --trained RUN" in str(caught.value)
    assert shipped_tasks() == ["peg_insertion"]
    with pytest.raises(ConfigError, match="unknown task 'cube'; valid: cube_pickup"):
        Demo(Path("unused"), task="cube").weights()


def test_a_run_without_the_weights_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"no weights at .*base/policy"):
        Demo(Path("unused"), trained=tmp_path).weights()


def other_weights(folder: Path) -> Path:
    """A flywheel run whose base and specialist are other files than the shipped ones."""
    tasks = [f"specialist/{task}/actor.safetensors" for task in ("peg_insertion", "cube_pickup")]
    for name in ("base/policy.safetensors", *tasks):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"other")
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "cube_pickup"}, "task: .* holds a demo with task peg_insertion, not cube_pickup"),
        ({"seed": 1}, "seed: .* holds a demo with seed 0, not 1; give another folder with --run"),
        ({"evaluations": 30}, "evaluations 20, not 30"),
        ({"probing": 40}, "probing 30, not 40"),
        ({"sft_steps": 500}, "sft-steps 2000, not 500"),
        ({}, "trained: .* holds a demo with other weights; give another folder with --run"),
    ],
)
def test_a_folder_keeps_the_settings_that_it_was_begun_with(tmp_path, change, words) -> None:
    begun = Demo(tmp_path / "d")
    keep_settings(begun)
    keep_settings(dataclasses.replace(begun, sft_steps=2000, robot_ip="127.0.0.5"))
    trained = None if change and "task" not in change else other_weights(tmp_path / "trained")
    with pytest.raises(ConfigError, match=words):
        keep_settings(dataclasses.replace(begun, trained=trained, **change))


def test_recordings_without_settings_are_not_gone_on_with(tmp_path) -> None:
    (tmp_path / "before").mkdir()
    with pytest.raises(ConfigError, match="does not say its settings; give another folder"):
        keep_settings(Demo(tmp_path))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ConversionRow("e1", "refused", problem="why")], "e1 was refused: why"),
        ([ConversionRow("e1", "failure")], "no probing episode succeeded"),
    ],
)
def test_nothing_to_learn_from_is_said(tmp_path, rows, words) -> None:
    with pytest.raises(ConfigError, match=words):
        _fine_tune(Demo(tmp_path), Path("base"), rows, SilentMeter())


def test_episodes_that_say_nothing_leave_the_other_starts_to_compare(tmp_path) -> None:
    first = evaluation_seeds(0, 1)[0]
    episodes = [EpisodeResult(first + i, i > 1, 10, "far", "success") for i in range(4)]
    before = Evaluation("base", "peg_insertion", "b", 0, tuple(episodes[:1] + episodes[2:]))
    after = Evaluation("distilled-1", "peg_insertion", "d", 0, tuple(episodes))
    found = _report(Demo(tmp_path), [before, after], [])
    assert (found["before"]["trials"], found["after"]["trials"]) == (3, 4)
    assert (found["paired"]["both"] + found["paired"]["neither"]) == 3
    assert (tmp_path / "report.html").exists()


def test_what_a_killed_recorder_left_is_closed_before_a_run_counts_as_whole(tmp_path) -> None:
    left = record(tmp_path / "demo" / "before")
    (left / VERDICT_NAME).unlink()
    whole = left.rename(left.with_name("before-00000"))
    (whole / "e0.mcap").rename(bag_path(whole))
    _record(Demo(tmp_path / "demo"), "before", 1, 0, lambda name, line: None)
    assert load_verdict(whole).outcome == "success"


def demo_whose_runs_end(monkeypatch, folder: Path, code: int):
    monkeypatch.setattr("pld_nodes.demo.execute", lambda *_: (code, None))
    return CliRunner().invoke(cli.app, ["demo", "--run", str(folder)])


def test_an_interrupted_demo_ends_as_interrupted(monkeypatch, tmp_path) -> None:
    ended = demo_whose_runs_end(monkeypatch, tmp_path / "d", INTERRUPTED)
    assert ended.exit_code == INTERRUPTED
    assert "interrupted; the same command goes on from here" in ended.output


def test_a_run_that_was_not_written_to_its_end_ends_a_demo(monkeypatch, tmp_path) -> None:
    ended = demo_whose_runs_end(monkeypatch, tmp_path / "d", 1)
    assert isinstance(ended.exception, RunFailedError)
    assert "the run 'before' was not written to its end; see " in str(ended.exception)


def test_only_evaluation_seeds_make_an_evaluation_and_no_persons_help(tmp_path) -> None:
    folder = record(tmp_path / "run").parents[1]
    with pytest.raises(ConfigError, match="seed 7"):
        evaluation_of(folder, "base", "b", 0)
    [file] = folder.glob("episodes/*/verdict.json")
    helped = json.loads(file.read_text())
    helped["steps"]["interventions"] = 1
    file.write_text(json.dumps(helped))
    with pytest.raises(RecordingError, match="0 tasks"):
        evaluation_of(folder, "base", "b", 0)
    (tmp_path / "empty" / "episodes").mkdir(parents=True)
    with pytest.raises(RecordingError, match="0 tasks"):
        evaluation_of(tmp_path / "empty", "base", "b", 0)
