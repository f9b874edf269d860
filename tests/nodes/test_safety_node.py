"""The safety node as its own process: what it answers, holds, latches, and tells the operator."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from domain_coordinator import domain_id

from pld import types
from pld.robots.fake import FakeArm
from pld_nodes import graph
from pld_nodes.ros import environment
from tests.nodes.recorder_graph import environment_of, stop

environment.prepare()

import rclpy  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from pld_interfaces.msg import (  # noqa: E402
    ArmCommand,
    ArmState,
    Choice,
    RecorderStatus,
    SafetyStatus,
)
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.publisher import Publisher  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_msgs.msg import UInt64  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from pld_nodes.ros import messages  # noqa: E402
from pld_nodes.ros.node import qos_profile  # noqa: E402
from pld_nodes.safety_node import IMAGE_GAP_NS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
READY_Q_RAD = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
FAR_AHEAD = 2**60  # a step or a time [ns]
TRACKING = {"control_mode": types.ControlMode.TRACKING}
MODEST = (0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class Beside:
    """Plays driver and arbitrator beside a genuine safety node."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("beside", namespace="/pld", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.commands: list[ArmCommand] = []
        self.status: list[SafetyStatus] = []
        self.attended: list[int] = []
        self.tells_time = True
        self.arm = FakeArm()
        self.arm.connect()
        self.state = replace(self.arm.reset(), q_rad=READY_Q_RAD)
        self._states = self._publisher(ArmState, "arm/state")
        self._times = self._publisher(Time, "arm/time")
        self._choices = self._publisher(Choice, "arbitrator/choice")
        for kind, name, kept in (
            (ArmCommand, "arm/command", self.commands),
            (SafetyStatus, "safety/status", self.status),
        ):
            self._subscribe(kind, name, kept.append)
        self._subscribe(UInt64, "safety/attended", lambda msg: self.attended.append(msg.data))

    def _subscribe(self, kind, name: str, callback: Callable[[object], None]) -> None:
        self.node.create_subscription(kind, name, callback, qos_profile(graph.topic(name).qos))

    def _publisher(self, kind, name: str):
        return self.node.create_publisher(kind, name, qos_profile(graph.topic(name).qos))

    @contextmanager
    def other(self, kind, name: str):
        """Another node's publisher, matched."""
        publisher = self._publisher(kind, name)
        assert self.wait(lambda: publisher.get_subscription_count() > 0)
        yield publisher
        self.node.destroy_publisher(publisher)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            self.executor.spin_once(timeout_sec=0.005)
        return False

    def is_matched(self) -> bool:
        outward = (self._states, self._times, self._choices)
        inward = ("arm/command", "safety/status", "safety/attended")
        return all(p.get_subscription_count() for p in outward) and all(
            self.node.count_publishers(name) for name in inward
        )

    def tell_state(self, **changes: object) -> None:
        self.tell(replace(self.arm.wait_step(), q_rad=READY_Q_RAD, **changes))

    def tell(self, state: types.ArmState) -> None:
        self.state = state
        self._states.publish(messages.arm_state_to_msg(self.state))
        if self.tells_time:
            self.tell_time(self.state.t_ns)

    def tell_time(self, t_ns: int) -> None:
        self._times.publish(messages.stamp(t_ns))

    def choose(self, action=MODEST, step: int | None = None, source=types.ActionSource.BASE):
        answered = self.state.step if step is None else step
        choice = types.Choice(answered, source, np.array(action, dtype=float))
        self._choices.publish(messages.choice_to_msg(choice, self.state.t_ns, "e"))

    def turn(self, action=MODEST, source=types.ActionSource.BASE, **changes: object) -> ArmCommand:
        """One control step; returns the command that answers it."""
        seen = len(self.commands)
        self.tell_state(**changes)
        self.choose(action, source=source)
        step = self.state.step
        assert self.wait(lambda: any(c.step == step for c in self.commands[seen:]))
        return [c for c in self.commands[seen:] if c.step == step][-1]

    def call(self, service: str) -> tuple[bool, str]:
        client = self.node.create_client(Trigger, f"safety_node/{service}")
        assert self.wait(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        assert self.wait(future.done)
        self.node.destroy_client(client)
        return future.result().success, future.result().message


@contextmanager
def safety_process() -> Iterator[int]:
    with domain_id() as domain:
        limits = ROOT / "launch" / "config" / "limits_fr3.yaml"
        command = [sys.executable, "-m", "pld_nodes.safety_node", "--ros-args"]
        command += ["-r", "__ns:=/pld", "-p", f"limits:={limits}"]
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment_of(domain),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        yield int(domain)
        stop(started)


@contextmanager
def a_beside() -> Iterator[Beside]:
    """Driver and arbitrator beside a safety node of their own."""
    with safety_process() as domain:
        graph_side = Beside(domain)
        assert graph_side.wait(graph_side.is_matched, 120.0)
        yield graph_side
        graph_side.close()


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    with a_beside() as graph_side:
        yield graph_side


@pytest.fixture(autouse=True)
def nothing_latched(beside: Beside) -> Iterator[None]:
    yield
    beside.turn()
    beside.call("clear")
    assert not beside.turn().hold


def test_a_modest_choice_becomes_a_command(beside: Beside) -> None:
    command = beside.turn()
    assert not command.hold
    assert list(command.executed_action) == pytest.approx(MODEST)


def test_of_two_answers_that_overtook_their_state_the_first_counts(beside: Beside) -> None:
    beside.turn()
    coming = beside.state.step + 1
    beside.choose(step=coming)
    beside.choose((-0.2, *MODEST[1:]), step=coming)
    beside.wait(lambda: False, 0.3)  # both have come before the state
    beside.tell_state()
    assert beside.wait(lambda: beside.commands[-1].step == coming)
    assert list(beside.commands[-1].executed_action) == pytest.approx(MODEST)


def test_a_missing_choice_holds_and_the_next_choice_goes_on(beside: Beside) -> None:
    beside.turn()
    seen = len(beside.commands)
    beside.tell_state()
    beside.tell_state()
    assert beside.wait(lambda: len(beside.commands) > seen)
    assert (beside.commands[seen].hold, list(beside.commands[seen].reasons)) == (
        True,
        ["choice_missing"],
    )
    assert not beside.turn().hold


def test_no_policy_command_follows_a_stop_in_200_trials(beside: Beside) -> None:
    policy_commands = 0
    for _ in range(200):
        beside.turn()
        assert beside.call("stop")[0]
        seen = len(beside.commands)
        policy_commands += not beside.turn().hold
        policy_commands += not beside.turn(source=types.ActionSource.HUMAN).hold
        policy_commands += sum(not c.hold for c in beside.commands[seen:])
        assert beside.call("clear")[0]
    assert policy_commands == 0


def test_a_stop_twice_and_a_clear_of_nothing_are_answered_with_words(beside: Beside) -> None:
    assert beside.call("clear") == (False, "nothing is latched; allowed now: safety_node/stop")
    assert beside.call("stop")[1].startswith("stopped; allowed now: safety_node/stop, ")
    assert beside.call("stop")[1].startswith("was stopped already; ")


def test_numbers_that_are_none_hold_and_latch_but_a_person_may_act(beside: Beside) -> None:
    assert list(beside.turn([np.nan] * 7).reasons) == ["not_finite"]
    assert (beside.turn().hold, list(beside.turn().reasons)) == (True, ["not_finite"])
    assert not beside.turn(source=types.ActionSource.HUMAN).hold
    assert beside.status[-1].latched == ["not_finite"]


def test_a_clear_is_refused_while_the_arm_is_out_of_its_box_whoever_holds(beside: Beside) -> None:
    pose = beside.state.O_T_EE
    out = {"O_T_EE": replace(pose, p_m=np.array([0.5, 0.3, 0.3]))}
    assert list(beside.turn(**out).reasons) == ["left_workspace"]
    assert beside.turn(source=types.ActionSource.HOLD, **out).hold
    pressed = out | {"O_F_ext_hat_K": np.array([0.0, 0.0, -80.0, 0.0, 0.0, 0.0])}
    for state in (out, pressed):
        beside.turn(source=types.ActionSource.HOLD, **state)
        cleared, words = beside.call("clear")
        assert not cleared
        assert "left_workspace is still present" in words
    assert beside.turn(source=types.ActionSource.HOLD).hold
    assert beside.call("clear")[0]


def test_a_choice_for_a_step_far_ahead_is_never_executed(beside: Beside) -> None:
    beside.turn()
    ahead = beside.state.step + 5
    beside.choose(step=ahead)
    for _ in range(4):
        assert not beside.turn().hold
    beside.tell_state()
    assert beside.state.step == ahead
    assert not beside.wait(lambda: any(c.step == ahead for c in beside.commands), 0.5)
    beside.choose()
    assert beside.wait(lambda: any(c.step == ahead for c in beside.commands))


@contextmanager
def beating_node(beside: Beside, name: str) -> Iterator[Publisher]:
    """The heartbeat of a node that was heard to tell the newest step; it works again afterwards.

    A reader may be matched, and hear, later than its writer is. So the node tells the oldest steps
    until the safety node says them.
    """
    with beside.other(UInt64, graph.heartbeat_topic(name)) as beat:
        oldest = itertools.cycle((0, 1))
        heard = ([0], [1])
        assert beside.wait(
            lambda: beat.publish(UInt64(data=next(oldest))) or beside.attended[-1:] in heard
        )
        step = beside.state.step
        beat.publish(UInt64(data=step))
        assert beside.wait(lambda: beside.attended[-1:] == [step])
        yield beat
        beat.publish(UInt64(data=FAR_AHEAD))
        assert beside.wait(lambda: not beside.turn(**TRACKING).hold)


@contextmanager
def silent_node(beside: Beside, name: str) -> Iterator[int]:
    """A node that told the newest step, which is yielded, and works again afterwards."""
    with beating_node(beside, name):
        yield beside.state.step


def test_a_node_that_falls_silent_holds_the_arm_until_it_works_again(beside: Beside) -> None:
    beside.turn(**TRACKING)
    with silent_node(beside, "recorder_node") as last:
        assert beside.wait(lambda: beside.turn(**TRACKING).hold)
        assert beside.state.step >= last + 2
        holding = beside.turn(control_mode=types.ControlMode.HOLDING)
        assert list(holding.reasons) == ["node_silent"]
        assert not beside.turn(source=types.ActionSource.HUMAN, **TRACKING).hold


def test_a_silence_is_noticed_between_two_control_steps(beside: Beside) -> None:
    with silent_node(beside, "reward_node"):
        beside.turn(**TRACKING)
        answered = len(beside.commands)
        beside.tell_time(beside.state.t_ns + 29_000_000)
        assert not beside.wait(lambda: len(beside.commands) > answered, 0.3)
        beside.tell_time(beside.state.t_ns + 31_000_000)
        assert beside.wait(lambda: len(beside.commands) > answered)
        command = beside.commands[-1]
        assert command.hold
        assert list(command.reasons) == ["node_silent"]
        assert command.step == beside.state.step


def test_a_silence_between_two_steps_does_not_stop_a_person(beside: Beside) -> None:
    with silent_node(beside, "reward_node"):
        assert not beside.turn(source=types.ActionSource.HUMAN, **TRACKING).hold
        answered = len(beside.commands)
        beside.tell_time(beside.state.t_ns + 31_000_000)
        assert not beside.wait(lambda: len(beside.commands) > answered, 0.3)
        assert beside.turn(**TRACKING).hold


def test_a_silence_is_noticed_beside_a_driver_that_tells_no_time(beside: Beside) -> None:
    with silent_node(beside, "reward_node"):
        beside.turn(**TRACKING)
        beside.tells_time = False
        assert beside.wait(lambda: beside.turn(**TRACKING).hold)
        beside.tells_time = True


def test_a_step_told_twice_needs_one_answer(beside: Beside) -> None:
    beside.turn()
    beside.tell_state(control_mode=types.ControlMode.RESETTING)
    seen = len(beside.commands)
    again = replace(beside.state, control_mode=types.ControlMode.HOLDING)
    beside.tell(again)
    assert not beside.wait(lambda: len(beside.commands) > seen, 0.3)
    beside.choose()
    assert beside.wait(lambda: len(beside.commands) > seen)
    assert not beside.commands[-1].hold


def test_nobody_is_missed_while_no_command_moves_the_arm_nor_for_a_reset(beside: Beside) -> None:
    with beside.other(UInt64, graph.heartbeat_topic("recorder_node")) as beat:
        beside.turn(**TRACKING)
        beat.publish(UInt64(data=beside.state.step))
        assert not beside.turn(control_mode=types.ControlMode.RESETTING).hold
        beside.arm.t_ns += 20_000_000_000
        for _ in range(10):
            assert not beside.turn(control_mode=types.ControlMode.HOLDING).hold
        beat.publish(UInt64(data=FAR_AHEAD))
        assert beside.wait(lambda: not beside.turn(**TRACKING).hold)


def test_who_waits_for_the_nodes_beside_the_arm_is_told_the_step_that_all_worked_on(
    beside: Beside,
) -> None:
    beside.turn(**TRACKING)
    step = beside.state.step
    others = beating_node(beside, "recorder_node"), beating_node(beside, "reward_node")
    with others[0] as recorder, others[1] as reward:
        beside.turn(**TRACKING)
        recorder.publish(UInt64(data=step + 1))
        assert not beside.wait(lambda: step + 1 in beside.attended, 0.3)
        reward.publish(UInt64(data=step + 1))
        assert beside.wait(lambda: step + 1 in beside.attended)


def test_a_camera_that_falls_silent_holds_the_arm_until_its_next_image() -> None:
    with a_beside() as beside, beside.other(CameraInfo, graph.info_topic("wrist")) as camera:

        def moves_on() -> bool:
            camera.publish(CameraInfo(header=messages.header(beside.state.t_ns)))
            return not beside.turn(**TRACKING).hold

        assert beside.wait(moves_on)
        taken_ns = beside.state.t_ns
        camera.publish(CameraInfo(header=messages.header(taken_ns)))
        assert beside.wait(lambda: beside.turn(**TRACKING).hold)
        assert list(beside.turn(**TRACKING).reasons) == ["node_silent"]
        assert beside.state.t_ns - taken_ns > IMAGE_GAP_NS
        assert not beside.turn(source=types.ActionSource.HUMAN, **TRACKING).hold
        assert beside.wait(moves_on)
        camera.publish(CameraInfo(header=messages.header(FAR_AHEAD)))
        assert beside.wait(lambda: beside.turn(**TRACKING).hold), "no stamp hides a silence"


def test_an_arm_that_cannot_be_recorded_holds_until_it_can(beside: Beside) -> None:
    with beside.other(RecorderStatus, "recorder/status") as recorder:
        assert not beside.turn().hold
        answered = len(beside.commands)
        recorder.publish(RecorderStatus(state=RecorderStatus.FAILED))
        assert beside.wait(lambda: len(beside.commands) > answered)
        assert list(beside.commands[-1].reasons) == ["recording_failed"]
        assert list(beside.turn().reasons) == ["recording_failed"]
        assert not beside.turn(source=types.ActionSource.HUMAN).hold
        recorder.publish(RecorderStatus(state=RecorderStatus.RECORDING))
        assert beside.wait(lambda: not beside.turn().hold)


def test_a_fault_of_the_arm_stays_in_force_after_it_has_gone(beside: Beside) -> None:
    beside.turn(control_mode=types.ControlMode.FAULT, errors=("cartesian_reflex",))
    cleared, words = beside.call("clear")
    assert not cleared
    assert words == (
        "robot_fault is still present: call franka_node/recover; "
        "allowed now: safety_node/stop, franka_node/recover"
    )
    assert beside.turn().hold
    assert beside.call("clear")[0]


def test_a_second_publisher_of_either_topic_latches_until_it_is_gone(beside: Beside) -> None:
    for kind, name, cause in (
        (ArmCommand, "arm/command", "foreign_command"),
        (Choice, "arbitrator/choice", "foreign_choice"),
    ):
        stranger = beside._publisher(kind, name)
        assert beside.wait(lambda: beside.turn().hold)
        assert beside.wait(lambda: beside.status[-1].latched == [cause])  # noqa: B023
        cleared, words = beside.call("clear")
        assert not cleared
        assert f"{cause} is still present: end the other publisher of {name}" in words
        beside.node.destroy_publisher(stranger)
        assert beside.wait(lambda: beside.turn() is not None and beside.call("clear")[0])


def test_a_leap_of_robot_time_latches(beside: Beside) -> None:
    beside.turn(**TRACKING)
    beside.arm.t_ns += 600_000_000
    assert list(beside.turn().reasons) == ["arm_state_lost"]


def test_a_silent_driver_is_no_fault_while_the_arm_is_not_moved_by_commands(
    beside: Beside,
) -> None:
    beside.turn(control_mode=types.ControlMode.RESETTING)
    beside.wait(lambda: False, 6.0)
    assert not beside.turn().hold


def test_silence_of_a_moving_arm_is_told_while_robot_time_stands_still(beside: Beside) -> None:
    beside.turn(**TRACKING)
    assert beside.wait(lambda: beside.status[-1].latched == ["arm_state_lost"], 15.0)
