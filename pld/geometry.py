"""Poses and rotations on scipy; quaternions are xyzw, poses `A_T_B`."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pld.types import Array, Pose


def normalised(pose: Pose) -> Pose:
    """The same pose with a unit quaternion whose w is not negative."""
    q = np.asarray(pose.q_xyzw, dtype=float)
    q = q / np.linalg.norm(q)
    return Pose(np.asarray(pose.p_m, dtype=float), -q if q[3] < 0 else q)


def apply_delta(pose: Pose, delta_m: Array, delta_rad: Array) -> Pose:
    """Move `pose` by a base-axis translation (3,) [m] and a premultiplied rotation vector [rad]."""
    rotation = Rotation.from_rotvec(delta_rad) * Rotation.from_quat(pose.q_xyzw)
    return Pose(np.asarray(pose.p_m) + delta_m, rotation.as_quat(canonical=True))


def pose_delta(start: Pose, end: Pose) -> tuple[Array, Array]:
    """Translation (3,) [m] and rotation vector (3,) [rad] in base axes that take start to end."""
    rotation = Rotation.from_quat(end.q_xyzw) * Rotation.from_quat(start.q_xyzw).inv()
    return np.asarray(end.p_m) - start.p_m, rotation.as_rotvec()


def rotation_6d(pose: Pose) -> Array:
    """The first two columns (6,) of the rotation matrix: a continuous encoding of a rotation."""
    columns: Array = Rotation.from_quat(pose.q_xyzw).as_matrix()[:, :2].T.ravel()
    return columns


def pose_from_matrix(matrix: Array) -> Pose:
    """Pose of a (4, 4) homogeneous matrix."""
    return Pose(
        np.array(matrix[:3, 3]), Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    )


def matrix_from_pose(pose: Pose) -> Array:
    """Homogeneous (4, 4) matrix of a pose."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(pose.q_xyzw).as_matrix()
    matrix[:3, 3] = pose.p_m
    return matrix


def compose(a_T_b: Pose, b_T_c: Pose) -> Pose:
    """Pose of c in a."""
    rotation = Rotation.from_quat(a_T_b.q_xyzw)
    return Pose(
        np.asarray(a_T_b.p_m) + rotation.apply(b_T_c.p_m),
        (rotation * Rotation.from_quat(b_T_c.q_xyzw)).as_quat(canonical=True),
    )
