"""The filter under limits swept over their whole range, with random and adversarial inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pld.contract import ActionSpec
from pld.geometry import pose_delta
from pld.safety.arm_model import JOINT_TABLES
from pld.safety.filter import filter_choice
from pld.safety.limits import CEILINGS, SafetyLimits
from pld.types import ActionSource, ArmState, Choice, Command, ControlMode, Pose

FR3 = JOINT_TABLES["fr3"]
READY_Q_RAD = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
ADVERSARIAL = [0.0, -0.0, 1.0, -1.0, 1 + 1e-12, 1e-300, 5e-324, 1e17, -1e300, 1.7e308, -1.7e308]
BAD = [np.nan, np.inf, -np.inf]
SWEEP = settings(max_examples=300, deadline=None, derandomize=True)

unit = st.floats(-1.0, 1.0)
number = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(ADVERSARIAL))
entry = st.one_of(unit, unit, unit, st.floats(-10.0, 10.0), st.sampled_from([10.0, 1 + 1e-12]))
hostile = st.one_of(unit, unit, entry, entry, number)


def share(name: str) -> st.SearchStrategy[float]:
    """A limit anywhere in its range, its ends included."""
    top = CEILINGS[name]
    return st.one_of(st.floats(top * 1e-4, top), st.sampled_from([top, top * 1e-4]))


@st.composite
def limits_in_range(draw) -> SafetyLimits:
    low = [draw(st.floats(-0.9, 0.8)), draw(st.floats(-0.9, 0.8)), draw(st.floats(-0.7, 1.0))]
    high = [v + draw(st.floats(1e-3, 0.2)) for v in low]
    slow = draw(st.floats(1.5, 100.0))
    scalars = {name: draw(share(name)) for name in CEILINGS if name != "singularity_stop"}
    centre = (np.array(low) + np.array(high)) / 2
    normal = np.array([draw(unit) for _ in range(3)]) + np.array([0.0, 0.0, 1e-3])
    normal /= np.linalg.norm(normal)
    offset = float(normal @ centre) + draw(st.floats(0.0, 0.1))
    planes = ((*map(float, normal), offset),) if draw(st.booleans()) else ()
    return SafetyLimits(
        "fr3",
        tuple(low),
        tuple(high),
        **scalars,
        zone_planes=planes,
        lower_q_rad=FR3.lower_rad,
        upper_q_rad=FR3.upper_rad,
        singularity_slow=slow,
        singularity_stop=slow * draw(st.floats(1.01, 10.0)),
    )


def is_inside(p_m: np.ndarray, limits: SafetyLimits, slack: float = 1e-7) -> bool:
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    in_zone = all(np.dot(n[:3], p_m) <= n[3] + slack for n in limits.zone_planes)
    return bool(np.all(p_m >= low - slack) and np.all(p_m <= high + slack) and in_zone)


def outside_m(p_m: np.ndarray, limits: SafetyLimits) -> float:
    """How far a point is beyond the worst side of box and zone; not above zero inside."""
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    beyond = [float(np.dot(n[:3], p_m)) - n[3] for n in limits.zone_planes]
    return max(*(low - p_m), *(p_m - high), *beyond)


@st.composite
def arm_inside(draw, limits: SafetyLimits) -> ArmState:
    """An arm whose measured pose and reference are inside box, zone and orientation box."""
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    centre = (low + high) / 2

    def place() -> np.ndarray:
        p_m = low + (np.array([draw(unit) for _ in range(3)]) + 1) / 2 * (high - low)
        while not is_inside(p_m, limits, 0.0):
            p_m = (p_m + centre) / 2 if np.linalg.norm(p_m - centre) > 1e-6 else centre
            if np.array_equal(p_m, centre):
                break
        return p_m

    tilt = np.array([draw(unit), draw(unit), 0.0]) * limits.max_tilt_rad / np.sqrt(2) * 0.999
    yaw = draw(unit) * limits.max_yaw_rad * 0.999
    turn = Rotation.from_rotvec(tilt) * Rotation.from_rotvec([0, 0, yaw])
    q_xyzw = (turn * Rotation.from_quat(limits.upright_q_xyzw)).as_quat()
    margin = np.array([draw(unit) for _ in range(7)])
    lower, upper = np.array(FR3.lower_rad), np.array(FR3.upper_rad)
    return ArmState(
        t_ns=0,
        step=7,
        q_rad=lower + (margin + 1) / 2 * (upper - lower),
        dq_rad_s=np.zeros(7),
        O_T_EE=Pose(place(), q_xyzw),
        O_dP_EE=np.array([draw(st.floats(-3.0, 3.0)) for _ in range(6)]),
        reference=Pose(place(), q_xyzw),
        O_F_ext_hat_K=np.zeros(6),
        gripper_width_m=0.08,
        gripper_open=1.0,
        control_mode=ControlMode.TRACKING,
    )


def angle_between(a: Pose, b: Pose) -> float:
    return float((Rotation.from_quat(a.q_xyzw) * Rotation.from_quat(b.q_xyzw).inv()).magnitude())


def tilt_and_yaw(q_xyzw, upright_q_xyzw) -> tuple[float, float]:
    """An oracle of its own: tilt between the z axes, yaw of the x axis once untilted."""
    upright = Rotation.from_quat(upright_q_xyzw).as_matrix()
    matrix = Rotation.from_quat(q_xyzw).as_matrix()
    down = upright[:, 2]
    tilt = float(np.arccos(np.clip(matrix[:, 2] @ down, -1.0, 1.0)))
    axis = np.cross(matrix[:, 2], down)
    norm = np.linalg.norm(axis)
    untilt = Rotation.from_rotvec(axis / norm * tilt) if norm > 1e-12 else Rotation.identity()
    x_axis = untilt.as_matrix() @ matrix[:, 0]
    angle = np.arctan2(*(upright.T @ x_axis)[[1, 0]])
    return tilt, float(-angle if down[2] < 0 else angle)


def filtered(action, arm: ArmState, limits: SafetyLimits, rate_hz: float) -> Command:
    choice = Choice(7, ActionSource.BASE, np.asarray(action, dtype=float))
    return filter_choice(choice, arm, limits, ActionSpec(rate_hz=rate_hz))


@SWEEP
@given(data=st.data(), rate_hz=st.sampled_from([10.0, 20.0]))
def test_no_limit_is_ever_exceeded_wherever_it_is_set(data, rate_hz: float) -> None:
    limits = data.draw(limits_in_range())
    arm = data.draw(arm_inside(limits))
    action = data.draw(
        st.lists(data.draw(st.sampled_from([entry, hostile])), min_size=7, max_size=7)
    )
    command = filtered(action, arm, limits, rate_hz)
    target = command.target
    absurd = max(np.abs(action)) > 10.0
    assert (command.hold, "absurd" in command.reasons) == (absurd, absurd)
    if absurd:
        np.testing.assert_array_equal(target.p_m, arm.O_T_EE.p_m)
        return
    assert np.isfinite([*target.p_m, *target.q_xyzw, *command.executed_action]).all()
    assert abs(np.linalg.norm(target.q_xyzw) - 1.0) < 1e-9
    assert -1.0 <= command.gripper_open <= 1.0
    assert is_inside(target.p_m, limits)
    assert np.linalg.norm(target.p_m - arm.O_T_EE.p_m) <= limits.max_lead_m * (1 + 1e-6) + 1e-9
    assert angle_between(target, arm.O_T_EE) <= limits.max_lead_rad + 1e-6
    tilt, yaw = tilt_and_yaw(target.q_xyzw, limits.upright_q_xyzw)
    assert tilt <= limits.max_tilt_rad + 1e-6
    assert abs(yaw) <= limits.max_yaw_rad + 1e-6
    if "lead" not in command.reasons:
        moved_m = float(np.linalg.norm(target.p_m - arm.reference.p_m))
        assert moved_m <= min(limits.max_speed_m_s / rate_hz, limits.max_step_m) * (1 + 1e-6)
        turned = angle_between(target, arm.reference)
        assert turned <= min(limits.max_turn_rad_s / rate_hz, limits.max_step_rad) + 1e-6


@SWEEP
@given(data=st.data())
def test_a_changed_action_has_a_reason_and_an_unchanged_one_has_none(data) -> None:
    limits = data.draw(limits_in_range())
    arm = data.draw(arm_inside(limits))
    action = data.draw(st.lists(hostile, min_size=7, max_size=7))
    command = filtered(action, arm, limits, 20.0)
    if not np.allclose(command.executed_action, action, atol=1e-6):
        assert command.reasons
    if not command.reasons:
        np.testing.assert_allclose(command.executed_action, action, atol=1e-6)


@SWEEP
@given(data=st.data(), bad=st.sampled_from(BAD), index=st.integers(0, 6))
def test_what_is_not_finite_holds_whatever_the_limits(data, bad: float, index: int) -> None:
    limits = data.draw(limits_in_range())
    arm = data.draw(arm_inside(limits))
    action = data.draw(st.lists(entry, min_size=7, max_size=7))
    action[index] = bad
    assert filtered(action, arm, limits, 20.0).reasons == ("not_finite",)
    broken = replace(arm, q_rad=np.where(np.arange(7) == index, bad, arm.q_rad))
    held = filtered(np.zeros(7), broken, limits, 20.0)
    assert (held.hold, held.reasons) == (True, ("arm_not_finite",))


@SWEEP
@given(data=st.data(), beyond=st.floats(1e-6, 1e6))
def test_force_holds_exactly_above_the_ceiling(data, beyond: float) -> None:
    limits = data.draw(limits_in_range())
    arm = data.draw(arm_inside(limits))
    direction = np.array([0.6, 0.0, -0.8, 0.0, 0.0, 0.0])
    below = replace(arm, O_F_ext_hat_K=direction * limits.max_force_n * (1 - 1e-9))
    above = replace(arm, O_F_ext_hat_K=direction * (limits.max_force_n + beyond))
    assert not filtered(np.ones(7), below, limits, 20.0).hold
    assert filtered(np.ones(7), above, limits, 20.0).reasons == ("force_ceiling",)


@SWEEP
@given(data=st.data(), outside=st.floats(0.0, 0.5))
def test_a_reference_outside_the_box_comes_back_in_bounded_steps(data, outside: float) -> None:
    limits = replace(data.draw(limits_in_range()), max_outside_m=None)
    arm = data.draw(arm_inside(limits))
    turned = Rotation.from_rotvec([0.7, 0.4, 0.9]) * Rotation.from_quat(arm.O_T_EE.q_xyzw)
    away = Pose(np.array(limits.workspace_max_m) + outside, turned.as_quat())
    longest_m = min(limits.max_step_m, limits.max_lead_m, limits.max_speed_m_s / 20.0)
    longest_rad = min(limits.max_step_rad, limits.max_lead_rad, limits.max_turn_rad_s / 20.0)
    for _ in range(3):
        arm = replace(arm, O_T_EE=away, reference=away)
        target = filtered(np.zeros(7), arm, limits, 20.0).target
        moved_m, moved_rad = (float(np.linalg.norm(d)) for d in pose_delta(away, target))
        assert moved_m <= longest_m * (1 + 1e-6)
        assert moved_rad <= longest_rad * (1 + 1e-6) + 1e-7
        left_m = outside_m(target.p_m, limits)
        assert left_m < outside_m(away.p_m, limits) or left_m <= 1e-6
        away = target


@SWEEP
@given(
    asked=st.tuples(unit, unit, unit),
    measured=st.tuples(*[st.floats(-2.0, 2.0)] * 3),
    top=st.floats(0.01, 9.0),
)
def test_acceleration_only_shortens_and_is_kept_where_shortening_can(asked, measured, top) -> None:
    limits = SafetyLimits(
        "fr3", (0, -0.5, 0), (0.8, 0.5, 0.8), 0.4, 1.7, 1.0, 2.5, 0.1, 1.0, 100.0,
        max_acceleration_m_s2=top,
    )  # fmt: skip
    pose = Pose(np.array([0.4, 0.0, 0.4]), np.array([1.0, 0.0, 0.0, 0.0]))
    arm = ArmState(
        0, 7, READY_Q_RAD, np.zeros(7), pose, np.array([*measured, 0, 0, 0]), pose, np.zeros(6),
        0.08, 1.0,
    )  # fmt: skip
    spec = ActionSpec()
    command = filtered([*asked, 0, 0, 0, 0], arm, limits, spec.rate_hz)
    wanted = np.array(asked) * spec.max_speed_m_s
    got = (command.target.p_m - pose.p_m) * spec.rate_hz
    shares = np.linspace(0.0, 1.0, 401)[:, None]
    changes = np.linalg.norm(shares * wanted - np.array(measured), axis=1)
    change = np.linalg.norm(got - np.array(measured))
    assert np.linalg.norm(got) <= np.linalg.norm(wanted) + 1e-9
    assert np.linalg.norm(np.cross(got, wanted)) < 1e-9
    if "acceleration" in command.reasons:
        assert change <= max(top / spec.rate_hz, changes.min()) + 2e-3
    else:
        slower_than_measured = change <= changes.min() + 2e-3
        assert change <= top / spec.rate_hz + 1e-6 or slower_than_measured
