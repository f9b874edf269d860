"""The MuJoCo scene of a task: arm, table, objects, two cameras; one description for every twin.

`decorate` edits the MJCF tree of a franky-sim simulator before it starts; `build_model` compiles
the same tree without a server. Generalised positions: qpos[0:7] arm [rad], qpos[7:9] fingers
[m, half the gripper's width each], then the task's objects. The world frame is the robot base O
and the table's top is the plane z = 0. Quaternions inside MJCF and qpos are wxyz.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from pld.cameras.protocol import Intrinsics
from pld.errors import ConfigError
from pld.geometry import compose, pose_from_matrix
from pld.twin.arm_scene import arm_scene
from pld.types import Array, Pose

if TYPE_CHECKING:
    from pld.twin.tasks.base import Task

PREFIX = "robot0_"
ARM_DOF = 7
ROBOT_NQ = 9
HAND_BODY = f"{PREFIX}hand"
FINGER_BODIES = (f"{PREFIX}left_finger", f"{PREFIX}right_finger")
EE_SITE = "ee"
HAND_T_EE_Z_M = 0.1034
HOME_Q_RAD = (0.0, -0.0980919615, 0.0, -2.4005290300, 0.0, 2.3024370700, 0.7853981634)
CAMERA_FOV_Y_RAD = math.radians(42.5)
RENDERED_GROUPS = (0, 3)
ARM_RGBA = "0.88 0.89 0.90 1"
HAND_RGBA = "0.80 0.81 0.83 1"
FINGER_RGBA = "0.20 0.20 0.22 1"


@dataclass(frozen=True)
class SceneOptions:
    """How the scene is simulated.

    `frictionloss_scale` multiplies the arm joints' dry friction: a real FR3 compensates most of it
    in torque mode (0.1); 1.0 is the uncompensated model, a robustness variant. The solver limits
    are those at which elliptic contacts converge; fewer iterations eject grasped objects.
    """

    timestep_s: float = 0.001
    frictionloss_scale: float = 0.1
    impratio: float = 10.0
    iterations: int = 100
    ls_iterations: int = 50


def decorate(scene: ET.Element, task: Task, options: SceneOptions | None = None) -> None:
    """Lay `task` on a franky-sim MJCF tree (in place), after its robot was added."""
    options = options or SceneOptions()
    _set_physics(scene, options)
    _drop_visual_meshes(scene)
    _paint_arm(scene)
    world = _only(scene, "worldbody")
    _add_table(world)
    _add_cameras(world)
    task.add_objects(world)


def build_model(task: Task, options: SceneOptions | None = None) -> mujoco.MjModel:
    """Compile the scene of `task` without a server; the arm's own actuators are switched off."""
    options = options or SceneOptions()
    tree = arm_scene()
    decorate(tree, task, options)
    model = mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"))
    model.opt.timestep = options.timestep_s
    model.actuator_gainprm[:] = 0.0
    model.actuator_biasprm[:] = 0.0
    return model


def _only(scene: ET.Element, tag: str) -> ET.Element:
    element = scene.find(tag)
    if element is None:
        raise ConfigError(f"the MJCF tree has no <{tag}>; add the robot before the scene")
    return element


def _named(scene: ET.Element, tag: str, name: str) -> ET.Element:
    for element in scene.iter(tag):
        if element.get("name") == name:
            return element
    raise ConfigError(f"the MJCF tree has no {tag} {name!r}; add the robot before the scene")


def _set_physics(scene: ET.Element, options: SceneOptions) -> None:
    _only(scene, "option").attrib.update(
        integrator="implicitfast",
        cone="elliptic",
        impratio=str(options.impratio),
        iterations=str(options.iterations),
        ls_iterations=str(options.ls_iterations),
        timestep=str(options.timestep_s),
    )
    quality = _only(_only(scene, "visual"), "quality")
    quality.attrib.update(shadowsize="0", offsamples="0")
    headlight = _only(_only(scene, "visual"), "headlight")
    headlight.attrib.update(diffuse="0.15 0.15 0.15", ambient="0.18 0.18 0.18")
    for joint in scene.iter("joint"):
        if joint.get("class") != "finger" and "frictionloss" in joint.attrib:
            scaled = float(joint.attrib["frictionloss"]) * options.frictionloss_scale
            joint.set("frictionloss", repr(scaled))
    for joint in scene.iter("joint"):
        if joint.get("class") == "finger":
            joint.set("frictionloss", "1.137")


