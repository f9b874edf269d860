"""Holds that nobody asked for."""

from __future__ import annotations

from pld_interfaces.msg import SafetyStatus

from pld_nodes.bench.fault_watcher import FaultWatcher

CHOSEN = "hold_chosen"


def stops(watcher: FaultWatcher, first: int, last: int) -> tuple[str, ...]:
    """What each unasked hold between two statuses was; one that lasts counts once."""
    statuses = watcher.statuses[first:last]
    before = [False, *map(is_stop, statuses)]
    began = [s for s, held in zip(statuses, before, strict=False) if is_stop(s) and not held]
    return tuple("+".join(s.active) or "unnamed" for s in began)


def is_stop(status: SafetyStatus) -> bool:
    """Whether the arm is held without anybody having chosen that."""
    return bool(status.action) and CHOSEN not in status.active
