"""The driver's node over a stand-in for the driver: what it refuses, and what it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from domain_coordinator import domain_id

from pld.robots.fake import FakeArm
from pld.robots.franka_config import FrankaConfig
from pld.types import ArmState, Command, ControlMode
from pld_nodes import graph
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import ArmState as ArmStateMsg  # noqa: E402
from pld_interfaces.msg import SafetyStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from pld_nodes import franka_node, run  # noqa: E402
from pld_nodes.ros.messages import command_to_msg  # noqa: E402
from pld_nodes.ros.node import qos_profile  # noqa: E402

ARM_CONFIG = "launch/config/arm_twin.yaml"


class DriverStandIn:
    """Has the driver's face; a reset lasts until the test lets it end or it is aborted."""

    def __init__(self, config: FrankaConfig, _: object) -> None:
        self.config, self._arm = config, FakeArm()
        self.fault: tuple[str, ...] = ()
        self.mode = ControlMode.HOLDING
        self.aborted: list[str] = []
        self.resets = self.refused = self.holds = self.recoveries = self.hand_stops = 0
        self.over, self.fails = threading.Event(), False
        self.applied: Callable[[Command], None] = lambda _: None

    def connect(self) -> None:
        self._arm.connect()
        self._arm.reset()

    def wait_step(self, on_time: Callable[[int], None] = lambda _: None) -> ArmState:
        time.sleep(1.0 / self.config.rate_hz)
        on_time(self._arm.t_ns)
        if self.fails:
            raise ZeroDivisionError("something nobody thought of")
        return self._arm.wait_step()

    def reset(self, gripper: str, on_state: Callable[[ArmState], None]) -> ArmState:
        self.resets, self.mode = self.resets + 1, ControlMode.RESETTING
        while not self.over.is_set() and not self.fault:
            on_state(self.wait_step())
        self.mode = ControlMode.FAULT if self.fault else ControlMode.HOLDING
        return self.wait_step()

    def abort(self, reason: str) -> None:
        if self.mode is ControlMode.RESETTING and not self.aborted:
            self.aborted.append(reason)
            self.over.set()

    def latch(self, name: str, detail: str) -> None:
        self.fault = (name,)

    def not_recoverable(self) -> str:
        return "network_lost must not be cleared" if "network_lost" in self.fault else ""

    def apply(self, command: Command) -> None:
        self.applied(command)

    def hold(self) -> None:
        self.holds += 1

    def stop_hand(self) -> None:
        self.hand_stops += 1

    def close(self) -> None:
        self.over.set()


