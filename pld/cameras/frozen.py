"""A camera that repeats one picture under new stamps shows by what the hand does meanwhile."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np

from pld.types import Array, CameraImage

TRAVEL_M = 0.02


@dataclass(frozen=True)
class Picture:
    """The picture that a camera shows: its checksum, and where EE was in O when it was new [m].

    `repeated`: it has come again under another stamp. One that has not may merely be late, which is
    for the limit on its age to judge.
    """

    stamp_ns: int
    checksum: int
    p_m: Array
    repeated: bool = False


@dataclass(frozen=True)
class FrozenPictures:
    """Notices cameras whose picture stays the same, to the last bit, while the hand travels.

    Every camera of the contract sees the arm, and a sensor is never free of noise.
    """

    travel_m: float = TRAVEL_M
    shown: dict[str, Picture] = field(default_factory=dict)

    def on_step(self, images: dict[str, CameraImage], p_m: Array) -> FrozenPictures:
        """The newest images at a control step at which EE is at `p_m` (3,) in O."""
        shown = dict(self.shown)
        for camera, image in images.items():
            before = shown.get(camera)
            if before is not None and before.stamp_ns == image.t_ns:
                continue
            checksum = zlib.crc32(image.rgb.tobytes())
            if before is None or before.checksum != checksum:
                shown[camera] = Picture(image.t_ns, checksum, p_m)
            else:
                shown[camera] = replace(before, stamp_ns=image.t_ns, repeated=True)
        return replace(self, shown=shown)

    def frozen(self, p_m: Array) -> list[str]:
        """Cameras that repeat a picture from before the hand's last `travel_m`."""
        return [
            camera
            for camera, picture in self.shown.items()
            if picture.repeated and float(np.linalg.norm(p_m - picture.p_m)) > self.travel_m
        ]
