"""The flywheel's commands: figures as JSON, errors in one line, stages that run alone."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pld.cli import stages, train
from pld.cli.flywheel import app
from pld.errors import ConfigError
from pld.files import read_json, sha256_of, sole_user, write_json_atomically
from pld.flywheel.config import FlywheelConfig
from tests.pld.flywheel_world import PointWorld
from tests.pld.test_flywheel import CONFIG, TASK

RUNNER = CliRunner()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(tasks: tuple[str, ...], seed: int) -> FlywheelConfig:
        return replace(CONFIG, tasks=tasks, seed=seed)

    monkeypatch.setattr("pld.flywheel.config.FlywheelConfig", config)
    monkeypatch.setattr("pld.flywheel.twin_world.TwinWorld", lambda name, *_: PointWorld(name))


def refusal(commands: typer.Typer, *words: str) -> str:
    """What the error says that ends a command."""
    result = RUNNER.invoke(commands, words)
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def begun(folder: Path, **settings: Any) -> None:
    """The folder of a run that was begun with such settings."""
    config = replace(CONFIG, seed=1, **settings)
    write_json_atomically(folder / "config.json", config.as_dict())


@pytest.mark.usefixtures("small")
def test_one_command_goes_from_nothing_to_a_report_and_json(tmp_path: Path) -> None:
    run, figures, page = tmp_path / "run", tmp_path / "figures.json", tmp_path / "results.md"
    command = ["--task", "cube_pickup", "--seed", "1", "--episodes", "4", "--run", str(run)]
    result = RUNNER.invoke(app, [*command, "--json", str(figures)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    content = json.loads(figures.read_text())
    assert {r["name"] for r in content["rates"]} >= {"base", "specialist", "distilled-2"}
    assert all(r["trials"] == 4 for r in content["rates"])
    assert (run / "report.html").exists()
    alone = ["evaluate", "distilled-1", "--seed", "1", "--episodes", "5", "--run", str(run)]
    assert RUNNER.invoke(stages.app, alone).exit_code == 0
    redone = json.loads((run / "summary.json").read_text())
    assert {r["name"]: r["trials"] for r in redone["rates"]}["distilled-1"] == 5
    RUNNER.invoke(stages.app, ["results", str(figures), "--out", str(page)])
    assert "cube_pickup seed 1" in page.read_text()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "nothing"], "valid: cube_pickup, peg_insertion, all"),
        (["--rounds", "0"], "rounds is 0"),
        (["--rounds", "10"], "rounds is 10; give 1 to 9"),
        (["--seed", "-1"], "run seed -1; give one from 0 to 998"),
        (["--specialists", "3"], "round 3: this run has rounds 1 to 2"),
        (["--json", "."], "'.' is a folder; name a file"),
        (["--episodes", "99999"], "give a number from 1 to"),
    ],
)
def test_bad_input_is_one_line_and_a_failure(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    run = tmp_path / "run"
    assert message in refusal(app, *arguments, "--run", str(run))
    assert not run.exists(), "a refused command must not claim the folder"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("commands", "words", "command"),
    [
        (train.app, ["specialist"], "pld train base"),
        (stages.app, ["probe"], "pld train specialist --round 1"),
        (stages.app, ["distill"], "pld probe --round 1"),
        (stages.app, ["evaluate", "base"], "pld train base"),
        (stages.app, ["evaluate", "distilled-2"], "pld distill --round 2"),
        (stages.app, ["evaluate", "control-rlpd"], "pld train base"),
    ],
)
def test_a_stage_without_its_predecessor_says_which_command_makes_it(
    tmp_path: Path, commands: typer.Typer, words: list[str], command: str
) -> None:
    begun(tmp_path)
    assert f"`{command} --run {tmp_path}`" in refusal(commands, *words, "--run", str(tmp_path))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (train.app, ["specialist"]),
        (stages.app, ["probe"]),
        (stages.app, ["distill", "--rate-hz", "20"]),
        (stages.app, ["evaluate", "base"]),
    ],
)
def test_a_single_stage_makes_no_run(
    tmp_path: Path, commands: typer.Typer, words: list[str]
) -> None:
    run = tmp_path / "run"
    said = refusal(commands, *words, "--run", str(run))
    assert f"there is no run in '{run}'; `pld flywheel` makes one" in said
    assert not run.exists()


@pytest.mark.usefixtures("small")
def test_what_is_no_folder_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal(app, "--run", str(tmp_path / "file"))
    assert "cannot be a folder (File exists); give another with --run" in said


@pytest.mark.usefixtures("small")
def test_a_run_knows_its_task_and_seed(tmp_path: Path) -> None:
    words = ["--run", str(tmp_path)]
    first = ["base", "--task", TASK, "--seed", "1", *words]
    assert RUNNER.invoke(train.app, first, catch_exceptions=False).exit_code == 0
    done = (tmp_path / "base" / "done.json").stat().st_mtime
    again = ["evaluate", "base", "--episodes", "2", *words]
    assert RUNNER.invoke(stages.app, again, catch_exceptions=False).exit_code == 0
    assert read_json(tmp_path / "config.json")["seed"] == 1
    assert (tmp_path / "base" / "done.json").stat().st_mtime == done
    said = refusal(stages.app, "evaluate", "base", "--seed", "2", *words)
    assert "holds a run with seed 1, not 2; leave that option out" in said


@pytest.mark.usefixtures("small")
def test_weights_from_elsewhere_are_evaluated_in_a_run(tmp_path: Path) -> None:
    words = ["--run", str(tmp_path / "run")]
    RUNNER.invoke(train.app, ["base", "--seed", "1", *words], catch_exceptions=False)
    weights = tmp_path / "new.safetensors"
    weights.write_bytes((tmp_path / "run" / "base" / "policy.safetensors").read_bytes())
    for policy in (str(weights), "base"):
        command = ["evaluate", policy, "--episodes", "4", *words]
        assert RUNNER.invoke(stages.app, command, catch_exceptions=False).exit_code == 0
    rates = {r["name"]: r for r in read_json(tmp_path / "run" / "summary.json")["rates"]}
    taken = rates.pop(f"weights-{sha256_of(weights)[:8]}")
    assert taken["successes"] == rates["base"]["successes"]
    assert taken["trials"] == 4
    said = refusal(stages.app, "evaluate", "gone.safetensors", *words)
    assert "gone.safetensors" in said


@pytest.mark.usefixtures("small")
def test_a_file_tells_how_far_a_command_is(tmp_path: Path) -> None:
    words = ["base", "--seed", "1", "--run", str(tmp_path)]
    said = RUNNER.invoke(train.app, words, catch_exceptions=False).output.splitlines()
    begins = [line for line in said if line.endswith(": begins")]
    assert len(begins) == 2
    assert [line for line in said if ": done  " in line and line.endswith(" CPU s")]


@pytest.mark.usefixtures("small")
def test_an_unknown_control_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = refusal(app, "--controls", "xi-one,rlpt", "--run", str(run))
    assert "unknown control 'rlpt'; valid: none, all, extra-demonstrations" in said
    assert not run.exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", ["0", "-1", "3"])
@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (stages.app, ["probe", "--round"]),
        (stages.app, ["distill", "--round"]),
        (train.app, ["specialist", "--round"]),
        (stages.app, ["evaluate", "--", "distilled-"]),
        (stages.app, ["evaluate", "--", "specialist-"]),
    ],
)
def test_a_round_that_the_run_does_not_have_is_refused_with_the_valid_ones(
    tmp_path: Path, commands: typer.Typer, words: list[str], number: str
) -> None:
    run = tmp_path / "run"
    begun(run)
    command, *said = words
    last = [*said[:-1], said[-1] + number] if command == "evaluate" else [*said, number]
    message = refusal(commands, command, "--run", str(run), *last)
    assert f"round {number}: this run has rounds 1 to 2; `pld flywheel --rounds N`" in message


@pytest.mark.usefixtures("small")
def test_a_round_that_trains_no_specialist_says_so(tmp_path: Path) -> None:
    begun(tmp_path, rounds=3, specialists=1)
    said = refusal(train.app, "specialist", "--round", "2", "--seed", "1", "--run", str(tmp_path))
    assert "round 2 trains no specialist, it keeps the last one; rounds that train one: 1" in said


@pytest.mark.usefixtures("small")
def test_a_single_stage_goes_on_with_the_settings_of_its_run(tmp_path: Path) -> None:
    settings = {"rounds": 3, "specialists": 2, "rate_hz": 20.0, "evaluation_episodes": 3}
    begun(tmp_path, demonstrations=7, **settings)
    words = ["base", "--seed", "1", "--run", str(tmp_path)]
    assert RUNNER.invoke(train.app, words, catch_exceptions=False).exit_code == 0
    kept = read_json(tmp_path / "config.json")
    assert {name: kept[name] for name in settings} == settings
    assert len(list((tmp_path / "demonstrations" / TASK).glob("episode-*"))) == 7
    assert read_json(tmp_path / "summary.json")["rounds"] == 3


@pytest.mark.usefixtures("small")
def test_the_number_of_episodes_of_one_evaluation_is_not_kept_with_the_run(tmp_path: Path) -> None:
    words = ["--seed", "1", "--run", str(tmp_path)]
    RUNNER.invoke(train.app, ["base", *words], catch_exceptions=False)
    before = read_json(tmp_path / "config.json")
    again = ["evaluate", "base", "--episodes", "2", *words]
    RUNNER.invoke(stages.app, again, catch_exceptions=False)
    assert read_json(tmp_path / "config.json") == before
    assert read_json(tmp_path / "summary.json")["rates"][0]["trials"] == 2


@pytest.mark.usefixtures("small")
def test_a_policy_is_evaluated_in_one_region(tmp_path: Path) -> None:
    words = ["--seed", "1", "--run", str(tmp_path), "--episodes", "4"]
    RUNNER.invoke(train.app, ["base", *words[:4]], catch_exceptions=False)
    there = ["evaluate", "base", "--starts-in", "left", *words]
    assert RUNNER.invoke(stages.app, there, catch_exceptions=False).exit_code == 0
    rates = {r["name"]: r for r in read_json(tmp_path / "summary.json")["rates"]}
    assert set(rates["base@left"]["regions"]) == {"left"}
    assert rates["base@left"]["trials"] == 4


def test_a_policy_that_no_run_has_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    begun(tmp_path)
    for name in ("distiled-2", "control-xi-two"):
        said = refusal(stages.app, "evaluate", name, "--run", str(tmp_path))
        assert said.startswith(f"unknown policy '{name}'; valid: base, specialist, distilled-1, ")
        assert "control-xi-one, " in said


@pytest.mark.usefixtures("small")
def test_two_processes_do_not_work_in_one_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("base", "--task", TASK, "--seed", "1", "--run", str(run))
    with sole_user(run):
        assert f"process {os.getpid()} is at work in" in refusal(train.app, *words)
        assert not (run / "base").exists()
    assert RUNNER.invoke(train.app, words).exit_code == 0
    assert (run / "base" / "policy.safetensors").exists()


@pytest.mark.usefixtures("small")
def test_a_run_is_demonstrated_in_one_region_and_keeps_it(tmp_path: Path) -> None:
    words = ["base", "--seed", "1", "--run", str(tmp_path / "run")]
    said = refusal(train.app, *words, "--demonstrated-in", "middle")
    assert "region" in said
    assert "'middle'" in said
    assert "left, right" in said
    assert not (tmp_path / "run").exists()
    there = [*words, "--demonstrated-in", "left"]
    assert RUNNER.invoke(train.app, there, catch_exceptions=False).exit_code == 0
    stages_of = {s["name"]: s for s in read_json(tmp_path / "run" / "summary.json")["stages"]}
    shown = stages_of[f"demonstrations/{TASK}"]["figures"]
    assert set(shown["regions"]) == {"left"}
    assert RUNNER.invoke(train.app, words, catch_exceptions=False).exit_code == 0
    assert read_json(tmp_path / "run" / "config.json")["demonstrated_in"] == "left"
    assert "holds a run with demonstrated_in 'left', not 'right'" in refusal(
        train.app, *words, "--demonstrated-in", "right"
    )


@pytest.mark.usefixtures("small")
def test_a_run_keeps_its_rate_and_an_older_one_has_the_rate_of_its_weights(tmp_path: Path) -> None:
    words = ["base", "--seed", "1", "--run", str(tmp_path)]
    RUNNER.invoke(train.app, words, catch_exceptions=False)
    kept = read_json(tmp_path / "config.json")
    assert kept.pop("rate_hz") == 10.0
    write_json_atomically(tmp_path / "config.json", kept)
    said = refusal(train.app, *words, "--rate-hz", "20")
    assert "holds a run with rate_hz 10.0, not 20.0; leave that option out, or" in said
    assert RUNNER.invoke(train.app, words, catch_exceptions=False).exit_code == 0
    assert read_json(tmp_path / "config.json")["rate_hz"] == 10.0
