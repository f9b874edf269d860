"""`pld bench safety`: every fault of the table, many times, against the graph on the twin."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from pld.safety.limits import SafetyLimits
from pld_nodes.bench.graph_bench import Say
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.safety_session import NORMAL, PER_RUN, Session, Trial

EMPTY_RUNS = 2


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
    An interrupt ends the bench, and so does a middleware that hangs.
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
        session = Session(list(batch), limits, rng, say)
        session.run(launch)
        done += session.trials
        keep(done)
        if session.interrupted:
            raise KeyboardInterrupt
        left = session.queue
        others = [*others[PER_RUN:], *(f for f in left if not f.ends_run)]
        ends = [*ends[1:], *(f for f in left if f.ends_run)]
        empty = 0 if session.trials else empty + 1
        if empty:
            say("bench", "nothing could be injected in this run")
        if session.hangs or empty == EMPTY_RUNS:
            break
    return done
