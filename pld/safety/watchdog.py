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
    """When each node was last heard of, in robot time [ns]; who was never heard is not missed."""

    limit_ns: int
    heard_ns: Mapping[str, int] = field(default_factory=dict)

    def on_beat(self, name: str, t_ns: int) -> Heartbeats:
        """`name` spoke at `t_ns`."""
        return replace(self, heard_ns={**self.heard_ns, name: t_ns})

    def silent(self, t_ns: int) -> tuple[str, ...]:
        """Names not heard of for more than the limit at `t_ns`, in alphabetical order."""
        late = (name for name, at_ns in self.heard_ns.items() if t_ns - at_ns > self.limit_ns)
        return tuple(sorted(late))


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
