"""What a teleoperation device says: one vocabulary for keyboard, gamepad, SpaceMouse and scripts.

Operator axes: x away from the operator, y to the left, z up (REP-103, seen from the operator).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from pld.types import Array


class OperatorKey(Enum):
    """What an operator says besides motion; the value is the word on the screen."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    QUIT = "quit"


def _no_motion() -> Array:
    return np.zeros(3)


@dataclass(frozen=True)
class Reading:
    """One look at a device.

    `translation` and `rotation` (3,) are deflections in [-1, 1] along and about operator axes.
    `gripper_presses` counts presses of the gripper button since the last reading, `keys` are the
    operator's words since then.
    """

    deadman: bool = False
    translation: Array = field(default_factory=_no_motion)
    rotation: Array = field(default_factory=_no_motion)
    gripper_presses: int = 0
    keys: tuple[OperatorKey, ...] = ()


class TeleopDevice(Protocol):
    """A device on this machine; `open` and `read` raise TeleopError with the remedy."""

    @property
    def name(self) -> str:
        """What kind of device it is."""

    def open(self) -> None:
        """Connect; nothing moves."""

    def read(self, timeout_s: float) -> Reading:
        """The device as it is now; waits up to `timeout_s` for a change."""

    def close(self) -> None:
        """Let go; safe to call twice."""
