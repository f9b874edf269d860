"""What a run's processes took, read from its samples."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pld.errors import RecordingError
from pld.run_usage import COLUMNS, ProcessUsage, run_usage
from pld_nodes.usage import UsageSampler


def written(folder: Path, samples: list[tuple[str, int, float, float]]) -> list[ProcessUsage]:
    """Samples of (name, pid, CPU seconds, megabytes), one a second and name."""
    seen: dict[tuple[str, int], int] = {}
    lines = [",".join(COLUMNS)]
    for name, pid, cpu_s, mb in samples:
        second = seen[name, pid] = seen.get((name, pid), 0) + 1
        lines.append(f"{second},{name},{pid},{cpu_s},{int(mb * 1e6)}")
    (folder / "usage.csv").write_text("\n".join(lines) + "\n")
    return run_usage(folder)


def test_growth_is_the_slope_after_the_start(tmp_path: Path) -> None:
    start = [("a", 1, 0.0, 10.0)] * 20
    (steady,) = written(tmp_path, [*start, *[("a", 1, 0.0, 100.0)] * 40])
    assert steady.growth_mb_per_min == pytest.approx(0.0)
    (growing,) = written(tmp_path, [("a", 1, i / 2, 100.0 + i) for i in range(60)])
    assert growing.growth_mb_per_min == pytest.approx(60.0)
    assert growing.cpu_percent == pytest.approx(50.0)
    assert (growing.first_mb, growing.last_mb) == (120.0, 159.0)


def test_of_a_resumed_run_the_last_process_counts(tmp_path: Path) -> None:
    before = [("a", 1, 9.0, 500.0)] * 5
    found = written(tmp_path, [*before, *[("b", 7, 1.0, 3.0), ("a", 2, 0.0, 100.0)] * 20])
    assert [(p.name, p.last_mb, p.wall_s) for p in found] == [("b", 3.0, 19.0), ("a", 100.0, 19.0)]


def test_a_line_that_a_kill_cut_off_is_no_sample(tmp_path: Path) -> None:
    whole = written(tmp_path, [("a", 1, 0.0, 100.0)] * 20)
    path = tmp_path / "usage.csv"
    path.write_text(path.read_text() + "21,a,1,0.0,1000")
    assert run_usage(tmp_path) == whole
    with UsageSampler(tmp_path, period_s=0.01):
        time.sleep(0.2)
    assert not [line for line in path.read_text().splitlines() if line.startswith("21,a")]
    assert run_usage(tmp_path)[0] == whole[0]


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"usage\.csv"):
        run_usage(tmp_path)
    (tmp_path / "usage.csv").write_text("wall_s,name\n1,a\n")
    with pytest.raises(RecordingError, match=r"usage\.csv"):
        run_usage(tmp_path)
