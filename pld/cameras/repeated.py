"""A camera that shows one picture again and again, under new stamps and frame numbers, hangs."""

from __future__ import annotations

from pld.types import CameraImage


class Repetitions:
    """Tells pictures that are the one before, to the last bit: no sensor is free of noise.

    A covered lens may be all black and so repeat itself too; nothing is to be seen through it
    either. `count` is how many were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last = b""

    def is_one(self, image: CameraImage) -> bool:
        """Whether `image` has the pixels of the one before."""
        pixels = image.rgb.tobytes()
        repeated, self._last = pixels == self._last, pixels
        self.count += repeated
        return repeated
