"""Small episodes and networks for the built-in VLA's tests."""

from __future__ import annotations

import numpy as np

from pld.base_policy.builtin_network import BuiltinNetwork, NetworkConfig, vocabulary_of
from pld.base_policy.builtin_training import fresh_network
from pld.contract import CAMERAS, PROPRIO_DIM
from pld.distill.dataset import SftDataset
from pld.distill.episodes import SftEpisode
from pld.types import ArmState, CameraImage, Observation, Pose

INSTRUCTION = "pick up the red cube"
SMALL = {"channels": (4, 8, 8), "hidden": 32, "bottleneck": 8}


def episode(seed: int, steps: int = 12, **facts: object) -> SftEpisode:
    """An episode whose actions follow from the brightness of its images."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(20, 64, steps)
    images = np.full((steps, 2, 84, 84, 3), 30, np.uint8)
    for t, column in enumerate(columns):
        images[t, :, 30:50, column - 10 : column + 10] = 230
    executed = np.zeros((steps, 7), np.float32)
    executed[:, 0] = (columns - 42) / 30
    executed[:, 6] = np.where(columns > 42, 1, -1)
    plain: dict[str, object] = {
        "instruction": INSTRUCTION,
        "task": "cube_pickup",
        "region": "corner",
        "seed": seed,
        "success": True,
    }
    return SftEpisode(
        images=images,
        proprio=rng.normal(size=(steps, PROPRIO_DIM)).astype(np.float32),
        executed=executed,
        base=np.zeros((steps, 7), np.float32),
        source=np.ones(steps, np.uint8),
        **(plain | facts),  # type: ignore[arg-type]
    )


def dataset(episodes: int = 6, chunk_horizon: int = 3) -> SftDataset:
    """Frames of a few small episodes."""
    return SftDataset([episode(i) for i in range(episodes)], chunk_horizon)


def network(frames: SftDataset, seed: int = 0, **sizes: object) -> BuiltinNetwork:
    """A small network with the statistics and vocabulary of `frames`."""
    config = NetworkConfig(
        vocabulary=vocabulary_of(frames.instructions),
        chunk_horizon=3,
        **(SMALL | sizes),  # type: ignore[arg-type]
    )
    return fresh_network(config, frames.statistics(), seed)


def observation(image: np.ndarray | None = None, instruction: str = INSTRUCTION) -> Observation:
    """One observation with the same image in both cameras."""
    rgb = np.zeros((240, 424, 3), np.uint8) if image is None else image
    pose = Pose(np.array([0.5, 0.0, 0.3]), np.array([1.0, 0, 0, 0]))
    arm = ArmState(0, 0, np.zeros(7), np.zeros(7), pose, np.zeros(6), pose, np.zeros(6), 0.08, 1.0)
    return Observation(arm, {c: CameraImage(0, 0, rgb) for c in CAMERAS}, instruction)
