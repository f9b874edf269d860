"""A camera that plays a script, for tests of what uses cameras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pld.errors import CameraError
from pld.types import CameraImage, Intrinsics


class FakeCamera:
    """Delivers the scripted images in order; a scripted CameraError is raised in its place.

    `refusals` is how often `open` fails before it succeeds.
    """

    def __init__(
        self,
        script: Iterable[CameraImage | CameraError],
        *,
        intrinsics: Intrinsics | None = None,
        refusals: int = 0,
    ) -> None:
        self._script: Iterator[CameraImage | CameraError] = iter(script)
        self._intrinsics = intrinsics or Intrinsics(4, 3, 4.0, 4.0, 1.5, 1.0)
        self._refusals = refusals
        self.is_open = False
        self.opened = 0
        self.resets = 0

    def open(self) -> Intrinsics:
        """Start; raises CameraError as often as asked."""
        self.is_open = False
        if self._refusals > 0:
            self._refusals -= 1
            raise CameraError("scripted: no camera")
        self.is_open = True
        self.opened += 1
        return self._intrinsics

    def read(self, timeout_s: float) -> CameraImage:
        """The next of the script; raises CameraError at its end."""
        if not self.is_open:
            raise CameraError("scripted: not open")
        item = next(self._script, CameraError(f"scripted: no image for {timeout_s:g} s"))
        if isinstance(item, CameraError):
            raise item
        return item

    def close(self) -> None:
        """Stop."""
        self.is_open = False

    def reset(self) -> None:
        """Count a reset."""
        self.is_open = False
        self.resets += 1
