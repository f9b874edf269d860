"""The scene of one task inside the FCI twin: what a reset lays, and the truth about it."""

from __future__ import annotations

import mujoco
import numpy as np

from pld.errors import ConfigError
from pld.twin.fci_robot import FciRobot, FciSimulator
from pld.twin.link import Truth
from pld.twin.scene import HOME_Q_RAD, SceneOptions, decorate
from pld.twin.tasks import SuccessMonitor, task_named
from pld.types import Array

OPEN_WIDTH_M = 0.08
GRASP_SPEED_M_S = 0.05
SUCCESS_EVERY_MS = 10


class Stage:
    """The simulator with the task's scene laid on it. `start` compiles and lays `seed`."""

    def __init__(self, task: str, options: SceneOptions | None = None) -> None:
        self.task = task_named(task)
        self.simulator = FciSimulator()
        self.robot: FciRobot = self.simulator.add_robot(
            initial_q=HOME_Q_RAD, initial_hand_width=OPEN_WIDTH_M
        )
        decorate(self.simulator.scene, self.task, options)
        self.resets = 0
        self._monitor = SuccessMonitor(self.task)

    def start(self, seed: int) -> None:
        """Compile the scene and lay it; before this nothing is simulated."""
        self.simulator.init()
        self.simulator.start()
        self.model: mujoco.MjModel = self.simulator.model
        self.data: mujoco.MjData = self.simulator.data
        joint = self.model.body(self.task.object_body).jntadr[0]
        self._object_dof = int(self.model.jnt_dofadr[joint])
        self.reset(self.task.name, seed)

    def reset(self, task: str, seed: int, region: str | None = None) -> str:
        """Lay the objects of `seed` anew where the arm is now; returns the region's name."""
        if task != self.task.name:
            raise ConfigError(
                f"this twin holds task {self.task.name!r}, not {task!r}; "
                f"start another with --task {task}"
            )
        initial = self.task.initial_state(seed, region)
        mujoco.mj_forward(self.model, self.data)
        self.task.lay(self.model, self.data, initial)
        self.data.qacc_warmstart[:] = 0.0
        mujoco.mj_forward(self.model, self.data)
        self.robot.fingers_moved()
        if self.task.grasped_at_start:
            self.robot.set_hand_goal(0.0, GRASP_SPEED_M_S, self.task.grasp_force_n)
        self._monitor.reset()
        self.resets += 1
        return initial.region

    def truth(self, t_ms: int) -> Truth:
        """What is physically so at robot time `t_ms`."""
        if t_ms % SUCCESS_EVERY_MS == 0:
            self._monitor.update(self.model, self.data)
        velocity: Array = self.data.qvel[self._object_dof : self._object_dof + 3]
        force = self.robot.sense.effort.wrench[:3]
        return Truth(
            t_ms * 1_000_000,
            self.data.qpos,
            self.data.qvel,
            self.resets,
            self._monitor.succeeded,
            float(np.sqrt(force @ force)),
            float(np.sqrt(velocity @ velocity)),
        )
