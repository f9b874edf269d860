"""Trains on the toy task in a folder, as a process that a test may kill: python -m ... FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pld.probing.horizon import sample_takeover_step
from pld.residual.run import train_resumably
from pld.residual.trainer import SpecialistTrainer
from tests.pld.toy_task import ToyTask, toy_config


def main() -> None:
    """Train to the end, a checkpoint every second unit."""
    torch.set_num_threads(1)
    config = toy_config(online_steps=150, replay_capacity=200)
    trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
    train_resumably(trainer, Path(sys.argv[1]), every_units=2)


if __name__ == "__main__":
    main()
