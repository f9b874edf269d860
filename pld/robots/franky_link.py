"""franky behind a narrow face: the only file that touches the vendor's client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from pld.errors import MissingPackageError, RobotError
from pld.robots.braking import resting_place
from pld.robots.franka_config import FrankaConfig
from pld.robots.franky_errors import Ended, Lost, error_names, failures, is_passing
from pld.robots.reach import probe, unreachable
from pld.types import Array, Pose

CLEAR_ATTEMPTS = 3
CLEAR_WAIT_S = 0.5
STOP_WAIT_S = 2.0
"""Twice what libfranka waits for a robot that says nothing before it gives the connection up."""
BRAKING_FACTOR = 0.5
"""Of franky's limits, which are those of an FER: at most the 10 rad/s^2 that an FR3 permits."""


@dataclass(frozen=True)
class Reading:
    """One robot state: robot time and host time [ns], the rest as in ArmState."""

    t_ns: int
    host_ns: int
    q_rad: Array
    dq_rad_s: Array
    O_T_EE: Pose
    O_dP_EE: Array
    O_F_ext_hat_K: Array


class FrankyLink:
    """One connection to the robot, with at most one tracker."""

    def __init__(self, franky: ModuleType, robot: Any, config: FrankaConfig) -> None:
        self._franky, self._robot, self._config = franky, robot, config
        self._model = robot.model
        self._tracker: Any = None

    @classmethod
    def open(cls, config: FrankaConfig) -> FrankyLink:
        """Connect and set the collision thresholds; raises RobotError with the remedy.

        Raises Lost when the robot answers and is then lost: it may be tried again.
        """
        franky = _franky()
        probe(config.address)
        try:
            robot = franky.Robot(
                config.address,
                relative_dynamics_factor=float(config.dynamics_factor),
                realtime_config=getattr(franky.RealtimeConfig, config.realtime.capitalize()),
            )
            robot.set_collision_behavior(
                np.full(7, float(config.collision_torque_nm)),
                np.full(6, float(config.collision_force_n)),
            )
            return cls(franky, robot, config)
        except franky.IncompatibleVersionException as error:
            raise RobotError(
                f"{config.address} speaks another version: {error}. This client is libfranka 0.21, "
                "robot server 10 (FR3, system 5.9 or later); update the robot's system or install "
                "the franky build for its version"
            ) from error
        except franky.RealtimeException as error:
            raise RobotError(
                f"no real-time priority: {error}. Boot a PREEMPT_RT kernel and allow rtprio, or "
                "set realtime to 'ignore' (simulation only)"
            ) from error
        except (franky.NetworkException, franky.CommandException, RuntimeError) as error:
            if is_passing(error):
                raise Lost(str(error)) from error
            raise RobotError(unreachable(config.address, error)) from error

    def open_gripper(self) -> tuple[Any, float]:
        """The hand's client, a pld.robots.gripper.GripperDevice, and the width [m] that it told.

        Raises RobotError with the remedy, and Lost as `open` does.
        """
        try:
            gripper = self._franky.Gripper(self._config.address)
            return gripper, float(gripper.width)
        except (
            self._franky.NetworkException,
            self._franky.IncompatibleVersionException,
            RuntimeError,
        ) as error:
            if is_passing(error):
                raise Lost(str(error)) from error
            raise RobotError(
                f"no gripper at {self._config.address}: {error}; mount and initialise the hand in "
                "Desk, or set gripper to false"
            ) from error

    @property
    def is_alive(self) -> bool:
        """Whether the client can still be used."""
        return self._robot is not None

    @property
    def is_tracking(self) -> bool:
        """Whether a tracker was started and not ended."""
        return self._tracker is not None

    def read(self) -> Reading:
        """The robot's state now; raises Lost."""
        try:
            state = self._robot.state
        except failures(self._franky) as error:
            raise Lost(str(error)) from error
        pose, dq = state.O_T_EE, np.asarray(state.dq)
        jacobian = self._model.zero_jacobian(self._franky.Frame.EndEffector, state)
        return Reading(
            t_ns=state.time.to_msec() * 1_000_000,
            host_ns=time.time_ns(),
            q_rad=np.array(state.q),
            dq_rad_s=np.array(dq),
            O_T_EE=Pose(np.array(pose.translation).ravel(), np.array(pose.quaternion).ravel()),
            O_dP_EE=jacobian @ dq,
            O_F_ext_hat_K=np.array(state.O_F_ext_hat_K).ravel(),
        )

    def start_tracking(self) -> None:
        """Start the impedance tracker at the measured pose."""
        self.stop_tracking()
        config, franky = self._config, self._franky
        with self._calling():
            self._tracker = franky.CartesianImpedanceTracker(
                self._robot,
                translational_stiffness=float(config.translational_stiffness_n_m),
                rotational_stiffness=float(config.rotational_stiffness_nm_rad),
                translational_error_clip=np.full(3, float(config.translational_clip_m)),
                rotational_error_clip=np.full(3, float(config.rotational_clip_rad)),
                posture_task=franky.PostureTask(
                    np.array(config.home_q_rad), stiffness=float(config.posture_stiffness_nm_rad)
                ),
                max_delta_tau=float(config.max_delta_tau_nm),
                lower_joint_limits=np.array(config.lower_q_rad),
                upper_joint_limits=np.array(config.upper_q_rad),
            )

    def set_target(self, pose: Pose) -> None:
        """Track `pose` of EE in O with no feed-forward."""
        if self._tracker is not None:
            zero = self._franky.Twist(np.zeros(3), np.zeros(3))
            self._tracker.set_target(self._franky.Affine(pose.p_m, pose.q_xyzw), zero)

    def check_tracking(self) -> None:
        """Raise Ended or Lost when the tracker is no longer in control."""
        if self._tracker is not None and not self._tracker.is_running:
            self.stop_tracking()
            raise self._ended("the robot ended the motion")

    def stop_tracking(self) -> None:
        """Stop the tracker, if any, and wait for the arm to rest."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with self._calling():
                tracker.stop()

    def start_home(self) -> None:
        """Start moving to the home configuration."""
        self._move_joints(self._config.home_q_rad, float(self._config.dynamics_factor))

    def home_reached(self) -> bool:
        """Whether the last motion has ended well; raises Ended or Lost when it did not."""
        with self._calling():
            return bool(self._robot.poll_motion())

    def brake(self) -> None:
        """Brake the motion to home; `home_reached` says when the arm rests.

        Not by franky's JointStopMotion: that returns to where the arm was when it was asked.
        """
        with self._calling():
            state = self._robot.state
        factor = max(BRAKING_FACTOR, float(self._config.dynamics_factor))
        place = resting_place(
            np.array(state.q_d),
            np.array(state.dq_d),
            factor * np.array(self._robot.joint_acceleration_limit.get()),
            factor * np.array(self._robot.joint_jerk_limit.get()),
        )
        bounded = np.clip(place, self._config.lower_q_rad, self._config.upper_q_rad)
        self._move_joints(bounded, factor)

    def stop(self) -> None:
        """The robot ends what moves it, at once (franka::Robot::stop); raises Ended, or Lost.

        Lost too when the motion goes on after STOP_WAIT_S: nothing more can be done from here.
        """
        with self._calling():
            self._robot.stop()
            if self._robot.join_motion(STOP_WAIT_S):  # raises Ended: the motion was ended
                return
        raise Lost(f"the robot did not end its motion within {STOP_WAIT_S:g} s of a stop")

    def _move_joints(self, q_rad: Iterable[float], factor: float) -> None:
        """Start moving to `q_rad` (7,) within `factor` of the joints' limits, from any motion."""
        with self._calling():
            self._robot.relative_dynamics_factor = factor
            motion = self._franky.JointMotion([float(q) for q in q_rad])
            self._robot.move(motion, asynchronous=True)

    def clear_errors(self) -> None:
        """Automatic error recovery, repeated while errors stay; raises Ended when they do."""
        self._tracker = None
        for _ in range(CLEAR_ATTEMPTS):
            with self._calling():
                self._robot.recover_from_errors()
                if self._errors_gone():
                    return
        raise self._ended("the robot keeps its errors")

    def errors_in_force(self) -> tuple[str, ...]:
        """Names of the errors that the robot has now; raises Lost."""
        try:
            return error_names(self._robot.state.current_errors)
        except failures(self._franky) as error:
            raise Lost(str(error)) from error

    def check_time_runs(self) -> None:
        """Raise Ended while robot time stands still."""
        first = self.read().t_ns
        deadline = time.monotonic() + CLEAR_WAIT_S
        while time.monotonic() < deadline:
            if self.read().t_ns != first:
                return
            time.sleep(0.005)
        raise Ended(("robot_time_stopped",), "robot time still stands still")

    def drop(self) -> None:
        """Let go of every reference to the client."""
        self._tracker = self._model = self._robot = None

    def _errors_gone(self) -> bool:
        deadline = time.monotonic() + CLEAR_WAIT_S
        while time.monotonic() < deadline:
            if not self._robot.has_errors:
                return True
            time.sleep(0.01)
        return False

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Translate what the client raises."""
        try:
            yield
        except failures(self._franky) as error:
            raise self._translated(error) from error

    def _translated(self, error: BaseException) -> Ended | Lost:
        """What `error` means for the arm.

        A plain RuntimeError is a C++ exception that libfranka did not expect, such as the
        "Net Exception" of its sockets: nothing more is known of the connection.
        """
        lost = (self._franky.NetworkException, self._franky.ProtocolException)
        if type(error) is RuntimeError or isinstance(error, lost):
            return Lost(str(error))
        return self._ended(str(error))

    def _ended(self, detail: str) -> Ended | Lost:
        """Ended with the robot's errors, or Lost when it no longer tells them."""
        try:
            return Ended(self._error_names(), detail)
        except failures(self._franky) as error:
            return Lost(str(error))

    def _error_names(self) -> tuple[str, ...]:
        state = self._robot.state
        now, ended_by = error_names(state.current_errors), error_names(state.last_motion_errors)
        return tuple(dict.fromkeys((*now, *ended_by)))


def _franky() -> ModuleType:
    try:
        import franky
    except ImportError as error:
        raise MissingPackageError(
            "the Franka driver needs franky: pip install 'franky-control==2.0.0'"
        ) from error
    module: ModuleType = franky
    return module
