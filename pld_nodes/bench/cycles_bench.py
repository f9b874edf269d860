"""`pld bench cycles`: the graph goes up and down again and again, as an operator would do it.

Every cycle is a `pld up` of its own: one short episode to its end, or an interrupt (SIGINT) at a
random moment of start-up or motion. After each, nothing may be left: no process and no port of the
twin. The middleware's port files in shared memory are removed by a later start; their number must
not grow.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from pld.errors import INTERRUPTED, RobotError
from pld_nodes.bench.aims import Figure
from pld_nodes.run import check_ports_free

STUCK_S = 180.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MARK = "PLD_BENCH_CYCLE"


@dataclass
class Cycles:
    """What the cycles came to, and what each left behind."""

    finished: int = 0
    interrupted: int = 0
    stuck: int = 0
    failed: list[str] = field(default_factory=list)
    processes_left: int = 0
    ports_left: int = 0
    segments: list[int] = field(default_factory=list)
    down_s: list[float] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        """The rows of the table."""
        half = len(self.segments) // 2
        early, late = self.segments[:half], self.segments[half:]
        growth = float(np.median(late) - np.median(early)) if half else math.nan
        typical = float(np.median(self.down_s)) if self.down_s else math.nan
        return [
            Figure("cycles", self.finished + self.interrupted, "", at_least=1),
            Figure("run to the end of an episode", self.finished, ""),
            Figure("interrupted at a random moment", self.interrupted, ""),
            Figure("stuck", self.stuck, "", at_most=0),
            Figure("ended otherwise than they should", len(self.failed), "", at_most=0),
            Figure("processes left", self.processes_left, "", at_most=0),
            Figure("ports left", self.ports_left, "", at_most=0),
            Figure("growth of shared-memory files, half to half", growth, "", at_most=2),
            Figure("interrupt to all gone, median", typical, "s"),
            Figure("interrupt to all gone, max", max(self.down_s, default=math.nan), "s"),
        ]


def measure(minutes: float, robot_ip: str, seed: int, say: Callable[[str, str], None]) -> Cycles:
    """Begin cycles for `minutes` of wall time."""
    rng, found = random.Random(seed), Cycles()
    until = time.monotonic() + 60.0 * minutes
    while time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
            _cycle(folder, robot_ip, rng, found, say)
        found.segments.append(_segments())
    return found


def _cycle(
    folder: str, robot_ip: str, rng: random.Random, found: Cycles, say: Callable[[str, str], None]
) -> None:
    """One `pld up`; half of them are interrupted."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "pld_nodes.cli", "up", "sim", "policy:=sweep", "episodes:=1"]
    command += ["horizon_s:=2", f"output_dir:={folder}", f"robot_ip:={robot_ip}"]
    interrupt_s = rng.uniform(0.5, 12.0) if rng.random() < 0.5 else None
    with (Path(folder) / "up.log").open("w") as log:
        up = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, MARK: mark}
        )
        ended = _ends(up, interrupt_s or STUCK_S)
        asked_s = time.monotonic()
        if not ended and interrupt_s is not None:
            up.send_signal(signal.SIGINT)
            ended = _ends(up, STUCK_S)
            found.down_s.append(time.monotonic() - asked_s)
    expected = (0,) if interrupt_s is None else (0, INTERRUPTED)
    if not ended:
        found.stuck += 1
        up.kill()
        up.wait()
    elif up.returncode not in expected:
        last = (Path(folder) / "up.log").read_text().splitlines()[-1:]
        found.failed.append(f"exit {up.returncode}: {' '.join(last)}")
        say("bench", found.failed[-1])
    found.finished += interrupt_s is None
    found.interrupted += interrupt_s is not None
    found.processes_left += left_running(mark)
    found.ports_left += ports_left(robot_ip)
    how = "to its end" if interrupt_s is None else f"interrupted after {interrupt_s:.1f} s"
    say("bench", f"cycle {found.finished + found.interrupted}: {how}")


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def left_running(mark: str) -> int:
    """How many processes still run that inherited `mark`."""
    left = 0
    for process in psutil.process_iter():
        try:
            left += process.environ().get(MARK) == mark
        except psutil.Error:
            continue
    return left


def ports_left(robot_ip: str) -> int:
    """1 while the twin's ports at `robot_ip` are taken, else 0."""
    try:
        check_ports_free(robot_ip)
    except RobotError:
        return 1
    return 0


def _segments() -> int:
    return sum(1 for _ in SHARED_MEMORY.glob("fast*")) if SHARED_MEMORY.is_dir() else 0
