"""The lockstep twin: the same scene as behind the wire, stepped in process, no network, no clock.

One `wait_step` simulates exactly one control period, so it runs as fast as the machine allows and
gives bit-identical episodes for equal seeds and commands on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pld.contract import POLICY_IMAGE_PX, ActionSpec
from pld.errors import ConfigError, RobotError
from pld.geometry import normalised, pose_delta
from pld.twin.impedance import OPEN_WIDTH_M, ImpedanceGains
from pld.twin.physics import Physics
from pld.twin.picture import Pictures
from pld.twin.reflexes import CollisionBehaviour
from pld.twin.scene import ARM_DOF, SceneOptions
from pld.twin.tasks.base import InitialState, SuccessMonitor, Task
from pld.types import ArmState, CameraImage, Command, ControlMode, Observation, SceneTruth

GRIPPER_HYSTERESIS = 0.2


class UnstableSimulationError(RobotError):
    """The simulation left what physics allows: truncate the episode and store no transition."""


@dataclass(frozen=True)
class TwinConfig:
    """How the lockstep twin runs; `image_px` is (width, height), None draws nothing.

    Objects lie in the region `starts_in`; with None the seed chooses one. Gains and collision
    thresholds are those of the simulated arm's driver settings (launch/config/arm_twin.yaml).
    """

    spec: ActionSpec = field(default_factory=ActionSpec)
    scene: SceneOptions = field(default_factory=lambda: SceneOptions(timestep_s=0.002))
    gains: ImpedanceGains = field(default_factory=ImpedanceGains)
    collision_torque_nm: float = 60.0
    collision_force_n: float = 80.0
    feedforward: bool = False
    grasp_force_n: float = 40.0
    max_joint_speed_rad_s: float = 20.0
    max_object_speed_m_s: float = 20.0
    image_px: tuple[int, int] | None = (POLICY_IMAGE_PX, POLICY_IMAGE_PX)
    starts_in: str | None = None

    def substeps(self) -> int:
        """Physics steps per control period; ConfigError when that is no whole number."""
        exact = 1.0 / (self.spec.rate_hz * self.scene.timestep_s)
        if abs(exact - round(exact)) > 1e-6:
            raise ConfigError(
                f"rate_hz {self.spec.rate_hz:g} leaves no whole number of substeps of "
                f"{self.scene.timestep_s:g} s; use 10 or 20 Hz"
            )
        return round(exact)


class LockstepTwin:
    """An arm (pld.robots.protocol.Robot) that also knows its scene's truth.

    `apply` takes effect in the next `wait_step`; without an `apply` in between the last target is
    held. A collision is a fault of the arm, which then stands still until `reset`. Robot time and
    `step` go on across resets. The gripper command is in policy space: +1 open, -1 close, nothing
    changes near 0.
    """

    def __init__(self, task: Task, config: TwinConfig | None = None) -> None:
        self.task = task
        self.config = config or TwinConfig()
        self._substeps = self.config.substeps()
        self._period_ns = round(1e9 / self.config.spec.rate_hz)
        self._step = 0
        self._initial = InitialState(-1, "", {})
        self._monitor = SuccessMonitor(task)
        self._twist = np.zeros(6)
        self._physics: Physics | None = None
        self._pictures: Pictures | None = None

    def connect(self) -> None:
        """Compile the scene; the first `reset` lays it."""
        if self._physics is None:
            config = self.config
            behaviour = CollisionBehaviour.uniform(
                config.collision_torque_nm, config.collision_force_n
            )
            self._physics = Physics(self.task, config.scene, config.gains, behaviour)

    @property
    def physics(self) -> Physics:
        """The simulation itself, for those who measure it; RobotError before `connect`."""
        if self._physics is None:
            raise RobotError("the lockstep twin is not connected; call connect() or reset() first")
        return self._physics

    def reset(self, seed: int | None = None, region: str | None = None) -> ArmState:
        """Arm at home, objects where `seed` lays them (default: the next seed)."""
        self.connect()
        wanted = self._initial.seed + 1 if seed is None else seed
        self._initial = self.task.initial_state(wanted, region or self.config.starts_in)
        self.physics.reset(self._initial)
        self._reference = self.physics.O_T_EE()
        self._twist = np.zeros(6)
        self._holding = False
        self._monitor.reset()
        self._gripper_open = -1.0 if self.task.grasped_at_start else 1.0
        self._step += 1
        return self._state()

    def wait_step(self) -> ArmState:
        """Simulate one control period; raises UnstableSimulationError when physics fails."""
        physics = self.physics
        if physics.collisions:
            self._reference = physics.O_T_EE()
        physics.arm.set_target(physics.data, self._reference, self._twist)
        physics.simulate(self._substeps)
        self._twist = np.zeros(6)
        self._step += 1
        self._require_stable()
        self._monitor.update(physics.model, physics.data)
        return self._state()

    def apply(self, command: Command) -> None:
        """Track `command.target` from now on; a command with bad numbers holds instead.

        As in the driver, a hold keeps the pose at which it began, however often it is repeated.
        """
        numbers = np.concatenate([command.target.p_m, command.target.q_xyzw])
        self._twist = np.zeros(6)
        if command.hold or not np.all(np.isfinite(numbers)) or not np.any(command.target.q_xyzw):
            if not self._holding:
                self._reference = self.physics.O_T_EE()
            self._holding = True
            return
        self._holding = False
        target = normalised(command.target)
        if self.config.feedforward:
            delta = np.concatenate(pose_delta(self._reference, target))
            self._twist = delta * self.config.spec.rate_hz
        self._reference = target
        self._drive_gripper(command.gripper_open)

    def close(self) -> None:
        """Let go of the renderer; safe to call twice."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    def observe(self, arm: ArmState) -> Observation:
        """What a policy sees at `arm`: the state, the images when they are on, the instruction."""
        return Observation(arm, self.images(), self.task.instruction)

    def images(self) -> dict[str, CameraImage]:
        """One image per camera of the scene as it is now; empty when drawing is off."""
        if self.config.image_px is None:
            return {}
        if self._pictures is None:
            self._pictures = Pictures(self.physics.model, *self.config.image_px)
        return self._pictures.take(self.physics.data, self._step * self._period_ns, self._step)

    def truth(self) -> SceneTruth:
        """Object and goal poses in O now."""
        return self.task.truth(self.physics.data.qpos)

    @property
    def success(self) -> bool:
        """Whether the task was achieved since the last reset, and without a reflex of the arm."""
        return self._monitor.succeeded and not self.physics.collisions

    @property
    def region(self) -> str:
        """Region of the current start."""
        return self._initial.region

    @property
    def contact_n(self) -> float:
        """Size of the external force now, as the arm feels it [N]."""
        return float(np.linalg.norm(self.physics.sense.effort.wrench[:3]))

    @property
    def object_speed_m_s(self) -> float:
        """Linear speed of the task's object now [m/s]."""
        return self.physics.object_speed_m_s()

    def _require_stable(self) -> None:
        reason = self.physics.instability()
        arm_speed = float(np.max(np.abs(self.physics.data.qvel[:ARM_DOF])))
        if not reason and arm_speed > self.config.max_joint_speed_rad_s:
            reason = f"a joint turns at {arm_speed:.3g} rad/s"
        if not reason and self.object_speed_m_s > self.config.max_object_speed_m_s:
            reason = f"the object moves at {self.object_speed_m_s:.3g} m/s"
        if reason:
            raise UnstableSimulationError(
                f"seed {self._initial.seed}, step {self._step}: {reason}; truncate the episode, "
                "drop the transition and reset"
            )

    def _drive_gripper(self, gripper_open: float) -> None:
        if not np.isfinite(gripper_open) or abs(gripper_open) < GRIPPER_HYSTERESIS:
            return
        self._gripper_open = 1.0 if gripper_open > 0 else -1.0
        width = OPEN_WIDTH_M if gripper_open > 0 else 0.0
        self.physics.hand.set_goal(width, self.config.grasp_force_n)

    def _state(self) -> ArmState:
        physics = self.physics
        return ArmState(
            t_ns=self._step * self._period_ns,
            step=self._step,
            q_rad=np.array(physics.data.qpos[:ARM_DOF]),
            dq_rad_s=np.array(physics.data.qvel[:ARM_DOF]),
            O_T_EE=physics.O_T_EE(),
            O_dP_EE=physics.O_dP_EE(),
            reference=self._reference,
            O_F_ext_hat_K=physics.sense.effort.wrench.copy(),
            gripper_width_m=physics.hand.width_m(physics.data),
            gripper_open=self._gripper_open,
            control_mode=ControlMode.FAULT if physics.collisions else ControlMode.TRACKING,
            errors=tuple(sorted(physics.collisions)),
        )
