"""Is a camera alive: how old its newest image is at each control step, and whether it froze."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

import numpy as np

from pld.recording.cdr import header_stamp_ns, pixels
from pld.types import ArmState, Array

FROZEN_AFTER_S = 0.5
FROZEN_TRAVEL_M = 0.01
_COLOUR_TOPIC = re.compile(r"^camera/([^/]+)/color/image_raw$")


@dataclass(frozen=True)
class CameraFigures:
    """Frame age at the control steps, and repeated images.

    `frame_age_*_ms`: stamp of the arm state minus stamp of the newest image that had arrived.
    `repeated_images` have exactly the pixels of the image before them; `longest_repeat_s` is the
    longest time without a new picture. `is_frozen`: the picture stayed the same for more than
    FROZEN_AFTER_S while the end effector travelled more than FROZEN_TRAVEL_M.
    """

    camera: str
    images: int
    frame_age_p50_ms: float
    frame_age_p99_ms: float
    frame_age_max_ms: float
    repeated_images: int
    longest_repeat_s: float
    is_frozen: bool


def camera_name(topic: str, namespace: str = "") -> str:
    """The camera of a colour image topic, or an empty string for any other topic."""
    relative = topic.removeprefix(namespace.rstrip("/")).lstrip("/")
    found = _COLOUR_TOPIC.match(relative)
    return found.group(1) if found else ""


class CameraCheck:
    """Follows one colour camera and the arm, in order of arrival."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._pixels = b""
        self._stamp_ns = 0
        self._images = self._repeated = 0
        self._changed_ns = 0
        self._longest_ns = 0
        self._ages_ns = array("q")
        self._position: Array | None = None
        self._start: Array | None = None
        self._travel_m = 0.0
        self._frozen = False

    def add_image(self, cdr: bytes) -> None:
        """Compare the image with the one before it."""
        current = pixels(cdr)
        self._stamp_ns = header_stamp_ns(cdr)
        self._images += 1
        if current != self._pixels:
            self._pixels, self._changed_ns = current, self._stamp_ns
            self._start, self._travel_m = self._position, 0.0
            return
        self._repeated += 1
        unchanged_ns = self._stamp_ns - self._changed_ns
        self._longest_ns = max(self._longest_ns, unchanged_ns)
        long_enough = unchanged_ns > FROZEN_AFTER_S * 1e9
        self._frozen |= long_enough and self._travel_m > FROZEN_TRAVEL_M

    def add_arm_state(self, arm: ArmState) -> None:
        """Take the frame age at this control step, and how far the arm went on this picture."""
        self._position = arm.O_T_EE.p_m
        if self._start is None:
            self._start = self._position
        self._travel_m = max(self._travel_m, float(np.linalg.norm(self._position - self._start)))
        if self._images:
            self._ages_ns.append(arm.t_ns - self._stamp_ns)

    def figures(self) -> CameraFigures:
        """The figures so far."""
        ages = np.array(self._ages_ns, dtype=np.int64)
        p50, p99 = np.percentile(ages, (50, 99)) if ages.size else (0.0, 0.0)
        return CameraFigures(
            camera=self._camera,
            images=self._images,
            frame_age_p50_ms=round(float(p50) / 1e6, 3),
            frame_age_p99_ms=round(float(p99) / 1e6, 3),
            frame_age_max_ms=round(float(ages.max()) / 1e6, 3) if ages.size else 0.0,
            repeated_images=self._repeated,
            longest_repeat_s=round(self._longest_ns / 1e9, 3),
            is_frozen=bool(self._frozen),
        )
