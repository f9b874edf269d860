"""Watchdogs over the streams that the safety node reads; time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class StepGuard:
    """Accepts at most one choice per control step, and only for the newest step.

    A reply to an older step than the newest arm state, or a second reply, is refused and counted:
    peers execute late answers as the next action.
    """

    newest_step: int = -1
    answered_step: int = -1
    refused: int = 0
    unanswered: int = 0

    def on_state(self, step: int) -> StepGuard:
        """A new control step began; counts the previous one if nobody answered it."""
        missed = self.newest_step >= 0 and self.answered_step < self.newest_step
        return replace(self, newest_step=step, unanswered=self.unanswered + int(missed))

    def missed_previous(self) -> bool:
        """Whether the newest step has not been answered."""
        return self.answered_step < self.newest_step

    def on_answer(self, step: int) -> tuple[StepGuard, bool]:
        """Whether an answer to `step` may be used, and the guard after it."""
        if step != self.newest_step or step <= self.answered_step:
            return replace(self, refused=self.refused + 1), False
        return replace(self, answered_step=step), True


@dataclass(frozen=True)
class Heartbeats:
    """Which nodes fell silent while commands moved the arm; who never spoke is not missed.

    Only robot time [ns] in which the arm tracked counts: nodes that report at control steps have
    nothing to report during a reset. A hold, which ends tracking, does not end a silence either.
    """

    limit_ns: int
    tracked_ns: int = 0
    heard_ns: Mapping[str, int] = field(default_factory=dict)

    def on_tracked(self, elapsed_ns: int) -> Heartbeats:
        """The arm was moved by commands for another `elapsed_ns`."""
        return replace(self, tracked_ns=self.tracked_ns + elapsed_ns)

    def on_beat(self, name: str) -> Heartbeats:
        """`name` spoke."""
        return replace(self, heard_ns={**self.heard_ns, name: self.tracked_ns})

    @property
    def silent(self) -> tuple[str, ...]:
        """Names not heard of for more than the limit, in alphabetical order."""
        oldest_ns = self.tracked_ns - self.limit_ns
        return tuple(sorted(name for name, at_ns in self.heard_ns.items() if at_ns < oldest_ns))


@dataclass(frozen=True)
class EarlyAnswer(Generic[T]):
    """Keeps an answer that overtook the arm state that it answers: topics are not ordered.

    `step` -1 keeps nothing.
    """

    step: int = -1
    answer: T | None = None

    def due(self, step: int) -> T | None:
        """The kept answer if it is one to `step`, which has now come."""
        return self.answer if step == self.step else None
