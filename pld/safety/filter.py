"""The safety filter: a pure function from the chosen action to the command that may be executed.

It has no memory. What it integrates on is `ArmState.reference`, the pose that the driver tracks,
so that the same state and choice always give the same command, live and offline.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pld.contract import ActionSpec, is_sensible
from pld.geometry import pose_delta
from pld.safety.arm_limits import allowed_share
from pld.safety.limits import SafetyLimits
from pld.safety.zone import excess_m, half_spaces, nearest_inside
from pld.types import ActionSource, ArmState, Array, Choice, Command, Pose

EPSILON = 1e-9


def hold_command(arm: ArmState, reason: str) -> Command:
    """The command that keeps the measured pose and the last gripper command."""
    executed = np.zeros(7)
    executed[6] = arm.gripper_open
    return Command(arm.step, arm.O_T_EE, arm.gripper_open, executed, True, (reason,))


def filter_choice(choice: Choice, arm: ArmState, limits: SafetyLimits, spec: ActionSpec) -> Command:
    """Bound `choice` for the arm as it is; every change is named in `Command.reasons`.

    Order of the bounds: finite and sensible numbers, force, measured place, unit range, speed,
    acceleration, joint limits and singularities, workspace box and zone, orientation box, step,
    lead over the measured pose; the last one wins because it is what a blocked arm lurches by.
    """
    refusal = _refusal(choice, arm, limits)
    if refusal:
        return hold_command(arm, refusal)
    reasons: list[str] = []
    action = np.asarray(choice.action, dtype=float)
    clipped = np.clip(action, -1.0, 1.0)
    if np.any(clipped != action):
        reasons.append("unit_range")
    delta_m, delta_rad = _bounded_motion(clipped, arm, limits, spec, reasons)
    p_m = _in_workspace(arm.reference.p_m + delta_m, limits, reasons)
    rotation = Rotation.from_rotvec(delta_rad) * Rotation.from_quat(arm.reference.q_xyzw)
    rotation = _in_orientation_box(rotation, limits, reasons)
    target = Pose(p_m, rotation.as_quat(canonical=True))
    target = _near(arm.reference, target, *_longest_step(limits, spec), "step", reasons)
    lead = (limits.max_lead_m, limits.max_lead_rad)
    target = _near(arm.O_T_EE, target, *lead, "lead", reasons)
    executed = spec.action_between(arm.reference, target, float(clipped[6]))
    return Command(
        arm.step, target, float(clipped[6]), executed, reasons=tuple(dict.fromkeys(reasons))
    )


def _longest_step(limits: SafetyLimits, spec: ActionSpec) -> tuple[float, float]:
    """How far [m], [rad] a target may be from the reference, drawn back into the box or not."""
    fastest = (limits.max_speed_m_s / spec.rate_hz, limits.max_turn_rad_s / spec.rate_hz)
    steps = (limits.max_step_m, limits.max_step_rad)
    step_m, step_rad = (f if s is None else min(s, f) for s, f in zip(steps, fastest, strict=True))
    return step_m, step_rad


def arm_conditions(arm: ArmState, limits: SafetyLimits) -> tuple[str, ...]:
    """What is wrong with the arm itself, whatever was chosen, worst first."""
    if not _is_plausible(arm):
        return ("arm_not_finite",)
    found = []
    if float(np.linalg.norm(arm.O_F_ext_hat_K[:3])) > limits.max_force_n:
        found.append("force_ceiling")
    if limits.max_outside_m is not None and _outside_m(arm, limits) > limits.max_outside_m:
        found.append("left_workspace")
    return tuple(found)


def _refusal(choice: Choice, arm: ArmState, limits: SafetyLimits) -> str:
    """Why nothing of the choice may be executed; empty when something may."""
    if choice.source == ActionSource.HOLD:
        return "hold_chosen"
    action = np.asarray(choice.action, dtype=float)
    if action.shape != (7,) or not np.all(np.isfinite(action)):
        return "not_finite"
    if not is_sensible(action):
        return "absurd"
    return next(iter(arm_conditions(arm, limits)), "")


def _outside_m(arm: ArmState, limits: SafetyLimits) -> float:
    """How far the measured pose is outside the box or the zone [m]; zero or less inside."""
    return excess_m(arm.O_T_EE.p_m, *limits.workspace_half_spaces())


def _is_plausible(arm: ArmState) -> bool:
    """Whether every number that the filter reads is finite and both quaternions have a length."""
    quaternions = (arm.O_T_EE.q_xyzw, arm.reference.q_xyzw)
    numbers = (arm.q_rad, arm.O_dP_EE, arm.O_F_ext_hat_K, arm.O_T_EE.p_m, arm.reference.p_m)
    finite = all(bool(np.isfinite(n).all()) for n in (*numbers, *quaternions))
    return finite and all(0.5 < float(np.linalg.norm(q)) < 2.0 for q in quaternions)


def _bounded_motion(
    action: Array, arm: ArmState, limits: SafetyLimits, spec: ActionSpec, reasons: list[str]
) -> tuple[Array, Array]:
    """The step (3,) [m], (3,) [rad] that `action` asks for, bounded in length but not in place."""
    delta_m = _bounded(
        action[:3] * spec.translation_m, limits.max_speed_m_s / spec.rate_hz, "speed", reasons
    )
    delta_rad = _bounded(
        action[3:6] * spec.rotation_rad, limits.max_turn_rad_s / spec.rate_hz, "turn", reasons
    )
    delta_m = _accelerating(delta_m, arm, limits, spec.rate_hz, reasons)
    share, reason = allowed_share(arm, delta_m, delta_rad, limits)
    if not reason:
        return delta_m, delta_rad
    reasons.append(reason)
    return delta_m * share, delta_rad * share


def _accelerating(
    delta_m: Array, arm: ArmState, limits: SafetyLimits, rate_hz: float, reasons: list[str]
) -> Array:
    """`delta_m` shortened until its velocity is within reach of the measured one.

    A filter without memory knows no commanded velocity of the step before; the measured one stands
    for it. The step is only ever shortened, so braking is never weakened.
    """
    if limits.max_acceleration_m_s2 is None:
        return delta_m
    asked, measured = delta_m * rate_hz, arm.O_dP_EE[:3]
    change = limits.max_acceleration_m_s2 / rate_hz
    if float(np.linalg.norm(asked - measured)) <= change * (1 + EPSILON):
        return delta_m
    length2 = float(asked @ asked)
    if length2 < EPSILON**2:
        return delta_m
    along = float(asked @ measured)
    root = along**2 - length2 * (float(measured @ measured) - change**2)
    share = float(np.clip((along + np.sqrt(max(root, 0.0))) / length2, 0.0, 1.0))
    if share >= 1.0:
        return delta_m
    reasons.append("acceleration")
    return delta_m * share


def _bounded(vector: Array, limit: float, reason: str, reasons: list[str]) -> Array:
    """`vector` shortened to length `limit`."""
    length = float(np.linalg.norm(vector))
    if length <= limit * (1 + EPSILON):
        return vector
    reasons.append(reason)
    return vector * (limit / length)


def _in_workspace(p_m: Array, limits: SafetyLimits, reasons: list[str]) -> Array:
    """The nearest point of the box, then of the box and the zone."""
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    inside: Array = np.clip(p_m, low, high)
    if np.any(np.abs(inside - p_m) > EPSILON):
        reasons.append("workspace")
    if not limits.zone_planes:
        return inside
    if excess_m(inside, *half_spaces(limits.zone_planes)) <= EPSILON:
        return inside
    reasons.append("zone")
    nearest = nearest_inside(p_m, *limits.workspace_half_spaces())
    assert nearest is not None, "the zone was found to be non-empty when the limits were loaded"
    return nearest


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


def _near(
    origin: Pose,
    target: Pose,
    limit_m: float | None,
    limit_rad: float | None,
    reason: str,
    reasons: list[str],
) -> Pose:
    """`target` drawn towards `origin` until it is within both limits; None bounds nothing."""
    away_m, away_rad = pose_delta(origin, target)
    near_m = away_m if limit_m is None else _bounded(away_m, limit_m, reason, reasons)
    near_rad = away_rad if limit_rad is None else _bounded(away_rad, limit_rad, reason, reasons)
    if near_m is away_m and near_rad is away_rad:
        return target
    rotation = Rotation.from_rotvec(near_rad) * Rotation.from_quat(origin.q_xyzw)
    return Pose(origin.p_m + near_m, rotation.as_quat(canonical=True))
