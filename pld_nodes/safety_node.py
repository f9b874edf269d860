"""Safety: the only node that publishes commands. A pure filter, a step guard, latched causes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, Choice, SafetyStatus
from std_srvs.srv import Trigger

from pld import types
from pld.contract import ActionSpec
from pld.safety.filter import filter_choice, hold_command
from pld.safety.limits import load_limits
from pld.safety.watchdog import EarlyAnswer, StepGuard
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node


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
        self._early: EarlyAnswer[Choice] = EarlyAnswer()
        self._arm: types.ArmState | None = None
        self._latched: set[str] = set()
        self._commands = self._holds = 0
        self._publish = self.publisher("arm/command").publish
        self._publish_status = self.publisher("safety/status").publish
        self.subscribe("arbitrator/choice", self._on_choice)
        self.subscribe("arm/state", self._on_state)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/clear", self._on_clear)

    def _on_state(self, msg: ArmState) -> None:
        if self._arm is not None and self._guard.missed_previous():
            self._send(hold_command(self._arm, "choice_missing"))
        self._arm = messages.arm_state_from_msg(msg)
        self._guard = self._guard.on_state(self._arm.step)
        if self._arm.control_mode is types.ControlMode.FAULT:
            self._latched.add("robot_fault")
        early = self._early.due(self._arm.step)
        if early is not None:
            self._on_choice(early)
        if self._arm.step % round(self._spec.rate_hz) == 0:
            self._report()

    def _on_choice(self, msg: Choice) -> None:
        if self._arm is None or msg.step > self._arm.step:
            self._early = EarlyAnswer(int(msg.step), msg)
            return
        self._guard, usable = self._guard.on_answer(int(msg.step))
        if not usable:
            return
        if self._latched:
            self._send(hold_command(self._arm, sorted(self._latched)[0]))
            return
        choice = messages.choice_from_msg(msg)
        self._send(filter_choice(choice, self._arm, self._limits, self._spec))

    def _send(self, command: types.Command) -> None:
        assert self._arm is not None
        self._publish(messages.command_to_msg(command, self._arm.t_ns))
        self._commands += 1
        self._holds += int(command.hold)
        self._publish_status(self._status(command))

    def _status(self, command: types.Command) -> SafetyStatus:
        assert self._arm is not None
        return SafetyStatus(
            header=messages.header(self._arm.t_ns),
            step=command.step,
            action=SafetyStatus.HOLD if command.hold else SafetyStatus.NONE,
            latched=sorted(self._latched),
            active=list(command.reasons),
            commands=self._commands,
            holds=self._holds,
            refused=self._guard.refused,
        )

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._latched.add("operator_stop")
        if self._arm is not None:
            self._send(hold_command(self._arm, "operator_stop"))
        response.success, response.message = True, "stopped; clear with safety_node/clear"
        return response

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        arm = self._arm
        if arm is not None and arm.control_mode is types.ControlMode.FAULT:
            response.success = False
            response.message = (
                f"the arm is in fault ({', '.join(arm.errors)}); first call franka_node/recover"
            )
            return response
        cleared = ", ".join(sorted(self._latched)) or "nothing"
        self._latched.clear()
        self.get_logger().warning(f"operator cleared: {cleared}")
        response.success, response.message = True, f"cleared: {cleared}"
        return response

    def _report(self) -> None:
        assert self._arm is not None
        level = DiagnosticStatus.ERROR if self._latched else DiagnosticStatus.OK
        self.diagnose(
            self._arm.t_ns,
            ord(level),
            ", ".join(sorted(self._latched)) or "filtering",
            commands=self._commands,
            holds=self._holds,
            refused=self._guard.refused,
            unanswered=self._guard.unanswered,
        )


def main() -> None:
    """Entry point of the node."""
    run_node(SafetyNode)


if __name__ == "__main__":
    main()
