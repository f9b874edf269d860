"""Safety: the only node that publishes commands. Filter, step guard, failsafe state machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, Choice, RecorderStatus, SafetyStatus
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import UInt64
from std_srvs.srv import Trigger

from pld import types
from pld.contract import CAMERAS, ActionSpec
from pld.robots.step_clock import TimeGuard
from pld.safety import failsafe
from pld.safety.failsafe import Action, Failsafe, Reply
from pld.safety.filter import arm_conditions, filter_choice, hold_command
from pld.safety.limits import load_limits
from pld.safety.sources import SingleSource
from pld.safety.watchdog import EarlyAnswer, Freshness, Heartbeats, StepGuard
from pld_nodes.graph import BEATING, camera_node, heartbeat_topic, info_topic, stale_ns
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node, sequence_of

LOOK_S = 0.25
SILENCE_S = 5.0
GAP_NS = 500_000_000
SIGN_WITHIN_PERIODS = 0.6
SIGN_WITHIN_S = 0.1
IMAGE_GAP_NS = 73_000_000  # more than two periods of a camera of 30 Hz
TIMES_KEPT = 50  # a busy safety node judges the oldest time first, by the signs that came before it
FILTER_CAUSES = ("not_finite", "absurd", "arm_not_finite", "left_workspace", "force_ceiling")
SOLE_PUBLISHER = {"foreign_command": "arm/command", "foreign_choice": "arbitrator/choice"}


@dataclass(frozen=True)
class SafetyConfig:
    """Parameters of the node; `limits` is the robot's limits file."""

    limits: str
    rate_hz: float = 20.0


