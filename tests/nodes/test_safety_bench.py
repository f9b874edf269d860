"""A run that `pld bench safety` watches has a process of its own; its outcome comes back."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence

import pytest

from pld.errors import PldError
from pld_nodes.bench import safety_bench
from pld_nodes.bench.safety_bench import measure, run_apart
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.safety_session import Session, Trial

FAULTS = [Fault(name, lambda _: None) for name in ("a", "b", "c")]


def session(play: Callable[[Session], None]) -> Session:
    """A session that does `play` instead of starting a graph."""

    class Played(Session):
        def run(self, launch: Sequence[str]) -> None:
            play(self)

    return Played(list(FAULTS), None, random.Random(0), lambda name, line: None)  # type: ignore[arg-type]


def inject_one(played: Session) -> None:
    fault = played.queue.pop(0)
    played.trials.append(Trial(f"{fault.name} {os.getpid()}", True, 1.0, 2.0, 3.0, 0))


def test_trials_and_what_is_left_come_back_from_another_process() -> None:
    outcome = run_apart(session(inject_one), ())
    (trial,) = outcome.trials
    name, pid = trial.fault.split()
    assert (name, outcome.left, outcome.interrupted) == ("a", 2, False)
    assert int(pid) != os.getpid()


def test_a_run_whose_process_dies_is_told() -> None:
    def die(played: Session) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(PldError, match="the process of a run died"):
        run_apart(session(die), ())


def test_what_a_run_leaves_is_injected_in_the_next_and_an_interrupt_ends_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[str]] = []
    kept: list[int] = []

    def run(played: Session, launch: Sequence[str]) -> safety_bench.Outcome:
        batches.append([fault.name for fault in played.queue])
        inject_one(played)
        return safety_bench.Outcome(played.trials, len(played.queue), len(batches) == 2)

    monkeypatch.setattr(safety_bench, "run_apart", run)
    with pytest.raises(KeyboardInterrupt):
        measure(FAULTS, 1, (), None, lambda *_: None, keep=lambda t: kept.append(len(t)))  # type: ignore[arg-type]
    assert sorted(batches[0]) == ["a", "b", "c"]
    assert batches[1] == batches[0][1:]
    assert kept == [1, 2]
