"""Attends to the simulated arm in an unattended run: asks for what an operator would, and when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pld.safety.failsafe import CLEAR, RECOVER

ATTENDED = frozenset({"robot_fault", "left_workspace"})
PATIENCE_NS = 1_000_000_000


@dataclass(frozen=True)
class Attendant:
    """Asks for recovery and clearing of what a policy alone may bring about, once a second.

    Whatever else is latched is left alone with all the rest: a stop is somebody's word. The limits
    on recoveries and clears hold for it as for anybody. `asked_ns` is steady time: robot time
    stands still while the connection is lost.
    """

    asked_ns: int = -PATIENCE_NS

    def asks(
        self, steady_ns: int, *, faulty: bool, latched: Collection[str]
    ) -> tuple[Attendant, str]:
        """The service to call now, or nothing, and the attendant afterwards."""
        attended = bool(latched) and ATTENDED.issuperset(latched)
        if not attended or steady_ns - self.asked_ns < PATIENCE_NS:
            return self, ""
        return replace(self, asked_ns=steady_ns), RECOVER if faulty else CLEAR
