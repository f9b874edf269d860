"""A gamepad's axes and buttons as readings; pure. Names of controls are those of Linux input.

Left shoulder held is the deadman. Left stick: away, left. Right stick: up, turn about up. Cross:
turns about the axes left and away. South: gripper. East: STOP. Start: pause. Select: the policy
goes on. Either button west or north of these: success. Right shoulder: failure.

West and north say the same, because Linux names them the other way round on some gamepads (xpad).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pld.teleop.reading import OperatorKey, Reading

DEADMAN = "BTN_TL"
GRIPPER = "BTN_SOUTH"
WORDS: dict[str, OperatorKey] = {
    "BTN_EAST": OperatorKey.STOP,
    "BTN_START": OperatorKey.PAUSE,
    "BTN_SELECT": OperatorKey.RESUME,
    "BTN_NORTH": OperatorKey.SUCCESS,
    "BTN_WEST": OperatorKey.SUCCESS,
    "BTN_TR": OperatorKey.FAILURE,
}
AXES: dict[str, tuple[int, float]] = {
    "ABS_Y": (0, -1.0),
    "ABS_X": (1, -1.0),
    "ABS_RY": (2, -1.0),
    "ABS_HAT0X": (3, 1.0),
    "ABS_HAT0Y": (4, -1.0),
    "ABS_RX": (5, -1.0),
}
"""Axis to (axis of translation then rotation, sign): sticks count right and down as positive."""
NEEDED = (DEADMAN, "ABS_X", "ABS_Y")
HELP = (
    "hold the left shoulder and: left stick away/left, right stick up/turn, cross tilts, "
    "south gripper; east STOP, start pause, select policy goes on, north or west success, right "
    "shoulder failure"
)


def reading(held: Iterable[str], axes: Mapping[str, float], pressed: Iterable[str] = ()) -> Reading:
    """From the buttons held, axes in [-1, 1], and the presses since the last reading."""
    deflection = np.zeros(6)
    for name, (axis, sign) in AXES.items():
        deflection[axis] = sign * axes.get(name, 0.0)
    presses = list(pressed)
    return Reading(
        DEADMAN in held,
        deflection[:3],
        deflection[3:],
        presses.count(GRIPPER),
        tuple(WORDS[name] for name in presses if name in WORDS),
    )


def centred(value: float, low: float, high: float) -> float:
    """A raw axis value between `low` and `high` as [-1, 1]; 0 for an axis without a range."""
    if high <= low:
        return 0.0
    return min(max(2.0 * (value - low) / (high - low) - 1.0, -1.0), 1.0)