def _drop_visual_meshes(scene: ET.Element) -> None:
    """Remove the 80 MB of visual meshes: cameras draw the collision shapes, at 1/50 of the cost."""
    for parent in list(scene.iter()):
        for child in list(parent):
            if child.tag == "geom" and child.get("class") == "visual":
                parent.remove(child)
    used = {geom.get("mesh") for geom in scene.iter("geom")}
    for asset in scene.iter("asset"):
        for child in list(asset):
            if child.tag == "mesh" and child.get("name") not in used:
                asset.remove(child)


def _paint_arm(scene: ET.Element) -> None:
    """Colour the collision shapes and make the finger tips grip like rubber."""
    for geom in _named(scene, "body", f"{PREFIX}base").iter("geom"):
        geom.set("rgba", ARM_RGBA)
    hand = _named(scene, "body", HAND_BODY)
    for geom in hand.findall("geom"):
        geom.set("rgba", HAND_RGBA)
    for name in FINGER_BODIES:
        for geom in _named(scene, "body", name).iter("geom"):
            geom.attrib.update(rgba=FINGER_RGBA, friction="1.2 0.02 0.0005", condim="4")
    ET.SubElement(hand, "site", name=EE_SITE, pos=f"0 0 {HAND_T_EE_Z_M}", group="5")


def _add_table(world: ET.Element) -> None:
    ground = _named(world, "geom", "ground")
    ground.attrib.pop("material", None)
    ground.attrib.update(pos="0 0 -0.75", size="15 15 15", rgba="0.45 0.47 0.50 1")
    ET.SubElement(
        world,
        "geom",
        name="table",
        type="box",
        pos="0.35 0 -0.02",
        size="0.65 0.55 0.02",
        rgba="0.56 0.52 0.46 1",
        friction="0.4 0.005 0.0001",
    )


def _add_cameras(world: ET.Element) -> None:
    fov = repr(math.degrees(CAMERA_FOV_Y_RAD))
    eye, target = np.array([0.95, -0.36, 0.48]), np.array([0.50, -0.01, 0.085])
    x_axis, y_axis = _look_at(eye, target)
    ET.SubElement(
        world,
        "camera",
        name="third_person",
        pos=_text(eye),
        xyaxes=_text(np.concatenate([x_axis, y_axis])),
        fovy=fov,
    )
    hand = _named(world, "body", HAND_BODY)
    tilt = math.radians(22.0)
    ET.SubElement(
        hand,
        "camera",
        name="wrist",
        pos="0.085 0 0.0",
        xyaxes=_text(np.array([0.0, 1.0, 0.0, math.cos(tilt), 0.0, math.sin(tilt)])),
        fovy=fov,
    )


def _look_at(eye: Array, target: Array) -> tuple[Array, Array]:
    """Image axes (right, up) of a level MuJoCo camera at `eye` that looks at `target`."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return right, np.cross(right, forward)


def _text(values: Array) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def render_options() -> mujoco.MjvOption:
    """Which geoms the cameras draw: scene objects and the arm's collision shapes."""
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[list(RENDERED_GROUPS)] = 1
    return option


def camera_intrinsics(
    model: mujoco.MjModel, camera: str, width_px: int, height_px: int
) -> Intrinsics:
    """Pinhole intrinsics [px] of `camera` for an image of that size; pixels are square.

    A square image is therefore the central square of a wide one of the same height.
    """
    focal_px = height_px / 2.0 / math.tan(math.radians(model.camera(camera).fovy[0]) / 2.0)
    return Intrinsics(
        width_px, height_px, focal_px, focal_px, (width_px - 1) / 2.0, (height_px - 1) / 2.0
    )


def _optical_pose_in_parent(model: mujoco.MjModel, camera: str) -> Pose:
    """Pose of the optical frame (x right, y down, z forward) in the camera's parent body."""
    matrix = np.eye(4)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.camera(camera).quat)
    matrix[:3, :3] = rotation.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    matrix[:3, 3] = model.camera(camera).pos
    return pose_from_matrix(matrix)


def O_T_camera(model: mujoco.MjModel) -> Pose:  # noqa: N802
    """Pose of the third-person camera's optical frame (z forward) in the robot base O."""
    return _optical_pose_in_parent(model, "third_person")


def EE_T_camera(model: mujoco.MjModel) -> Pose:  # noqa: N802
    """Pose of the wrist camera's optical frame (z forward) in the end effector EE."""
    EE_T_hand = Pose(np.array([0.0, 0.0, -HAND_T_EE_Z_M]), np.array([0.0, 0.0, 0.0, 1.0]))
    return compose(EE_T_hand, _optical_pose_in_parent(model, "wrist"))
