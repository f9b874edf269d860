"""The flywheel's commands: figures as JSON, errors in one line, stages that run alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pld.cli import stages
from pld.cli.flywheel import app
from pld.flywheel.config import FlywheelConfig
from tests.pld.flywheel_world import PointWorld
from tests.pld.test_flywheel import CONFIG

RUNNER = CliRunner()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(tasks: tuple[str, ...], seed: int) -> FlywheelConfig:
        return replace(CONFIG, tasks=tasks, seed=seed)

    monkeypatch.setattr("pld.flywheel.config.FlywheelConfig", config)
    monkeypatch.setattr("pld.flywheel.twin_world.TwinWorld", lambda name, rate_hz: PointWorld(name))


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
        (["--task", "nothing"], "valid: cube_pickup, peg_insertion"),
        (["--rounds", "0"], "rounds is 0"),
        (["--episodes", "99999"], "give a number from 1 to"),
    ],
)
def test_bad_input_is_one_line_and_a_failure(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = RUNNER.invoke(app, [*arguments, "--run", str(tmp_path)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("small")
def test_a_stage_without_its_predecessor_names_what_is_missing(tmp_path: Path) -> None:
    result = RUNNER.invoke(stages.app, ["distill", "--run", str(tmp_path)])
    assert result.exit_code == 2
    assert "run the stage that makes it first" in " ".join(result.output.split())
