"""`pld bench graph`: the running graph's pace, latency, tracking and cost, in robot time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np

from pld import cadence
from pld.recording.reader import Episode, read_episode
from pld.run_folder import episode_folders
from pld_nodes.bench.aims import Figure
from pld_nodes.bench.usage import UsageSampler, growth_mb_per_min
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import execute

MEMORY_GROWTH_MB_PER_MIN = 1.0
Say = Callable[[str, str], None]


def measure(rate_hz: float, seconds: float, robot_ip: str, say: Say) -> list[Figure]:
    """Run one episode of `seconds` of robot time that only moves, and read its bag."""
    with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
        arguments = [
            "policy:=sweep",
            "episodes:=1",
            f"rate_hz:={rate_hz}",
            f"horizon_s:={seconds}",
            f"output_dir:={folder}",
            f"robot_ip:={robot_ip}",
        ]
        with UsageSampler() as usage:
            _, run_dir = execute(parse_arguments(Deployment.SIM, arguments), Deployment.SIM, say)
        episode = read_episode(episode_folders(run_dir)[0])
        return figures(episode, usage, rate_hz, seconds)


def figures(episode: Episode, usage: UsageSampler, rate_hz: float, seconds: float) -> list[Figure]:
    """The table's rows; aims are those of the 20 Hz graph."""
    fast = rate_hz == 20.0
    applied = cadence.applied_commands(episode)
    period = cadence.command_period_ms(applied)
    latency = cadence.camera_to_command_ms(episode, applied)
    lag_ms, rms_mm = cadence.tracking(episode)
    span = episode.arm_states[-1].t_ns - episode.arm_states[0].t_ns
    wall = episode.arm_states[-1].log_time_ns - episode.arm_states[0].log_time_ns
    errors = sum(len(a.value.errors) for a in episode.arm_states)
    return [
        Figure("robot time", span / 1e9, "s", at_least=0.95 * seconds),
        Figure("command period p50", float(np.percentile(period, 50)), "ms"),
        Figure(
            "command period p99", float(np.percentile(period, 99)), "ms", 55.0 if fast else None
        ),
        Figure("command period max", float(period.max()), "ms"),
        Figure("camera to command p50", float(np.percentile(latency, 50)), "ms"),
        Figure(
            "camera to command p99", float(np.percentile(latency, 99)), "ms", 60.0 if fast else None
        ),
        Figure("camera to command max", float(latency.max()), "ms"),
        Figure("tracking lag", lag_ms, "ms"),
        Figure("tracking rms at that lag", rms_mm, "mm"),
        Figure("FCI errors", errors, "", at_most=0),
        Figure("messages lost", episode.verdict.lost, "", at_most=0),
        Figure("real-time factor", span / wall, ""),
        *_costs(usage, span / 1e9),
    ]


def _costs(usage: UsageSampler, robot_s: float) -> list[Figure]:
    cpu = [
        Figure(f"CPU {name}", 100 * (usage.cpu_s[name] - usage.first_cpu_s[name]) / robot_s, "%")
        for name in usage.cpu_s
    ]
    if robot_s < 120:
        return cpu
    return cpu + [
        Figure(
            f"memory growth {name}",
            growth_mb_per_min(samples),
            "MB/min",
            at_most=MEMORY_GROWTH_MB_PER_MIN,
        )
        for name, samples in usage.rss_bytes.items()
    ]
