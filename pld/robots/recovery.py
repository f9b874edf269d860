"""Which latched faults an operator may clear from here, and how often; pure logic."""

from __future__ import annotations

from dataclasses import dataclass

from pld.errors import RobotError


@dataclass
class RecoveryRule:
    """Counts recoveries that came to an end; `limit` at most without a completed reset between."""

    recoverable: tuple[str, ...]
    limit: int
    total: int = 0
    since_reset: int = 0

    def check(self, fault: tuple[str, ...]) -> None:
        """Raise RobotError when no recovery from `fault` is allowed."""
        blocked = [name for name in fault if name not in self.recoverable]
        if blocked:
            raise RobotError(
                f"{', '.join(blocked)} must not be cleared from here; recoverable: "
                f"{', '.join(self.recoverable)}. Move the arm by hand or in Desk"
            )
        if self.since_reset >= self.limit:
            raise RobotError(
                f"recovered {self.since_reset} times without a reset between; "
                "find the cause, then start the run anew"
            )

    def completed(self) -> None:
        """The operator's recovery has cleared what was latched."""
        self.total += 1
        self.since_reset += 1

    def completed_reset(self) -> None:
        """The arm came home."""
        self.since_reset = 0
