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
    """Which nodes fell silent: each owes a sign for a control step within `steps` later ones.

    Where no step begins, as while the driver takes the arm home, nothing is owed. Who never spoke
    is not missed.
    """

    steps: int
    begun: tuple[int, ...] = ()
    heard: Mapping[str, int] = field(default_factory=dict)

    def on_state(self, step: int) -> Heartbeats:
        """A control step began; signs for the one that began `steps` before it are due."""
        return replace(self, begun=(*self.begun, step)[-1 - self.steps :])

    def on_beat(self, name: str, step: int) -> Heartbeats:
        """`name` has done its work of a control step."""
        return replace(self, heard={**self.heard, name: step})

    @property
    def silent(self) -> tuple[str, ...]:
        """Names that owe a sign, in alphabetical order."""
        if len(self.begun) <= self.steps:
            return ()
        return tuple(sorted(name for name, step in self.heard.items() if step < self.begun[0]))


@dataclass(frozen=True)
class Freshness:
    """How old the newest word of each stream is, in robot time [ns]; who never spoke is not missed.

    `limits_ns` holds the largest age by name.
    """

    limits_ns: Mapping[str, float]
    newest_ns: Mapping[str, int] = field(default_factory=dict)

    def on_stamp(self, name: str, stamp_ns: int) -> Freshness:
        """Something measured at `stamp_ns` came."""
        return replace(self, newest_ns={**self.newest_ns, name: stamp_ns})

    def stale(self, t_ns: int) -> tuple[str, ...]:
        """Names whose newest word is too old at `t_ns`, in alphabetical order."""
        newest = self.newest_ns.items()
        return tuple(sorted(n for n, at_ns in newest if t_ns - at_ns > self.limits_ns[n]))


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
