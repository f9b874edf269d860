"""CPU and memory of a run's processes, sampled from outside while it runs."""

from __future__ import annotations

import csv
import threading
import time
from pathlib import Path

import psutil

from pld.run_usage import COLUMNS, SHARED_MEMORY, USAGE_NAME
from pld_nodes.graph import PROCESSES

EXECUTABLES = {p.executable: p.name for p in PROCESSES if not p.is_node}


class UsageSampler:
    """Appends what this process's children take to `usage.csv` of a run folder until stopped.

    A line is a sample of one process: wall clock [s], its name in the table, pid, CPU seconds and
    resident memory [bytes]; one more line is the shared memory of the machine.
    """

    def __init__(self, run_dir: Path, period_s: float = 2.0) -> None:
        self._path, self._period_s = run_dir / USAGE_NAME, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="usage")

    def __enter__(self) -> UsageSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begins = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if begins:
                writer.writerow(COLUMNS)
            elif not (kept := self._path.read_bytes()).endswith(b"\n"):
                self._path.write_bytes(kept.rpartition(b"\n")[0] + b"\n")
            while not self._stop.wait(self._period_s):
                writer.writerows(samples())
                file.flush()


def samples() -> list[tuple[object, ...]]:
    """One line per child of this process, and that of the shared memory.

    A child that is about to become a program still bears this process's command line.
    """
    now, unborn = f"{time.time():.3f}", ([], psutil.Process().cmdline())
    found: list[tuple[object, ...]] = []
    for child in psutil.Process().children():
        try:
            command, times = child.cmdline(), child.cpu_times()
            if command in unborn:
                continue
            cpu_s = f"{times.user + times.system:.3f}"
            found.append((now, process_name(command), child.pid, cpu_s, child.memory_info().rss))
        except psutil.Error:
            continue
    return [*found, (now, SHARED_MEMORY, 0, 0, psutil.disk_usage(SHARED_MEMORY).used)]


def process_name(command: list[str]) -> str:
    """The table's name of a child from its command line."""
    for part in command:
        if part.startswith("__node:="):
            return part.removeprefix("__node:=")
        if part in EXECUTABLES:
            return EXECUTABLES[part]
    return "other"
