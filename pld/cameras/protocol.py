"""What every camera offers: RealSense (real or software device) and a fake for tests."""

from __future__ import annotations

from typing import Protocol

from pld.types import CameraImage, Intrinsics

__all__ = ["Camera", "Intrinsics"]


class Camera(Protocol):
    """A camera that is opened, read and closed. Constructors open nothing."""

    def open(self) -> Intrinsics:
        """Start streaming; raises CameraError that names the serial and those present."""

    def read(self, timeout_s: float) -> CameraImage:
        """The next image; raises CameraError when none arrives in time."""

    def close(self) -> None:
        """Stop streaming; safe to call twice."""
