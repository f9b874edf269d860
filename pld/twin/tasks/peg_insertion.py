"""Peg insertion: a square peg, held by friction alone, into a chamfered socket on the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from pld.errors import ConfigError
from pld.tasks import TaskFacts, task_facts
from pld.twin.scene import HAND_BODY, HAND_T_EE_Z_M, PREFIX, ROBOT_NQ
from pld.twin.tasks.base import InitialState, Task, box, pose_at, speed_m_s, text
from pld.types import Array, Pose, SceneTruth

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    import mujoco

PEG_JOINT = "peg_joint"
SOCKET_JOINTS = ("socket_x", "socket_y")
PEG_HALF_M = np.array([0.010, 0.010, 0.045])
EE_T_PEG_Z_M = 0.030
CLEARANCE_M = 0.001
CHAMFER_M = 0.004
SOCKET_HEIGHT_M = 0.045
SOCKET_HALF_M = 0.032
SOCKET_CENTRE_M = (0.48, 0.0)
RADII_M = {"near": (0.0, 0.04), "far": (0.04, 0.08)}
SOCKET_NQ_START = ROBOT_NQ + 7
IMMOVABLE_DAMPING = 1e6
ABOVE_TABLE_M = 0.0005


@dataclass(frozen=True)
class PegInsertion(Task):
    """Push the peg `depth_m` into the socket, about 1 mm of clearance a side.

    The peg's frame has its z axis along the peg, towards the tip. The start is the home pose with
    the peg in the hand; what varies is where the socket stands, `near` or `far` from below it.
    """

    facts: ClassVar[TaskFacts] = task_facts("peg_insertion")
    regions: ClassVar[tuple[str, ...]] = tuple(RADII_M)
    object_body: ClassVar[str] = "peg"
    depth_m: float = 0.025
    max_speed_m_s: float = 0.10

    def add_objects(self, world: ET.Element) -> None:
        """Append the peg on a free joint and the socket on two joints that only a reset moves."""
        peg = world.makeelement("body", {"name": self.object_body, "pos": "0.48 0 0.2"})
        world.append(peg)
        peg.append(peg.makeelement("freejoint", {"name": PEG_JOINT}))
        box(
            peg,
            "peg_geom",
            np.zeros(3),
            PEG_HALF_M,
            mass="0.05",
            rgba="0.95 0.55 0.08 1",
            friction="0.35 0.02 0.0005",
            condim="4",
        )
        _add_socket(world)

    def initial_state(self, seed: int, region: str | None = None) -> InitialState:
        """A socket position; the peg is laid between the fingers wherever the hand is."""
        rng = np.random.default_rng([seed, 0x0BE6])
        drawn = str(rng.choice(self.regions))
        if region is not None and region not in self.regions:
            raise ConfigError.unknown("region", region, self.regions)
        where = region or drawn
        low, high = RADII_M[where]
        radius = np.sqrt(rng.uniform(low**2, high**2))
        angle = rng.uniform(-np.pi, np.pi)
        offset = radius * np.array([np.cos(angle), np.sin(angle)])
        return InitialState(
            seed, where, {name: offset[i : i + 1] for i, name in enumerate(SOCKET_JOINTS)}
        )

    def lay(self, model: mujoco.MjModel, data: mujoco.MjData, initial: InitialState) -> None:
        """Place the socket, and the peg between the fingers, which are set to just touch it."""
        super().lay(model, data, initial)
        hand = data.body(HAND_BODY)
        rotation = Rotation.from_matrix(hand.xmat.reshape(3, 3))
        wxyz = rotation.as_quat(scalar_first=True)
        p_m = hand.xpos + rotation.apply([0.0, 0.0, HAND_T_EE_Z_M + EE_T_PEG_Z_M])
        super().lay(model, data, InitialState(0, "", {PEG_JOINT: np.concatenate([p_m, wxyz])}))
        for finger in (f"{PREFIX}finger_joint1", f"{PREFIX}finger_joint2"):
            joint = model.joint(finger)
            data.qpos[joint.qposadr[0]] = PEG_HALF_M[1]
            data.qvel[joint.dofadr[0]] = 0.0

    def truth(self, qpos: Array) -> SceneTruth:
        """Pose of the peg; the goal is the hole's mouth, z into the hole."""
        xy = np.array(SOCKET_CENTRE_M) + qpos[SOCKET_NQ_START : SOCKET_NQ_START + 2]
        mouth = Pose(np.array([*xy, SOCKET_HEIGHT_M]), np.array([1.0, 0.0, 0.0, 0.0]))
        return SceneTruth(pose_at(qpos, ROBOT_NQ), mouth)

    def satisfied(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """The tip is deep enough, inside the hole's outline, upright and slow."""
        truth = self.truth(data.qpos)
        axis = Rotation.from_quat(truth.O_T_object.q_xyzw).apply([0.0, 0.0, 1.0])
        tip = truth.O_T_object.p_m + PEG_HALF_M[2] * axis - truth.O_T_goal.p_m
        return bool(
            tip[2] <= -self.depth_m
            and np.max(np.abs(tip[:2])) <= PEG_HALF_M[0] + CLEARANCE_M
            and axis[2] <= -0.97
            and speed_m_s(model, data, PEG_JOINT) <= self.max_speed_m_s
        )


def _add_socket(world: ET.Element) -> None:
    socket = world.makeelement("body", {"name": "socket", "pos": text((*SOCKET_CENTRE_M, 0.0))})
    world.append(socket)
    inertial = {"pos": "0 0 0.02", "mass": "100", "diaginertia": "1 1 1"}
    socket.append(socket.makeelement("inertial", inertial))
    for name, axis in zip(SOCKET_JOINTS, ("1 0 0", "0 1 0"), strict=True):
        joint = {"name": name, "type": "slide", "axis": axis, "damping": repr(IMMOVABLE_DAMPING)}
        socket.append(socket.makeelement("joint", joint))
    for index in range(4):
        _add_side(socket, index)


def _add_side(socket: ET.Element, index: int) -> None:
    """One of the four sides: a block, the step around its rim, and the slope of the chamfer."""
    hole = PEG_HALF_M[0] + CLEARANCE_M
    turn = Rotation.from_euler("z", index * np.pi / 2)
    low = SOCKET_HEIGHT_M - CHAMFER_M
    outer, thin = SOCKET_HALF_M, 0.0015
    plain = {"rgba": "0.10 0.30 0.22 1", "friction": "0.2 0.005 0.0001"}
    bright = {"rgba": "0.95 0.93 0.80 1", "friction": "0.2 0.005 0.0001"}
    slope = Rotation.from_euler("y", -np.pi / 4)
    middle = np.array([hole + CHAMFER_M / 2, 0, SOCKET_HEIGHT_M - CHAMFER_M / 2])
    middle = middle - thin * slope.apply([0.0, 0.0, 1.0])
    parts = (
        ("block", (hole, outer), (ABOVE_TABLE_M, low), plain),
        ("rim", (hole + CHAMFER_M, outer), (low, SOCKET_HEIGHT_M), plain),
    )
    for name, (x0, x1), (z0, z1), look in parts:
        centre = turn.apply([(x0 + x1) / 2, 0.0, (z0 + z1) / 2])
        half = np.array([(x1 - x0) / 2, x1, (z1 - z0) / 2])
        _add_part(socket, f"{name}_{index}", centre, half, turn, look)
    half = np.array([CHAMFER_M / np.sqrt(2), hole + CHAMFER_M, thin])
    _add_part(socket, f"chamfer_{index}", turn.apply(middle), half, turn * slope, bright)


def _add_part(
    socket: ET.Element,
    name: str,
    centre: Array,
    half: Array,
    rotation: Rotation,
    look: dict[str, str],
) -> None:
    quat = text(rotation.as_quat(scalar_first=True))
    box(socket, f"socket_{name}", centre, half, quat=quat, condim="3", **look)
