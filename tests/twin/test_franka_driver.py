"""The Franka driver with the genuine client against the simulated robot, in robot time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pld.errors import ConfigError, RobotError
from pld.robots import franka
from pld.robots.franka import AbortedError, FrankaArm
from pld.robots.franka_config import HOME_RAD
from pld.robots.franky_errors import Ended
from pld.robots.franky_link import FrankyLink
from pld.safety.filter import hold_command
from pld.twin.process import RunningTwin, running_twin
from pld.types import ArmState, ControlMode, Pose
from tests.twin.fci_rig import command, connected_arm, drive, towards, twin_config

ADDRESS = "127.0.0.32"
ABOVE_TABLE = np.array([0.40, -0.25, 0.0])


@pytest.fixture(scope="module")
def twin() -> Iterator[RunningTwin]:
    with running_twin(ADDRESS) as twin:
        yield twin


@pytest.fixture
def arm(twin: RunningTwin) -> Iterator[FrankaArm]:
    with connected_arm(twin) as arm:
        yield arm


def test_reset_goes_home_with_an_open_hand_and_tracks_from_there(arm: FrankaArm) -> None:
    told = []
    state = arm.reset(on_state=told.append)
    np.testing.assert_allclose(state.q_rad, HOME_RAD, atol=0.02)
    assert state.gripper_width_m > 0.07
    assert state.control_mode is ControlMode.HOLDING
    np.testing.assert_allclose(state.reference.p_m, state.O_T_EE.p_m, atol=1e-3)
    assert {s.control_mode for s in told} == {ControlMode.RESETTING}


def test_a_reset_in_full_motion_rises_first_and_goes_home_without_a_detour(arm: FrankaArm) -> None:
    arm.reset()
    states = drive(arm, 14, towards(np.array([0.55, -0.15, 0.10])))
    assert states[-1].O_dP_EE[2] < -0.05
    way = []
    home = arm.reset(on_state=lambda state: way.append(state.O_T_EE.p_m))
    heights = np.array(way)[:, 2]
    assert heights.min() > states[-1].O_T_EE.p_m[2] - 0.03
    assert np.abs(np.diff(way, axis=0)).max() < 0.05
    np.testing.assert_allclose(home.O_T_EE.p_m, [0.48, 0.0, 0.25], atol=0.005)


def test_the_arm_tracks_a_moving_target_at_a_steady_period(arm: FrankaArm) -> None:
    start = arm.reset().O_T_EE.p_m
    states = drive(
        arm, 45, lambda _, i: np.add(start, [0.0, 0.04 * np.sin(i / 10), 0.03 * np.sin(i / 15)])
    )
    periods_ms = np.diff([s.t_ns for s in states]) / 1e6
    assert np.median(periods_ms) == pytest.approx(50.0, abs=1.0)
    assert periods_ms.max() <= 70.0
    assert np.diff([s.step for s in states]).tolist() == [1] * 44
    behind_m = [
        np.linalg.norm(now.O_T_EE.p_m - before.reference.p_m)
        for before, now in pairwise(states[10:])
    ]
    assert max(behind_m) < 0.006
    assert arm.fault == ()
    assert arm.holds == 0
    moved = np.array([s.O_T_EE.p_m for s in states])
    velocity = (moved[12:] - moved[10:-2]) / 0.1
    measured = np.array([s.O_dP_EE[:3] for s in states])[11:-1]
    assert np.abs(velocity - measured).max() < 0.02


def test_the_robots_model_knows_where_the_end_effector_is(arm: FrankaArm) -> None:
    arm.reset()
    link = arm._link
    assert link is not None
    state = link._robot.state
    told = link._model.pose(link._franky.Frame.EndEffector, state)
    np.testing.assert_allclose(told.matrix, state.O_T_EE.matrix, atol=1e-5)


def test_a_hand_that_turns_about_its_tip_does_not_move_it(arm: FrankaArm) -> None:
    start = arm.reset().O_T_EE
    turned = Rotation.from_quat(start.q_xyzw)
    states = []
    for i in range(30):
        arm_state = arm.wait_step()
        about_x = Rotation.from_euler("x", 0.4 * np.sin(i / 5))
        target = Pose(start.p_m, (about_x * turned).as_quat())
        arm.apply(replace(command(arm_state, start.p_m), target=target))
        states.append(arm_state)
    moved = np.array([s.O_T_EE.p_m for s in states])
    velocity = (moved[12:] - moved[10:-2]) / 0.1
    told = np.array([s.O_dP_EE for s in states])[11:-1]
    assert np.abs(told[:, 3]).max() > 0.2, "it turns"
    assert np.abs(velocity - told[:, :3]).max() < 0.02, (
        "at the flange it would be 0.03 m/s and more"
    )


def test_the_driver_tells_the_time_between_control_steps(arm: FrankaArm) -> None:
    arm.reset()
    began = arm.wait_step()
    told: list[int] = []
    ended = arm.wait_step(told.append)
    times = [began.t_ns, *told, ended.t_ns]
    assert times == sorted(times)
    assert max(np.diff(times)) <= 20_000_000


def test_when_commands_stop_the_arm_holds_within_100_ms_of_robot_time(arm: FrankaArm) -> None:
    start = arm.reset().O_T_EE.p_m
    states = drive(arm, 12, lambda _, i: np.add(start, [0.0, 0.012 * i, 0.0]))
    last_ns = states[-1].t_ns
    while states[-1].control_mode is ControlMode.TRACKING:
        states.append(arm.wait_step())
    assert states[-1].control_mode is ControlMode.HOLDING
    assert arm.holds == 1
    assert 0 < (states[-1].held_ns - last_ns) / 1e6 <= 100.0
    rest = [arm.wait_step() for _ in range(12)][-1]
    assert np.linalg.norm(rest.O_dP_EE[:3]) < 0.01
    assert np.linalg.norm(rest.O_T_EE.p_m - rest.reference.p_m) < 0.005
    resumed = drive(arm, 3, towards(start))[-1]
    assert resumed.control_mode is ControlMode.TRACKING
    assert arm.holds == 1


def test_numbers_that_are_not_finite_make_the_arm_hold(arm: FrankaArm) -> None:
    start = arm.reset().O_T_EE.p_m
    state = drive(arm, 3, lambda _, i: np.add(start, [0.0, 0.01 * i, 0.0]))[-1]
    for bad in (np.nan, np.inf, -np.inf):
        arm.apply(command(state, np.array([bad, 0.0, 0.3])))
    arm.apply(command(state, start, gripper_open=np.nan))
    assert arm.refused == 4
    state = arm.wait_step()
    assert state.control_mode is ControlMode.HOLDING
    assert np.isfinite(state.reference.p_m).all()


def test_a_target_far_away_is_drawn_to_the_measured_pose(arm: FrankaArm) -> None:
    start = arm.reset().O_T_EE.p_m
    state = arm.wait_step()
    arm.apply(command(state, np.add(start, [0.0, 1.0, 0.0])))
    state = arm.wait_step()
    assert abs(state.reference.p_m[1] - start[1]) <= 0.051


def test_the_hand_grasps_the_cube_and_reports_its_width(twin: RunningTwin, arm: FrankaArm) -> None:
    arm.reset()
    twin.control.call("reset", task="cube_pickup", seed=3, region="centre")
    truth = twin.control.call("truth")
    above = np.array([*truth["O_T_object"][:2], 0.12])
    drive(arm, 22, towards(above))
    yaw = 2 * np.arctan2(truth["O_T_object"][5], truth["O_T_object"][6])
    drive_turned(arm, np.array([*above[:2], 0.02]), yaw)
    state = drive(arm, 16, lambda s, _: s.reference.p_m, gripper_open=-1.0)[-1]
    assert state.gripper_open == -1.0
    assert state.gripper_width_m == pytest.approx(0.04, abs=0.004)


def drive_turned(arm: FrankaArm, goal_m: np.ndarray, yaw: float) -> None:
    """Go down to `goal_m` while the fingers turn to `yaw` [rad] about the vertical."""
    for i in range(20):
        state = arm.wait_step()
        turn = yaw * min(1.0, i / 10) / 2
        asked = command(state, towards(goal_m, 0.006)(state, i))
        q_xyzw = np.array([np.cos(turn), np.sin(turn), 0.0, 0.0])
        arm.apply(replace(asked, target=Pose(asked.target.p_m, q_xyzw)))


def touches(twin: RunningTwin) -> int:
    """How many Cartesian reflexes the twin has counted since it began."""
    return twin.control.call("stats")["reflexes"].get("cartesian_reflex", 0)


def test_touching_the_table_is_a_reflex_that_only_recovery_clears(twin: RunningTwin) -> None:
    before = touches(twin)
    with connected_arm(twin, collision_force_n=12.0) as arm:
        arm.reset()
        drive(arm, 30, towards(np.array([*ABOVE_TABLE[:2], 0.06])))
        states = drive(arm, 40, towards(np.array([*ABOVE_TABLE[:2], -0.05]), 0.006))
        assert states[-1].errors == ("cartesian_reflex",)
        assert states[-1].control_mode is ControlMode.FAULT
        refused = arm.refused
        still = drive(arm, 5, lambda s, _: np.add(s.O_T_EE.p_m, [0.0, 0.0, 0.02]))
        assert arm.refused == refused + 5
        assert still[-1].control_mode is ControlMode.FAULT
        assert np.ptp([s.O_T_EE.p_m[2] for s in still]) < 0.002
        with pytest.raises(RobotError, match=r"cartesian_reflex.*recover"):
            arm.reset()
        recovered = arm.recover()
        assert recovered.errors == ()
        np.testing.assert_allclose(recovered.reference.p_m, recovered.O_T_EE.p_m, atol=2e-3)
        up = drive(arm, 15, towards(np.array([*ABOVE_TABLE[:2], 0.10])))
        assert up[-1].control_mode is ControlMode.TRACKING
        assert up[-1].O_T_EE.p_m[2] > recovered.O_T_EE.p_m[2] + 0.02
        assert arm.recoveries == 1
    assert touches(twin) == before + 1


def test_a_scene_that_starts_in_the_hand_is_grasped_and_let_go_at_the_next_reset() -> None:
    with (
        running_twin("127.0.0.39", "--task", "peg_insertion") as peg_twin,
        connected_arm(peg_twin) as arm,
    ):
        home = arm.reset()
        peg_twin.control.call("reset", task="peg_insertion", seed=4)
        held = arm.grasp()
        assert held.gripper_open == -1.0
        assert held.gripper_width_m == pytest.approx(0.02, abs=0.003)
        goal = np.add(home.O_T_EE.p_m, [0.0, 0.05, 0.05])
        drive(arm, 20, towards(goal), gripper_open=-1.0)
        peg_m = np.array(peg_twin.control.call("truth")["O_T_object"][:3])
        state = arm.wait_step()
        below_m = state.O_T_EE.p_m - peg_m
        np.testing.assert_allclose(below_m, [0.0, 0.0, 0.03], atol=0.006)
        assert arm.reset().gripper_width_m > 0.07


def goes_home_fast(state: ArmState) -> bool:
    """Whether the arm has risen and is in full motion."""
    return bool(np.linalg.norm(state.O_dP_EE[:3]) > 0.05 and state.O_T_EE.p_m[2] > 0.16)


def stopped_on_the_way(
    arm: FrankaArm, stop: Callable[[], None], error: type[RobotError], words: str
) -> list[ArmState]:
    """Send the arm home from afar and `stop` it in full motion; the states until it gave up."""
    arm.reset()
    drive(arm, 30, towards(np.array([0.60, 0.15, 0.20])))
    way: list[ArmState] = []

    def look(state: ArmState) -> None:
        way.append(state)
        if goes_home_fast(state):
            stop()

    with pytest.raises(error, match=words):
        arm.reset(on_state=look)
    return way


def settled_m(arm: FrankaArm, steps: int) -> np.ndarray:
    """Widths [m] told at each of `steps` control steps."""
    return np.array([arm.wait_step().gripper_width_m for _ in range(steps)])


def test_a_stop_ends_a_grasp_where_the_fingers_are(arm: FrankaArm) -> None:
    arm.reset()

    def stop_halfway(state: ArmState) -> None:
        if state.gripper_width_m < 0.06:
            arm.abort("operator_stop")

    with pytest.raises(AbortedError, match="operator_stop"):
        arm.grasp(on_state=stop_halfway)
    widths_m = settled_m(arm, 20)
    assert widths_m.min() > 0.03
    assert np.ptp(widths_m[4:]) < 0.002
    assert (arm.fault, arm.reset().gripper_width_m > 0.07) == ((), True)


@pytest.mark.parametrize("way", ["stop_hand", "hold", "latch", "silence", "held, then silence"])
def test_fingers_that_close_stop_and_close_again_when_they_are_told(
    arm: FrankaArm, way: str
) -> None:
    arm.reset()
    drive(arm, 5, lambda s, _: s.reference.p_m, gripper_open=-1.0)
    if way == "latch":
        arm.latch("foreign_command", "a second publisher")
    elif way == "held, then silence":
        arm.apply(hold_command(arm.wait_step(), "choice_missing"))
    elif way != "silence":
        getattr(arm, way)()
    widths_m = settled_m(arm, 20)
    assert widths_m.min() > 0.03
    assert np.ptp(widths_m[6:]) < 0.002
    if way == "latch":
        arm.recover()
    closed = drive(arm, 30, lambda s, _: s.reference.p_m, gripper_open=-1.0)[-1]
    assert closed.gripper_width_m < 0.005


def test_a_held_step_lets_the_fingers_end_what_they_do(arm: FrankaArm) -> None:
    arm.reset()
    drive(arm, 5, lambda s, _: s.reference.p_m, gripper_open=-1.0)
    for _ in range(25):
        state = arm.wait_step()
        arm.apply(hold_command(state, "choice_missing"))
    assert state.control_mode is ControlMode.HOLDING
    assert state.gripper_width_m < 0.005


def test_an_arm_that_will_not_brake_is_stopped_by_the_robot_and_says_so(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise Ended((), "the motion was refused")

    def stop() -> None:
        monkeypatch.setattr(arm._link, "brake", fails)
        arm.abort("operator_stop")

    at = stopped_on_the_way(arm, stop, RobotError, "motion_ended")
    states = [arm.wait_step() for _ in range(20)]
    assert states[-1].errors == ("motion_ended",)
    assert np.linalg.norm(states[-1].O_T_EE.p_m - at[-1].O_T_EE.p_m) < 0.03
    assert np.abs(states[-1].q_rad - states[4].q_rad).max() < 0.01
    assert arm.recover().control_mode is ControlMode.HOLDING
    np.testing.assert_allclose(arm.reset().q_rad, HOME_RAD, atol=0.02)


@pytest.mark.parametrize("fault", ["", "foreign_command"])
def test_an_arm_that_does_not_come_to_rest_after_a_stop_is_a_fault(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def stop() -> None:
        monkeypatch.setattr(arm._link, "brake", lambda: None)
        arm.abort("operator_stop")
        if fault:
            arm.latch(fault, "beside it")

    monkeypatch.setattr(franka, "BRAKE_NS", 200_000_000)
    at = stopped_on_the_way(arm, stop, RobotError, fault or "operator_stop")
    states = [arm.wait_step() for _ in range(20)]
    assert states[-1].errors == ((fault, "motion_ended") if fault else ("motion_ended",))
    assert np.linalg.norm(states[-1].O_T_EE.p_m - at[-1].O_T_EE.p_m) < 0.10
    assert np.abs(states[-1].q_rad - states[4].q_rad).max() < 0.01
    assert arm.recover().control_mode is ControlMode.HOLDING


def test_a_hand_that_was_lost_is_opened_anew_by_a_recovery(arm: FrankaArm) -> None:
    arm.reset()
    arm._gripper._fail(RuntimeError("libfranka gripper: connection closed"))
    assert arm.wait_step().errors == ("gripper_lost",)
    assert arm.recover().errors == ()
    assert arm.grasp().gripper_width_m < 0.005


def test_a_recovery_without_the_hand_is_none(
    twin: RunningTwin, arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm.reset()
    lose(twin, arm)

    def no_hand(_: FrankyLink) -> object:
        raise RobotError("no gripper at this address")

    with monkeypatch.context() as patch:
        patch.setattr(FrankyLink, "open_gripper", no_hand)
        with pytest.raises(RobotError, match="no gripper"):
            arm.recover()
    assert arm.wait_step().errors == ("network_lost",)
    assert (arm.recover().errors, arm.recoveries) == ((), 1)
    assert arm.grasp().gripper_width_m < 0.005


def test_a_robot_that_comes_back_with_an_error_that_is_not_on_the_list_stays_latched(
    twin: RunningTwin, arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm.reset()
    lose(twin, arm)
    found = ("joint_position_limits_violation",)
    with monkeypatch.context() as patch:
        patch.setattr(FrankyLink, "errors_in_force", lambda _: found)
        patch.setattr(FrankyLink, "clear_errors", lambda _: pytest.fail("cleared"))
        with pytest.raises(RobotError, match=r"joint_position_limits_violation.*recoverable"):
            arm.recover()
    assert arm.wait_step().errors == ("network_lost", *found)
    arm.fault = ("network_lost",)  # as if the robot had never told the other
    assert arm.recover().errors == ()


def lose(twin: RunningTwin, arm: FrankaArm) -> None:
    """Let the robot fall silent, and wait until it would be there again."""
    drive(arm, 3, lambda s, _: s.reference.p_m)
    twin.control.call("inject", fault="silence", duration_s=2.0)
    while not arm.fault:
        arm.wait_step()
    while twin.control.call("truth")["t_ns"] < arm.wait_step().t_ns + 2_500_000_000:
        pass


def test_a_silent_robot_is_a_lost_network_and_recovery_reconnects(
    twin: RunningTwin, arm: FrankaArm
) -> None:
    arm.reset()
    lose(twin, arm)
    assert "network_lost" in arm.fault
    assert arm.wait_step().control_mode is ControlMode.FAULT
    assert arm.recover().errors == ()
    assert drive(arm, 3, lambda s, _: s.reference.p_m)[-1].control_mode is ControlMode.TRACKING


def test_a_hand_that_falls_silent_while_it_is_opened_is_asked_again(
    twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_gripper = FrankyLink.open_gripper

    def open_in_silence(link: FrankyLink) -> object:
        opened.append(link)
        if len(opened) == 1:
            twin.control.call("inject", fault="silence", duration_s=1.2)
        return open_gripper(link)

    monkeypatch.setattr(FrankyLink, "open_gripper", open_in_silence)
    with connected_arm(twin) as arm:
        assert arm.reset().gripper_width_m > 0.07
    assert len(opened) > 1


def test_robot_time_that_stands_still_is_a_fault_of_its_own(twin: RunningTwin) -> None:
    with connected_arm(twin, clock_guard_s=0.5) as arm:
        arm.reset()
        frozen = drive(arm, 3, lambda s, _: s.reference.p_m)[-1]
        twin.control.call("inject", fault="freeze")
        while not arm.fault:
            state = arm.wait_step()
        assert state.errors == ("robot_time_stopped",)
        assert state.t_ns - frozen.t_ns < 100_000_000
        with pytest.raises(RobotError, match="stands still"):
            arm.recover()
        twin.control.call("clear")
        assert arm.recover().errors == ()
        assert arm.wait_step().t_ns > state.t_ns


def test_recovery_has_a_limit_that_a_reset_restores(twin: RunningTwin) -> None:
    with connected_arm(twin, recovery_limit=1) as arm:
        arm.reset()
        for _ in range(2):
            twin.control.call("inject", fault="reflex", name="joint_reflex")
            while not arm.fault:
                arm.wait_step()
            arm.recover()
            arm.reset()
        for name in ("joint_reflex", "cartesian_reflex"):
            twin.control.call("inject", fault="reflex", name=name)
            while not arm.fault:
                arm.wait_step()
            if name == "joint_reflex":
                arm.recover()
        with pytest.raises(RobotError, match="without a reset between"):
            arm.recover()
    with connected_arm(twin) as again:
        assert again.fault == ("cartesian_reflex",)
        again.recover()


def test_a_fault_that_is_not_on_the_list_is_not_cleared_from_here(twin: RunningTwin) -> None:
    with connected_arm(twin) as arm:
        arm.reset()
        twin.control.call("inject", fault="reflex", name="joint_position_limits_violation")
        while not arm.fault:
            arm.wait_step()
        with pytest.raises(RobotError, match=r"joint_position_limits_violation.*recoverable"):
            arm.recover()
        assert arm.fault == ("joint_position_limits_violation",)
    with connected_arm(twin, recoverable=("joint_position_limits_violation",)) as arm:
        with pytest.raises(RobotError, match="joint_position_limits_violation"):
            arm.reset()
        arm.recover()
        assert arm.wait_step().errors == ()


def test_nobody_at_the_address_names_the_remedy() -> None:
    with pytest.raises(RobotError, match=r"127\.0\.0\.38:1337.*activate FCI"):
        FrankaArm(twin_config("127.0.0.38")).connect()


def test_another_server_version_names_both_versions() -> None:
    with (
        running_twin("127.0.0.33", "--server-version", "5") as twin,
        pytest.raises(RobotError, match=r"server version: 5.*library version: 10"),
    ):
        FrankaArm(twin_config(twin.address)).connect()


def test_a_second_client_is_told_that_somebody_is_connected(
    twin: RunningTwin, arm: FrankaArm
) -> None:
    with pytest.raises(RobotError, match="no other client is connected"):
        FrankaArm(twin_config(twin.address)).connect()
    assert arm.wait_step().errors == ()


def test_an_unknown_gripper_mode_lists_the_valid_ones(arm: FrankaArm) -> None:
    with pytest.raises(ConfigError, match="'half'; valid: open, close, keep"):
        arm.reset(gripper="half")


def test_a_reset_stopped_on_its_way_home_brakes_holds_and_may_be_asked_again(
    arm: FrankaArm,
) -> None:
    way = stopped_on_the_way(arm, lambda: arm.abort("operator_stop"), AbortedError, "operator_stop")
    held = arm.wait_step()
    assert held.control_mode is ControlMode.HOLDING
    assert arm.fault == ()
    stopped_m, home_m = way[-1].O_T_EE.p_m, np.array([0.48, 0.0, 0.25])
    assert np.linalg.norm(stopped_m - home_m) > 0.05
    assert np.linalg.norm(held.O_T_EE.p_m - stopped_m) < 0.03
    speed = way[-1].O_dP_EE[:3]
    onward_m = (held.O_T_EE.p_m - stopped_m) @ speed / np.linalg.norm(speed)
    assert onward_m > 0.0025, "it stops on its way instead of turning back"
    later = [arm.wait_step() for _ in range(20)][-1]
    assert np.linalg.norm(later.O_T_EE.p_m - held.O_T_EE.p_m) < 0.005
    np.testing.assert_allclose(arm.reset().q_rad, HOME_RAD, atol=0.02)


def test_a_fault_found_during_a_reset_stops_the_arm_there(arm: FrankaArm) -> None:
    def find_a_stranger() -> None:
        arm.latch("foreign_command", "a second publisher")

    at = stopped_on_the_way(arm, find_a_stranger, RobotError, "foreign_command")
    assert arm.recover().control_mode is ControlMode.HOLDING, "at once: it rests already"
    states = [arm.wait_step() for _ in range(20)]
    assert np.linalg.norm(states[-1].O_T_EE.p_m - at[-1].O_T_EE.p_m) < 0.03
    assert np.abs(states[-1].q_rad - states[4].q_rad).max() < 0.01


def test_a_stop_as_home_is_reached_is_none_of_the_driver_s_failures(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm.reset()
    drive(arm, 20, towards(np.array([0.55, 0.10, 0.25])))
    go_home = arm._go_home

    def stop_then(*words: object) -> None:
        go_home(*words)
        arm.abort("operator_stop")

    monkeypatch.setattr(arm, "_go_home", stop_then)
    with pytest.raises(AbortedError, match="operator_stop"):
        arm.reset()
    assert (arm.wait_step().control_mode, arm.fault) == (ControlMode.HOLDING, ())


def test_a_stop_before_the_hand_is_told_keeps_it_still(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm.reset()
    drive(arm, 30, lambda s, _: s.reference.p_m, gripper_open=-1.0)
    drive_gripper = arm._drive_gripper

    def stop_first(*words: object) -> None:
        arm.abort("absurd")
        drive_gripper(*words)

    monkeypatch.setattr(arm, "_drive_gripper", stop_first)
    with pytest.raises(AbortedError, match="absurd"):
        arm.reset()
    assert settled_m(arm, 10).max() < 0.005


def test_a_grasp_that_is_cut_short_or_fails_says_so(arm: FrankaArm) -> None:
    arm.reset()

    def stop_halfway(state: ArmState) -> None:
        if state.gripper_width_m < 0.06:
            arm.stop_hand()

    with pytest.raises(AbortedError, match="the hand was stopped"):
        arm.grasp(on_state=stop_halfway)
    drive(arm, 20, lambda s, _: s.reference.p_m)

    def fail(_: ArmState) -> None:
        arm._gripper._fail(RuntimeError("gone"))

    with pytest.raises(RobotError, match="gripper_lost"):
        arm.grasp(on_state=fail)
    assert arm.recover().errors == ()


def test_a_grasp_holds_the_measured_pose(arm: FrankaArm) -> None:
    arm.reset()
    ahead = drive(arm, 6, towards(np.array([0.48, 0.20, 0.25])))[-1]
    assert np.linalg.norm(ahead.reference.p_m - ahead.O_T_EE.p_m) > 0.008
    held = arm.grasp()
    later = arm.wait_step()
    np.testing.assert_allclose(held.O_T_EE.p_m, held.reference.p_m, atol=0.003)
    np.testing.assert_allclose(later.O_T_EE.p_m, held.reference.p_m, atol=0.003)
    assert np.linalg.norm(held.reference.p_m - ahead.reference.p_m) < 0.012


def test_a_lost_hand_beside_another_fault_is_opened_anew_too(arm: FrankaArm) -> None:
    arm.reset()
    arm.latch("foreign_command", "a second publisher")
    arm._gripper._fail(RuntimeError("libfranka gripper: connection closed"))
    assert arm.wait_step().errors == ("foreign_command", "gripper_lost")
    assert arm.recover().errors == ()
    assert arm.grasp().gripper_width_m < 0.005


@pytest.mark.parametrize("stage", ["_drive_gripper", "_retreat"])
def test_a_fault_latched_as_a_stage_of_a_reset_ends_begins_no_motion(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    arm.reset()
    away = drive(arm, 30, towards(np.array([0.55, 0.10, 0.30])))[-1]
    monkeypatch.setattr(arm, stage, lambda *_: arm.latch("foreign_command", "at the last moment"))
    with pytest.raises(RobotError, match="foreign_command"):
        arm.reset()
    states = [arm.wait_step() for _ in range(20)]
    assert all(s.control_mode is ControlMode.FAULT for s in states)
    assert np.linalg.norm(states[-1].O_T_EE.p_m - away.O_T_EE.p_m) < 0.03
    arm.recover()


def test_an_arm_that_rests_after_an_abort_still_tells_of_a_fault(
    arm: FrankaArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm.reset()
    rest = arm._rest

    def latch_first(link: object) -> None:
        arm.latch("foreign_command", "while it brakes")
        rest(link)

    monkeypatch.setattr(arm, "_rest", latch_first)
    with pytest.raises(AbortedError):
        arm.reset(on_state=lambda _: arm.abort("operator_stop"))
    state = arm.wait_step()
    assert (state.control_mode, state.errors) == (ControlMode.FAULT, ("foreign_command",))
    assert arm.recover().control_mode is ControlMode.HOLDING


def test_no_command_moves_the_arm_during_a_reset(arm: FrankaArm) -> None:
    arm.reset()
    low = drive(arm, 40, towards(np.array([0.50, 0.0, 0.05])))[-1]
    modes = set()

    def push_aside(state: ArmState) -> None:
        modes.add(state.control_mode)
        arm.apply(command(state, np.add(state.O_T_EE.p_m, [0.0, 0.05, 0.0])))

    way: list[ArmState] = []
    refused = arm.refused
    arm.reset(on_state=lambda state: (way.append(state), push_aside(state)))
    assert modes == {ControlMode.RESETTING}
    assert arm.refused - refused == len(way)
    assert max(abs(s.O_T_EE.p_m[1] - low.O_T_EE.p_m[1]) for s in way) < 0.01
