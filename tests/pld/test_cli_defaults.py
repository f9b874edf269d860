"""Defaults of commands are those that the reference runs were measured with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pld.cli.bench_learner import specialist_features
from pld.cli.train import app
from pld.distill.episodes import episode_path, tasks_in, write_episode
from pld.errors import ConfigError
from pld.flywheel.config import TASK_SETTINGS
from pld.residual.actor import load_actor
from tests.pld.vla_fixtures import episode

ROOT = Path(__file__).resolve().parents[2]
STEPS = {name: settings.distill_steps for name, settings in TASK_SETTINGS.items()}


def folder_of(path: Path, *tasks: str) -> Path:
    """A folder with one converted episode of each task."""
    for seed, task in enumerate(tasks):
        write_episode(episode_path(path, seed), replace(episode(seed), task=task))
    return path


@pytest.mark.parametrize(
    ("tasks", "words", "steps"),
    [
        (["peg_insertion"], [], STEPS["peg_insertion"]),
        (["cube_pickup", "peg_insertion"], [], sum(STEPS.values())),
        (["cube_pickup"], ["--steps", "7"], 7),
    ],
)
def test_fine_tuning_takes_as_many_steps_as_the_tasks_of_its_episodes_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks, words, steps: int
) -> None:
    asked: list[int] = []

    def distill(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments[3].steps)
        return {"frames": 0}

    monkeypatch.setattr("pld.flywheel.stages.distill", distill)
    loaded = SimpleNamespace(rate_hz=10.0)
    monkeypatch.setattr("pld.base_policy.builtin_checkpoint.load_checkpoint", lambda path: loaded)
    folder = folder_of(tmp_path / "data", *tasks)
    command = ["sft", "base.safetensors", str(folder), "--output", str(tmp_path / "new"), *words]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert asked == [steps]


def test_the_tasks_of_episodes_are_read_from_their_headers(tmp_path: Path) -> None:
    both = [folder_of(tmp_path / task, task, task) for task in ("peg_insertion", "cube_pickup")]
    assert tasks_in(both) == ("cube_pickup", "peg_insertion")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no episodes in .*empty"):
        tasks_in([tmp_path / "empty"])


def test_the_learner_is_measured_at_the_size_of_a_real_specialist() -> None:
    shipped = ROOT / "launch" / "demo" / "peg_insertion" / "specialist.safetensors"
    assert specialist_features() == load_actor(shipped).card.feature_dim
