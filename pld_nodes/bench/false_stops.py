"""Holds that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from pld_interfaces.msg import ArmCommand, SafetyStatus

from pld.types import ArmState, ControlMode
from pld_nodes.bench.fault_watcher import FaultWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.ros import messages

CHOSEN, SILENT, DRIVERS_OWN = "hold_chosen", "silent: ", "driver_hold"


def stops(
    watcher: FaultWatcher,
    first: int,
    last: int,
    say: Say | None = None,
    run_dir: Path | None = None,
) -> tuple[str, ...]:
    """What each unasked hold between two statuses was; one that lasts counts once.

    `say` is told of each, with the robot time since the first status, and of all who fell silent
    in the run that is kept in `run_dir`.
    """
    statuses = watcher.statuses[first:last]
    before = [False, *map(is_stop, statuses)]
    began = [s for s, held in zip(statuses, before, strict=False) if is_stop(s) and not held]
    causes = tuple("+".join(s.active) or "unnamed" for s in began)
    for status, cause in zip(began, causes, strict=True):
        since_ns = stamp_ns(status) - stamp_ns(statuses[0])
        if say is not None:
            say("bench", f"{cause} after {since_ns / 1e9:.2f} s")
    if say is not None and run_dir is not None:
        for line in silences(run_dir):
            say("safety_node", line)
    return causes


def driver_holds(states: Sequence[ArmState], commands: Iterable[ArmCommand]) -> tuple[str, ...]:
    """Holds that the driver began for itself, no command having told it to: its own watchdogs."""
    told = {int(c.step) for c in commands if c.hold}
    began = [
        after
        for before, after in pairwise(states)
        if after.held_ns != before.held_ns and after.control_mode is ControlMode.HOLDING
    ]
    return (DRIVERS_OWN,) * sum(state.applied_step not in told for state in began)


def silences(run_dir: Path) -> list[str]:
    """What the safety node of a run logged of those who fell silent, in order."""
    log = run_dir / "logs" / "safety_node.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [line[line.index(SILENT) :] for line in lines if SILENT in line]


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
