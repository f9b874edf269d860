"""The pure parts of the Franka driver: steps, watchdog, clipping, settings, the hand's thread."""

from __future__ import annotations

import threading
import time

import franky
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pld.errors import ConfigError, RobotError
from pld.geometry import pose_delta
from pld.robots.fake import FakeArm
from pld.robots.franka import FrankaArm
from pld.robots.franka_config import FrankaConfig
from pld.robots.franky_errors import Lost
from pld.robots.franky_link import FrankyLink
from pld.robots.gripper import Gripper
from pld.robots.recovery import RecoveryRule
from pld.robots.step_clock import StepClock, TimeGuard, clipped_reference, is_usable
from pld.types import Command, ControlMode, Pose

MS = 1_000_000
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def clock() -> StepClock:
    return StepClock(50 * MS, 75 * MS)


def test_steps_fall_on_a_grid_however_late_they_are_noticed() -> None:
    steps, noticed = clock(), []
    for t_ms in range(1000, 1500, 3):
        if steps.until_boundary_ns(t_ms * MS) <= 0:
            noticed.append(t_ms)
            steps.advance(t_ms * MS)
    assert [(t - 1000) // 50 for t in noticed] == list(range(1, len(noticed) + 1))
    assert max((t - 1000) % 50 for t in noticed) < 3
    assert (steps.step, steps.skipped) == (len(noticed), 0)


class BrokenSockets:
    """A client whose C++ side fails with what libfranka did not expect."""

    model = None

    @property
    def state(self) -> object:
        raise RuntimeError("Net Exception")


def test_a_failure_that_libfranka_did_not_expect_is_a_lost_connection() -> None:
    link = FrankyLink(franky, BrokenSockets(), FrankaConfig())
    with pytest.raises(Lost, match="Net Exception"):
        link.read()
    assert isinstance(link._translated(RuntimeError("Net Exception")), Lost)


class MovingOn:
    """A client whose motion no stop ends."""

    model = None

    def stop(self) -> None:
        return

    def join_motion(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "the driver would wait without end"
        return False


def test_a_motion_that_goes_on_after_a_stop_is_not_waited_for_without_end() -> None:
    link = FrankyLink(franky, MovingOn(), FrankaConfig())
    with pytest.raises(Lost, match="did not end its motion within 2 s"):
        link.stop()


def test_a_robot_that_stays_silent_is_asked_three_times_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def silent(*_: object, **__: object) -> None:
        asked.append(1)
        raise franky.NetworkException("libfranka: UDP receive: Timeout")

    monkeypatch.setattr("pld.robots.franky_link.probe", lambda _: None)
    monkeypatch.setattr(franky, "Robot", silent)
    with pytest.raises(RobotError, match=r"no robot answers at 127.0.0.9:1337 .*UDP receive"):
        FrankaArm(FrankaConfig(address="127.0.0.9")).connect()
    assert len(asked) == 3


def test_missed_periods_are_skipped_counted_and_never_made_up() -> None:
    steps = clock()
    assert steps.until_boundary_ns(0) == 50 * MS
    assert steps.advance(175 * MS) == 1
    assert steps.skipped == 2
    assert steps.until_boundary_ns(175 * MS) == 25 * MS
    steps.rebase()
    assert steps.until_boundary_ns(990 * MS) == 50 * MS
    assert (steps.step, steps.skipped) == (1, 2)


def test_robot_time_that_starts_anew_does_not_stop_the_steps() -> None:
    steps = clock()
    steps.until_boundary_ns(100_000 * MS)
    assert steps.until_boundary_ns(10 * MS) == 50 * MS


def test_commands_are_stale_after_the_watchdog_and_only_when_awaited() -> None:
    steps = clock()
    assert steps.until_stale_ns(10**12) is None
    steps.commanded(100 * MS)
    assert steps.until_stale_ns(120 * MS) == 55 * MS
    assert steps.until_stale_ns(175 * MS) == 0
    steps.disarm()
    assert steps.until_stale_ns(10**12) is None


@pytest.mark.parametrize(("rate_hz", "watchdog_ms"), [(20.0, 75.0), (15.0, 100.0), (10.0, 130.0)])
def test_the_watchdog_follows_the_rate(rate_hz: float, watchdog_ms: float) -> None:
    config = FrankaConfig(rate_hz=rate_hz)
    assert config.watchdog_ns / 1e6 == pytest.approx(watchdog_ms)
    assert FrankaConfig(rate_hz=rate_hz, watchdog_ms=60.0).watchdog_ns == 60 * MS


def test_the_time_guard_speaks_only_after_its_limit() -> None:
    guard = TimeGuard(0.5)
    assert not guard.stands_still(7, 100.0)
    assert not guard.stands_still(7, 100.5)
    assert guard.stands_still(7, 100.51)
    assert not guard.stands_still(8, 100.6)


def test_a_reference_never_leaves_the_error_clip_around_the_measured_pose() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        measured = Pose(rng.normal(size=3), Rotation.random(random_state=rng).as_quat())
        target = Pose(rng.normal(size=3), Rotation.random(random_state=rng).as_quat() * 0.9)
        clipped = clipped_reference(measured, target, 0.02, 0.2)
        moved, turned = pose_delta(measured, clipped)
        assert np.abs(moved).max() <= 0.02 + 1e-12
        assert np.linalg.norm(turned) <= 0.2 + 1e-9
        assert np.linalg.norm(clipped.q_xyzw) == pytest.approx(1.0)
    near = Pose(np.add(measured.p_m, [0.01, -0.02, 0.0]), measured.q_xyzw)
    np.testing.assert_allclose(clipped_reference(measured, near, 0.02, 0.2).p_m, near.p_m)


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_command_with_one_bad_number_is_not_usable(place: int, bad: float) -> None:
    numbers = np.array([0.4, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0, 1.0])
    assert is_usable(Command(1, Pose(numbers[:3], numbers[3:7]), numbers[7], np.zeros(7)))
    numbers[place] = bad
    assert not is_usable(Command(1, Pose(numbers[:3], numbers[3:7]), numbers[7], np.zeros(7)))


def test_a_zero_quaternion_is_not_usable() -> None:
    assert not is_usable(Command(1, Pose(np.zeros(3), np.zeros(4)), 1.0, np.zeros(7)))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"realtime": "maybe"}, "enforce, ignore"),
        ({"clock": "sun"}, "robot, host"),
        ({"address": ""}, "address"),
        ({"rate_hz": 0.0}, "rate_hz is 0.0; valid: 1 to 100"),
        ({"translational_stiffness_n_m": float("nan")}, "translational_stiffness_n_m"),
        ({"translational_clip_m": 1}, "translational_clip_m is 1; valid"),
        ({"max_delta_tau_nm": 2.0}, "max_delta_tau_nm"),
        ({"watchdog_ms": 5000.0}, "watchdog_ms"),
        ({"home_q_rad": (0.0,) * 6}, "home_q_rad"),
        ({"home_q_rad": (9.0,) * 7}, "joint 1"),
        ({"collision_force_n": "40"}, "collision_force_n"),
        ({"dynamics_factor": True}, "dynamics_factor"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_valid_values(
    setting: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        FrankaConfig(**setting)  # type: ignore[arg-type]


def test_recoveries_are_limited_and_only_for_listed_faults() -> None:
    rule = RecoveryRule(("joint_reflex",), 2)
    for _ in range(3):  # one that fails is none
        rule.check(("joint_reflex",))
    for _ in range(2):
        rule.check(("joint_reflex",))
        rule.completed()
    with pytest.raises(RobotError, match="2 times"):
        rule.check(("joint_reflex",))
    rule.completed_reset()
    with pytest.raises(RobotError, match="tau_j_range_violation"):
        rule.check(("joint_reflex", "tau_j_range_violation"))
    rule.check(("joint_reflex",))
    rule.completed()
    assert rule.total == 3


class SlowHand:
    """A hand whose motions last until the test lets them end, or until they are stopped."""

    def __init__(self) -> None:
        self.width = 0.08
        self.done: list[str] = []
        self.started = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.broken = self.stopped = False
        self.stops = 0

    def _act(self, name: str, width: float) -> bool:
        self.started.release()
        self.may_end.acquire(timeout=10.0)
        if self.broken:
            raise ConnectionError("the hand is gone")
        if self.stopped:
            self.stopped = False
            raise RuntimeError("libfranka gripper: Command aborted!")
        self.done.append(name)
        self.width = width
        return True

    def move(self, width: float, speed: float) -> bool:
        return self._act("open", width)

    def grasp(self, width: float, speed: float, force: float, **epsilons: float) -> bool:
        assert min(epsilons.values()) >= 0.08
        return self._act("close", 0.04)

    def stop(self) -> bool:
        self.stops += 1
        self.stopped = True
        self.may_end.release()
        return True


def gripper_of(hand: SlowHand) -> Gripper:
    return Gripper(hand, hand.width, open_width_m=0.08, speed_m_s=0.05, force_n=40.0)


def closing(hand: SlowHand) -> Gripper:
    """A gripper whose fingers have begun to close."""
    gripper = gripper_of(hand)
    gripper.command(-1.0)
    assert hand.started.acquire(timeout=10.0)
    return gripper


def test_of_many_gripper_commands_the_latest_wins_and_none_blocks() -> None:
    hand = SlowHand()
    gripper = closing(hand)
    for wish in (1.0, -1.0, 0.1, 1.0, -1.0, -0.1, 1.0):
        gripper.command(wish)
    assert gripper.commanded == 1.0
    assert not gripper.is_done
    assert hand.started.acquire(timeout=10.0), "the motion under way is ended, not waited for"
    hand.may_end.release()
    gripper.wait(10.0)
    assert hand.done == ["open"]
    assert (hand.stops, gripper.error) == (1, None)
    gripper.close()


def test_a_stopped_hand_rests_until_it_is_told_anew() -> None:
    hand = SlowHand()
    gripper = closing(hand)
    gripper.stop()
    gripper.wait(10.0)
    assert (hand.done, hand.stops, gripper.commanded) == ([], 1, -1.0)
    gripper.command(0.1)
    gripper.stop()
    assert gripper.is_done
    gripper.command(-1.0)
    assert hand.started.acquire(timeout=10.0)
    hand.may_end.release()
    gripper.wait(10.0)
    assert (hand.done, hand.stops, gripper.error) == (["close"], 1, None)
    gripper.close()


def test_a_hand_that_rests_is_not_stopped_and_keeps_what_it_holds() -> None:
    hand = SlowHand()
    hand.may_end.release()
    gripper = gripper_of(hand)
    gripper.command(-1.0)
    gripper.wait(10.0)
    gripper.stop()
    gripper.close()
    assert (hand.done, hand.stops) == (["close"], 0)


def test_closing_ends_a_motion_under_way() -> None:
    hand = SlowHand()
    gripper = closing(hand)
    gripper.close()
    assert (hand.done, hand.stops) == ([], 1)
    assert not any(thread.is_alive() for thread in gripper._threads)


class DeafHand(SlowHand):
    """A hand that refuses its first `refusals` stops."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def stop(self) -> bool:
        self.refusals -= 1
        if self.refusals >= 0:
            raise RuntimeError("libfranka gripper: the stop failed")
        return super().stop()


@pytest.mark.parametrize(("refusals", "failed"), [(2, False), (1000, True)])
def test_a_hand_that_cannot_be_stopped_has_failed(refusals: int, failed: bool) -> None:
    hand = DeafHand(refusals)
    gripper = closing(hand)
    gripper.stop()
    if failed:
        with pytest.raises(RobotError, match="the stop failed"):
            gripper.wait(10.0)
    else:
        gripper.wait(10.0)
        assert (gripper.is_stopped, gripper.error) == (True, None)
    hand.may_end.release()
    gripper.close()


class EarlyStopHand(SlowHand):
    """A hand that a stop reaches before its motion: the first one ends nothing."""

    def stop(self) -> bool:
        if self.stops == 0:
            self.stops = 1
            return True
        return super().stop()


def test_a_stop_that_came_before_the_motion_is_said_again() -> None:
    hand = EarlyStopHand()
    gripper = closing(hand)
    gripper.stop()
    gripper.wait(5.0)
    assert (hand.done, hand.stops) == ([], 2)
    gripper.close()


class LateStopHand(SlowHand):
    """A hand whose stop returns when the test lets it; the motion ends by itself meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.may_stop = threading.Semaphore(0)

    def stop(self) -> bool:
        self.stops += 1
        self.may_stop.acquire(timeout=10.0)
        return True


def test_no_motion_begins_while_a_stop_is_under_way() -> None:
    hand = LateStopHand()
    gripper = closing(hand)
    gripper.command(1.0)
    while not hand.stops:
        time.sleep(0.001)
    hand.may_end.release()
    assert not hand.started.acquire(timeout=0.3), "that stop would end the new motion"
    hand.may_stop.release()
    assert hand.started.acquire(timeout=10.0)
    hand.may_end.release()
    gripper.wait(10.0)
    assert hand.done == ["close", "open"]
    gripper.close()


def test_a_wavering_gripper_command_changes_nothing() -> None:
    hand = SlowHand()
    hand.may_end.release()
    gripper = gripper_of(hand)
    gripper.command(-1.0)
    gripper.wait(10.0)
    for wish in (0.19, -0.19, 0.0, -0.5):
        gripper.command(wish)
    assert gripper.commanded == -1.0
    assert hand.done == ["close"]
    gripper.close()


def test_a_hand_that_fails_is_reported_and_not_waited_for() -> None:
    hand = SlowHand()
    hand.broken = True
    hand.may_end.release()
    gripper = gripper_of(hand)
    gripper.command(-1.0)
    with pytest.raises(RobotError, match="the hand is gone"):
        gripper.wait(10.0)
    gripper.close()


def test_a_hand_that_does_not_finish_is_a_clear_error() -> None:
    hand = SlowHand()
    gripper = gripper_of(hand)
    gripper.command(-1.0)
    with pytest.raises(RobotError, match=r"did not finish within 0\.05 s"):
        gripper.wait(0.05)
    hand.may_end.release()
    gripper.close()


def test_the_fake_arm_moves_holds_and_latches_like_the_driver() -> None:
    arm = FakeArm()
    with pytest.raises(RobotError, match="connect"):
        arm.reset()
    arm.connect()
    start = arm.reset()
    arm.apply(Command(0, Pose(np.add(start.O_T_EE.p_m, [0.01, 0, 0]), DOWN), -1.0, np.zeros(7)))
    state = arm.wait_step()
    assert state.O_T_EE.p_m[0] == pytest.approx(0.49)
    assert state.O_dP_EE[0] == pytest.approx(0.2)
    assert (state.control_mode, state.gripper_open) == (ControlMode.TRACKING, -1.0)
    assert (state.step, state.t_ns) == (1, 50 * MS)
    assert arm.wait_step().control_mode is ControlMode.HOLDING
    assert arm.holds == 1
    arm.fault = ("cartesian_reflex",)
    assert arm.wait_step().control_mode is ControlMode.FAULT
    arm.apply(Command(3, Pose(np.zeros(3), DOWN), 1.0, np.zeros(7)))
    assert arm.refused == 1
    assert arm.recover().errors == ()
    assert arm.wait_step().control_mode is ControlMode.HOLDING


class UnheardHand(SlowHand):
    """A hand whose width is not told for the first `losses` times."""

    def __init__(self, losses: int, words: str) -> None:
        self.losses, self.words, self.asked = losses, words, 0
        super().__init__()

    @property
    def width(self) -> float:
        self.asked += 1
        if self.asked <= self.losses:
            raise RuntimeError(self.words)
        return 0.05

    @width.setter
    def width(self, _: float) -> None:
        pass


@pytest.mark.parametrize(
    ("losses", "words", "lost"),
    [
        (2, "libfranka: UDP receive: Timeout", False),
        (3, "libfranka: UDP receive: Timeout", True),
        (1, "libfranka gripper: command failed", True),
    ],
)
def test_a_hand_that_is_unheard_for_a_moment_is_not_lost(
    losses: int, words: str, lost: bool
) -> None:
    hand = UnheardHand(losses, words)
    gripper = Gripper(hand, 0.08, open_width_m=0.08, speed_m_s=0.05, force_n=40.0)
    end = time.monotonic() + 10.0
    while gripper.error is None and gripper.width_m != 0.05 and time.monotonic() < end:
        time.sleep(0.01)
    assert (gripper.error == words) is lost
    assert (gripper.width_m == 0.05) is not lost
    gripper.close()
