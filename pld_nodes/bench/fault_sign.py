"""What safety, the arbitrator and the driver said since a fault was injected."""

from __future__ import annotations

from dataclasses import dataclass

from pld.types import ControlMode
from pld_nodes.bench.fault_watcher import FaultWatcher
from pld_nodes.bench.safety_faults import Fault

TRACKING = ControlMode.TRACKING
STAMP_NS = 10_000_000
"""A hold bears the time of the arm's last reading, which may be this old at an injection."""


@dataclass(frozen=True)
class Sign:
    """What safety and the driver said since the injection."""

    watcher: FaultWatcher
    fault: Fault
    start_ns: int
    first_state: int
    first_status: int
    first_choice: int

    @classmethod
    def before(cls, watcher: FaultWatcher, fault: Fault, start_ns: int) -> Sign:
        """What will count, seen from just before the injection at `start_ns`."""
        return cls(
            watcher,
            fault,
            start_ns,
            len(watcher.states),
            len(watcher.statuses),
            len(watcher.choices),
        )

    def began_in_motion(self) -> bool:
        """Whether the arm still moved; a trial of an arm that already held says nothing."""
        states = self.watcher.states[self.first_state - 1 :]
        if self.fault.homing:
            return states[0].control_mode is ControlMode.RESETTING
        return all(self._is_new(s.held_ns) for s in states[:2] if s.control_mode is not TRACKING)

    def _is_new(self, held_ns: int) -> bool:
        """Whether a hold began after the injection."""
        return held_ns > self.start_ns - STAMP_NS

    def held_ns(self) -> int | None:
        """Robot time at which the driver began to hold, or to do what a person asks [ns]."""
        states = self.watcher.states[self.first_state :]
        if self.fault.takes_over:
            given = self.watcher.human_steps(self.first_choice)
            executed = [s.applied_ns for s in states if s.applied_step in given]
            return min(executed) if executed else None
        held = [s.held_ns for s in states if self._is_new(s.held_ns)]
        return min(held) if held else None

    def _coming_step(self) -> int:
        """The first control step that began after the injection, in robot time.

        Not the step after the newest that this observer knew of: it hears of a step a little late.
        """
        return min((s.step for s in self.watcher.states if s.t_ns > self.start_ns), default=-1)

    def moved_on(self, end_ns: int) -> int:
        """Commands to move that were executed after the hold began, until `end_ns`."""
        held_ns = self.held_ns()
        if held_ns is None:
            return 0
        to_move = {c.step for c in self.watcher.commands if not c.hold}
        states = self.watcher.states[self.first_state :]
        executed = {s.applied_step for s in states if held_ns < s.applied_ns <= end_ns}
        return len(executed & to_move)

    def is_seen(self) -> bool:
        """Whether one of the fault's causes was named, or the hold itself is sign enough.

        A person must have control from the first control step on that begins after the press.
        """
        if self.fault.takes_over:
            given = self.watcher.human_steps(self.first_choice)
            return self.held_ns() is not None and min(given) <= self._coming_step()
        if not self.fault.causes:
            return self.held_ns() is not None
        statuses = self.watcher.statuses[self.first_status :]
        named = {name for s in statuses for name in (*s.active, *s.latched)}
        named |= {name for s in self.watcher.states[self.first_state :] for name in s.errors}
        return bool(named & set(self.fault.causes))
