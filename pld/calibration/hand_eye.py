"""Where is the camera: solved from poses of the arm and of a board seen by the camera.

The camera on the hand (eye in hand) looks at a board fixed to the table; the camera on a stand
(eye on base) looks at a board held by the hand. The second is the first with the arm inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pld.errors import ConfigError
from pld.geometry import matrix_from_pose, pose_from_matrix
from pld.types import Array, Pose

MIN_SAMPLES = 5
MIN_TURN_RAD = np.deg2rad(10.0)


@dataclass(frozen=True)
class HandEye:
    """`parent_T_camera` and how far the samples disagree about the board's pose (rms)."""

    parent: str
    parent_T_camera: Pose  # noqa: N815
    residual_m: float
    residual_rad: float
    samples: int


def solve_hand_eye(
    O_T_EE: Sequence[Pose], camera_T_board: Sequence[Pose], *, eye_in_hand: bool
) -> HandEye:
    """Solve AX = XB (Park and Martin 1994) for EE_T_camera, or for O_T_camera.

    Raises ConfigError for too few samples or when the arm turned too little to tell.
    """
    if len(O_T_EE) != len(camera_T_board):
        raise ConfigError(f"{len(O_T_EE)} arm poses but {len(camera_T_board)} board poses")
    if len(O_T_EE) < MIN_SAMPLES:
        raise ConfigError(f"{len(O_T_EE)} samples; take at least {MIN_SAMPLES}, better 15")
    arm = np.array([matrix_from_pose(p) for p in O_T_EE])
    board = np.array([matrix_from_pose(p) for p in camera_T_board])
    _check_turns(arm)
    moving = arm if eye_in_hand else np.linalg.inv(arm)
    solution = _solve(*_motions(moving, board))
    residual_m, residual_rad = _disagreement(moving @ solution @ board)
    parent = "EE" if eye_in_hand else "O"
    return HandEye(parent, pose_from_matrix(solution), residual_m, residual_rad, len(arm))


def _motions(moving: Array, board: Array) -> tuple[Array, Array]:
    """Relative motions A, B (m, 4, 4) with A X = X B, between every pair of samples."""
    first, second = np.triu_indices(len(moving), k=1)
    return (
        np.linalg.inv(moving[second]) @ moving[first],
        board[second] @ np.linalg.inv(board[first]),
    )


def _solve(A: Array, B: Array) -> Array:
    """X (4, 4): the rotation that takes B's rotation vectors to A's, then the translation."""
    turns_a = Rotation.from_matrix(A[:, :3, :3]).as_rotvec()
    turns_b = Rotation.from_matrix(B[:, :3, :3]).as_rotvec()
    solution = np.eye(4)
    solution[:3, :3] = Rotation.align_vectors(turns_a, turns_b)[0].as_matrix()
    left = (A[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    right = (B[:, :3, 3] @ solution[:3, :3].T - A[:, :3, 3]).ravel()
    solution[:3, 3] = np.linalg.lstsq(left, right, rcond=None)[0]
    return solution


def _check_turns(arm: Array) -> None:
    """The rotation axes between samples must span a plane at least, else X is not determined."""
    turns = Rotation.from_matrix(arm[0, :3, :3].T @ arm[1:, :3, :3]).as_rotvec()
    spread = np.linalg.svd(turns, compute_uv=False)
    if spread[1] < MIN_TURN_RAD:
        raise ConfigError(
            "the arm turned about less than two axes; tilt the hand by 20 degrees or more about "
            "different axes between samples"
        )


def _disagreement(fixed_T_board: Array) -> tuple[float, float]:
    """Root mean square distance [m] and angle [rad] of poses (n, 4, 4) that should be one."""
    positions = fixed_T_board[:, :3, 3]
    rotations = Rotation.from_matrix(fixed_T_board[:, :3, :3])
    angles = (rotations.mean().inv() * rotations).magnitude()
    distances = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    return float(np.sqrt(np.mean(distances**2))), float(np.sqrt(np.mean(angles**2)))
