"""A training process that is killed at random moments ends in the same bits as one that is not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pld.residual.checkpoint import KIND, SCHEMA, checkpoints
from pld.tensor_file import content_hash, read_tensors

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.pld.toy_training", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def final_hash(folder: Path) -> str:
    described, tensors = read_tensors(checkpoints(folder)[-1], KIND, SCHEMA, "toy")
    assert described["progress"]["phase"] == "finished"
    return content_hash(str(sorted(described.items())), tensors)


def kill_once(folder: Path, rng: random.Random) -> bool:
    """Start training and kill it a random while after its next checkpoint; False if it ended."""
    before = checkpoints(folder)
    process = start(folder)
    while process.poll() is None and checkpoints(folder) == before:
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.15))
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    return True


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    rng = random.Random(0)
    kills = sum(kill_once(killed, rng) for _ in range(3))
    assert start(killed).wait() == 0
    assert kills >= 2
    assert final_hash(killed) == final_hash(whole)
