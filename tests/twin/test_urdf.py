"""The viewers' arm is the twin's arm: same end effector at the same joint angles."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pld.twin.scene import build_model
from pld.twin.tasks import task_named
from pld.types import Array
from pld_nodes.ros.messages import EE_FRAME

URDF = Path(__file__).resolve().parents[2] / "urdf" / "pld_fr3.urdf"


def floats(text: str) -> Array:
    return np.array([float(v) for v in text.split()])


def forward(joints: dict[str, ET.Element], angles: dict[str, float], link: str) -> Array:
    """Pose (4, 4) of `link` in `base`, straight from the URDF's definition."""
    if link == "base":
        return np.eye(4)
    joint = next(j for j in joints.values() if j.find("child").get("link") == link)  # type: ignore[union-attr]
    parent = joint.find("parent").get("link")  # type: ignore[union-attr]
    origin, step = joint.find("origin"), np.eye(4)
    if origin is not None:
        step[:3, 3] = floats(origin.get("xyz", "0 0 0"))
        step[:3, :3] = Rotation.from_euler("xyz", floats(origin.get("rpy", "0 0 0"))).as_matrix()
    if joint.get("type") == "revolute":
        axis = floats(joint.find("axis").get("xyz", ""))  # type: ignore[union-attr]
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(axis * angles[str(joint.get("name"))]).as_matrix()
        step = step @ turn
    return forward(joints, angles, str(parent)) @ step


def test_no_frame_that_the_driver_publishes_has_a_parent_here() -> None:
    root = ET.parse(URDF).getroot()  # noqa: S314 - our own file
    children = [child.get("link") for child in root.iter("child")]
    assert EE_FRAME not in children
    assert not any(str(child).endswith("_optical_frame") for child in children)


@pytest.mark.parametrize("seed", range(5))
def test_the_end_effector_is_where_the_twin_has_it(seed: int) -> None:
    root = ET.parse(URDF).getroot()  # noqa: S314 - our own file
    joints = {str(j.get("name")): j for j in root.findall("joint")}
    rng = np.random.default_rng(seed)
    angles = {}
    for i in range(1, 8):
        limit = joints[f"fr3_joint{i}"].find("limit")
        assert limit is not None
        angles[f"fr3_joint{i}"] = rng.uniform(
            float(limit.get("lower", "")), float(limit.get("upper", ""))
        )
    model = build_model(task_named("cube_pickup"))
    data = mujoco.MjData(model)
    data.qpos[:7] = list(angles.values())
    mujoco.mj_forward(model, data)
    found = forward(joints, angles, "fr3_hand_tcp_nominal")
    np.testing.assert_allclose(found[:3, 3], data.site("ee").xpos, atol=1e-6)
    np.testing.assert_allclose(found[:3, :3], data.site("ee").xmat.reshape(3, 3), atol=1e-6)
