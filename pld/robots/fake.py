"""A point arm in explicit time, for tests of nodes and rollouts: no physics, no clock, no sleep."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pld.contract import GRIPPER_MAX_WIDTH_M
from pld.errors import RobotError
from pld.robots.step_clock import clipped_reference, is_usable
from pld.types import ArmState, Array, Command, ControlMode, Pose

HOME_POSE = Pose(np.array([0.48, 0.0, 0.25]), np.array([1.0, 0.0, 0.0, 0.0]))


@dataclass
class FakeArm:
    """An arm whose end effector jumps to the reference within one control period.

    `wait_step` advances time by exactly one period. Tests look into `commands`, and set `fault`,
    `wrench` or `object_width_m` (what a closing hand is stopped by).
    """

    rate_hz: float = 20.0
    start: Pose = HOME_POSE
    lead_m: float = 0.05
    lead_rad: float = 0.2
    object_width_m: float = 0.0
    t_ns: int = 0
    step: int = 0
    connected: bool = False
    holds: int = 0
    refused: int = 0
    recoveries: int = 0
    applied_step: int = 0
    fault: tuple[str, ...] = ()
    commands: list[Command] = field(default_factory=list)
    wrench: Array = field(default_factory=lambda: np.zeros(6))

    def __post_init__(self) -> None:
        self._pose = self._reference = self.start
        self._velocity = np.zeros(6)
        self._mode = ControlMode.IDLE
        self._gripper_open = 1.0
        self._answered = True

    @property
    def period_ns(self) -> int:
        """Control period [ns]."""
        return round(1e9 / self.rate_hz)

    def connect(self) -> None:
        """Be connected."""
        self.connected = True

    def reset(self) -> ArmState:
        """Jump home with an open hand; raises RobotError when not connected or faulty."""
        if not self.connected:
            raise RobotError("the fake arm is not connected; call connect first")
        if self.fault:
            names = ", ".join(self.fault)
            raise RobotError(f"cannot reset while {names} is latched; recover first")
        self._pose = self._reference = self.start
        self._velocity = np.zeros(6)
        self._gripper_open = 1.0
        self._mode = ControlMode.HOLDING
        self._answered = True
        return self._state()

    def wait_step(self) -> ArmState:
        """The next control period; a period without a command makes the arm hold."""
        self.t_ns += self.period_ns
        self.step += 1
        if self.fault:
            self._mode = ControlMode.FAULT
        elif self._mode is ControlMode.TRACKING and not self._answered:
            self.holds += 1
            self.hold()
        self._answered = False
        before = self._pose.p_m
        if self._mode is not ControlMode.FAULT:
            self._pose = self._reference
        self._velocity[:3] = (self._pose.p_m - before) * self.rate_hz
        return self._state()

    def apply(self, command: Command) -> None:
        """Track the command or hold; bad numbers hold, a fault refuses."""
        self.commands.append(command)
        if self.fault or self._mode in (ControlMode.IDLE, ControlMode.FAULT):
            self.refused += 1
            return
        if not command.hold and not is_usable(command):
            self.refused += 1
            self.hold()
            return
        self._answered = True
        self.applied_step = command.step
        if command.hold:
            self.hold()
            return
        self._mode = ControlMode.TRACKING
        self._reference = clipped_reference(self._pose, command.target, self.lead_m, self.lead_rad)
        if abs(command.gripper_open) >= 0.2:
            self._gripper_open = float(np.sign(command.gripper_open))

    def hold(self) -> None:
        """Keep the pose."""
        if self._mode is ControlMode.TRACKING:
            self._mode = ControlMode.HOLDING
            self._reference = self._pose

    def recover(self) -> ArmState:
        """Clear the fault and hold."""
        if self.fault:
            self.recoveries += 1
            self.fault = ()
            self._reference = self._pose
            self._mode = ControlMode.HOLDING
        return self._state()

    def close(self) -> None:
        """Be disconnected."""
        self.connected = False
        self._mode = ControlMode.IDLE

    def _state(self) -> ArmState:
        opened = self._gripper_open > 0
        return ArmState(
            t_ns=self.t_ns,
            step=self.step,
            q_rad=np.zeros(7),
            dq_rad_s=np.zeros(7),
            O_T_EE=self._pose,
            O_dP_EE=self._velocity.copy(),
            reference=self._reference,
            O_F_ext_hat_K=self.wrench.copy(),
            gripper_width_m=GRIPPER_MAX_WIDTH_M if opened else self.object_width_m,
            gripper_open=self._gripper_open,
            control_mode=self._mode,
            errors=self.fault,
        )