class SafetyNode(GraphNode):
    """Turns the arbitrator's choice for the newest arm state into a command, or into a hold."""

    def __init__(self) -> None:
        super().__init__("safety_node")
        config = self.config(SafetyConfig)
        self._spec = ActionSpec(rate_hz=config.rate_hz)
        self._limits = load_limits(Path(config.limits))
        self._guard = StepGuard()
        self._source = SingleSource()
        self._silence = TimeGuard(SILENCE_S)
        self._early: EarlyAnswer[Choice] = EarlyAnswer()
        within_s = min(SIGN_WITHIN_PERIODS / config.rate_hz, SIGN_WITHIN_S)
        self._beats = Heartbeats(round(within_s * 1e9))
        limits_ns = {camera_node(camera): stale_ns(camera) for camera in CAMERAS}
        self._images = Freshness(limits_ns, IMAGE_GAP_NS)
        self._arm: types.ArmState | None = None
        self._now_ns = 0
        self._acting = types.ActionSource.HOLD
        self._failsafe = Failsafe()
        self._commands = self._holds = 0
        self._publish = self.publisher("arm/command").publish
        self._publish_status = self.publisher("safety/status").publish
        self._publish_attended = self.publisher("safety/attended").publish
        self.subscribe("arbitrator/choice", self._on_choice)
        self.subscribe("arm/state", self._on_state)
        self.subscribe("recorder/status", self._on_recorder)
        for node in BEATING:
            self.subscribe(heartbeat_topic(node), partial(self._on_beat, node), depth=1)
        for camera in CAMERAS:
            on_image = partial(self._on_image, camera_node(camera))
            self.subscribe(info_topic(camera), on_image, depth=1)
        self.subscribe("arm/time", self._on_time, depth=TIMES_KEPT)  # last: after the signs
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/clear", self._on_clear)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_S, self._look_for_silence, clock=steady)

    def _on_state(self, msg: ArmState) -> None:
        before, arm = self._arm, messages.arm_state_from_msg(msg)
        if before is not None and self._guard.missed_before(arm.step):
            self.get_logger().warning(f"step {before.step}: no choice")
            self._note("choice_missing", present=True)
            self._send(hold_command(before, "choice_missing"))
        self._arm = arm
        self._guard = self._guard.on_state(arm.step)
        self._beats = self._beats.on_state(arm.step, arm.t_ns)
        self._note("robot_fault", present=arm.control_mode is types.ControlMode.FAULT)
        self._note("arm_state_lost", present=_is_gap(before, arm))
        if before is not None and self._now_ns < before.t_ns:
            self._judge(before.t_ns)
        for cause in SOLE_PUBLISHER:
            self._note(cause, present=self._is_shared(cause))
        early = self._early.due(arm.step)
        if early is not None:
            self._answer(early)
        if arm.step % round(self._spec.rate_hz) == 0:
            self._report()

    def _on_choice(self, msg: Choice, info: dict[str, Any]) -> None:
        self._source, known = self._source.on_message(sequence_of(info))
        if not known:
            self._note("foreign_choice", present=True)
        elif self._arm is None or msg.step == self._arm.step + 1:
            if msg.step != self._early.step:  # the first answer to a step counts
                self._early = EarlyAnswer(int(msg.step), msg)
        else:
            self._answer(msg)

    def _answer(self, msg: Choice) -> None:
        """Answer the newest arm state with the filtered choice, or with a hold."""
        arm = self._arm
        assert arm is not None
        self._guard, usable = self._guard.on_answer(int(msg.step))
        if not usable:
            return
        self._note("choice_missing", present=False)
        choice = messages.choice_from_msg(msg)
        command = filter_choice(choice, arm, self._limits, self._spec)
        self._acting = choice.source
        withheld = self._failsafe.withheld_by(choice.source)
        active = self._failsafe.active
        standing = active.intersection(arm_conditions(arm, self._limits)) if active else active
        for cause in FILTER_CAUSES:
            self._note(cause, present=cause in command.reasons or cause in standing)
        self._send(hold_command(arm, withheld) if withheld else command)

    def _on_time(self, msg: Time) -> None:
        """Notice a silent node between the control steps, within milliseconds.

        Signs that came with this time have been read: their subscriptions are older. A driver that
        tells no time is noticed by its next states, which judge a step late.
        """
        self._judge(messages.nanoseconds(msg))

    def _judge(self, t_ns: int) -> None:
        """A silence begins while commands move the arm, and lasts until the node works again."""
        self._now_ns, arm = t_ns, self._arm
        self._images = self._images.on_time(t_ns)
        if arm is None:
            return
        silent, told = self._silent, "node_silent" in self._failsafe.active
        moved = arm.control_mode is types.ControlMode.TRACKING
        if silent and moved and not told:
            self.get_logger().warning(f"silent: {', '.join(silent)}")
        self._note("node_silent", present=bool(silent) and (moved or told))

    def _on_recorder(self, msg: RecorderStatus) -> None:
        self._note("recording_failed", present=msg.state == RecorderStatus.FAILED)

    def _on_beat(self, node: str, msg: UInt64) -> None:
        """The twin waits for what is known here of the nodes beside the arm.

        A sign goes to one reader after the other, and a busy machine takes long in between.
        """
        before, self._beats = self._beats, self._beats.on_beat(node, int(msg.data))
        if self._beats.attended != before.attended:
            self._publish_attended(UInt64(data=self._beats.attended))

    def _on_image(self, node: str, msg: CameraInfo) -> None:
        stamp_ns = messages.nanoseconds(msg.header.stamp)
        self._images = self._images.on_stamp(node, stamp_ns, self._now_ns)

    def _look_for_silence(self) -> None:
        """Notice in steady time that a moving arm tells no state any more.

        An arm that does not track is not moved by commands, and a driver that starts or stops its
        tracker may be silent for long on a busy machine.
        """
        arm = self._arm
        if arm is None or arm.control_mode is not types.ControlMode.TRACKING:
            return
        if self._silence.stands_still(arm.step, time.monotonic()):
            self._note("arm_state_lost", present=True)

    def _is_shared(self, cause: str) -> bool:
        return self.count_publishers(SOLE_PUBLISHER[cause]) > 1

    def _note(self, cause: str, *, present: bool) -> None:
        """Tell the failsafe of a cause; one that newly stops who acts sends a hold at once."""
        before = self._failsafe
        self._failsafe = failsafe.noted(before, cause, self._t_ns, present=present)
        if cause in before.in_force or not present:
            return
        row = failsafe.CAUSES[cause]
        if row.latches:
            self.get_logger().error(f"{cause}: {row.action.name.lower()}, latched")
        stops = row.holds_at_once and bool(self._failsafe.withheld_by(self._acting))
        if stops and self._arm is not None:
            self._send(hold_command(self._arm, cause))

    def _send(self, command: types.Command) -> None:
        self._publish(messages.command_to_msg(command, self._t_ns))
        self._commands += 1
        self._holds += int(command.hold)
        self._publish_status(self._status(command))

    def _status(self, command: types.Command) -> SafetyStatus:
        in_force = self._failsafe.in_force
        held = Action.HOLD if command.hold else Action.NONE
        return SafetyStatus(
            header=messages.header(self._t_ns),
            step=command.step,
            action=int(max(held, self._failsafe.action)),
            latched=[name for name in in_force if name in self._failsafe.latched],
            active=list(dict.fromkeys((*command.reasons, *self._failsafe.active))),
            commands=self._commands,
            holds=self._holds,
            refused=self._guard.refused,
        )

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._failsafe, reply = failsafe.stop(self._failsafe, self._t_ns)
        if self._arm is not None:
            self._send(hold_command(self._arm, failsafe.OPERATOR_STOP))
        return self._answered(reply, response)

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._failsafe, reply = failsafe.clear(self._failsafe, self._t_ns)
        if reply.success:
            self._source = SingleSource()
        return self._answered(reply, response)

    def _answered(self, reply: Reply, response: Trigger.Response) -> Trigger.Response:
        self.get_logger().warning(f"operator: {reply.message}")
        response.success, response.message = reply.success, reply.message
        return response

    @property
    def _silent(self) -> tuple[str, ...]:
        return self._beats.silent(self._now_ns) + self._images.stale(self._now_ns)

    @property
    def _t_ns(self) -> int:
        return 0 if self._arm is None else self._arm.t_ns

    def _report(self) -> None:
        in_force = self._failsafe.in_force
        level = DiagnosticStatus.ERROR if self._failsafe.latched else DiagnosticStatus.OK
        self.diagnose(
            self._t_ns,
            level,
            ", ".join(in_force) or "filtering",
            action=self._failsafe.action.name.lower(),
            commands=self._commands,
            holds=self._holds,
            refused=self._guard.refused,
            unanswered=self._guard.unanswered,
            cleared=self._failsafe.cleared,
            silent=" ".join(self._silent),
        )


def _is_gap(before: types.ArmState | None, arm: types.ArmState) -> bool:
    """Whether robot time leapt while the arm was tracking: the driver hung, the arm did not."""
    if before is None or before.control_mode is not types.ControlMode.TRACKING:
        return False
    return arm.t_ns - before.t_ns > GAP_NS


def main() -> None:
    """Entry point of the node."""
    run_node(SafetyNode)


if __name__ == "__main__":
    main()
