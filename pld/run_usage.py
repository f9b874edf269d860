"""What a run's processes took: `usage.csv` of a run folder, one line per process and sample."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.errors import RecordingError

USAGE_NAME = "usage.csv"
COLUMNS = ("wall_s", "name", "pid", "cpu_s", "memory_bytes")
SHARED_MEMORY = "/dev/shm"  # noqa: S108
MB = 1e6
SHORTEST = 10


@dataclass(frozen=True)
class ProcessUsage:
    """One process over a run: CPU in percent of a core, memory in megabytes.

    `growth_mb_per_min` is the slope of a line through the last two thirds of the samples: a
    process that has yet to load its weights does not grow. 0 where there are too few of them.
    SHARED_MEMORY is all that lies there, in the place of a process; it has no CPU.
    """

    name: str
    wall_s: float
    cpu_percent: float
    first_mb: float
    last_mb: float
    growth_mb_per_min: float


def run_usage(run_dir: Path) -> list[ProcessUsage]:
    """What each process of a run took, since the run was last resumed; raises RecordingError."""
    path = run_dir / USAGE_NAME
    try:
        lines = path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a kill may cut the last one
        rows = [(r["name"], int(r["pid"]), _numbers(r)) for r in csv.DictReader(whole)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"cannot read {str(path)!r}: {error}; `pld up` writes it beside the episodes"
        ) from error
    last_pid = {name: pid for name, pid, _ in rows}
    samples: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for name, pid, numbers in rows:
        if pid == last_pid[name]:
            samples[name].append(numbers)
    return [_usage(name, np.array(found)) for name, found in samples.items()]


def _numbers(row: dict[str, str]) -> tuple[float, float, float]:
    return float(row["wall_s"]), float(row["cpu_s"]), float(row["memory_bytes"]) / MB


def _usage(name: str, samples: np.ndarray) -> ProcessUsage:
    wall_s, cpu_s, memory_mb = samples.T
    span_s = float(wall_s[-1] - wall_s[0])
    settled = len(samples) // 3
    return ProcessUsage(
        name=name,
        wall_s=span_s,
        cpu_percent=100 * float(cpu_s[-1] - cpu_s[0]) / span_s if span_s else 0.0,
        first_mb=float(memory_mb[settled]),
        last_mb=float(memory_mb[-1]),
        growth_mb_per_min=_slope(wall_s[settled:], memory_mb[settled:]) * 60,
    )


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x - x[0], y, 1)[0]) if len(x) >= SHORTEST else 0.0
