"""A base policy that only moves: a smooth closed path about the start, for measuring the graph."""

from __future__ import annotations

import numpy as np

from pld.contract import ActionSpec
from pld.types import Array, Observation

AMPLITUDE_M = np.array([0.06, 0.10, 0.05])
PERIOD_S = np.array([4.0, 6.0, 3.0])
ROUND_TRIP_S = 12.0


class SweepPolicy:
    """Follows a Lissajous path through the start at up to about 0.15 m/s; never grasps."""

    policy_id = "sweep"

    def __init__(self, spec: ActionSpec) -> None:
        self._spec = spec
        self._start: tuple[int, Array] | None = None

    def reset(self, seed: int) -> None:
        """Start a new path at the next observation."""
        self._start = None

    def infer(self, observation: Observation) -> Array:
        """Chunk (1, 7) that brings the reference to the path's next point."""
        arm = observation.arm
        if self._start is None:
            self._start = (arm.step, np.array(arm.reference.p_m))
        first_step, centre = self._start
        wanted = centre + path_m((arm.step - first_step + 1) / self._spec.rate_hz)
        action = np.zeros((1, 7))
        action[0, :3] = np.clip((wanted - arm.reference.p_m) / self._spec.translation_m, -1, 1)
        action[0, 6] = 1.0
        return action


def path_m(t_s: float) -> Array:
    """Offset (3,) [m] from the start after `t_s`; zero at 0 and again after ROUND_TRIP_S."""
    return AMPLITUDE_M * np.sin(2 * np.pi * t_s / PERIOD_S)
