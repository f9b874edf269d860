"""A process that hangs must not stay: it tells where each of its threads is, and ends.

The middleware can block a thread for good while it holds the interpreter's lock; then no thread of
Python runs any more, and no watchdog written in Python. `faulthandler` keeps its own.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

RENEWED_EVERY_S = 1.0


@dataclass
class HangGuard:
    """Ends the process with exit code 1 when `alive` was not called for `limit_s` of steady time.

    The stacks of all threads are written to stderr first. Nothing is closed: whoever watches the
    process finds it gone, as if it had been killed.
    """

    limit_s: float
    _renewed_s: float = field(init=False, default=float("-inf"))

    def alive(self) -> None:
        """The process works: count anew."""
        now_s = time.monotonic()
        if now_s - self._renewed_s >= min(RENEWED_EVERY_S, self.limit_s / 4):
            self._renewed_s = now_s
            faulthandler.dump_traceback_later(self.limit_s, exit=True)


@contextmanager
def ends_when_hanging(limit_s: float) -> Iterator[HangGuard]:
    """Guard what is done inside; raises nothing, see HangGuard."""
    guard = HangGuard(limit_s)
    guard.alive()
    try:
        yield guard
    finally:
        faulthandler.cancel_dump_traceback_later()
