"""`pld bench graph`: the running graph's pace, latency, tracking and cost, in robot time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable

import numpy as np

from pld import cadence
from pld.errors import INTERRUPTED, RecordingError
from pld.recording.reader import Episode, read_episode
from pld.run_folder import episode_folders
from pld.run_usage import ProcessUsage, run_usage
from pld.types import Array
from pld_nodes.bench.aims import Figure
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import execute

MEMORY_GROWTH_MB_PER_MIN = 1.0
LONGEST_EPISODE_S = 60.0
Say = Callable[[str, str], None]


def measure(rate_hz: float, seconds: float, robot_ip: str, say: Say) -> list[Figure]:
    """Run episodes of at most a minute of robot time that only move, and read their bags.

    Raises RecordingError where these hold nothing to measure.
    """
    count = math.ceil(seconds / LONGEST_EPISODE_S)
    with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
        arguments = [
            "policy:=sweep",
            f"episodes:={count}",
            f"rate_hz:={rate_hz}",
            f"horizon_s:={seconds / count}",
            f"output_dir:={folder}",
            f"robot_ip:={robot_ip}",
        ]
        code, run_dir = execute(parse_arguments(Deployment.SIM, arguments), Deployment.SIM, say)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        episodes = [read_episode(path) for path in episode_folders(run_dir)]
        return figures(episodes, run_usage(run_dir), rate_hz, seconds)


def figures(
    episodes: list[Episode], usage: list[ProcessUsage], rate_hz: float, seconds: float
) -> list[Figure]:
    """The table's rows; aims are those of the 20 Hz graph."""
    fast = rate_hz == 20.0
    applied = [cadence.applied_commands(episode) for episode in episodes]
    period = np.concatenate([cadence.command_period_ms(a) for a in applied])
    pairs = zip(episodes, applied, strict=True)
    latency = np.concatenate([cadence.camera_to_command_ms(e, a) for e, a in pairs])
    chain = np.concatenate([cadence.state_to_command_wall_ms(e) for e in episodes])
    lag_ms, rms_mm = cadence.tracking(episodes[0])
    missed = sum(cadence.missed_steps(a) for a in applied)
    span = sum(e.arm_states[-1].t_ns - e.arm_states[0].t_ns for e in episodes)
    wall = sum(e.arm_states[-1].log_time_ns - e.arm_states[0].log_time_ns for e in episodes)
    errors = sum(len(a.value.errors) for e in episodes for a in e.arm_states)
    return [
        Figure("robot time", span / 1e9, "s", at_least=0.95 * seconds),
        *_spread("command period", period, 55.0 if fast else None),
        Figure("control steps without a command of their own", missed, "", at_most=0),
        *_spread("camera to command", latency, 60.0 if fast else None),
        *_spread("state to command on the wall clock", chain, None),
        Figure("tracking lag", lag_ms, "ms"),
        Figure("tracking rms at that lag", rms_mm, "mm"),
        Figure("FCI errors", errors, "", at_most=0),
        Figure("messages lost", sum(e.verdict.lost for e in episodes), "", at_most=0),
        Figure("real-time factor", span / wall, ""),
        *_costs(usage, span / 1e9),
    ]


def _spread(name: str, values: Array, p99_at_most: float | None) -> list[Figure]:
    """Median, 99th percentile and maximum of milliseconds."""
    if not len(values):
        raise RecordingError(f"{name}: the run holds nothing to measure it by")
    p50, p99, largest = (float(v) for v in np.percentile(values, (50, 99, 100)))
    return [
        Figure(f"{name} p50", p50, "ms"),
        Figure(f"{name} p99", p99, "ms", p99_at_most),
        Figure(f"{name} max", largest, "ms"),
    ]


def _costs(usage: list[ProcessUsage], robot_s: float) -> list[Figure]:
    """CPU per second of robot time, and the growth of memory where the run was long enough."""
    cpu = [
        Figure(f"CPU {p.name}", p.cpu_percent * p.wall_s / robot_s, "%")
        for p in usage
        if p.cpu_percent
    ]
    if robot_s < 120:
        return cpu
    return cpu + [
        Figure(
            f"memory growth {p.name}",
            p.growth_mb_per_min,
            "MB/min",
            at_most=MEMORY_GROWTH_MB_PER_MIN,
        )
        for p in usage
    ]
