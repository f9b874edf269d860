"""`pld bench cycles` sees what a run leaves behind, and says no to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from pld.robots.reach import ROBOT_PORT
from pld_nodes.bench.cycles_bench import MARK, Cycles, left_running, ports_left

ADDRESS = "127.0.0.93"


def test_a_process_that_outlives_its_run_is_found_by_the_mark_it_inherited() -> None:
    mark = f"test-{os.getpid()}"
    script = "import time; print('up', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script]
    left = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, MARK: mark})
    try:
        assert left.stdout is not None
        assert left.stdout.readline() == b"up\n"
        assert left_running(mark) == 1
        assert left_running(f"{mark}-other") == 0
    finally:
        left.kill()
        left.wait()
    assert left_running(mark) == 0


def test_a_port_of_the_twin_that_stays_taken_is_found() -> None:
    assert ports_left(ADDRESS) == 0
    with socket.socket() as taken:
        taken.bind((ADDRESS, ROBOT_PORT))
        taken.listen()
        assert ports_left(ADDRESS) == 1


@pytest.mark.parametrize(
    "left",
    [
        {"stuck": 1},
        {"failed": ["exit 1: why"]},
        {"processes_left": 1},
        {"ports_left": 1},
        {"segments": [3, 3, 9, 9]},
    ],
)
def test_anything_left_misses_the_aim(left: dict[str, object]) -> None:
    clean = Cycles(finished=2, interrupted=2, segments=[3, 4, 3, 5], down_s=[1.0, 2.0])
    assert all(figure.met is not False for figure in clean.figures())
    found = replace(clean, **left)  # type: ignore[arg-type]
    assert sum(figure.met is False for figure in found.figures()) == 1
