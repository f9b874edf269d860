"""Watchdogs over the streams that the safety node reads; time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")
BEGUN_KEPT = 8
AHEAD_NS = 500_000_000  # more than a busy safety node lags behind what it judges


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
        """A control step was told; counts the previous one if it is another and had no answer."""
        missed = self.newest_step >= 0 and self.missed_before(step)
        return replace(self, newest_step=step, unanswered=self.unanswered + int(missed))

    def missed_previous(self) -> bool:
        """Whether the newest step has not been answered."""
        return self.answered_step < self.newest_step

    def missed_before(self, step: int) -> bool:
        """Whether the newest step has gone by without an answer when `step` is told.

        The driver tells a step twice where a reset ends in the middle of it.
        """
        return step != self.newest_step and self.missed_previous()

    def on_answer(self, step: int) -> tuple[StepGuard, bool]:
        """Whether an answer to `step` may be used, and the guard after it."""
        if step != self.newest_step or step <= self.answered_step:
            return replace(self, refused=self.refused + 1), False
        return replace(self, answered_step=step), True


@dataclass(frozen=True)
class Heartbeats:
    """Which nodes fell silent: each owes a sign for a control step within `within_ns` of its start.

    Times are robot time [ns]. Whether a silence matters is not judged here: while the driver takes
    the arm home it does not. Who never spoke is not missed.
    """

    within_ns: int
    begun: tuple[tuple[int, int], ...] = ()
    heard: Mapping[str, int] = field(default_factory=dict)

    def on_state(self, step: int, t_ns: int) -> Heartbeats:
        """Control step `step` began at `t_ns`."""
        return replace(self, begun=(*self.begun, (step, t_ns))[-BEGUN_KEPT:])

    def on_beat(self, name: str, step: int) -> Heartbeats:
        """`name` has done its work of a control step."""
        return replace(self, heard={**self.heard, name: step})

    @property
    def attended(self) -> int:
        """The newest control step that all who ever spoke have worked on; -1: nobody spoke."""
        return min(self.heard.values(), default=-1)

    def silent(self, t_ns: int) -> tuple[str, ...]:
        """Names that owe a sign at `t_ns`, in alphabetical order."""
        due = [step for step, at_ns in self.begun if t_ns - at_ns > self.within_ns]
        if not due:
            return ()
        return tuple(sorted(name for name, step in self.heard.items() if step < due[-1]))


@dataclass(frozen=True)
class Freshness:
    """Which streams are stale, in robot time [ns]; one that never spoke is not missed.

    A stream is stale when its newest measurement is older than `limits_ns[name]`, or when nothing
    new has come for `gap_ns`. Both are needed: where everything comes late, age alone is slow to
    notice that a stream has stopped.
    """

    limits_ns: Mapping[str, float]
    gap_ns: int
    newest_ns: Mapping[str, int] = field(default_factory=dict)
    came_ns: Mapping[str, int] = field(default_factory=dict)

    def on_stamp(self, name: str, stamp_ns: int, t_ns: int) -> Freshness:
        """Something measured at `stamp_ns` came when `t_ns` was known; the same again is not new.

        It came no sooner than it was measured, where `t_ns` lags behind.
        """
        if stamp_ns == self.newest_ns.get(name):
            return self
        newest = {**self.newest_ns, name: stamp_ns}
        return replace(self, newest_ns=newest, came_ns={**self.came_ns, name: max(t_ns, stamp_ns)})

    def on_time(self, t_ns: int) -> Freshness:
        """It is `t_ns`. What came much later than that came now: a host's clock was set back.

        Otherwise a silence would be noticed only once the clock were where it had been.
        """
        if all(came - t_ns <= AHEAD_NS for came in self.came_ns.values()):
            return self
        return replace(self, came_ns={n: min(came, t_ns) for n, came in self.came_ns.items()})

    def stale(self, t_ns: int) -> tuple[str, ...]:
        """Names whose newest word is too old at `t_ns`, in alphabetical order."""
        return tuple(sorted(name for name in self.newest_ns if self._is_stale(name, t_ns)))

    def _is_stale(self, name: str, t_ns: int) -> bool:
        aged = t_ns - self.newest_ns[name] > self.limits_ns[name]
        return aged or t_ns - self.came_ns[name] > self.gap_ns


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
