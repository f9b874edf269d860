"""The arbitrator as a process, its world played by the test step by step: who is chosen, and when.

No twin and no clock: nothing here depends on how busy the machine is.
"""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from domain_coordinator import domain_id

from pld.types import ActionSource
from pld_nodes import graph
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import (  # noqa: E402
    ArmState,
    BaseAction,
    Choice,
    EpisodeStatus,
    HumanAction,
    PolicyWeights,
    RecorderStatus,
    Reward,
    SafetyStatus,
)
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from pld_nodes.ros.messages import header  # noqa: E402
from pld_nodes.ros.node import message_class, qos_profile  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BASE = [0.8, -0.4, 0.0, 0.0, 0.0, 0.0, 1.0]
HUMAN = [0.0, 0.5, 0.0, 0.0, 0.0, 0.1, -1.0]
PATIENCE_S = 60.0
REMAPS = ("-r", "__node:=arbitrator_node", "-r", "__ns:=/pld")
PARAMETERS = ("task:=cube_pickup", "run:=r", "scene:=operator", "episodes:=2")
ARGUMENTS = ("--ros-args", *REMAPS, *(part for p in PARAMETERS for part in ("-p", p)))
QUIET_S = 0.3
PLAYED = (
    "arm/state",
    "base/action",
    "teleop/action",
    "recorder/status",
    "safety/status",
    "task/reward",
    "learner/weights",
)


