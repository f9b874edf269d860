"""How much of a step the joints allow: margins to their limits, distance to singularities.

The step is shortened, never bent, and only where it leads closer to what is bounded: the way back
is always free. Joint motion is predicted with the least-norm inverse of the Jacobian; the tracker's
posture task moves the elbow too, which the margins leave room for.
"""

from __future__ import annotations

import numpy as np

from pld.geometry import pose_delta
from pld.safety.arm_model import condition_number, jacobian
from pld.safety.limits import SafetyLimits
from pld.types import ArmState, Array

DAMPING = 1e-6


def allowed_share(
    arm: ArmState, delta_m: Array, delta_rad: Array, limits: SafetyLimits
) -> tuple[float, str]:
    """Share (0 to 1) of the step that may be made from the tracked reference, and what bounds it.

    `delta_m` (3,) [m] and `delta_rad` (3,) [rad] in O. The reason is empty at a share of 1.
    """
    if limits.lower_q_rad is None and limits.singularity_stop is None:
        return 1.0, ""
    step = np.concatenate([delta_m, delta_rad])
    if not np.any(step):
        return 1.0, ""
    inverse = _least_norm_inverse(jacobian(arm.q_rad, arm.O_T_EE.p_m))
    lag = np.concatenate(pose_delta(arm.O_T_EE, arm.reference))
    q_reference = arm.q_rad + inverse @ lag
    dq_rad = inverse @ step
    joints = _share_of_joints(q_reference, dq_rad, limits)
    singular = _share_of_singularity(arm, q_reference, dq_rad, delta_m, limits)
    if min(joints, singular) >= 1.0:
        return 1.0, ""
    return (joints, "joint_limit") if joints <= singular else (singular, "singularity")


def _least_norm_inverse(jacobian_6x7: Array) -> Array:
    """Damped right inverse (7, 6)."""
    inner = jacobian_6x7 @ jacobian_6x7.T + DAMPING * np.eye(6)
    inverse: Array = np.linalg.solve(inner, jacobian_6x7).T
    return inverse


def _share_of_joints(q_rad: Array, dq_rad: Array, limits: SafetyLimits) -> float:
    """Largest share of `dq_rad` (7,) that takes no joint further into its margin."""
    if limits.lower_q_rad is None or limits.upper_q_rad is None:
        return 1.0
    margin = limits.joint_margin_rad or 0.0
    room_up = np.array(limits.upper_q_rad) - margin - q_rad
    room_down = q_rad - np.array(limits.lower_q_rad) - margin
    room = np.maximum(np.where(dq_rad > 0, room_up, room_down), 0.0)
    if np.all(np.abs(dq_rad) <= room):
        return 1.0
    return float(np.min(room / np.maximum(np.abs(dq_rad), 1e-12)))


def _share_of_singularity(
    arm: ArmState, q_rad: Array, dq_rad: Array, delta_m: Array, limits: SafetyLimits
) -> float:
    """1 below `singularity_slow`, 0 at `singularity_stop`, in between by the condition number."""
    slow, stop = limits.singularity_slow, limits.singularity_stop
    if slow is None or stop is None:
        return 1.0
    ahead = condition_number(jacobian(q_rad + dq_rad, arm.reference.p_m + delta_m))
    if ahead <= slow:
        return 1.0
    here = condition_number(jacobian(q_rad, arm.reference.p_m))
    measured = condition_number(jacobian(arm.q_rad, arm.O_T_EE.p_m))
    if ahead <= min(here, measured):
        return 1.0
    return float(np.clip((stop - ahead) / (stop - slow), 0.0, 1.0))
