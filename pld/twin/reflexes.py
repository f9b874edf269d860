"""What makes the simulated controller stop the arm: thresholds and limits, as pure logic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pld.types import Array

JOINT_VELOCITY_LIMIT_RAD_S = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
FILTER_S = 0.015


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


@dataclass
class ExternalEffort:
    """Estimated external joint torques (7,) [Nm] and wrench (6,) in O, low-pass filtered.

    The wrench has libfranka's sign: what the robot applies to its surroundings is positive.
    `period_s` lies between two updates.
    """

    tau_nm: Array
    wrench: Array
    period_s: float = 0.001
    at_rest: bool = True

    @classmethod
    def zero(cls, period_s: float = 0.001) -> ExternalEffort:
        """No contact."""
        return cls(np.zeros(7), np.zeros(6), period_s)

    def update(self, tau_nm: Array | None, wrench: Array | None) -> None:
        """Take in one period; None when nothing touches the arm."""
        gain = self.period_s / (FILTER_S + self.period_s)
        if tau_nm is None or wrench is None:
            if self.at_rest:
                return
            self.tau_nm *= 1 - gain
            self.wrench *= 1 - gain
            self.at_rest = bool(np.abs(self.wrench).max() < 1e-6)
            return
        self.at_rest = False
        self.tau_nm += gain * (tau_nm - self.tau_nm)
        self.wrench += gain * (wrench - self.wrench)


def collisions(effort: ExternalEffort, behaviour: CollisionBehaviour) -> frozenset[str]:
    """The reflexes that this external effort sets off."""
    if effort.at_rest:
        return frozenset()
    names = set()
    if np.any(np.abs(effort.tau_nm) > behaviour.upper_torque_nm):
        names.add("joint_reflex")
    if np.any(np.abs(effort.wrench) > behaviour.upper_wrench):
        names.add("cartesian_reflex")
    return frozenset(names)


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
