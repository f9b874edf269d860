"""Convex zones: points that satisfy every half-space `normal . p_m <= offset_m`, in O."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from pld.types import Array

TOLERANCE_M = 1e-9


def half_spaces(planes: tuple[tuple[float, ...], ...]) -> tuple[Array, Array]:
    """Unit normals (N, 3) and offsets (N,) [m] of rows (nx, ny, nz, offset_m)."""
    rows = np.array(planes, dtype=float).reshape(-1, 4)
    lengths = np.linalg.norm(rows[:, :3], axis=1)
    return rows[:, :3] / lengths[:, None], rows[:, 3] / lengths


def box_half_spaces(low_m: Array, high_m: Array) -> tuple[Array, Array]:
    """The six half-spaces of an axis-aligned box."""
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    return normals, np.concatenate([high_m, -np.asarray(low_m)])


def excess_m(p_m: Array, normals: Array, offsets_m: Array) -> float:
    """How far `p_m` is outside the worst half-space [m]; zero or less inside."""
    return float(np.max(normals @ p_m - offsets_m))


def nearest_inside(p_m: Array, normals: Array, offsets_m: Array) -> Array | None:
    """The point of the zone nearest to `p_m`, or None when the zone is empty.

    Lawson and Hanson's least-distance programme: minimise |z| subject to G z >= h with
    z = x - p, solved through non-negative least squares.
    """
    if excess_m(p_m, normals, offsets_m) <= TOLERANCE_M:
        return p_m
    lower = normals @ p_m - offsets_m
    system = np.vstack([-normals.T, lower[None, :]])
    solution, residual = nnls(system, np.array([0.0, 0.0, 0.0, 1.0]))
    if residual < 1e-9:
        return None
    rest = system @ solution - np.array([0.0, 0.0, 0.0, 1.0])
    nearest: Array = p_m - rest[:3] / rest[3]
    return nearest
