"""SIGKILL at random moments of a training in the real twin changes nothing in what comes of it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
STATE = ".state"


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.twin.twin_training", str(folder)], cwd=ROOT
    )


def result(folder: Path) -> dict[str, object]:
    """The actor, the curve, and the last checkpoint: weights, optimisers, replay, random state.

    The order in which a tensor file names its metadata is no part of what it says.
    """
    found: dict[str, object] = {"curve": (folder / "curve.json").read_text()}
    for path in (folder / "actor.safetensors", newest_checkpoint(folder)):
        with safe_open(path, "numpy") as tensors:
            names = list(tensors.keys())
            found |= {f"{path.name} {n}": tensors.get_tensor(n).tobytes() for n in names}
            found[f"{path.name} metadata"] = tensors.metadata()
    return found


def newest_checkpoint(folder: Path) -> Path:
    return max((folder / STATE).glob("*.safetensors"))


@pytest.mark.timeout(600)
def test_a_killed_training_ends_bit_for_bit_like_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    began = time.monotonic()
    assert start(undisturbed).wait() == 0
    lasted_s = time.monotonic() - began
    rng, kills, ended = random.Random(1), 0, False
    while not ended:
        process = start(disturbed)
        try:
            process.wait(rng.uniform(0.3, 0.7) * lasted_s if kills < 3 else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            ended = True
    assert kills >= 2
    expected, found = result(undisturbed), result(disturbed)
    assert len(expected) > 100
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
