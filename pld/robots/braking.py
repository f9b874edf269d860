"""Where an arm in motion can come to rest: all joints together, on the way that they are on."""

from __future__ import annotations

import numpy as np

from pld.types import Array

MARGIN = 1.1
"""Braking takes this much longer than the limits ask for, so that nobody has to turn back."""
LATENCY_S = 0.002
"""From reading the state to the first cycle of the new motion."""


def resting_place(q_rad: Array, dq_rad_s: Array, acceleration: Array, jerk: Array) -> Array:
    """Joint angles (7,) [rad] at which an arm at `q_rad` moving at `dq_rad_s` (7,) can rest.

    Every joint slows down evenly and they rest at the same time, so the path in joint space is a
    straight line; the joint that needs longest within `acceleration` (7,) [rad/s^2] and `jerk` (7,)
    [rad/s^3] sets the time. A motion to the place where braking began instead passes it and comes
    back.
    """
    needed_s = MARGIN * float(np.max(np.abs(dq_rad_s) / acceleration + acceleration / jerk))
    return np.asarray(q_rad + dq_rad_s * (LATENCY_S + needed_s / 2.0))
