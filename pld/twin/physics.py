"""The stepping half of the lockstep twin: one model, its controllers, and how it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from pld.twin.contacts import ContactSense
from pld.twin.impedance import OPEN_WIDTH_M, CartesianImpedance, HandServo, ImpedanceGains
from pld.twin.reflexes import CollisionBehaviour, collisions
from pld.twin.scene import (
    ARM_DOF,
    EE_SITE,
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
    """The compiled scene of one task with the arm's and the hand's controllers.

    A contact beyond `behaviour` sets off the reflexes named in `collisions` and stops the arm where
    it is until `reset`, as the robot's own controller would.
    """

    def __init__(
        self,
        task: Task,
        options: SceneOptions,
        gains: ImpedanceGains,
        behaviour: CollisionBehaviour,
    ) -> None:
        self.task = task
        self.model = build_model(task, options)
        self.data = mujoco.MjData(self.model)
        self.arm = CartesianImpedance(self.model, gains)
        self.hand = HandServo(self.model)
        self._site = self.model.site(EE_SITE).id
        self.sense = ContactSense(self.model, self.model.opt.timestep)
        self.collisions: frozenset[str] = frozenset()
        self._behaviour = behaviour
        self._object_dof = int(self.model.body(task.object_body).dofadr[0])
        self._grasped: Array | None = None
        self._grasp_half_m = 0.0

    def reset(self, initial: InitialState) -> None:
        """Arm at home and at rest, objects as `initial` says, the start's grasp closed."""
        if self.task.grasped_at_start and self._grasped is None:
            self._settle_grasp()
        self._begin(initial)
        if self._grasped is not None:
            self._restore_grasp(self._grasped)
        mujoco.mj_forward(self.model, self.data)
        self.arm.reset(self.data, self.O_T_EE())
        self.sense.reset()
        self.collisions = frozenset()

    def _begin(self, initial: InitialState) -> None:
        """Arm at home with the hand open, objects laid."""
        model, data = self.model, self.data
        mujoco.mj_resetData(model, data)
        data.qpos[:ARM_DOF] = HOME_Q_RAD
        data.qpos[ARM_DOF:ROBOT_NQ] = OPEN_WIDTH_M / 2
        mujoco.mj_forward(model, data)
        self.hand.set_goal(OPEN_WIDTH_M, self.task.grasp_force_n)
        self.hand.reset(data)
        self.task.lay(model, data, initial)

    def simulate(self, substeps: int) -> None:
        """Advance by `substeps` timesteps with both controllers in the loop."""
        model, data = self.model, self.data
        for _ in range(substeps):
            mujoco.mj_step1(model, data)
            self.arm.drive(data)
            self.hand.drive(data)
            mujoco.mj_step2(model, data)
            self._feel()
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)

    def _feel(self) -> None:
        """Take in this substep's contacts; the first that is too hard stops the arm."""
        self.sense.feel(self.data)
        if self.collisions:
            return
        self.collisions = collisions(self.sense.effort, self._behaviour)
        if self.collisions:
            self.arm.set_target(self.data, self.O_T_EE(), np.zeros(6))

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
        """Let the fingers close on the object and keep how it is held then, for every start.

        Always in the scene of the same seed: what comes of a start must not depend on the starts
        before it, to the last bit.
        """
        data = self.data
        self._begin(self.task.initial_state(0))
        self.hand.set_goal(0.0, self.task.grasp_force_n)
        mujoco.mj_forward(self.model, data)
        self.arm.reset(data, self.O_T_EE())
        self.hand.reset(data)
        self.simulate(round(GRASP_SETTLE_S / self.model.opt.timestep))
        self._grasped = np.array(data.qpos[HELD])
        self._grasp_half_m = self.hand.half_m

    def _restore_grasp(self, grasped: Array) -> None:
        data = self.data
        self.hand.set_goal(0.0, self.task.grasp_force_n)
        self.hand.half_m = self._grasp_half_m
        data.qpos[HELD] = grasped
        data.qvel[:] = 0.0
        data.time = 0.0
