"""The lockstep twin's controllers: what the real arm's tracker and hand would do, in process.

The Cartesian law is that of franky's impedance tracker (torque mode; read in its public source):
clipped pose error in base axes, damping 2 sqrt(K), twist feed-forward, a posture task in the
null space, a bound on the torque's rate; gravity and Coriolis terms are compensated. The hand
follows a goal that moves at its speed limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from pld.twin.scene import ARM_DOF, EE_SITE, HOME_Q_RAD, PREFIX
from pld.types import Array, Pose

TORQUE_LIMITS_NM = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])
OPEN_WIDTH_M = 0.08


@dataclass(frozen=True)
class ImpedanceGains:
    """Gains of the tracker: stiffness [N/m, Nm/rad], error clips [m, rad], rate of torque."""

    translation_n_m: float = 1500.0
    rotation_nm_rad: float = 60.0
    translation_clip_m: float = 0.02
    rotation_clip_rad: float = 0.2
    posture_nm_rad: float = 5.0
    posture_rad: tuple[float, ...] = HOME_Q_RAD
    max_torque_rate_nm_s: float = 500.0


class CartesianImpedance:
    """Tracks a pose of EE in O with the arm's seven joint torques."""

    def __init__(self, model: mujoco.MjModel, gains: ImpedanceGains | None = None) -> None:
        self.gains = gains or ImpedanceGains()
        self._model = model
        self._site = model.site(EE_SITE).id
        self._jacobian = np.zeros((6, model.nv))
        self._stiffness = np.repeat([self.gains.translation_n_m, self.gains.rotation_nm_rad], 3)
        self._damping = 2.0 * np.sqrt(self._stiffness)
        self._clip = np.repeat([self.gains.translation_clip_m, self.gains.rotation_clip_rad], 3)
        self._posture_damping = 2.0 * np.sqrt(self.gains.posture_nm_rad)
        self._posture = np.array(self.gains.posture_rad)
        self._projector = np.zeros((ARM_DOF, ARM_DOF))
        self._torque = np.zeros(ARM_DOF)
        self._error, self._quat, self._turn = np.zeros(6), np.zeros(4), np.zeros(3)
        self._target_p, self._target_wxyz = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
        self._twist = np.zeros(6)

    def reset(self, data: mujoco.MjData, target: Pose) -> None:
        """Start tracking `target` from rest, with no torque yet."""
        self._torque = np.zeros(ARM_DOF)
        self.set_target(data, target, np.zeros(6))

    def set_target(self, data: mujoco.MjData, target: Pose, twist: Array) -> None:
        """Track `target`, whose velocity is `twist` (6,) [m/s, rad/s] in base axes."""
        x, y, z, w = target.q_xyzw
        self._target_p = np.asarray(target.p_m, dtype=float)
        self._target_wxyz = np.array([w, x, y, z], dtype=float)
        self._twist = np.asarray(twist, dtype=float)
        jacobian = self.jacobian(data)
        inner = jacobian @ jacobian.T
        self._projector = np.eye(ARM_DOF) - jacobian.T @ np.linalg.solve(inner, jacobian)

    def jacobian(self, data: mujoco.MjData) -> Array:
        """Geometric Jacobian (6, 7) of EE in base axes: linear, then angular velocity."""
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], self._site)
        return self._jacobian[:, :ARM_DOF]

    def drive(self, data: mujoco.MjData) -> None:
        """Write this substep's joint torques; positions and velocities must be current."""
        jacobian = self.jacobian(data)
        dq = data.qvel[:ARM_DOF]
        error = self._pose_error(data)
        wrench = self._stiffness * error + self._damping * (self._twist - jacobian @ dq)
        posture = self.gains.posture_nm_rad * (self._posture - data.qpos[:ARM_DOF])
        wanted = jacobian.T @ wrench + self._projector @ (posture - self._posture_damping * dq)
        step = self.gains.max_torque_rate_nm_s * self._model.opt.timestep
        self._torque += np.minimum(np.maximum(wanted - self._torque, -step), step)
        total = self._torque + data.qfrc_bias[:ARM_DOF]
        data.qfrc_applied[:ARM_DOF] = np.minimum(
            np.maximum(total, -TORQUE_LIMITS_NM), TORQUE_LIMITS_NM
        )

    def _pose_error(self, data: mujoco.MjData) -> Array:
        """Clipped error (6,) from EE to the target in base axes [m, rad]."""
        rotation = data.site_xmat[self._site]
        mujoco.mju_mat2Quat(self._quat, rotation)
        mujoco.mju_subQuat(self._turn, self._target_wxyz, self._quat)
        self._error[:3] = self._target_p - data.site_xpos[self._site]
        self._error[3:] = rotation.reshape(3, 3) @ self._turn
        clipped: Array = np.minimum(np.maximum(self._error, -self._clip), self._clip)
        return clipped


class HandServo:
    """Drives both fingers to a width with bounded speed and force, as the Franka hand does.

    Each finger follows a goal that moves at the speed limit, so that its speed does not depend on
    the timestep; blocked by an object it pushes with up to STIFFNESS_N_M times what is left.
    """

    STIFFNESS_N_M = 1000.0
    DAMPING_NS_M = 50.0
    MAX_SPEED_M_S = 0.05
    MAX_FORCE_N = 140.0

    def __init__(self, model: mujoco.MjModel) -> None:
        joints = [model.joint(f"{PREFIX}finger_joint{i}") for i in (1, 2)]
        self._addresses = [(int(j.qposadr[0]), int(j.dofadr[0])) for j in joints]
        self._timestep_s = float(model.opt.timestep)
        self.half_m = OPEN_WIDTH_M / 2
        self.goal_width_m = OPEN_WIDTH_M
        self.set_goal(OPEN_WIDTH_M, 70.0)

    def reset(self, data: mujoco.MjData) -> None:
        """Start from where the fingers are now."""
        self.half_m = self.width_m(data) / 2

    def set_goal(self, width_m: float, force_n: float, speed_m_s: float = MAX_SPEED_M_S) -> None:
        """Go to `width_m` with at most `force_n` and `speed_m_s` per finger.

        A new width starts from where the fingers are: what they squeeze is let go at once.
        """
        self._starts_anew = width_m != self.goal_width_m
        self.goal_width_m, self.force_n = width_m, min(force_n, self.MAX_FORCE_N)
        self._speed_m_s = min(speed_m_s, self.MAX_SPEED_M_S)

    def width_m(self, data: mujoco.MjData) -> float:
        """Measured distance between the fingers [m]."""
        return float(sum(data.qpos[position] for position, _ in self._addresses))

    def drive(self, data: mujoco.MjData) -> None:
        """Write this substep's finger forces."""
        if self._starts_anew:
            self.reset(data)
            self._starts_anew = False
        stride = self._speed_m_s * self._timestep_s
        move = min(stride, max(-stride, self.goal_width_m / 2 - self.half_m))
        self.half_m += move
        speed = move / self._timestep_s
        for position, dof in self._addresses:
            force = self.STIFFNESS_N_M * (self.half_m - float(data.qpos[position]))
            force += self.DAMPING_NS_M * (speed - float(data.qvel[dof]))
            data.qfrc_applied[dof] = max(-self.force_n, min(self.force_n, force))
