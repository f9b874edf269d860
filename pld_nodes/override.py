"""The operator's side of the arbitrator: human actions, and the words that end or pause episodes.

Decisions are the hand-over's (pld.teleop.handover); here they meet topics and services.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pld_interfaces.msg import HumanAction
from rclpy.clock import Clock, ClockType
from std_srvs.srv import SetBool, Trigger

from pld.probing.arbitrator import Offers
from pld.recording.translate import TeleopAction, human_action
from pld.safety.sources import SoleSpeaker
from pld.safety.watchdog import EarlyAnswer
from pld.teleop.handover import Control, Handover
from pld.types import Outcome
from pld_nodes.ros.node import GraphNode, publisher_of

ENDINGS = {
    "success": (Outcome.SUCCESS, "operator_success"),
    "failure": (Outcome.FAILURE, "operator_failure"),
    "discard": (Outcome.UNLABELLED, "operator_discard"),
}
TOGETHER_S = 1.0
WAIT = 0.4
"""Part of a control period for which an operator's word is waited for."""
Respond = Callable[[Trigger.Request, Trigger.Response], Trigger.Response]


@dataclass(frozen=True)
class Desk:
    """What the override asks of the arbitrator.

    An episode `runs` from the decision on, and `is_running` from its first step on. `answer`
    chooses among offers for the newest step, once a step; `go_on` lets the policy answer it, if it
    may and can. `end` ends the running episode and is False when none runs.
    """

    newest_step: Callable[[], int]
    runs: Callable[[], bool]
    is_running: Callable[[], bool]
    answer: Callable[[Offers], None]
    go_on: Callable[[], None]
    end: Callable[[Outcome, str], bool]
    describe: Callable[[], str]
    latched: Callable[[], tuple[str, ...]]


class Override:
    """Feeds human actions and the operator's services to the hand-over."""

    def __init__(self, node: GraphNode, rate_hz: float, desk: Desk) -> None:
        self._log, self._desk = node.get_logger(), desk
        self._handover = Handover(rate_hz)
        self._early: EarlyAnswer[TeleopAction] = EarlyAnswer()
        self._operators = SoleSpeaker(round(TOGETHER_S * rate_hz))
        self._heard_step: int | None = None
        steady, wait_s = Clock(clock_type=ClockType.STEADY_TIME), WAIT / rate_hz
        self._wait = node.create_timer(wait_s, self._wait_no_more, clock=steady, autostart=False)
        for name in ENDINGS:
            node.create_service(Trigger, f"~/{name}", self._ending(name))
        node.create_service(Trigger, "~/pause", self._on_pause)
        node.create_service(Trigger, "~/resume", self._on_resume)
        node.create_service(SetBool, "~/policy_after_release", self._on_policy_after_release)

    @property
    def policy_may_act(self) -> bool:
        """Whether the policy has control."""
        return self._handover.control is Control.POLICY

    @property
    def is_holding(self) -> bool:
        """Whether the arm holds for the operator's sake."""
        return self._handover.control is Control.HOLDING

    @property
    def has_acted(self) -> bool:
        """Whether a person has moved the arm in this episode."""
        return self._handover.takeovers > 0

    def is_awaited(self) -> bool:
        """Whether the policy's answer to the newest step waits for a person's word on it.

        It does while an operator is there, one who spoke at the step before: who presses before a
        step begins has that step, however quick the policy is. The wait ends WAIT of a control
        period after the step began.
        """
        return not self._wait.is_canceled()

    def rest(self) -> None:
        """Before and after an episode nobody has control; the operator's choice stays.

        A pause asked for between the decision to run and the first step stays too.
        """
        if self._desk.runs():
            return
        self._handover, self._early = self._handover.renewed(), EarlyAnswer()

    def on_state(self, step: int) -> bool:
        """A control step began; answer it if that is the operator's, else say True."""
        self._wait.cancel()
        if self._heard_step == step - 1:
            self._wait.reset()
        early = self._early.due(step)
        if early is not None:
            self._take(early)
        self._become(self._handover.on_step(step))
        if self.is_holding:
            self._desk.answer(Offers())
        return self.policy_may_act

    def on_human(self, msg: HumanAction, info: dict[str, Any]) -> None:
        """A person's action: for the newest step, the coming one, or late; others are dropped."""
        self._operators = self._operators.on_message(publisher_of(info), int(msg.step))
        if not self._desk.is_running():
            return
        said = human_action(msg)
        if not self._operators.is_alone:
            self._quarrel(said)
            return
        ahead = said.step - self._desk.newest_step()
        self._heard_step = said.step
        if ahead > 0:
            if ahead == 1:
                self._early = EarlyAnswer(said.step, said)
            return
        held_before = self.is_holding
        self._take(said)
        if self.is_holding and not held_before:
            self._desk.answer(Offers())
        elif ahead == 0:
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._wait.cancel()
        self._desk.go_on()

    def diagnostics(self) -> dict[str, object]:
        """What /diagnostics says of it."""
        return {
            "control": self._handover.control.value,
            "pending": self._handover.pending.value,
            "takeovers": self._handover.takeovers,
        }

    def _take(self, said: TeleopAction) -> None:
        deadman = said.deadman and bool(np.all(np.isfinite(said.action)))
        self._become(self._handover.on_human(said.step, deadman=deadman))
        drives = deadman and self._handover.control is Control.HUMAN
        if drives and said.step == self._desk.newest_step():
            self._desk.answer(Offers(human=said.action))

    def _quarrel(self, said: TeleopAction) -> None:
        """Two operators spoke: the arm holds from now on if either wants to move it."""
        step = self._desk.newest_step()
        self._early = EarlyAnswer()
        self._become(self._handover.on_second_operator(step, deadman=said.deadman))
        if self.is_holding:
            self._desk.answer(Offers())

    def _become(self, handover: Handover) -> None:
        before, self._handover = self._handover, handover
        if before.control is not handover.control:
            pending = handover.pending.value if self.is_holding else ""
            self._log.warning(f"control: {handover.control.value} {pending}".rstrip())

    def _ending(self, name: str) -> Respond:
        outcome, reason = ENDINGS[name]

        def respond(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success = self._desk.end(outcome, reason)
            response.message = f"episode {self._desk.describe()}"
            if not response.success:
                response.message += f"; {name} ends a running episode only"
            return response

        return respond

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._desk.runs()
        if response.success:
            self._become(self._handover.pause(self._desk.newest_step()))
            response.message = "paused; go on with arbitrator_node/resume"
        else:
            response.message = f"only a running episode can pause: {self._desk.describe()}"
        return response

    def _on_resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        handover, refusal = self._handover.resume()
        self._become(handover)
        response.success = not refusal
        held_by = ", ".join(self._desk.latched())
        stopped = f", and the arm holds until safety_node/clear: {held_by}" if held_by else ""
        response.message = refusal or f"the policy has control{stopped}"
        return response

    def _on_policy_after_release(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._handover = self._handover.choosing(policy_after_release=request.data)
        response.success = True
        what = "the policy goes on" if request.data else "the arm holds"
        response.message = f"after a release {what}"
        return response
