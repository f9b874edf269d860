"""Holds that nobody asked for."""

from __future__ import annotations

from pld_interfaces.msg import SafetyStatus

from pld_nodes.bench.fault_watcher import FaultWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.ros import messages

CHOSEN = "hold_chosen"


def stops(watcher: FaultWatcher, first: int, last: int, say: Say | None = None) -> tuple[str, ...]:
    """What each unasked hold between two statuses was; one that lasts counts once.

    `say` is told of each, with the robot time since the first status.
    """
    statuses = watcher.statuses[first:last]
    before = [False, *map(is_stop, statuses)]
    began = [s for s, held in zip(statuses, before, strict=False) if is_stop(s) and not held]
    causes = tuple("+".join(s.active) or "unnamed" for s in began)
    for status, cause in zip(began, causes, strict=True):
        since_ns = stamp_ns(status) - stamp_ns(statuses[0])
        if say is not None:
            say("bench", f"{cause} after {since_ns / 1e9:.2f} s")
    return causes


def is_stop(status: SafetyStatus) -> bool:
    """Whether the arm is held without anybody having chosen that."""
    return bool(status.action) and CHOSEN not in status.active


def standing(watcher: FaultWatcher) -> str:
    """What holds the arm now, as the driver and safety say."""
    arm, status = watcher.states[-1], watcher.statuses[-1]
    names = ", ".join((*arm.errors, *status.active)) or "nothing"
    return f"{names} ({arm.control_mode.name.lower()}, step {arm.step} answered {status.step})"


def stamp_ns(status: SafetyStatus) -> int:
    """Robot time of a status [ns]."""
    return messages.nanoseconds(status.header.stamp)
