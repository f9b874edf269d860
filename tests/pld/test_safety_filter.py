"""The filter lets through what the limits allow, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pld.contract import ActionSpec
from pld.geometry import pose_delta
from pld.safety.filter import filter_choice
from pld.safety.limits import load_limits
from pld.types import ActionSource, ArmState, Choice, Pose

LIMITS_FILE = Path(__file__).resolve().parents[2] / "launch" / "config" / "limits_fr3.yaml"
LIMITS = load_limits(LIMITS_FILE)
SPEC = ActionSpec()
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
CENTRE = np.array([0.5, 0.0, 0.3])
READY_Q_RAD = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


def arm_at(p_m=CENTRE, q_xyzw=UPRIGHT, reference=None, force_n=0.0, gripper_open=1.0) -> ArmState:
    pose = Pose(np.asarray(p_m, dtype=float), np.asarray(q_xyzw, dtype=float))
    return ArmState(
        t_ns=0,
        step=7,
        q_rad=READY_Q_RAD,
        dq_rad_s=np.zeros(7),
        O_T_EE=pose,
        O_dP_EE=np.zeros(6),
        reference=reference or pose,
        O_F_ext_hat_K=np.array([force_n, 0, 0, 0, 0, 0]),
        gripper_width_m=0.08,
        gripper_open=gripper_open,
    )


def chosen(action, source=ActionSource.BASE) -> Choice:
    return Choice(7, source, np.asarray(action, dtype=float))


def test_a_modest_action_passes_unchanged() -> None:
    action = np.array([0.3, -0.2, 0.1, 0.0, 0.1, -0.2, -1.0])
    command = filter_choice(chosen(action), arm_at(), LIMITS, SPEC)
    assert command.reasons == ()
    assert not command.hold
    np.testing.assert_allclose(command.executed_action, action, atol=1e-9)
    np.testing.assert_allclose(command.target.p_m, CENTRE + action[:3] * 0.25 / 20.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", range(7))
def test_a_number_that_is_not_finite_holds(bad: float, index: int) -> None:
    action = np.zeros(7)
    action[index] = bad
    arm = arm_at(gripper_open=-1.0)
    command = filter_choice(chosen(action), arm, LIMITS, SPEC)
    assert command.hold
    assert command.reasons == ("not_finite",)
    np.testing.assert_array_equal(command.target.p_m, arm.O_T_EE.p_m)
    assert command.gripper_open == -1.0


def test_an_action_of_the_wrong_shape_holds() -> None:
    assert filter_choice(chosen(np.zeros(6)), arm_at(), LIMITS, SPEC).hold


def test_a_chosen_hold_keeps_the_measured_pose() -> None:
    reference = Pose(CENTRE + np.array([0.015, 0, 0]), UPRIGHT)
    command = filter_choice(
        chosen(np.ones(7), ActionSource.HOLD), arm_at(reference=reference), LIMITS, SPEC
    )
    assert command.hold
    np.testing.assert_array_equal(command.target.p_m, CENTRE)


def test_force_above_the_ceiling_holds() -> None:
    command = filter_choice(chosen(np.ones(7)), arm_at(force_n=60.1), LIMITS, SPEC)
    assert command.hold
    assert command.reasons == ("force_ceiling",)
    assert not filter_choice(chosen(np.ones(7)), arm_at(force_n=59.9), LIMITS, SPEC).hold


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("side", ["workspace_min_m", "workspace_max_m"])
def test_an_arm_that_left_its_box_holds_where_it_is(axis: int, side: str) -> None:
    assert LIMITS.max_outside_m is not None
    outward = -1.0 if side == "workspace_min_m" else 1.0
    for excess_m, holds in (
        (LIMITS.max_outside_m - 1e-4, False),
        (LIMITS.max_outside_m + 1e-4, True),
    ):
        place = CENTRE.copy()
        place[axis] = getattr(LIMITS, side)[axis] + outward * excess_m
        command = filter_choice(chosen(np.zeros(7)), arm_at(place), LIMITS, SPEC)
        assert command.hold is holds
        assert (command.reasons == ("left_workspace",)) is holds


def test_an_arm_that_left_its_zone_holds() -> None:
    limits = replace(LIMITS, zone_planes=((1.0, 0.0, 0.0, 0.45),))
    arm = arm_at(np.array([0.48, 0.0, CENTRE[2]]))
    assert filter_choice(chosen(np.zeros(7)), arm, limits, SPEC).reasons == ("left_workspace",)
    assert not filter_choice(chosen(np.zeros(7)), arm, LIMITS, SPEC).hold


def test_an_arm_is_drawn_back_into_its_box_step_by_step_no_faster_than_the_speed_limits() -> None:
    def above_m(pose: Pose) -> float:
        return float(pose.p_m[2]) - LIMITS.workspace_max_m[2]

    def tilted_rad(pose: Pose) -> float:
        return tilt_and_yaw(pose.q_xyzw)[0] - LIMITS.max_tilt_rad

    outside = arm_at(np.array([*CENTRE[:2], LIMITS.workspace_max_m[2] + 0.018]))
    tilted = arm_at(
        q_xyzw=(Rotation.from_rotvec([0.9, 0, 0]) * Rotation.from_quat(UPRIGHT)).as_quat()
    )
    for start, reason, beyond in ((outside, "workspace", above_m), (tilted, "tilt", tilted_rad)):
        pose = start.O_T_EE
        assert beyond(pose) > 0.01
        while beyond(pose) > 1e-6:
            arm = replace(start, O_T_EE=pose, reference=pose)
            command = filter_choice(chosen(np.zeros(7)), arm, LIMITS, SPEC)
            assert reason in command.reasons
            moved_m, moved_rad = (np.linalg.norm(d) for d in pose_delta(pose, command.target))
            assert moved_m * SPEC.rate_hz <= LIMITS.max_speed_m_s + 1e-9
            assert moved_rad * SPEC.rate_hz <= LIMITS.max_turn_rad_s + 1e-9
            assert beyond(command.target) < max(beyond(pose) - 0.002, 1e-6)
            pose = command.target


def test_the_reference_cannot_run_away_from_a_blocked_arm() -> None:
    arm = arm_at()
    for _ in range(50):
        command = filter_choice(chosen([0, 0, -1, 0, 0, 0, 1]), arm, LIMITS, SPEC)
        arm = replace(arm, reference=command.target)
    assert np.linalg.norm(arm.reference.p_m - CENTRE) <= LIMITS.max_lead_m + 1e-9
    assert "lead" in command.reasons


def tilt_and_yaw(q_xyzw) -> tuple[float, float]:
    """An oracle of its own: tilt between the z axes, yaw of the x axis once untilted."""
    matrix = Rotation.from_quat(q_xyzw).as_matrix()
    down = Rotation.from_quat(LIMITS.upright_q_xyzw).as_matrix()[:, 2]
    tilt = float(np.arccos(np.clip(matrix[:, 2] @ down, -1.0, 1.0)))
    axis = np.cross(matrix[:, 2], down)
    norm = np.linalg.norm(axis)
    untilt = Rotation.from_rotvec(axis / norm * tilt) if norm > 1e-12 else Rotation.identity()
    x_axis = untilt.as_matrix() @ matrix[:, 0]
    return tilt, float(np.arctan2(x_axis[1], x_axis[0]))


finite = st.floats(-1e6, 1e6)
unit = st.floats(-1.0, 1.0)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    action=st.lists(finite, min_size=7, max_size=7),
    place=st.tuples(unit, unit, unit),
    lead=st.tuples(unit, unit, unit),
    tilt=st.tuples(unit, unit, st.floats(-1.7, 1.7)),
)
def test_no_finite_action_leads_out_of_the_limits(action, place, lead, tilt) -> None:
    low, high = np.array(LIMITS.workspace_min_m), np.array(LIMITS.workspace_max_m)
    p_m = low + (np.array(place) + 1) / 2 * (high - low)
    swing = np.array([tilt[0], tilt[1], 0.0]) * LIMITS.max_tilt_rad / np.sqrt(2)
    rotation = (
        Rotation.from_rotvec(swing)
        * Rotation.from_rotvec([0, 0, tilt[2]])
        * Rotation.from_quat(UPRIGHT)
    )
    reference = Pose(np.clip(p_m + np.array(lead) * 0.01, low, high), rotation.as_quat())
    arm = arm_at(p_m, rotation.as_quat(), reference)
    command = filter_choice(chosen(action), arm, LIMITS, SPEC)
    target = command.target
    assert np.all(target.p_m >= low - 1e-9)
    assert np.all(target.p_m <= high + 1e-9)
    assert np.linalg.norm(target.p_m - p_m) <= LIMITS.max_lead_m + 1e-9
    assert np.linalg.norm(target.p_m - reference.p_m) <= 0.25 * np.sqrt(3) / 20 + 0.02 + 1e-9
    reached_tilt, reached_yaw = tilt_and_yaw(target.q_xyzw)
    assert reached_tilt <= LIMITS.max_tilt_rad + 1e-6
    assert abs(reached_yaw) <= LIMITS.max_yaw_rad + 1e-6
    assert -1.0 <= command.gripper_open <= 1.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(action=st.lists(finite, min_size=7, max_size=7))
def test_every_change_is_named_and_no_change_is_not(action) -> None:
    command = filter_choice(chosen(action), arm_at(), LIMITS, SPEC)
    changed = not np.allclose(command.executed_action, action, atol=1e-7)
    assert changed == bool(command.reasons)
