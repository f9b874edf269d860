"""Cube pick-up: a 4 cm cube in a low tray, at its centre, against a wall or in a corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pld.errors import ConfigError
from pld.tasks import TaskFacts, task_facts
from pld.twin.scene import FINGER_BODIES, ROBOT_NQ
from pld.twin.tasks.base import InitialState, Task, box, pose_at, speed_m_s, text, touches
from pld.types import Array, Pose, SceneTruth

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    import mujoco

CUBE_JOINT = "cube_joint"
CUBE_HALF_M = 0.02
TRAY_CENTRE_M = (0.44, 0.0)
TRAY_HALF_M = 0.12
WALL_HEIGHT_M = 0.015
WALL_HALF_THICKNESS_M = 0.005
REGION_WEIGHTS = (0.34, 0.33, 0.33)
# Where people demonstrate: all over the tray, but clear of its walls, and so not in its corners.
OPEN = "open"
# Half the side of the squares that are only laid when they are asked for; the cube reaches 0.1 m.
SQUARES_HALF_M = {OPEN: 0.08, "middle": 0.06}
# Consecutive seeds spread evenly (R2 sequence): a dozen demonstrations leave no quarter out.
EVEN_STEPS = 1.0 / np.array([1.32471795724475, 1.32471795724475**2])


@dataclass(frozen=True)
class CubePickup(Task):
    """Lift the cube and hold it still, between both fingers, `lift_m` above its rest."""

    facts: ClassVar[TaskFacts] = task_facts("cube_pickup")
    regions: ClassVar[tuple[str, ...]] = ("centre", "wall", "corner")
    laid_when_asked: ClassVar[tuple[str, ...]] = tuple(SQUARES_HALF_M)
    object_body: ClassVar[str] = "cube"
    demonstrated: ClassVar[str | None] = OPEN
    lift_m: float = 0.07
    max_speed_m_s: float = 0.35

    def add_objects(self, world: ET.Element) -> None:
        """Append the tray's four walls and the cube on a free joint."""
        for name, x, y in (("north", 1, 0), ("south", -1, 0), ("west", 0, 1), ("east", 0, -1)):
            _add_wall(world, name, np.array([x, y], dtype=float))
        cube = world.makeelement("body", {"name": self.object_body, "pos": text((0.5, 0, 0.02))})
        world.append(cube)
        cube.append(cube.makeelement("freejoint", {"name": CUBE_JOINT}))
        box(
            cube,
            "cube_geom",
            np.zeros(3),
            np.full(3, CUBE_HALF_M),
            mass="0.08",
            rgba="0.85 0.10 0.08 1",
            friction="0.5 0.02 0.0005",
            condim="4",
        )

    def initial_state(self, seed: int, region: str | None = None) -> InitialState:
        """A cube at rest, region drawn with nearly equal weights; yaw within what fits there."""
        rng = np.random.default_rng([seed, 0xC0BE])
        drawn = str(rng.choice(self.regions, p=REGION_WEIGHTS))
        known = (*self.regions, *self.laid_when_asked)
        if region is not None and region not in known:
            raise ConfigError.unknown("region", region, known)
        where = region or drawn
        yaw_rad = rng.uniform(-0.7, 0.7) if where == "centre" else rng.uniform(-0.25, 0.25)
        xy_m = np.array(TRAY_CENTRE_M) + _offset_m(seed, rng, where, yaw_rad)
        quaternion_wxyz = [np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]
        qpos = np.concatenate([xy_m, [CUBE_HALF_M], quaternion_wxyz])
        return InitialState(seed, where, {CUBE_JOINT: qpos})

    def truth(self, qpos: Array) -> SceneTruth:
        """Pose of the cube; the goal is the tray's centre on the table."""
        goal = Pose(np.array([*TRAY_CENTRE_M, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
        return SceneTruth(pose_at(qpos, ROBOT_NQ), goal)

    def satisfied(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Cube high, slow, and touched by both fingers: a thrown or balanced cube is none."""
        return (
            float(data.qpos[ROBOT_NQ + 2]) >= CUBE_HALF_M + self.lift_m
            and speed_m_s(model, data, CUBE_JOINT) <= self.max_speed_m_s
            and all(touches(model, data, self.object_body, finger) for finger in FINGER_BODIES)
        )


def _add_wall(world: ET.Element, name: str, normal: Array) -> None:
    along = np.abs(normal[::-1])
    centre = np.array(TRAY_CENTRE_M) + normal * (TRAY_HALF_M + WALL_HALF_THICKNESS_M)
    half = along * (TRAY_HALF_M + 2 * WALL_HALF_THICKNESS_M)
    half += np.abs(normal) * WALL_HALF_THICKNESS_M
    box(
        world,
        f"wall_{name}",
        np.array([*centre, WALL_HEIGHT_M / 2]),
        np.array([*half, WALL_HEIGHT_M / 2]),
        rgba="0.25 0.42 0.62 1",
        friction="0.3 0.005 0.0001",
    )


def _offset_m(seed: int, rng: np.random.Generator, region: str, yaw_rad: float) -> Array:
    """Cube centre (2,) from the tray's centre [m]; up to 4 mm of gap to each wall it lies at."""
    reach = CUBE_HALF_M * (np.cos(yaw_rad) + abs(np.sin(yaw_rad)))
    at_wall = (TRAY_HALF_M - reach) - rng.uniform(0.0, 0.004, 2)
    signs = rng.choice([-1.0, 1.0], 2)
    if region == "centre":
        return np.asarray(rng.uniform(-0.06, 0.06, 2))
    if region in SQUARES_HALF_M:
        return np.asarray(SQUARES_HALF_M[region] * (2.0 * ((seed * EVEN_STEPS) % 1.0) - 1.0))
    if region == "corner":
        return np.asarray(signs * at_wall)
    offset = np.array([at_wall[0] * signs[0], rng.uniform(-0.06, 0.06)])
    return offset if rng.random() < 0.5 else offset[::-1]
