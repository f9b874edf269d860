"""Nodes die, the arm touches the table, the supervisor is killed: the arm holds, nobody stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from domain_coordinator import domain_id

from pld.run_folder import verdicts
from pld_nodes.bench.kill_bench import kill_while_moving
from pld_nodes.bench.reflex_bench import measure
from tests.nodes.whole_run import run_whole

ROOT = Path(__file__).resolve().parents[2]


def say(name: str, line: str) -> None:
    """Into pytest's captured output: a failure shows what the graph said."""
    sys.stdout.write(f"{time.monotonic():.2f} {name}: {line}\n")


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with domain_id() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
        yield


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("node", ["vla_node", "safety_node", "recorder_node", "franka_node"])
def test_the_arm_holds_when_a_node_is_killed_and_the_episode_says_so(node: str) -> None:
    found = kill_while_moving(node, 20.0, "127.0.0.74", say)
    assert found.to_hold_ms <= 100.0
    assert 0.0 < found.to_still_ms <= found.watched_ms
    assert found.travel_mm < 40.0
    assert found.termination_reason == f"node_lost:{node}"
    assert found.left_running == 0


def test_a_reflex_latches_until_the_operator_recovers() -> None:
    figures = {figure.name: figure for figure in measure("127.0.0.75", say)}
    assert len(figures) == 13
    assert [name for name, figure in figures.items() if figure.met is False] == []


def test_an_unattended_run_goes_on_after_its_reflexes(tmp_path: Path) -> None:
    config = ROOT / "launch" / "config"
    arm = yaml.safe_load((config / "arm_twin.yaml").read_text()) | {"collision_force_n": 15.0}
    limits = yaml.safe_load((config / "limits_fr3.yaml").read_text())
    limits["workspace_min_m"] = [0.28, -0.30, -0.05]
    for name, content in (("arm", arm), ("limits", limits)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    arguments = [
        *("policy:=press", "episodes:=2", "unattended:=true", "robot_ip:=127.0.0.77", "run:=r"),
        *(f"arm_config:={tmp_path}/arm.yaml", f"limits:={tmp_path}/limits.yaml"),
    ]
    done = run_whole(tmp_path, int(os.environ["ROS_DOMAIN_ID"]), *arguments, longest_s=300.0)
    assert done.returncode == 0, done.stdout[-3000:]
    reasons = [v.termination_reason for v in verdicts(tmp_path / "r")]
    assert reasons == ["robot_fault", "robot_fault"]
    assert "unattended: cleared: robot_fault" in done.stdout


def test_a_killed_supervisor_leaves_no_process_and_a_closed_bag(tmp_path: Path) -> None:
    arguments = ["policy:=sweep", "episodes:=1", "horizon_s:=60", "robot_ip:=127.0.0.76", "run:=r"]
    parent = subprocess.Popen(
        [sys.executable, "-m", "pld_nodes.cli", "up", "sim", f"output_dir:={tmp_path}", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    episodes = tmp_path / "r" / "episodes"
    assert until(lambda: episodes.is_dir() and any(episodes.glob("*/*.part")), 120.0)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 10
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(children, timeout=60.0)
    assert alive == []
    assert len(gone) == len(children)
    assert [v.termination_reason for v in verdicts(tmp_path / "r")] == ["shutdown"]
