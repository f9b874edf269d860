"""What the benches' figures come to where something is missing: no aim is met by an empty run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

from pld.cadence import Applied, command_period_ms, missed_steps
from pld.errors import RecordingError
from pld_nodes.bench import reflex_bench, safety_bench
from pld_nodes.bench.aims import EXIT_MISSED
from pld_nodes.bench.box_bench import Excursions
from pld_nodes.bench.cycles_bench import Cycles
from pld_nodes.bench.graph_bench import _spread
from pld_nodes.bench.safety_cli import bench_safety
from pld_nodes.bench.safety_faults import Fault
from pld_nodes.bench.safety_session import Trial


def test_a_step_without_a_command_is_counted_where_no_period_shows_it() -> None:
    steps = np.array([4, 5, 7, 8, 10])
    applied = Applied(steps, steps * 50_000_000)
    assert command_period_ms(applied).tolist() == [50.0, 50.0]
    assert missed_steps(applied) == 2
    assert missed_steps(Applied(steps[:0], steps[:0])) == 0


def test_nothing_to_measure_a_spread_by_is_said() -> None:
    with pytest.raises(RecordingError, match="command period: the run holds nothing"):
        _spread("command period", np.zeros(0), 55.0)


def test_one_cycle_tells_no_growth() -> None:
    growth = next(f for f in Cycles(finished=1, segments=[3]).figures() if "growth" in f.name)
    assert math.isnan(growth.value)
    assert growth.met is False


def test_a_collision_counts_its_pose() -> None:
    figures = {f.name: f for f in Excursions([40.0], reflexes=1).figures()}
    assert figures["outside the box max"].met is False
    assert figures["commands"].met


@pytest.mark.parametrize(("came", "code"), [(2, 0), (1, EXIT_MISSED), (0, EXIT_MISSED)])
def test_trials_that_did_not_come_about_are_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, came: int, code: int
) -> None:
    def measure(faults: Sequence[Fault], *_: object, **__: object) -> list[Trial]:
        return [Trial(f.name, True, 20.0, 1.0, 9.0, 0) for f in faults for _ in range(came)]

    monkeypatch.setattr(safety_bench, "measure", measure)
    with pytest.raises(typer.Exit) as ended:
        bench_safety(2, "SIGSTOP vla_node", normal_s=0.0, json_file=tmp_path / "f.json")
    assert ended.value.exit_code == code


def test_a_reflex_bench_that_never_saw_its_second_claims_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = SimpleNamespace(errors=("cartesian_reflex",), t_ns=5, O_F_ext_hat_K=np.zeros(6))
    watcher = SimpleNamespace(states=[state])
    monkeypatch.setattr(reflex_bench, "WAIT_S", 0.05)
    findings = reflex_bench.Findings()
    reflex_bench._observe(watcher, findings)  # type: ignore[arg-type]
    assert findings.seen["it is a cartesian_reflex"]
    assert not findings.seen["still latched after 1 s"]
    assert math.isnan(findings.moved_mm)
