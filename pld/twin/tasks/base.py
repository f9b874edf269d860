"""What every task of the twin offers, to the FCI server and to the lockstep twin alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pld.tasks import TaskFacts
from pld.types import Array, Pose, SceneTruth

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    import mujoco


@dataclass(frozen=True)
class InitialState:
    """Where an episode starts: its seed, the region's name and the objects' qpos by joint name."""

    seed: int
    region: str
    objects: dict[str, Array]


@dataclass(frozen=True)
class Task(ABC):
    """One task. Instances are immutable; everything that varies is in InitialState.

    Starts are drawn from `regions`; those of `laid_when_asked` are laid only then. `demonstrated`
    names the region that people demonstrate in, of either; None stands for all of `regions`.

    A scene reset is the same for both twins: bring the arm home with the gripper open, call `lay`,
    and close the hand (goal width 0, `grasp_force_n`) when `grasped_at_start`. Nothing of the arm
    is moved by `lay` but, for a task that starts with a grasp, the two fingers.
    """

    facts: ClassVar[TaskFacts]
    regions: ClassVar[tuple[str, ...]]
    object_body: ClassVar[str]
    laid_when_asked: ClassVar[tuple[str, ...]] = ()
    demonstrated: ClassVar[str | None] = None
    grasp_force_n: ClassVar[float] = 40.0

    @property
    def name(self) -> str:
        """The task's name."""
        return self.facts.name

    @property
    def instruction(self) -> str:
        """What a policy is told."""
        return self.facts.instruction

    @property
    def horizon_s(self) -> float:
        """The longest episode [s]."""
        return self.facts.horizon_s

    @property
    def grasped_at_start(self) -> bool:
        """Whether an episode begins with the object in the hand."""
        return self.facts.grasped_at_start

    @abstractmethod
    def add_objects(self, world: ET.Element) -> None:
        """Append the task's bodies and geoms to the MJCF worldbody."""

    @abstractmethod
    def initial_state(self, seed: int, region: str | None = None) -> InitialState:
        """The start that belongs to `seed`, always the same; `region` forces where it lies."""

    @abstractmethod
    def truth(self, qpos: Array) -> SceneTruth:
        """Object and goal poses in O from generalised positions (nq,)."""

    @abstractmethod
    def satisfied(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Whether this instant counts; `SuccessMonitor` asks for it to last."""

    def lay(self, model: mujoco.MjModel, data: mujoco.MjData, initial: InitialState) -> None:
        """Put the objects where `initial` says, at rest; mj_forward is due before and after."""
        for name, qpos in initial.objects.items():
            joint = model.joint(name)
            start, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
            data.qpos[start : start + qpos.size] = qpos
            data.qvel[dof : dof + min(qpos.size, 6)] = 0.0


@dataclass
class SuccessMonitor:
    """Success once the task was satisfied without a break for `hold_s` of simulated time."""

    task: Task
    hold_s: float = 0.15
    _since_s: float | None = field(default=None, init=False)
    succeeded: bool = field(default=False, init=False)

    def reset(self) -> None:
        """Forget the last episode."""
        self._since_s = None
        self.succeeded = False

    def update(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Look at the simulation now; True from the moment of success on, until `reset`."""
        if not self.task.satisfied(model, data):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = float(data.time)
        elif data.time - self._since_s >= self.hold_s - 1e-9:
            self.succeeded = True
        return self.succeeded


def touches(model: mujoco.MjModel, data: mujoco.MjData, body: str, other: str) -> bool:
    """Whether any geom of `body` is in contact with any geom of `other` now."""
    if data.ncon == 0:
        return False
    first = model.geom_bodyid[data.contact.geom1]
    second = model.geom_bodyid[data.contact.geom2]
    a, b = model.body(body).id, model.body(other).id
    return bool(np.any(((first == a) & (second == b)) | ((first == b) & (second == a))))


def pose_at(qpos: Array, start: int) -> Pose:
    """Pose of the free joint whose qpos (x, y, z, wxyz) begins at `start`."""
    p_m, wxyz = qpos[start : start + 3], qpos[start + 3 : start + 7]
    return Pose(np.array(p_m), np.array([wxyz[1], wxyz[2], wxyz[3], wxyz[0]]))


def speed_m_s(model: mujoco.MjModel, data: mujoco.MjData, joint: str) -> float:
    """Linear speed of a free joint's body [m/s]."""
    dof = int(model.joint(joint).dofadr[0])
    return float(np.linalg.norm(data.qvel[dof : dof + 3]))


def box(world: ET.Element, name: str, pos_m: Array, half_m: Array, **attributes: str) -> None:
    """Append a box geom with centre `pos_m` (3,) and half sizes `half_m` (3,)."""
    geom = {"name": name, "type": "box", "pos": text(pos_m), "size": text(half_m), **attributes}
    world.append(world.makeelement("geom", geom))


def text(values: Array | tuple[float, ...]) -> str:
    """Numbers as an MJCF attribute."""
    return " ".join(f"{value:.9g}" for value in np.asarray(values, dtype=float))
