"""Trains on the toy task in a folder, as a process that a test may kill: python -m ... FOLDER."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch

from pld.probing.horizon import sample_takeover_step
from pld.residual.checkpoint import resume, save_checkpoint
from pld.residual.trainer import Progress, SpecialistTrainer
from tests.pld.toy_task import ToyTask, toy_config


def train(trainer: SpecialistTrainer, folder: Path, every_units: int = 20) -> Progress:
    """From the newest checkpoint of `folder` to the end, a checkpoint every `every_units` units."""
    resume(folder, trainer)
    units = itertools.count(1)

    def on_unit(_: SpecialistTrainer) -> None:
        if next(units) % every_units == 0 or trainer.finished:
            save_checkpoint(folder, trainer)

    return trainer.run(on_unit)


def main() -> None:
    """Train to the end, a checkpoint every second unit."""
    torch.set_num_threads(1)
    config = toy_config(online_steps=150, replay_capacity=200)
    train(SpecialistTrainer(ToyTask(), config, sample_takeover_step), Path(sys.argv[1]), 2)


if __name__ == "__main__":
    main()
