"""What a demo is made of: fixed when its folder is begun, so that old results never pass as new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pld.errors import ConfigError
from pld.evaluation.seeds import Purpose, evaluation_seeds, seed_range
from pld.files import read_json, sha256_of, write_json_atomically
from pld.flywheel import stages
from pld.flywheel.config import settings_of
from pld.share import share_path
from pld.tasks import task_facts
from pld_nodes.parameters import with_weights_found

SHIPPED = "launch/demo"
SETTINGS_NAME = "settings.json"
PARTS = ("before", "probing", "after")


@dataclass(frozen=True)
class Demo:
    """What the demo runs, and where. Weights are those that come with the package by default.

    `sft_steps` None is as TASK_SETTINGS says for a round of the task.
    """

    folder: Path
    task: str = "peg_insertion"
    evaluations: int = 20
    probing: int = 30
    sft_steps: int | None = None
    seed: int = 0
    robot_ip: str = "127.0.0.1"
    trained: Path | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no run could have, before the folder is begun."""
        task_facts(self.task)
        evaluation_seeds(self.seed, self.evaluations)
        seeds = seed_range(Purpose.PROBING, self.seed)
        if not 1 <= self.probing <= len(seeds):
            raise ConfigError(f"{self.probing} probing episodes; give 1 to {len(seeds)}")

    @property
    def steps(self) -> int:
        """Steps of fine-tuning."""
        return self.sft_steps or settings_of(self.task).distill_steps

    def weights(self) -> tuple[Path, Path]:
        """Base and specialist: those of the flywheel run `trained`, or the shipped ones."""
        if self.trained is not None:
            base = self.trained / "base" / stages.POLICY_FILE
            residual = self.trained / "specialist" / self.task / stages.ACTOR_FILE
            return Path(with_weights_found(str(base))), Path(with_weights_found(str(residual)))
        if self.task not in (tasks := shipped_tasks()):
            raise ConfigError(
                f"task {self.task!r}: weights come along for {', '.join(tasks)} only; make some "
                f"with `pld flywheel --task {self.task}`, then add --trained RUN"
            )
        shipped = share_path(f"{SHIPPED}/{self.task}")
        return shipped / "base.safetensors", shipped / "specialist.safetensors"

    def settings(self) -> dict[str, Any]:
        """What the demo's results depend on, by the names of the command's options."""
        return {
            "task": self.task,
            "seed": self.seed,
            "evaluations": self.evaluations,
            "probing": self.probing,
            "sft-steps": self.steps,
            "trained": {path.name: sha256_of(path) for path in self.weights()},
        }


def shipped_tasks() -> list[str]:
    """The tasks whose weights come with the package."""
    return sorted(path.name for path in share_path(SHIPPED).iterdir() if path.is_dir())


def keep_settings(demo: Demo) -> None:
    """Fix the settings of a new folder; ConfigError where it was begun with other ones."""
    path, now = demo.folder / SETTINGS_NAME, demo.settings()
    if path.exists():
        _refuse_changes(demo.folder, read_json(path), now)
        return
    if any((demo.folder / part).exists() for part in PARTS):
        raise ConfigError(
            f"run: {str(demo.folder)!r} holds a demo that does not say its settings; give another "
            "folder with --run"
        )
    write_json_atomically(path, now)


def _refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, value in now.items():
        was = before.get(name)
        if was == value:
            continue
        change = "other weights" if name == "trained" else f"{name} {was}, not {value}"
        raise ConfigError(
            f"{name}: {str(folder)!r} holds a demo with {change}; give another folder with --run"
        )
