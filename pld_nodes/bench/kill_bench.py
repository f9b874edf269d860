"""`pld bench kill`: SIGKILL each node while the arm moves, and see that the arm holds.

Time to hold is robot time from the kill to the moment at which the driver says that it began to
hold; for the driver itself, to standing still. Standing still (for good within 1 mm of the final
place) and travel come from the simulator's own truth.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from pld.errors import ConfigError, PldError
from pld.run_folder import verdicts
from pld.share import share_path
from pld.twin.link import LINK_NAME, TwinLink
from pld.types import Array
from pld_nodes import graph
from pld_nodes.bench.arm_watcher import ArmWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.bench.truth_path import ee_positions
from pld_nodes.graph import Deployment
from pld_nodes.parameters import RunParameters, parse_arguments
from pld_nodes.run import prepare
from pld_nodes.supervisor import RunFailedError, Supervisor

SHIPPED = "launch/demo/peg_insertion"
SHIPPED_RATE_HZ = 10.0
STILL_M = 0.001
WATCH_S = 8.0


@dataclass(frozen=True)
class KillResult:
    """What the death of one node came to; times are robot time."""

    node: str
    to_hold_ms: float
    to_still_ms: float
    travel_mm: float
    termination_reason: str
    left_running: int


def killable() -> tuple[str, ...]:
    """The nodes of the table that the bench kills, in the table's order."""
    every = graph.processes(Deployment.SIM, ("specialist", "learner"))
    return tuple(p.name for p in every if p.is_node)


def rate_of(node: str, rate_hz: float) -> float:
    """The control rate [Hz] at which `node` is killed: where weights act, it is theirs."""
    return SHIPPED_RATE_HZ if _with_weights(node) else rate_hz


def _with_weights(node: str) -> list[str]:
    """What a run needs to have `node` in it; nothing where every run has it."""
    base, specialist = (share_path(f"{SHIPPED}/{n}.safetensors") for n in ("base", "specialist"))
    policy = ["task:=peg_insertion", f"policy:={base}"]
    return {
        "residual_node": ["mode:=probe", *policy, f"specialist:={specialist}", "alpha:=0"],
        "learner_node": ["mode:=learn", *policy],
    }.get(node, [])


def nodes_named(names: str) -> tuple[str, ...]:
    """The nodes that a command line names with commas; all of them when it names none."""
    chosen = tuple(name.strip() for name in names.split(",")) if names else killable()
    for name in chosen:
        if name not in killable():
            raise ConfigError.unknown("node", name, killable())
    return chosen


def kill_while_moving(node: str, rate_hz: float, robot_ip: str, say: Say) -> KillResult:
    """One run that ends by the death of `node`."""
    with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
        parameters = parse_arguments(
            Deployment.SIM,
            [
                *(_with_weights(node) or ["policy:=sweep"]),
                "episodes:=1",
                "horizon_s:=60",
                f"rate_hz:={rate_of(node, rate_hz)}",
                f"output_dir:={folder}",
                f"robot_ip:={robot_ip}",
            ],
        )
        with ArmWatcher(parameters.namespace) as watcher:
            return _trial(node, parameters, watcher, say)


def _trial(node: str, parameters: RunParameters, watcher: ArmWatcher, say: Say) -> KillResult:
    run = prepare(parameters, Deployment.SIM)
    assert run.twin_dir is not None
    supervisor = run.supervisor(say)
    killer = Killer(node, supervisor, watcher, run.twin_dir, parameters.task)
    killer.start()
    try:
        supervisor.run()
    except RunFailedError as error:
        say("bench", str(error))
    finally:
        killer.join()
        run.finish()
    reasons = [verdict.termination_reason for verdict in verdicts(run.run_dir)]
    left = sum(psutil.pid_exists(pid) for pid in killer.pids)
    return killer.result(reasons[-1] if reasons else "no verdict", left)


class Killer(threading.Thread):
    """Waits until the arm moves, kills a node, and follows the simulator's truth after that."""

    def __init__(
        self, node: str, supervisor: Supervisor, watcher: ArmWatcher, twin_dir: Path, task: str
    ) -> None:
        super().__init__(name="killer", daemon=True)
        self._node, self._supervisor, self._watcher = node, supervisor, watcher
        self._twin_dir, self._task = twin_dir, task
        self.killed_ns = 0
        self.pids: list[int] = []
        self._path: list[tuple[int, Array]] = []

    def run(self) -> None:
        """Kill, then sample positions until the twin is gone."""
        deadline = time.monotonic() + 90.0
        while not self._watcher.moving() or not self._watcher.states[-1].applied_ns:
            if time.monotonic() > deadline or self._supervisor.stop_requested:
                return
            time.sleep(0.002)
        time.sleep(0.5)
        link = TwinLink(self._twin_dir / LINK_NAME)
        children = list(self._supervisor.children)
        self.pids = [child.popen.pid for child in children]
        victim = next(child for child in children if child.name == self._node)
        self.killed_ns = link.t_ns
        os.kill(victim.popen.pid, signal.SIGKILL)
        self._follow(link)

    def _follow(self, link: TwinLink) -> None:
        deadline, last = time.monotonic() + WATCH_S, 0
        while time.monotonic() < deadline and self._supervisor.children:
            truth = link.read()
            if truth is not None and truth.t_ns != last:
                last = truth.t_ns
                self._path.append((truth.t_ns, truth.qpos))
            time.sleep(0.001)

    def result(self, reason: str, left: int) -> KillResult:
        """The figures; NaN where nothing was seen."""
        if not self._path:
            raise PldError(f"{self._node}: the arm never moved, so nothing could be measured")
        places = ee_positions([qpos for _, qpos in self._path], self._task)
        away = np.linalg.norm(places - places[-1], axis=1) > STILL_M
        still_ns = max((t for (t, _), far in zip(self._path, away, strict=True) if far), default=0)
        still_ns = max(still_ns, self.killed_ns)
        held = [s.held_ns for s in self._watcher.states if s.held_ns >= self.killed_ns]
        hold_ns = min(held) if held else (still_ns if self._node == "franka_node" else None)
        travel = float(np.linalg.norm(places - places[0], axis=1).max())
        return KillResult(
            self._node,
            float("nan") if hold_ns is None else (hold_ns - self.killed_ns) / 1e6,
            (still_ns - self.killed_ns) / 1e6,
            travel * 1e3,
            reason,
            left,
        )
