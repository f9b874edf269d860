"""The simulated FR3 below the wire: franky-sim's arm and simulator, measured honestly and lightly.

franky-sim computes finite differences and kinematics of every field in Python each millisecond;
here the same quantities are read from MuJoCo. Contacts become external wrench and joint torques.
The arm is the first in the scene, with its base at the origin's orientation.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pinocchio
from franky_sim.constants import (
    FRANKA_HAND_FORCE_LIMIT,
    FRANKA_TORQUE_LIMITS_HIGH,
    FRANKA_TORQUE_LIMITS_LOW,
)
from franky_sim.franka_robot_state import FrankaRobotState
from franky_sim.mujoco_simulator import FrankaMujocoRobot, MujocoSimulator
from scipy.spatial.transform import Rotation

from pld.twin.contacts import ContactSense
from pld.twin.impedance import HandServo
from pld.twin.wire import StateBuffer
from pld.types import Array

TCP_OFFSET_M = 0.1034
F_T_HAND = np.eye(4)
F_T_HAND[:3, :3] = Rotation.from_euler("z", -45.0, degrees=True).as_matrix()
"""The Franka Hand on the flange, (4, 4): turned by 45 degrees about their common axis."""
JOINTS = 7
_PERIOD_S = 0.001
_LOW = np.array(FRANKA_TORQUE_LIMITS_LOW, dtype=float)
_HIGH = np.array(FRANKA_TORQUE_LIMITS_HIGH, dtype=float)


class FciRobot(FrankaMujocoRobot):  # type: ignore[misc]
    """franky-sim's arm with vectorised control and a genuine external wrench."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.buffer = StateBuffer()
        self.tau_command = np.zeros(JOINTS)
        self.q_desired = np.array(self.initial_q, dtype=float)
        self.dq_desired = np.zeros(JOINTS)
        self.ddq_desired = np.zeros(JOINTS)
        self.follows_measured = False
        self._hand_T_ee = np.eye(4)
        self._hand_T_ee[2, 3] = TCP_OFFSET_M
        self._o_T_ee = np.eye(4)
        self._hand_T_tcp = self._hand_T_ee.copy()
        self._tell_frames()

    def _attach_to_scene(self, model: mujoco.MjModel, data: mujoco.MjData, prefix: str) -> None:
        super()._attach_to_scene(model, data, prefix)
        first = self._qpos_addrs[0]
        self._q = data.qpos[first : first + JOINTS]
        first = self._dof_addrs[0]
        self._dofs = slice(first, first + JOINTS)
        self._dq = data.qvel[self._dofs]
        self._hand = model.body(f"{prefix}hand").id
        self._hand_servo = HandServo(model)
        self._hand_servo.reset(data)
        self._base = model.body(f"{prefix}base").id
        self.sense = ContactSense(model, _PERIOD_S, prefix)
        joints = [model.joint(f"{prefix}fr3_joint{i + 1}").id for i in range(JOINTS)]
        self._joints = slice(joints[0], joints[0] + JOINTS)
        self.lower_rad, self.upper_rad = model.jnt_range[self._joints].T.copy()
        self._compensated = bool(model.ngravcomp)

    def gravity(self) -> Array:
        """Torques (7,) [Nm] that carry the arm's weight and the load set by the client."""
        if self._compensated:
            return np.zeros(JOINTS)
        model, data = self._BaseRobot__model, self._BaseRobot__data
        return np.asarray(pinocchio.computeGeneralizedGravity(model, data, self._q))

    def torque_control(self, torques: Array, has_new_command: bool = True) -> None:
        """Apply the client's joint torques (7,) [Nm] on top of the weight."""
        self.follows_measured = True
        self._drive(np.clip(torques, _LOW, _HIGH), self.gravity())

    def joint_position_control(self, target_q: Array, has_new_command: bool = True) -> None:
        """Follow joint positions (7,) [rad] with the built-in stiffness."""
        target = np.asarray(target_q, dtype=float)
        velocity = (target - self.q_desired) / _PERIOD_S
        if self.follows_measured or np.abs(velocity).max() > 10.0:
            velocity = np.zeros(JOINTS)
        self._follow(target, velocity)
        stiff, damped = self.kp * (target - self._q), self.kv * (velocity - self._dq)
        self._drive(stiff + damped, self._weight_and_coriolis())

    def hold(self, q_rad: Array) -> None:
        """Come to rest at joint positions (7,) [rad]; what the robot does without a motion."""
        self._follow(np.array(q_rad, dtype=float), np.zeros(JOINTS))
        self.ddq_desired = np.zeros(JOINTS)
        self._drive(
            self.kp * (self.q_desired - self._q) - self.kv * self._dq, self._weight_and_coriolis()
        )

    def joint_velocity_control(self, target_dq: Array, has_new_command: bool = True) -> None:
        """Follow joint velocities (7,) [rad/s] with the built-in damping."""
        target = np.asarray(target_dq, dtype=float)
        self._follow(self._q.copy(), target)
        self._drive(self.kv * (target - self._dq), self._weight_and_coriolis())

    def _follow(self, q: Array, dq: Array) -> None:
        self.ddq_desired = (dq - self.dq_desired) / _PERIOD_S * (not self.follows_measured)
        self.q_desired, self.dq_desired = q, dq
        self.follows_measured = False

    def _weight_and_coriolis(self) -> Array:
        bias: Array = self._data.qfrc_bias[self._dofs]
        if self._compensated:
            bias = bias - self._data.qfrc_gravcomp[self._dofs]
        return bias

    def _drive(self, command: Array, support: Array) -> None:
        self.tau_command = command
        self._applied_torques = np.clip(command + support, _LOW, _HIGH)
        self._data.qfrc_applied[self._dofs] = self._applied_torques

    def _pre_step(self) -> None:
        if self._data is not None:
            self._hand_servo.set_goal(
                self._hand_goal_width,
                min(FRANKA_HAND_FORCE_LIMIT, self._hand_goal_force),
                self._hand_goal_velocity,
            )
            self._hand_servo.drive(self._data)

    def fingers_moved(self) -> None:
        """Drive the hand on from where a scene reset has put the fingers."""
        self._hand_servo.reset(self._data)

    def _post_step(self) -> None:
        """The state is written by `measure`; the stock trackers are not needed."""

    def set_NE_T_EE(self, ne_t_ee: tuple[float, ...]) -> None:  # noqa: N802
        """Place the end effector: column-major pose (16,) of EE in the nominal EE frame."""
        super().set_NE_T_EE(ne_t_ee)
        ne = np.array(ne_t_ee).reshape(4, 4).T
        self._hand_T_ee = self._hand_T_tcp @ ne
        self.buffer.fields["NE_T_EE"][:] = ne_t_ee
        self._tell_frames()

    def _tell_frames(self) -> None:
        """What libfranka's model is told of the end effector; it computes Jacobians with it."""
        fields = self.buffer.fields
        fields["F_T_NE"][:] = (F_T_HAND @ self._hand_T_tcp).T.ravel()
        fields["F_T_EE"][:] = (F_T_HAND @ self._hand_T_ee).T.ravel()

    def feel(self) -> None:
        """Take this step's contacts into the external effort; before the next detection."""
        self.sense.feel(self._data)

    def measure(self) -> None:
        """Write what the robot measures now into the wire buffer."""
        fields, data = self.buffer.fields, self._data
        pose = self._o_T_ee
        pose[:3, :3] = data.xmat[self._hand].reshape(3, 3)
        pose[:3, 3] = data.xpos[self._hand] - data.xpos[self._base]
        flat = (pose @ self._hand_T_ee).T.ravel()
        fields["O_T_EE"][:] = fields["O_T_EE_d"][:] = fields["O_T_EE_c"][:] = flat
        if self.follows_measured:
            self.q_desired, self.dq_desired = self._q.copy(), self._dq.copy()
            self.ddq_desired = np.zeros(JOINTS)
        fields["q"][:] = fields["theta"][:] = self._q
        fields["dq"][:] = fields["dtheta"][:] = self._dq
        fields["q_d"][:] = self.q_desired
        fields["dq_d"][:] = self.dq_desired
        fields["ddq_d"][:] = self.ddq_desired
        fields["tau_J"][:] = self._applied_torques
        fields["tau_J_d"][:] = self.tau_command
        fields["tau_ext_hat_filtered"][:] = self.sense.effort.tau_nm
        fields["O_F_ext_hat_K"][:] = self.sense.effort.wrench
        elbow = (self._q[2], 1.0 if self._q[3] > 0 else -1.0)
        fields["elbow"][:] = fields["elbow_d"][:] = fields["elbow_c"][:] = elbow

    @property
    def q_rad(self) -> Array:
        """Measured joint positions (7,) [rad]; a view of the simulation."""
        view: Array = self._q
        return view

    @property
    def dq_rad_s(self) -> Array:
        """Measured joint velocities (7,) [rad/s]; a view of the simulation."""
        view: Array = self._dq
        return view

    @property
    def state(self) -> FrankaRobotState:
        """The few fields that franky-sim's own commands ask for."""
        return FrankaRobotState(
            q=tuple(self._q),
            q_d=tuple(self._q if self.follows_measured else self.q_desired),
            O_T_EE=tuple(self.buffer.fields["O_T_EE"].tolist()),
        )


class FciSimulator(MujocoSimulator):  # type: ignore[misc]
    """MuJoCo stepped so that poses, contacts and velocities belong to the same instant."""

    def add_robot(self, **keywords: Any) -> FciRobot:
        """Add the arm to the scene tree; before the scene's own bodies."""
        position = keywords.pop("position", (0.0, 0.0, 0.0))
        super().add_robot(position=position)
        robot = FciRobot(**keywords)
        self._robots[-1] = robot
        return robot

    def _step(self) -> None:
        mujoco.mj_step2(self._mj_model, self._mj_data)
        for robot in self._robots:
            robot.feel()
        mujoco.mj_step1(self._mj_model, self._mj_data)
