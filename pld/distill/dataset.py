"""Frames of many episodes as one training set: random batches, chunks of executed actions.

A batch is a function of (seed, step) alone, so a training that was killed and resumed sees the
batches that it would have seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pld.augmentation import Augmentation, relit, shifted
from pld.distill.episodes import SftEpisode
from pld.errors import ConfigError
from pld.tensor_file import content_hash


@dataclass(frozen=True)
class Batch:
    """N frames: `images` (N, cameras, px, px, 3) float in [0, 255], `proprio` (N, P).

    `chunk` (N, H, 7) are the next executed actions, `mask` (N, H) is 0 beyond the episode's end,
    and from a gap in it on.
    `instruction` (N,) counts into the dataset's `instructions`.
    """

    images: Tensor
    proprio: Tensor
    chunk: Tensor
    mask: Tensor
    instruction: Tensor


class SftDataset:
    """All frames of `episodes` in memory; images stay uint8 until a batch is made."""

    def __init__(self, episodes: Sequence[SftEpisode], chunk_horizon: int) -> None:
        if not episodes:
            raise ConfigError("no episodes to train on; collect successes first")
        self.instructions = tuple(sorted({e.instruction for e in episodes}))
        self.tasks = tuple(sorted({e.task for e in episodes}))
        self.images = np.concatenate([e.images for e in episodes])
        self.proprio = np.concatenate([e.proprio for e in episodes])
        self.actions = np.concatenate([e.executed for e in episodes])
        self._instruction = np.concatenate(
            [np.full(len(e), self.instructions.index(e.instruction)) for e in episodes]
        )
        task = np.concatenate([np.full(len(e), self.tasks.index(e.task)) for e in episodes])
        self._of_task = [np.flatnonzero(task == i) for i in range(len(self.tasks))]
        pieces = [piece for e in episodes for piece in np.diff([0, *e.gaps, len(e)])]
        last = np.repeat(np.cumsum(pieces) - 1, pieces)
        ahead = np.arange(len(last))[:, None] + np.arange(chunk_horizon)
        self._mask = (ahead <= last[:, None]).astype(np.float32)
        self._ahead = np.minimum(ahead, last[:, None])

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.actions)

    def fingerprint(self) -> str:
        """Hex SHA-256 of all that batches are made of."""
        arrays = {
            "images": self.images,
            "proprio": self.proprio,
            "actions": self.actions,
            "instruction": self._instruction,
            "ahead": self._ahead,
        }
        described = json.dumps([self.instructions, self.tasks])
        return content_hash(described, {k: torch.from_numpy(v) for k, v in arrays.items()})

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """Mean and spread of proprioception and executed actions, with floors for still axes."""
        return {
            "proprio_mean": self.proprio.mean(0),
            "proprio_std": np.maximum(self.proprio.std(0), 1e-2),
            "action_mean": self.actions.mean(0),
            "action_std": np.maximum(self.actions.std(0), 5e-2),
        }

    def batch(self, size: int, seed: int, step: int, augmentation: Augmentation) -> Batch:
        """The batch of training step `step`: frames at random, with replacement, augmented.

        Each task has the same part in it, however many frames there are of each.
        """
        rng = np.random.default_rng((seed, step))
        parts = [len(part) for part in np.array_split(np.arange(size), len(self.tasks))]
        rows = np.concatenate(
            [
                frames[rng.integers(0, len(frames), part)]
                for frames, part in zip(self._of_task, parts, strict=True)
            ]
        )
        images = shifted(self.images, rows, augmentation.shift_px, rng)
        proprio = self.proprio[rows]
        noise = rng.standard_normal(proprio.shape).astype(np.float32)
        return Batch(
            images=relit(torch.from_numpy(images).float(), augmentation, rng),
            proprio=torch.from_numpy(proprio + augmentation.proprio_noise * noise * self._spread),
            chunk=torch.from_numpy(self.actions[self._ahead[rows]]),
            mask=torch.from_numpy(self._mask[rows]),
            instruction=torch.from_numpy(self._instruction[rows]),
        )

    @cached_property
    def _spread(self) -> NDArray[np.float32]:
        spread: NDArray[np.float32] = self.proprio.std(0)
        return spread
