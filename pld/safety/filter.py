"""The safety filter: a pure function from the chosen action to the command that may be executed.

It has no memory. What it integrates on is `ArmState.reference`, the pose that the driver tracks,
so that the same state and choice always give the same command, live and offline.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pld.contract import ActionSpec
from pld.geometry import pose_delta
from pld.safety.limits import SafetyLimits
from pld.types import ActionSource, ArmState, Array, Choice, Command, Pose

EPSILON = 1e-9


def hold_command(arm: ArmState, reason: str) -> Command:
    """The command that keeps the measured pose and the last gripper command."""
    executed = np.zeros(7)
    executed[6] = arm.gripper_open
    return Command(arm.step, arm.O_T_EE, arm.gripper_open, executed, True, (reason,))


def filter_choice(choice: Choice, arm: ArmState, limits: SafetyLimits, spec: ActionSpec) -> Command:
    """Bound `choice` for the arm as it is; every change is named in `Command.reasons`.

    Order of the bounds: finite numbers, force, unit range, speed, workspace box, orientation box,
    lead over the measured pose; the last one wins because it is what bounds the force.
    """
    if choice.source == ActionSource.HOLD:
        return hold_command(arm, "hold_chosen")
    action = np.asarray(choice.action, dtype=float)
    if action.shape != (7,) or not np.all(np.isfinite(action)):
        return hold_command(arm, "not_finite")
    if float(np.linalg.norm(arm.O_F_ext_hat_K[:3])) > limits.max_force_n:
        return hold_command(arm, "force_ceiling")
    reasons: list[str] = []
    clipped = np.clip(action, -1.0, 1.0)
    if np.any(clipped != action):
        reasons.append("unit_range")
    delta_m = _bounded(
        clipped[:3] * spec.translation_m, limits.max_speed_m_s / spec.rate_hz, "speed", reasons
    )
    delta_rad = _bounded(
        clipped[3:6] * spec.rotation_rad, limits.max_turn_rad_s / spec.rate_hz, "turn", reasons
    )
    p_m = _in_workspace(arm.reference.p_m + delta_m, limits, reasons)
    rotation = Rotation.from_rotvec(delta_rad) * Rotation.from_quat(arm.reference.q_xyzw)
    rotation = _in_orientation_box(rotation, limits, reasons)
    target = _near_measured(Pose(p_m, rotation.as_quat(canonical=True)), arm, limits, reasons)
    executed = spec.action_between(arm.reference, target, float(clipped[6]))
    return Command(
        arm.step, target, float(clipped[6]), executed, reasons=tuple(dict.fromkeys(reasons))
    )


def _bounded(vector: Array, limit: float, reason: str, reasons: list[str]) -> Array:
    """`vector` shortened to length `limit`."""
    length = float(np.linalg.norm(vector))
    if length <= limit * (1 + EPSILON):
        return vector
    reasons.append(reason)
    return vector * (limit / length)


def _in_workspace(p_m: Array, limits: SafetyLimits, reasons: list[str]) -> Array:
    inside = np.clip(p_m, limits.workspace_min_m, limits.workspace_max_m)
    if np.any(np.abs(inside - p_m) > EPSILON):
        reasons.append("workspace")
    return inside


def _in_orientation_box(rotation: Rotation, limits: SafetyLimits, reasons: list[str]) -> Rotation:
    """Bound the turn from upright, split into a tilt (swing) and a yaw about base z (twist)."""
    upright = Rotation.from_quat(limits.upright_q_xyzw)
    from_home = rotation * upright.inv()
    yaw, swing = _twist_about_z(from_home)
    tilt = swing.as_rotvec()
    tilt_angle = float(np.linalg.norm(tilt))
    bounded_yaw = float(np.clip(yaw, -limits.max_yaw_rad, limits.max_yaw_rad))
    if abs(bounded_yaw - yaw) > EPSILON:
        reasons.append("yaw")
    if tilt_angle > limits.max_tilt_rad + EPSILON:
        reasons.append("tilt")
        tilt = tilt * (limits.max_tilt_rad / tilt_angle)
    elif bounded_yaw == yaw:
        return rotation
    bounded = Rotation.from_rotvec(tilt) * Rotation.from_rotvec([0.0, 0.0, bounded_yaw])
    return bounded * upright


def _twist_about_z(rotation: Rotation) -> tuple[float, Rotation]:
    """Angle [rad] of the twist about z and the swing that is left: rotation = swing * twist."""
    _, _, z, w = rotation.as_quat(canonical=True)
    yaw = 2.0 * float(np.arctan2(z, w))
    yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
    return yaw, rotation * Rotation.from_rotvec([0.0, 0.0, yaw]).inv()


def _near_measured(target: Pose, arm: ArmState, limits: SafetyLimits, reasons: list[str]) -> Pose:
    """Keep the target within `max_lead` of the measured pose (reference clipping, anti-windup)."""
    lead_m, lead_rad = pose_delta(arm.O_T_EE, target)
    near_m = _bounded(lead_m, limits.max_lead_m, "lead", reasons)
    near_rad = _bounded(lead_rad, limits.max_lead_rad, "lead", reasons)
    if near_m is lead_m and near_rad is lead_rad:
        return target
    rotation = Rotation.from_rotvec(near_rad) * Rotation.from_quat(arm.O_T_EE.q_xyzw)
    return Pose(arm.O_T_EE.p_m + near_m, rotation.as_quat(canonical=True))
