"""Who has control, policy or human, and what happens in between: a pure state machine in steps.

A human with the deadman has control at once, always. Whoever lets go leaves a holding arm. The
policy goes on only after the operator's word (`resume`), or, if the operator chose so beforehand,
by itself after a settling time. An operator who falls silent while in control, a pause, and two
operators at a time are never followed by the policy on its own: in doubt, hold. Nor does a deadman
that was held all through a silence or a quarrel count: it must be pressed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

SETTLE_S = 0.75
SILENCE_S = 0.15


class Control(Enum):
    """Who moves the arm."""

    POLICY = "policy"
    HUMAN = "human"
    HOLDING = "holding"


class Pending(Enum):
    """Why the arm holds, which says what ends it."""

    NOTHING = "nothing"
    RELEASED = "released"
    PAUSED = "paused"
    OPERATOR_LOST = "operator_lost"
    TWO_OPERATORS = "two_operators"


LASTING = (Pending.PAUSED, Pending.OPERATOR_LOST, Pending.TWO_OPERATORS)
PRESS_ANEW = (Pending.OPERATOR_LOST, Pending.TWO_OPERATORS)


@dataclass(frozen=True)
class Handover:
    """Control at the newest step. `takeovers` counts how often a human took over.

    `policy_after_release`: the operator's choice. `pending` outlives a takeover, so that a pause
    is still one after the human moved the arm. `since_step`: when the arm began to hold;
    `heard_step`: the newest step at which the human in control was heard. `stuck`: the deadman has
    not been seen released since the arm began to hold for a silence or a quarrel.
    """

    rate_hz: float
    policy_after_release: bool = False
    control: Control = Control.POLICY
    pending: Pending = Pending.NOTHING
    since_step: int = 0
    heard_step: int = 0
    takeovers: int = 0
    stuck: bool = False

    def on_human(self, step: int, *, deadman: bool) -> Handover:
        """A person's message for `step`; older ones than the newest heard change nothing."""
        if self.control is Control.HUMAN and step < self.heard_step:
            return self
        if not deadman:
            return self._release(step)
        if self.control is Control.HUMAN:
            return replace(self, heard_step=step)
        if self.stuck:
            return self
        return replace(self, control=Control.HUMAN, heard_step=step, takeovers=self.takeovers + 1)

    def on_second_operator(self, step: int, *, deadman: bool) -> Handover:
        """Two people speak at a time: while either holds the deadman, neither moves the arm."""
        if not deadman and self.control is not Control.HUMAN:
            return self
        return self._hold(step, Pending.TWO_OPERATORS)

    def on_step(self, step: int) -> Handover:
        """A control step began: notice silence, and end a release that has settled."""
        if self.control is Control.HUMAN:
            silent = step - self.heard_step > max(1, round(SILENCE_S * self.rate_hz))
            return self._hold(step, Pending.OPERATOR_LOST) if silent else self
        settled = step - self.since_step >= round(SETTLE_S * self.rate_hz)
        by_itself = self.policy_after_release and self.pending is Pending.RELEASED
        return self._to_policy() if by_itself and settled else self

    def pause(self, step: int) -> Handover:
        """The operator wants the arm to hold; a human in control keeps it and leaves a pause."""
        if self.control is Control.HUMAN:
            return replace(self, pending=Pending.PAUSED)
        return self._hold(step, Pending.PAUSED)

    def resume(self) -> tuple[Handover, str]:
        """The operator gives control back to the policy; empty text, or why that is refused."""
        if self.control is Control.HUMAN:
            return self, "a human has control; release the deadman first"
        if self.control is Control.POLICY:
            return self, "the policy has control already"
        return self._to_policy(), ""

    def choosing(self, *, policy_after_release: bool) -> Handover:
        """The operator's choice of what a release is followed by."""
        return replace(self, policy_after_release=policy_after_release)

    def renewed(self) -> Handover:
        """At the start of an episode: the policy has control, the operator's choice stays."""
        return Handover(self.rate_hz, self.policy_after_release)

    def _release(self, step: int) -> Handover:
        if self.control is not Control.HUMAN:
            return replace(self, stuck=self.stuck and step < self.since_step)
        return self._hold(step, self.pending if self.pending in LASTING else Pending.RELEASED)

    def _hold(self, step: int, pending: Pending) -> Handover:
        stuck = self.stuck or pending in PRESS_ANEW
        return replace(self, control=Control.HOLDING, pending=pending, since_step=step, stuck=stuck)

    def _to_policy(self) -> Handover:
        return replace(self, control=Control.POLICY, pending=Pending.NOTHING, stuck=False)