class Rig:
    """The node, and somebody beside it who plays safety and answers each state."""

    def __init__(self, domain: int, *, answers: bool = True) -> None:
        parameters = ("robot_ip:=127.0.0.1", f"arm_config:={run.resolve(ARM_CONFIG)}")
        words = [word for parameter in parameters for word in ("-p", parameter)]
        rclpy.init(args=["--ros-args", *words], domain_id=domain)
        self.node = franka_node.FrankaNode()
        self.beside = rclpy.create_node("beside")
        row = graph.topic("safety/status")
        self._status = self.beside.create_publisher(SafetyStatus, row.name, qos_profile(row.qos))
        self._latched: list[str] = []
        self.answers, self.action = answers, SafetyStatus.NONE
        states = graph.topic("arm/state")
        self.beside.create_subscription(
            ArmStateMsg, states.name, self._on_state, qos_profile(states.qos)
        )
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.beside):
            self.executor.add_node(node)
        self.until(lambda: self.heard or not answers)

    @property
    def arm(self) -> DriverStandIn:
        return self.node._arm

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < end
            self.executor.spin_once(timeout_sec=0.01)

    @property
    def heard(self) -> bool:
        """Whether the driver has safety's answer to a recent state."""
        return self.node._unanswered < 3

    def _on_state(self, _: ArmStateMsg) -> None:
        if self.answers:
            self._status.publish(SafetyStatus(latched=self._latched, action=self.action))

    def safety(self, *latched: str) -> None:
        self._latched = list(latched)
        wanted = latched[0] if latched and latched != ("left_workspace",) else ""
        self.until(lambda: self.node._withheld == wanted)

    def reset(self) -> Trigger.Response:
        return self.node._on_reset(Trigger.Request(), Trigger.Response())

    def close(self) -> None:
        self.node.shutdown()
        self.executor.shutdown()
        for node in (self.node, self.beside):
            node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A driver that has heard safety, unless the parameter says that nobody answers."""
    monkeypatch.setattr(franka_node, "FrankaArm", DriverStandIn)
    with domain_id() as domain:
        rig = Rig(int(domain), answers=getattr(request, "param", True))
        yield rig
        rig.close()


def test_under_a_latched_stop_no_reset_begins(rig: Rig) -> None:
    rig.safety("operator_stop")
    refused = rig.reset()
    assert not refused.success
    assert refused.message == "safety holds the arm: operator_stop; call safety_node/clear"
    rig.safety()
    assert rig.reset().success
    rig.until(lambda: rig.arm.resets == 1)


def test_a_stop_ends_a_reset_on_its_way(rig: Rig) -> None:
    assert rig.reset().success
    rig.until(lambda: rig.arm.mode is ControlMode.RESETTING)
    again = rig.reset()
    assert (again.success, again.message) == (False, "another reset or grasp is under way")
    rig.safety("operator_stop")
    assert rig.arm.aborted == ["operator_stop"]


@pytest.mark.parametrize("rig", [False], indirect=True)
def test_before_safety_was_heard_no_reset_begins(rig: Rig) -> None:
    refused = rig.reset()
    assert not refused.success
    assert refused.message == "nothing was heard of safety_node yet; it may still be starting"
    told = rig.node._newest_step
    rig.until(lambda: rig.node._newest_step > told + 30)
    assert not rig.arm.fault
    rig.answers = True
    rig.until(lambda: rig.heard)
    assert rig.reset().success
    rig.until(lambda: rig.arm.resets == 1)


def test_beside_a_safety_node_that_does_not_answer_no_reset_begins(rig: Rig) -> None:
    rig.answers = False
    rig.until(rig.node._safety_is_silent)
    refused = rig.reset()
    assert not refused.success
    assert refused.message == "safety_node does not answer; start the run anew"
    rig.answers = True
    rig.until(lambda: rig.heard)
    assert rig.reset().success
    assert not rig.arm.fault


def test_a_safety_node_that_falls_silent_ends_a_reset_and_the_operator_recovers(rig: Rig) -> None:
    assert rig.reset().success
    rig.until(lambda: rig.arm.mode is ControlMode.RESETTING)
    rig.answers = False
    rig.until(lambda: rig.arm.mode is ControlMode.FAULT)
    assert rig.arm.fault == ("safety_silent",)
    assert rig.arm.fault[0] in FrankaConfig().recoverable


def test_a_silence_of_the_middleware_holds_the_arm_and_cuts_no_reset_short(rig: Rig) -> None:
    rig.node._on_silence()
    assert rig.arm.holds == 1
    assert rig.reset().success
    rig.until(lambda: rig.arm.mode is ControlMode.RESETTING)
    rig.node._on_silence()
    assert rig.arm.holds == 1
    assert rig.node._silences == 2


def test_a_command_that_is_taken_while_the_run_is_halted_moves_nothing(rig: Rig) -> None:
    rig.node._is_safetys = lambda msg, info: True
    rig.arm.applied = lambda _: rig.node.halt()
    pose = rig.arm.wait_step().O_T_EE
    rig.node._on_command(command_to_msg(Command(1, pose, -1.0, np.zeros(7)), 0), {})
    assert rig.arm.holds == 2, "as halted, and once more after the command"


def test_a_recovery_that_is_not_allowed_is_refused_at_once(rig: Rig) -> None:
    rig.arm.fault = ("network_lost",)
    refused = rig.node._on_recover(Trigger.Request(), Trigger.Response())
    assert (refused.success, refused.message) == (False, "network_lost must not be cleared")
    assert rig.node._request is None


def test_a_reset_that_began_as_a_stop_came_ends(rig: Rig) -> None:
    rig.node._check_allowed = lambda: None
    assert rig.reset().success
    rig._latched, rig.node._withheld = ["operator_stop"], "operator_stop"
    rig.until(lambda: rig.arm.mode is ControlMode.HOLDING and rig.arm.resets == 1)
    assert "operator_stop" in rig.arm.aborted[0]


def test_fingers_stop_at_a_stop_and_not_at_a_hold(rig: Rig) -> None:
    rig.action = SafetyStatus.HOLD
    rig.safety("absurd")  # has come: resets are withheld
    assert rig.arm.hand_stops == 0
    rig.action = SafetyStatus.STOP
    rig.until(lambda: rig.arm.hand_stops > 0)


def test_a_reset_that_was_accepted_does_not_begin_once_the_driver_ends(rig: Rig) -> None:
    began = threading.Event()
    rig.node._tell_busy = lambda _: (began.set(), time.sleep(0.2))
    rig.node._request = rig.node._reset
    assert began.wait(10.0)
    rig.node.shutdown()
    assert rig.arm.resets == 0


def test_an_arm_that_left_its_box_may_go_home(rig: Rig) -> None:
    rig.safety("left_workspace")
    assert rig.reset().success


def test_an_arm_that_follows_commands_is_not_sent_home_in_between(rig: Rig) -> None:
    rig.arm.mode = ControlMode.TRACKING
    refused = rig.reset()
    assert not refused.success
    assert "end the episode first" in refused.message


def test_when_the_run_is_halted_a_reset_ends_and_none_begins(rig: Rig) -> None:
    assert rig.reset().success
    rig.until(lambda: rig.arm.mode is ControlMode.RESETTING)
    rig.node.halt()
    assert rig.arm.aborted == ["the run ends"]
    rig.until(lambda: rig.arm.mode is ControlMode.HOLDING)
    assert rig.reset().message == "the run ends"


def test_a_failure_nobody_thought_of_latches_and_ends_the_driver(rig: Rig) -> None:
    rig.arm.fails = True
    rig.until(lambda: rig.node.finished)
    assert rig.node.exit_code != 0
    assert rig.arm.fault == ("driver_failed",)
