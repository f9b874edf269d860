"""The stepping half of the lockstep twin: one model, its controllers, and how it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from pld.twin.impedance import OPEN_WIDTH_M, CartesianImpedance, HandServo, ImpedanceGains
from pld.twin.scene import (
    ARM_DOF,
    EE_SITE,
    FINGER_BODIES,
    HAND_BODY,
    HOME_Q_RAD,
    ROBOT_NQ,
    SceneOptions,
    build_model,
)
from pld.types import Array, Pose

if TYPE_CHECKING:
    from pld.twin.tasks.base import InitialState, Task

GRASP_SETTLE_S = 0.5
HELD = slice(0, ROBOT_NQ + 7)


class Physics:
    """The compiled scene of one task with the arm's and the hand's controllers."""

    def __init__(self, task: Task, options: SceneOptions, gains: ImpedanceGains) -> None:
        self.task = task
        self.model = build_model(task, options)
        self.data = mujoco.MjData(self.model)
        self.arm = CartesianImpedance(self.model, gains)
        self.hand = HandServo(self.model)
        self._site = self.model.site(EE_SITE).id
        bodies = (HAND_BODY, *FINGER_BODIES)
        self._hand_bodies = [self.model.body(name).id for name in bodies]
        self._object_dof = int(self.model.body(task.object_body).dofadr[0])
        self._grasped: Array | None = None
        self._grasp_half_m = 0.0

    def reset(self, initial: InitialState) -> None:
        """Arm at home and at rest, objects as `initial` says, the start's grasp closed."""
        model, data = self.model, self.data
        mujoco.mj_resetData(model, data)
        data.qpos[:ARM_DOF] = HOME_Q_RAD
        data.qpos[ARM_DOF:ROBOT_NQ] = OPEN_WIDTH_M / 2
        mujoco.mj_forward(model, data)
        self.hand.set_goal(OPEN_WIDTH_M, self.task.grasp_force_n)
        self.hand.reset(data)
        self.task.lay(model, data, initial)
        if self.task.grasped_at_start:
            self._settle_grasp()
        mujoco.mj_forward(model, data)
        self.arm.reset(data, self.O_T_EE())

    def simulate(self, substeps: int) -> None:
        """Advance by `substeps` timesteps with both controllers in the loop."""
        model, data = self.model, self.data
        for _ in range(substeps):
            mujoco.mj_step1(model, data)
            self.arm.drive(data)
            self.hand.drive(data)
            mujoco.mj_step2(model, data)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)

    def O_T_EE(self) -> Pose:  # noqa: N802
        """Pose of EE in O now."""
        wxyz = np.zeros(4)
        mujoco.mju_mat2Quat(wxyz, self.data.site_xmat[self._site])
        if wxyz[0] < 0:
            wxyz = -wxyz
        return Pose(np.array(self.data.site_xpos[self._site]), wxyz[[1, 2, 3, 0]])

    def O_dP_EE(self) -> Array:  # noqa: N802
        """Twist (6,) of EE in O now [m/s, rad/s]."""
        twist: Array = self.arm.jacobian(self.data) @ self.data.qvel[:ARM_DOF]
        return twist

    def external_wrench(self) -> Array:
        """Net contact wrench (6,) that acts on hand and fingers, about EE, base axes [N, Nm].

        The two sides of a grasp cancel; what is left is the held object's weight and pushes.
        """
        data = self.data
        mujoco.mj_rnePostConstraint(self.model, data)
        torque, force = data.cfrc_ext[self._hand_bodies].sum(axis=0).reshape(2, 3)
        centre = data.subtree_com[self.model.body_rootid[self._hand_bodies[0]]]
        lever = data.site_xpos[self._site] - centre
        moment = np.zeros(3)
        mujoco.mju_cross(moment, lever, force)
        return np.concatenate([force, torque - moment])

    def object_speed_m_s(self) -> float:
        """Linear speed of the task's object [m/s]."""
        start = self._object_dof
        return float(np.linalg.norm(self.data.qvel[start : start + 3]))

    def instability(self) -> str:
        """Why the simulation cannot be trusted any more, or an empty string."""
        data = self.data
        if not (np.all(np.isfinite(data.qpos)) and np.all(np.isfinite(data.qvel))):
            return "a position or velocity is not finite"
        if np.any(data.warning.number):
            return "MuJoCo warned of a diverging or full state"
        return ""

    def _settle_grasp(self) -> None:
        """Let the fingers close on the object, once; it is the same at every start."""
        data = self.data
        self.hand.set_goal(0.0, self.task.grasp_force_n)
        if self._grasped is None:
            mujoco.mj_forward(self.model, data)
            self.arm.reset(data, self.O_T_EE())
            self.hand.reset(data)
            self.simulate(round(GRASP_SETTLE_S / self.model.opt.timestep))
            self._grasped = np.array(data.qpos[HELD])
            self._grasp_half_m = self.hand.half_m
        self.hand.half_m = self._grasp_half_m
        data.qpos[HELD] = self._grasped
        data.qvel[:] = 0.0
        data.time = 0.0