class World:
    """Plays driver, base policy, operator and recorder around one arbitrator process."""

    def __init__(self, domain: int, folder: Path, *parameters: str) -> None:
        more = (part for p in parameters for part in ("-p", p))
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("world", namespace="/pld", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.choices: dict[int, Choice] = {}
        self.status = EpisodeStatus()
        self.step = 0
        self._resets = 0
        self._publishers = {
            name: self.node.create_publisher(
                message_class(graph.topic(name).type), name, qos_profile(graph.topic(name).qos)
            )
            for name in PLAYED
        }
        self._listen("arbitrator/choice", Choice, self._on_choice)
        self._listen("episode", EpisodeStatus, self._on_episode)
        self.node.create_service(Trigger, "franka_node/reset", self._on_reset)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pld_nodes.arbitrator_node", *ARGUMENTS, *more],
            cwd=ROOT,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder)},
        )

    def _listen(self, name: str, kind: type, callback: Callable[..., None]) -> None:
        self.node.create_subscription(kind, name, callback, qos_profile(graph.topic(name).qos))

    def _on_choice(self, msg: Choice) -> None:
        assert msg.step not in self.choices, f"step {msg.step} was answered twice"
        self.choices[int(msg.step)] = msg

    def _on_episode(self, msg: EpisodeStatus) -> None:
        self.status = msg

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._resets += 1
        response.success = True
        return response

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "the arbitrator did not get there"
            self.executor.spin_once(timeout_sec=0.01)

    def call(self, name: str, request: object = None) -> Trigger.Response:
        kind = SetBool if request is not None else Trigger
        client = self.node.create_client(kind, f"arbitrator_node/{name}")
        self.until(client.service_is_ready)
        future = client.call_async(request or Trigger.Request())
        self.until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def state(self, mode: int = ArmState.HOLDING) -> int:
        """The next control step begins."""
        self.step += 1
        self._tell("arm/state", ArmState(header=self._header(), step=self.step, control_mode=mode))
        return self.step

    def base(self, step: int) -> None:
        chunk = array.array("d", BASE)
        self._tell("base/action", BaseAction(step=step, chunk_horizon=1, chunk=chunk))

    def human(self, step: int, *, deadman: bool = True, action: list[float] = HUMAN) -> None:
        said = HumanAction(step=step, deadman=deadman, human_action=action, device="test")
        self._tell("teleop/action", said)

    def chosen(self, step: int) -> Choice:
        self.until(lambda: step in self.choices)
        return self.choices[step]

    def unanswered(self, step: int) -> bool:
        """Whether nothing is chosen for `step` for a while."""
        self.pause()
        return step not in self.choices

    def pause(self) -> None:
        """Let what was said arrive: topics do not keep their order among each other."""
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def policy_step(self) -> Choice:
        """A control step that the base answers."""
        step = self.state()
        self.base(step)
        return self.chosen(step)

    def human_step(self, *, deadman: bool = True) -> Choice:
        """A control step that a human answers."""
        step = self.state()
        self.human(step, deadman=deadman)
        return self.chosen(step)

    def run_episode(self) -> None:
        """From the start of the node to the first step of the episode."""
        self.until(lambda: all(p.get_subscription_count() for p in self._publishers.values()))
        self.until(self._is_answered)
        self._repeat(lambda: self._resets > 0, ArmState.HOLDING)
        self.chosen(self.state(ArmState.RESETTING))
        self.chosen(self.state())
        self.until(lambda: self.call("scene_ready").success)
        self._repeat(lambda: bool(self.status.episode_id), ArmState.HOLDING)
        self.recorder(self.status.episode_id, RecorderStatus.RECORDING)
        self.until(lambda: self.status.state == EpisodeStatus.RUNNING)
        while self.step + 1 < self.status.first_step:
            self.chosen(self.state())

    def _is_answered(self) -> bool:
        """Whether the arbitrator has found who reads its choices; what it said before is lost."""
        step = self.state()
        self.pause()
        return step in self.choices

    def recorder(self, episode_id: str, state: int) -> None:
        """The recorder reports."""
        self._tell("recorder/status", RecorderStatus(episode_id=episode_id, state=state))

    def safety(self, *latched: str, active: tuple[str, ...] = ()) -> None:
        """Safety reports what is latched and what is present, and everybody has heard it."""
        self._tell("safety/status", SafetyStatus(latched=list(latched), active=list(active)))
        self.pause()

    def reward(self, *, success: bool) -> None:
        """The success detector speaks of the newest step, and everybody has heard it."""
        self._tell("task/reward", Reward(step=self.step, success=success))
        self.pause()

    def learner(self, horizon_steps: int, limit_steps: int) -> None:
        """A learner offers weights."""
        told = PolicyWeights(horizon_steps=horizon_steps, limit_steps=limit_steps)
        self._tell("learner/weights", told)

    def _repeat(self, condition: Callable[[], bool], mode: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end
            self.chosen(self.state(mode))

    def _header(self) -> object:
        return header(self.step * 50_000_000)

    def _tell(self, name: str, message: object) -> None:
        self._publishers[name].publish(message)


@contextmanager
def started(folder: Path, *parameters: str) -> Iterator[World]:
    with domain_id() as domain:
        found = World(int(domain), folder, *parameters)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def running(folder: Path, *parameters: str) -> Iterator[World]:
    with started(folder, *parameters) as found:
        found.run_episode()
        yield found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def slow_world(tmp_path: Path) -> Iterator[World]:
    """An arbitrator that waits 0.4 s for an operator: time enough on any machine."""
    with running(tmp_path, "rate_hz:=1.0") as found:
        yield found


def test_a_human_wins_is_waited_for_and_is_followed_by_nobody(world: World) -> None:
    first = world.policy_step()
    assert ActionSource(first.source) is ActionSource.BASE
    np.testing.assert_array_equal(first.action, BASE)

    world.human(world.step + 1)
    taken = world.chosen(world.state())
    assert (taken.source, taken.is_intervention) == (Choice.HUMAN, True)
    np.testing.assert_array_equal(taken.action, HUMAN)

    step = world.state()
    world.base(step)
    assert world.unanswered(step)
    world.human(step)
    assert world.chosen(step).source == Choice.HUMAN

    released = world.human_step(deadman=False)
    assert (released.source, released.is_intervention) == (Choice.HOLD, False)
    for _ in range(25):
        step = world.state()
        world.base(step)
        assert world.chosen(step).source == Choice.HOLD

    assert world.call("resume").success
    grown = [world.policy_step().action[0] for _ in range(12)]
    np.testing.assert_allclose(grown[:10], 0.8 * np.arange(1, 11) / 11)
    np.testing.assert_allclose(grown[10:], 0.8)


def test_a_late_press_is_executed_at_the_next_step(world: World) -> None:
    answered = world.policy_step()
    world.human(int(answered.step))
    world.pause()
    step = world.state()
    world.base(step)
    assert world.unanswered(step)
    world.human(step)
    assert world.chosen(step).source == Choice.HUMAN


def test_the_policy_waits_a_moment_for_the_word_of_an_operator_who_is_there(
    slow_world: World,
) -> None:
    step = slow_world.state()
    slow_world.human(step, deadman=False)
    slow_world.base(step)
    slow_world.chosen(step)

    step = slow_world.state()
    slow_world.base(step)
    slow_world.human(step)
    assert slow_world.chosen(step).source == Choice.HUMAN
    slow_world.human_step(deadman=False)
    assert slow_world.call("resume").success

    step = slow_world.state()
    slow_world.human(step, deadman=False)
    slow_world.base(step)
    slow_world.chosen(step)
    gone = slow_world.state()
    slow_world.base(gone)
    assert slow_world.chosen(gone).source == Choice.BASE
    assert slow_world.policy_step().source == Choice.BASE


def test_a_silent_human_in_control_is_lost_and_the_policy_stays_out(world: World) -> None:
    assert world.call("policy_after_release", SetBool.Request(data=True)).success
    world.policy_step()
    world.human_step()
    world.human_step()
    silent = [world.state() for _ in range(3)]
    held = world.state()
    assert world.chosen(held).source == Choice.HOLD
    assert not set(silent) & set(world.choices)
    for _ in range(30):
        step = world.state()
        world.base(step)
        assert world.chosen(step).source == Choice.HOLD


def test_numbers_that_are_not_finite_release(world: World) -> None:
    world.human_step()
    step = world.state()
    world.human(step, action=[np.nan] * 7)
    assert world.chosen(step).source == Choice.HOLD


def test_the_policy_goes_on_by_itself_only_after_the_release_has_settled(world: World) -> None:
    assert world.call("policy_after_release", SetBool.Request(data=True)).success
    world.human_step()
    world.human_step(deadman=False)
    sources = []
    for _ in range(17):
        step = world.state()
        world.base(step)
        sources.append(int(world.chosen(step).source))
    assert sources == [Choice.HOLD] * 14 + [Choice.BASE] * 3


def test_words_are_carried_out_or_refused_with_the_reason(world: World) -> None:
    assert "already" in world.call("resume").message
    assert world.call("pause").success
    assert world.chosen(world.state()).source == Choice.HOLD
    world.human_step()
    assert "release the deadman" in world.call("resume").message
    world.human_step(deadman=False)
    assert world.call("resume").success
    world.policy_step()
    assert world.call("discard").success
    world.until(lambda: world.status.state == EpisodeStatus.ENDED)
    assert world.status.termination_reason == "operator_discard"
    assert world.status.outcome == EpisodeStatus.UNLABELLED
    for name in ("success", "failure", "discard", "pause"):
        refused = world.call(name)
        assert not refused.success
        assert "running episode" in refused.message


def test_who_gives_control_back_under_a_stop_is_told_of_it(world: World) -> None:
    assert world.call("pause").success
    world.safety("operator_stop")
    told = world.call("resume")
    assert told.success
    assert told.message == (
        "the policy has control, and the arm holds until safety_node/clear: operator_stop"
    )
    world.safety()
    assert world.call("pause").success
    assert world.call("resume").message == "the policy has control"


def test_an_arm_that_was_stopped_is_not_sent_home_until_the_stop_is_cleared(world: World) -> None:
    world.safety("operator_stop")
    world.policy_step()
    assert world.call("failure").success
    ended = world.status.episode_id
    world.recorder(ended, RecorderStatus.CLOSED)
    resets = world._resets
    for _ in range(30):
        world.chosen(world.state())
    assert world._resets == resets
    world.safety()
    world._repeat(lambda: world._resets == resets + 1, ArmState.HOLDING)


@pytest.mark.parametrize("cause", ["operator_stop", "arm_state_lost", "foreign_choice"])
def test_what_was_stopped_is_no_failure_of_the_policy(tmp_path: Path, cause: str) -> None:
    with running(tmp_path, "horizon_s:=1.0") as world:
        world.policy_step()
        world.safety(cause)
        for _ in range(30):
            world.policy_step()
        assert world.status.state == EpisodeStatus.RUNNING
        world.safety()
        for _ in range(30):
            world.policy_step()
        assert world.status.termination_reason == "horizon"


def test_what_a_silent_node_holds_is_no_failure_of_the_policy(tmp_path: Path) -> None:
    with running(tmp_path, "horizon_s:=1.0") as world:
        world.policy_step()
        world.safety(active=("node_silent",))
        for _ in range(30):
            world.policy_step()
        assert world.status.state == EpisodeStatus.RUNNING
        world.safety(active=("force_ceiling",))
        for _ in range(30):
            world.policy_step()
        assert world.status.termination_reason == "horizon", "a force is the policy's own doing"


@pytest.mark.parametrize("by_hand", [True, False], ids=["a person", "the policy"])
def test_a_fault_is_a_failure_of_the_policy_where_that_drove(world: World, by_hand: bool) -> None:
    world.policy_step()
    chosen = world.human_step() if by_hand else world.policy_step()
    assert chosen.source == (Choice.HUMAN if by_hand else Choice.BASE)
    world.state(ArmState.FAULT)
    world.until(lambda: world.status.termination_reason == "robot_fault")
    expected = EpisodeStatus.UNLABELLED if by_hand else EpisodeStatus.FAILURE
    assert world.status.outcome == expected


def test_what_is_done_by_hand_while_the_arm_waits_is_no_success_of_the_policy(world: World) -> None:
    assert world.call("pause").success
    for _ in range(5):
        world.policy_step()
        world.reward(success=True)
    assert world.status.state == EpisodeStatus.RUNNING
    world.human_step()
    world.human_step(deadman=False)
    for _ in range(3):
        world.chosen(world.state())
        world.reward(success=True)
    world.until(lambda: world.status.termination_reason == "success")


def test_no_episode_begins_before_the_learner_says_what_it_wants(tmp_path: Path) -> None:
    with started(tmp_path, "mode:=learn", "first_episode:=1") as world:
        world.until(world._is_answered)
        for _ in range(10):
            world.chosen(world.state())
        assert (world._resets, world.status.episode_id) == (0, "")
        world.learner(horizon_steps=20, limit_steps=3)
        world.pause()
        world.run_episode()
        assert world.status.index == 1
        assert 0 <= world.status.takeover_step <= 12, "within 0.6 of the horizon that it said"


def test_two_operators_at_a_time_move_nothing_until_one_is_gone(world: World) -> None:
    world.human_step()
    row = graph.topic("teleop/action")
    second = world.node.create_publisher(HumanAction, row.name, qos_profile(row.qos))
    world.until(lambda: second.get_subscription_count() > 0)
    for _ in range(5):
        step = world.state()
        second.publish(HumanAction(step=step, deadman=False, human_action=HUMAN, device="second"))
        assert world.chosen(step).source == Choice.HOLD
        world.human(step)
        world.pause()
    world.node.destroy_publisher(second)
    for _ in range(30):
        step = world.state()
        world.base(step)
        world.human(step)
        assert world.chosen(step).source == Choice.HOLD, "a deadman held all the time is not anew"
    for _ in range(5):
        world.human(world.step + 1)
        world.pause()
        assert world.chosen(world.state()).source == Choice.HOLD, "nor is one before its step"
    assert world.human_step(deadman=False).source == Choice.HOLD
    world.human(world.step + 1)
    world.pause()
    assert world.chosen(world.state()).source == Choice.HUMAN
    assert world.human_step(deadman=False).source == Choice.HOLD
    assert world.call("resume").success
    assert world.policy_step().source == Choice.BASE


def test_the_step_in_which_an_episode_ends_is_answered_with_a_hold(world: World) -> None:
    world.policy_step()
    step = world.state()
    world.pause()
    assert step not in world.choices
    assert world.call("abort").success
    assert world.chosen(step).source == Choice.HOLD
    world.base(step)
    world.pause()
