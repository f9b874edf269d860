"""A short training of the peg's specialist in the lockstep twin, to be killed at any time."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import torch

from pld.flywheel import stages
from pld.flywheel.config import FlywheelConfig
from pld.flywheel.stage import SilentMeter
from pld.flywheel.twin_world import TwinWorld
from pld.residual.config import ResidualConfig

ROOT = Path(__file__).resolve().parents[2]
TASK = "peg_insertion"
BASE = ROOT / "launch" / "demo" / TASK / "base.safetensors"


def config() -> ResidualConfig:
    """The peg's own settings, cut short."""
    whole = FlywheelConfig((TASK,), seed=3).specialist_of(TASK)
    return replace(
        whole, base_episodes=5, base_episodes_max=12, calql_updates=20, online_steps=90,
        learning_starts=12, updates_per_step=1.0, batch_size=32,
    )  # fmt: skip


def main() -> None:
    """Train into the folder given, from wherever the last program got to."""
    torch.set_num_threads(1)
    stages.CHECKPOINT_EVERY_UNITS = 2
    world = TwinWorld(TASK)
    stages.train_specialist(Path(sys.argv[1]), world, BASE, config(), 1, SilentMeter())


if __name__ == "__main__":
    main()
