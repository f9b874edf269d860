"""The scene is one description for every twin, and says truly where things and cameras are."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import mujoco
import numpy as np
import pytest
from franky_sim.mujoco_simulator import FrankaMujocoRobot
from scipy.spatial.transform import Rotation

from pld.contract import CAMERAS
from pld.geometry import compose
from pld.robots.twin import LockstepTwin
from pld.twin.arm_scene import arm_scene
from pld.twin.picture import Pictures
from pld.twin.scene import (
    HOME_Q_RAD,
    EE_T_camera,
    O_T_camera,
    SceneOptions,
    build_model,
    camera_intrinsics,
    decorate,
)
from pld.twin.tasks import TASKS, task_named
from pld.types import Pose


@pytest.mark.parametrize("task", TASKS)
def test_the_arm_owns_the_first_nine_positions(task: str) -> None:
    model = build_model(task_named(task))
    joints = [model.joint(i).name for i in range(9)]
    assert joints[:7] == [f"robot0_fr3_joint{i}" for i in range(1, 8)]
    assert joints[7:] == ["robot0_finger_joint1", "robot0_finger_joint2"]


@pytest.mark.parametrize("task", TASKS)
def test_the_server_and_the_lockstep_twin_compile_the_same_bodies(task: str) -> None:
    tree = arm_scene()
    decorate(tree, task_named(task), SceneOptions())
    server = mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"))
    lockstep = build_model(task_named(task), SceneOptions(timestep_s=0.002))
    for field in ("geom_size", "geom_pos", "geom_friction", "body_mass", "dof_frictionloss"):
        np.testing.assert_array_equal(getattr(server, field), getattr(lockstep, field))
    assert server.opt.iterations == lockstep.opt.iterations == 100
    assert server.opt.cone == lockstep.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC


def test_the_end_effector_is_where_the_robot_server_says(cube_twin: LockstepTwin) -> None:
    cube_twin.reset(0)
    expected = FrankaMujocoRobot().kinematics(np.array(HOME_Q_RAD))
    pose = cube_twin.physics.O_T_EE()
    np.testing.assert_allclose(pose.p_m, expected.translation, atol=2e-4)
    turn = Rotation.from_matrix(expected.rotation).inv() * Rotation.from_quat(pose.q_xyzw)
    assert turn.magnitude() < 1e-3


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_camera_sees_the_cube_where_its_calibration_says(
    cube_twin: LockstepTwin, camera: str
) -> None:
    arm = cube_twin.reset(5, "centre")
    model = cube_twin.physics.model
    in_world = {"third_person": O_T_camera(model), "wrist": compose(arm.O_T_EE, EE_T_camera(model))}
    expected_px = _projected(model, camera, in_world[camera], cube_twin.truth().O_T_object.p_m)
    rgb = cube_twin.images()[camera].rgb.astype(int)
    red = (rgb[..., 0] > 100) & (rgb[..., 1] < 60) & (rgb[..., 2] < 60)
    rows, columns = np.nonzero(red)
    middle_px = np.array([np.ptp(columns) / 2 + columns.min(), np.ptp(rows) / 2 + rows.min()])
    assert red.sum() > 60
    np.testing.assert_allclose(middle_px, expected_px, atol=4.0)


def _projected(
    model: mujoco.MjModel,
    camera: str,
    O_T_optical: Pose,
    p_m: np.ndarray,
) -> np.ndarray:
    seen = Rotation.from_quat(O_T_optical.q_xyzw).inv().apply(p_m - O_T_optical.p_m)
    homogeneous = camera_intrinsics(model, camera, 424, 240).matrix() @ seen
    return homogeneous[:2] / homogeneous[2]


def test_a_square_image_is_the_centre_of_a_wide_one(cube_twin: LockstepTwin) -> None:
    cube_twin.reset(0)
    wide = cube_twin.images()["third_person"].rgb
    squares = Pictures(cube_twin.physics.model, 240, 240)
    square = squares.take(cube_twin.physics.data, 0, 0)["third_person"].rgb
    squares.close()
    difference = np.abs(wide[:, 92:332].astype(int) - square.astype(int))
    assert np.mean(difference > 8) < 0.01


def test_dry_friction_of_the_arm_is_scaled_and_the_fingers_keep_theirs() -> None:
    scaled = build_model(task_named("cube_pickup")).dof_frictionloss
    whole = build_model(task_named("cube_pickup"), SceneOptions(frictionloss_scale=1.0))
    np.testing.assert_allclose(scaled[:7], 0.1 * whole.dof_frictionloss[:7])
    np.testing.assert_allclose(scaled[7:9], whole.dof_frictionloss[7:9])
    assert whole.dof_frictionloss[0] == pytest.approx(1.137)
