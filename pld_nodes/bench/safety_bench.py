"""`pld bench safety`: every fault of the table, many times, against the graph on the twin.

Each run of the graph is watched from a process of its own. Where writers are destroyed after nodes
were killed, Fast DDS can wait for itself for ever (a timer's thread against its owner), and rclpy
holds the interpreter's lock meanwhile: such a process can only be ended.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from pld.errors import PldError
from pld.safety.limits import SafetyLimits
from pld_nodes.bench.graph_bench import Say
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.safety_session import NORMAL, PER_RUN, Session, Trial
from pld_nodes.processes import die_with_parent

EMPTY_RUNS = 2
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What a session came to: its trials, and how many faults of its queue are left."""

    trials: list[Trial]
    left: int
    interrupted: bool


def normal_running(seconds: float) -> Fault:
    """No fault at all, for `seconds` of robot time."""
    return Fault(NORMAL, lambda _: None, moves=True, window_s=seconds, wall_s=5 * seconds)


def measure(
    faults: Sequence[Fault],
    trials: int,
    launch: Sequence[str],
    limits: SafetyLimits,
    say: Say,
    budget_s: float = float("inf"),
    keep: Callable[[list[Trial]], None] = lambda trials: None,
) -> list[Trial]:
    """Inject every fault `trials` times in a mixed order; no new run after `budget_s` of wall time.

    A run ends when a node is killed, or when safety refuses to clear a cause once more. `launch`
    holds further launch arguments of every run; `keep` is handed the trials so far after each.
    An interrupt ends the bench.
    """
    rng = random.Random(0)
    ends = [f for f in faults if f.ends_run for _ in range(trials)]
    others = [f for f in faults if not f.ends_run for _ in range(trials)]
    rng.shuffle(others)
    rng.shuffle(ends)
    done, empty = list[Trial](), 0
    until = time.monotonic() + budget_s
    while (others or ends) and time.monotonic() < until:
        batch = [*others[:PER_RUN], *ends[:1]]
        session = Session(list(batch), limits, random.Random(rng.random()), say)
        outcome = run_apart(session, launch)
        done += outcome.trials
        keep(done)
        if outcome.interrupted:
            raise KeyboardInterrupt
        left = batch[len(batch) - outcome.left :]
        others = [*others[PER_RUN:], *(f for f in left if not f.ends_run)]
        ends = [*ends[1:], *(f for f in left if f.ends_run)]
        empty = 0 if outcome.trials else empty + 1
        if empty:
            say("bench", "nothing could be injected in this run")
        if empty == EMPTY_RUNS:
            break
    return done


def run_apart(session: Session, launch: Sequence[str]) -> Outcome:
    """Run `session` in a process of its own, which ends without taking the middleware down.

    An interrupt is passed on once and waited for. Raises PldError when that process dies.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_run, args=(session, launch, sender))
    child.start()
    sender.close()
    try:
        try:
            outcome = receiver.recv()
        except KeyboardInterrupt:
            os.kill(child.pid or 0, signal.SIGINT)
            outcome = receiver.recv()
    except EOFError:
        raise PldError("the process of a run died; the trials before it are kept") from None
    child.join()
    assert isinstance(outcome, Outcome)
    return outcome


def _run(session: Session, launch: Sequence[str], sender: Connection) -> None:
    die_with_parent()
    os.setpgrp()  # a terminal's interrupt reaches the parent alone, which passes it on
    session.run(launch)
    sender.send(Outcome(session.trials, len(session.queue), session.interrupted))
    sender.close()
    sys.stdout.flush()
    os._exit(0)
