"""Joint limits and differential kinematics of the arms that limits files may be written for.

The chain is that of Franka's published Denavit-Hartenberg table (Craig's convention), which FR3 and
FER share; their joint limits differ and are never shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pld.types import Array

JOINTS = 7
# One row per joint: a [m], d [m], alpha [rad]; theta is the joint's angle.
DH_ROWS = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
FLANGE_M = 0.107
"""From the last joint's origin to the flange, along its axis."""


@dataclass(frozen=True)
class JointTable:
    """Position limits (7,) [rad] of one robot, from its data sheet."""

    lower_rad: tuple[float, ...]
    upper_rad: tuple[float, ...]


JOINT_TABLES = {
    "fr3": JointTable(
        (-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508),
        (2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508),
    ),
    "fer": JointTable(
        (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    ),
}


def joint_axes(q_rad: Array) -> tuple[Array, Array]:
    """Origins (7, 3) [m] and directions (7, 3) of the joint axes in O at `q_rad` (7,)."""
    rotation, origin = np.eye(3), np.zeros(3)
    origins, axes = np.empty((JOINTS, 3)), np.empty((JOINTS, 3))
    for joint, (a_m, d_m, alpha) in enumerate(DH_ROWS):
        ca, sa = np.cos(alpha), np.sin(alpha)
        ct, st = np.cos(q_rad[joint]), np.sin(q_rad[joint])
        origin = origin + rotation @ np.array([a_m, -sa * d_m, ca * d_m])
        turn = np.array([[ct, -st, 0.0], [st * ca, ct * ca, -sa], [st * sa, ct * sa, ca]])
        rotation = rotation @ turn
        origins[joint], axes[joint] = origin, rotation[:, 2]
    return origins, axes


def tool_line(q_rad: Array, lengths_m: Array) -> Array:
    """Points (N, 3) [m] in O at `q_rad` (7,), `lengths_m` (N,) beyond the flange on its axis."""
    origins, axes = joint_axes(q_rad)
    points: Array = origins[-1] + (FLANGE_M + lengths_m[:, None]) * axes[-1]
    return points


def jacobian(q_rad: Array, p_ee_m: Array) -> Array:
    """Geometric Jacobian (6, 7) in O at `q_rad`: velocity of the point `p_ee_m`, then of the turn.

    The point comes from the measured state, so that the tool's offset need not be known here.
    """
    origins, axes = joint_axes(q_rad)
    return np.concatenate([np.cross(axes, p_ee_m - origins).T, axes.T])


def condition_number(jacobian_6x7: Array) -> float:
    """Largest over smallest singular value; it grows without bound towards a singularity."""
    values = np.linalg.svd(jacobian_6x7, compute_uv=False)
    return float(values[0] / max(values[-1], 1e-12))
