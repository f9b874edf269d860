"""What makes the simulated controller stop the arm: thresholds and limits, as pure logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pld.types import Array

JOINT_VELOCITY_LIMIT_RAD_S = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
FILTER_S = 0.015
JOINTS = 7


NO_REFLEX: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CollisionBehaviour:
    """Contact (lower) and collision (upper) thresholds: torques (7,) [Nm], wrench (6,) [N, Nm]."""

    lower_torque_nm: Array
    upper_torque_nm: Array
    lower_wrench: Array
    upper_wrench: Array

    @classmethod
    def uniform(cls, torque_nm: float, force_n: float) -> CollisionBehaviour:
        """The same threshold for each joint and for each axis."""
        torque, wrench = np.full(7, torque_nm), np.full(6, force_n)
        return cls(torque, torque, wrench, wrench)

    @cached_property
    def upper(self) -> Array:
        """Collision thresholds (13,): torques, then wrench."""
        return np.concatenate([self.upper_torque_nm, self.upper_wrench])


@dataclass
class ExternalEffort:
    """Estimated external effort `felt` (13,), low-pass filtered: joint torques, wrench in O.

    The wrench has libfranka's sign: what the robot applies to its surroundings is positive.
    `period_s` lies between two updates.
    """

    period_s: float = 0.001
    felt: Array = field(default_factory=lambda: np.zeros(JOINTS + 6))
    at_rest: bool = True

    @property
    def tau_nm(self) -> Array:
        """External joint torques (7,) [Nm]."""
        return self.felt[:JOINTS]

    @property
    def wrench(self) -> Array:
        """External wrench (6,) in O [N, Nm]."""
        return self.felt[JOINTS:]

    def update(self, effort: Array | None) -> None:
        """Take in one period's effort (13,), unfiltered; None when nothing touches the arm."""
        gain = self.period_s / (FILTER_S + self.period_s)
        if effort is not None:
            self.at_rest = False
            self.felt += gain * (effort - self.felt)
        elif not self.at_rest:
            self.felt *= 1 - gain
            self.at_rest = bool(np.abs(self.wrench).max() < 1e-6)


def collisions(effort: ExternalEffort, behaviour: CollisionBehaviour) -> frozenset[str]:
    """The reflexes that this external effort sets off."""
    if effort.at_rest:
        return NO_REFLEX
    beyond = np.abs(effort.felt) > behaviour.upper
    if not beyond.any():
        return NO_REFLEX
    parts = {"joint_reflex": beyond[:JOINTS], "cartesian_reflex": beyond[JOINTS:]}
    return frozenset(name for name, part in parts.items() if part.any())


def limit_violations(
    q_rad: Array, dq_rad_s: Array, lower_rad: Array, upper_rad: Array
) -> frozenset[str]:
    """The joint limits (7,) that this configuration and velocity violate."""
    names = set()
    if (np.abs(dq_rad_s) > JOINT_VELOCITY_LIMIT_RAD_S).any():
        names.add("joint_velocity_violation")
    if (q_rad < lower_rad).any() or (q_rad > upper_rad).any():
        names.add("joint_position_limits_violation")
    return frozenset(names)
