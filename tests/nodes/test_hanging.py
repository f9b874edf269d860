"""A node that hangs ends itself and says where; a run without a driver ends too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from domain_coordinator import domain_id

from pld_nodes.ros import environment

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
HANGS = """
import ctypes
from pld_nodes.ros import environment
environment.prepare()
from pld_nodes.ros.node import GraphNode, run_node

class Hanging(GraphNode):
    hang_limit_s = 1.0

    def __init__(self):
        super().__init__("arbitrator_node")
        self.create_timer(0.1, self.stand_still)

    def stand_still(self):
        ctypes.PyDLL(None).sleep(1000)  # PyDLL: the interpreter's lock is kept

run_node(Hanging)
"""
WORKS = """
import time
from pld_nodes.ros.hanging import ends_when_hanging

with ends_when_hanging(3.0) as guard:
    for _ in range(45):
        guard.alive()
        time.sleep(0.1)
time.sleep(3.5)
print("over")
"""
UNHEARD = """
import pld_nodes.ros.environment as environment
environment.prepare()
from pld_nodes import arbitrator_node, state_watch
state_watch.LOOK_S, state_watch.NO_STATE_S = 0.1, 1.0
arbitrator_node.main()
"""


def run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with domain_id() as domain:
        places = {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder)}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment.variables(), **places},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


def test_a_hung_node_ends_and_tells_where_it_stood_even_with_the_interpreter_locked(
    tmp_path: Path,
) -> None:
    done = run(HANGS, tmp_path)
    assert done.returncode == 1
    assert "Timeout (0:00:01)!" in done.stderr
    assert "in stand_still" in done.stderr


def test_what_works_goes_on_and_the_guard_ends_with_it(tmp_path: Path) -> None:
    done = run(WORKS, tmp_path)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_what_works_no_more_ends_before_its_last_word(tmp_path: Path) -> None:
    done = run(WORKS.replace("guard.alive()", "pass"), tmp_path)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr


def test_a_run_without_arm_states_ends(tmp_path: Path) -> None:
    words = ("-p", "task:=cube_pickup", "-p", "run:=r")
    done = run(UNHEARD, tmp_path, "--ros-args", *words)
    assert done.returncode == 1
    assert "no arm state for 1 s; see the log of franka_node" in done.stdout + done.stderr
