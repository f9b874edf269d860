"""Random changes of a batch of policy images, so that a network learns what does not matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the images: shifts up to `shift_px`, brightness and contrast factors."""

    shift_px: int = 4
    brightness: float = 0.1
    contrast: float = 0.1
    proprio_noise: float = 0.0


def augmented(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Tensor:
    """The images (N, cameras, px, px, 3) of `rows` (B,), changed at random; floats in [0, 255]."""
    moved = shifted(images, rows, augmentation.shift_px, rng)
    return relit(torch.from_numpy(moved).float(), augmentation, rng)


def shifted(
    images: NDArray[np.uint8], rows: NDArray[np.int64], reach: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Each camera's image moved by up to `reach` pixels, its rim repeated."""
    cameras, side = images.shape[1:3]
    moves = rng.integers(-reach, reach + 1, (len(rows), cameras, 2))
    moves = np.clip(moves, 1 - side, side - 1)
    chosen = np.empty((len(rows), *images.shape[1:]), np.uint8)
    for i, row in enumerate(rows):
        for camera in range(cameras):
            _copy_moved(images[row, camera], chosen[i, camera], *moves[i, camera].tolist())
    return chosen


def _copy_moved(image: NDArray[np.uint8], into: NDArray[np.uint8], dy: int, dx: int) -> None:
    """`into[y, x] = image[y + dy, x + dx]`, with the nearest pixel where that lies outside."""
    side = len(image)
    top, bottom = max(0, -dy), min(side, side - dy)
    left, right = max(0, -dx), min(side, side - dx)
    into[top:bottom, left:right] = image[top + dy : bottom + dy, left + dx : right + dx]
    into[top:bottom, :left] = into[top:bottom, left : left + 1]
    into[top:bottom, right:] = into[top:bottom, right - 1 : right]
    into[:top] = into[top]
    into[bottom:] = into[bottom - 1]


def relit(images: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """Brightness and contrast changed by a random factor per image."""
    shape = (*images.shape[:2], 1, 1, 1)
    gain = 1 + augmentation.contrast * rng.uniform(-1, 1, shape)
    lift = 255 * augmentation.brightness * rng.uniform(-1, 1, shape)
    gain_t, lift_t = (torch.from_numpy(v.astype(np.float32)) for v in (gain, lift))
    return images.sub_(127.5).mul_(gain_t).add_(127.5 + lift_t).clamp_(0, 255)
