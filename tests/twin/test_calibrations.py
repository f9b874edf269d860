"""The twin's calibration files are those of the scene, and the command writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pld.calibration.files import load_calibration
from pld.cli.calibration import app
from pld.contract import CAMERAS
from pld.twin.calibrations import twin_calibrations
from pld.twin.tasks import TASKS

FOLDER = Path(__file__).resolve().parents[2] / "calibration"


@pytest.mark.parametrize("task", TASKS)
def test_the_files_in_the_repository_are_those_of_every_scene(task: str) -> None:
    for camera in CAMERAS:
        kept = load_calibration(FOLDER / f"twin_{camera}.yaml")
        assert kept == twin_calibrations(task, kept.date)[camera]


def test_the_command_writes_files_that_read_back(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["from-twin", "--folder", str(tmp_path), "--date", "2025-01-31"])
    assert done.exit_code == 0, done.output
    written = {p.name: load_calibration(p) for p in tmp_path.iterdir()}
    assert written == {
        f"twin_{name}.yaml": c for name, c in twin_calibrations("cube_pickup", "2025-01-31").items()
    }


def test_the_board_command_writes_the_board_of_the_repository(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["board", str(tmp_path / "b.png")])
    assert done.exit_code == 0, done.output
    assert "252 x 180 mm" in done.output
    assert (tmp_path / "b.png").read_bytes() == (FOLDER / "board.png").read_bytes()
