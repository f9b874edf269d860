"""Labelled frames, from which the success classifier learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledFrames:
    """N frames: `images` (N, cameras, px, px, 3) uint8, `success` (N,) bool.

    `episode` (N,) numbers the episode that a frame is from, so that frames of one episode are
    never split between training and validation.
    """

    images: NDArray[np.uint8]
    success: NDArray[np.bool_]
    episode: NDArray[np.int64]
    task: str

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.success)

    def of(self, chosen: NDArray[np.bool_]) -> LabelledFrames:
        """The frames where `chosen` (N,) holds."""
        return LabelledFrames(
            self.images[chosen], self.success[chosen], self.episode[chosen], self.task
        )
