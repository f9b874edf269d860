"""The twin's bookkeeping beside the graph's own code: who has come how far in robot time.

Beside real hardware none of this exists; the nodes do the same with and without it.
"""

from __future__ import annotations

import time
from pathlib import Path

from pld.twin.link import TwinLink


class TwinObserver:
    """Confirms robot time on the twin's page, for the robot driver or the nodes beside the arm."""

    def __init__(self, link_path: Path) -> None:
        self._link = TwinLink(link_path)
        self._looks_away = False

    def reading(self, t_ns: int | None) -> None:
        """The driver has read the robot at `t_ns`, or looks away (None). A FrankaArm watcher.

        Where it looks away, as in a reset, it tells no states: no command is awaited either.
        """
        self._looks_away = t_ns is None
        self._say("driver", t_ns)
        if self._looks_away:
            self._say("command", None)

    def applied(self, t_ns: int | None) -> None:
        """The command that answers the state of `t_ns` was applied; None: none is awaited."""
        self._say("command", None if self._looks_away else t_ns)

    def began(self, t_ns: int) -> None:
        """The driver told everybody of the control step that began at `t_ns`."""
        self._say("step", t_ns)

    def worked(self, t_ns: int | None) -> None:
        """All nodes beside the arm have worked on the control step of `t_ns`; None: they end."""
        self._say("nodes", t_ns)

    def _say(self, slot: str, t_ns: int | None) -> None:
        wall_ns = time.monotonic_ns()
        if t_ns is None:
            self._link.release(slot, wall_ns)
        else:
            self._link.confirm(slot, t_ns, wall_ns)
