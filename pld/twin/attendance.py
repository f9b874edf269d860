"""How far the nodes beside the arm have come, so that robot time can wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

KEPT = 8


@dataclass(frozen=True)
class Attendance:
    """The last control steps with their robot times [ns], and the newest that all have worked on.

    Topics are not ordered: a step may have been worked on before its state is known here.
    """

    steps_ns: Mapping[int, int] = field(default_factory=dict)
    attended: int = -1

    def on_state(self, step: int, t_ns: int) -> Attendance:
        """Control step `step` began at `t_ns`."""
        known = [*self.steps_ns.items(), (step, t_ns)][-KEPT:]
        return replace(self, steps_ns=dict(known))

    def on_attended(self, step: int) -> Attendance:
        """All have worked on control step `step`."""
        return replace(self, attended=step)

    @property
    def done_ns(self) -> int | None:
        """When the newest step began that all have worked on; None: not known."""
        worked = [step for step in self.steps_ns if step <= self.attended]
        return self.steps_ns[max(worked)] if worked else None
