"""Episodes as pictures: a strip of moments for the eye, an animation for the report."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from pld.errors import ContractError
from pld.types import Image


@dataclass(frozen=True)
class Film:
    """One episode's images (T, cameras, px, px, 3) uint8 with what became of it."""

    policy: str
    task: str
    seed: int
    region: str
    success: bool
    images: NDArray[np.uint8]
    takeover_step: int = -1

    @property
    def caption(self) -> str:
        """One line for a reader."""
        end = "succeeds" if self.success else "fails"
        return (
            f"{self.policy} {end} ({self.region} start, seed {self.seed}, {len(self.images)} steps)"
        )


def strip(film: Film, moments: int = 8, scale: int = 2, camera: int = 0) -> Image:
    """`moments` images of one camera side by side, evenly spaced, the first and last included.

    A green or red bar below says success or failure.
    """
    if not len(film.images):
        raise ContractError(f"the film of seed {film.seed} has no images")
    chosen = np.linspace(0, len(film.images) - 1, moments).round().astype(int)
    row = np.concatenate([_enlarged(film.images[i, camera], scale) for i in chosen], axis=1)
    return np.concatenate([row, _bar(row.shape[1], film.success)])


def animation(film: Film, scale: int = 2, step_ms: int = 100) -> bytes:
    """All cameras side by side as an endless animated WebP."""
    pages = []
    for cameras in film.images:
        page = np.concatenate([_enlarged(image, scale) for image in cameras], axis=1)
        pages.append(PilImage.fromarray(np.concatenate([page, _bar(page.shape[1], film.success)])))
    stream = io.BytesIO()
    durations = [step_ms] * (len(pages) - 1) + [1500]
    pages[0].save(
        stream,
        format="WEBP",
        save_all=True,
        append_images=pages[1:],
        duration=durations,
        loop=0,
        quality=70,
    )
    return stream.getvalue()


def png(image: Image) -> bytes:
    """An image (H, W, 3) as PNG."""
    stream = io.BytesIO()
    PilImage.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def _enlarged(image: Image, scale: int) -> Image:
    enlarged: Image = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return enlarged


def _bar(width: int, success: bool) -> Image:
    colour = (40, 150, 70) if success else (200, 50, 40)
    return np.array(np.broadcast_to(np.array(colour, np.uint8), (6, width, 3)))
