"""CPU and memory of a run's processes, sampled from outside while it runs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import psutil

from pld_nodes.graph import PROCESSES

EXECUTABLES = {p.executable: p.name for p in PROCESSES if not p.is_node}


@dataclass
class UsageSampler:
    """Samples this process's children once a second until stopped.

    `rss_bytes` holds one value per second and process name, `cpu_s` the last CPU seconds seen.
    """

    period_s: float = 1.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    first_cpu_s: dict[str, float] = field(default_factory=dict)
    rss_bytes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    wall_s: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="usage")

    def __enter__(self) -> UsageSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(self.period_s):
            for child in psutil.Process().children():
                self._sample(child)
            self.wall_s = time.monotonic() - began

    def _sample(self, child: psutil.Process) -> None:
        try:
            name = process_name(child.cmdline())
            times, memory = child.cpu_times(), child.memory_info()
        except psutil.Error:
            return
        self.cpu_s[name] = times.user + times.system
        self.first_cpu_s.setdefault(name, self.cpu_s[name])
        self.rss_bytes[name].append(memory.rss)


def process_name(command: list[str]) -> str:
    """The table's name of a child from its command line."""
    for part in command:
        if part.startswith("__node:="):
            return part.removeprefix("__node:=")
        if part in EXECUTABLES:
            return EXECUTABLES[part]
    return "other"


def growth_mb_per_min(samples: list[int], period_s: float = 1.0) -> float:
    """Slope of a memory series [MB/min] over its last two thirds (start-up is not growth)."""
    tail = samples[len(samples) // 3 :]
    if len(tail) < 10:
        return 0.0
    n = len(tail)
    mean_x, mean_y = (n - 1) / 2, sum(tail) / n
    over = sum((i - mean_x) * (y - mean_y) for i, y in enumerate(tail))
    under = sum((i - mean_x) ** 2 for i in range(n))
    return over / under / period_s * 60 / 1e6
