"""`pld bench kill`: SIGKILL each node while the arm moves, and see that the arm holds.

Time to hold is robot time from the kill to the moment at which the driver says that it began to
hold; for the driver itself, to standing still. Standing still (slower than 1 cm/s, for good) and
travel come from the simulator's own truth, as long as that was watched.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from pld.errors import ConfigError, PldError
from pld.run_folder import verdicts
from pld.share import share_path
from pld.twin.link import LINK_NAME, TwinLink
from pld_nodes import graph
from pld_nodes.bench.arm_watcher import ArmWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.bench.lingering import LingeringSupervisor
from pld_nodes.bench.truth_path import BEFORE_NS, TruthPath, still_ns, travel_mm
from pld_nodes.graph import Deployment
from pld_nodes.parameters import RunParameters, parse_arguments
from pld_nodes.run import prepare
from pld_nodes.supervisor import RunFailedError, Supervisor

SHIPPED = "launch/demo/peg_insertion"
SHIPPED_RATE_HZ = 10.0
WATCH_S = 8.0
FOR_GOOD_NS = 2**62


@dataclass(frozen=True)
class KillResult:
    """What the death of one node came to; times are robot time."""

    node: str
    to_hold_ms: float
    to_still_ms: float
    travel_mm: float
    watched_ms: float
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
    supervisor = run.supervisor(say, LingeringSupervisor)
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
        self._truth: TruthPath | None = None

    def run(self) -> None:
        """Kill amid a motion, then follow the arm until the twin is gone."""
        if not self._moves(within_s=90.0):
            return
        with TruthPath(TwinLink(self._twin_dir / LINK_NAME), self._task) as truth:
            time.sleep(0.5)
            if not self._moves(within_s=30.0):
                return
            self._truth = truth
            children = list(self._supervisor.children)
            self.pids = [child.popen.pid for child in children]
            victim = next(child for child in children if child.name == self._node)
            self.killed_ns = truth.t_ns
            os.kill(victim.popen.pid, signal.SIGKILL)
            deadline = time.monotonic() + WATCH_S
            while time.monotonic() < deadline and self._supervisor.children:
                time.sleep(0.01)

    def _moves(self, within_s: float) -> bool:
        """Wait until the arm executes commands at more than 5 cm/s; False when the run is over."""
        deadline = time.monotonic() + within_s
        while not self._watcher.moving() or not self._watcher.states[-1].applied_ns:
            if time.monotonic() > deadline or self._supervisor.stop_requested:
                return False
            time.sleep(0.002)
        return True

    def result(self, reason: str, left: int) -> KillResult:
        """The figures; NaN where nothing was seen."""
        if self._truth is None:
            raise PldError(f"{self._node}: the arm never moved, so nothing could be measured")
        times, places = self._truth.places(self.killed_ns, FOR_GOOD_NS)
        rests_ns = still_ns(*self._truth.places(self.killed_ns - BEFORE_NS, FOR_GOOD_NS))
        held = [s.held_ns for s in self._watcher.states if s.held_ns >= self.killed_ns]
        hold_ns = rests_ns if self._node == "franka_node" else min(held, default=None)
        return KillResult(
            self._node,
            self._ms_after(hold_ns),
            self._ms_after(rests_ns),
            travel_mm(places),
            self._ms_after(int(times[-1]) if len(times) else None),
            reason,
            left,
        )

    def _ms_after(self, t_ns: int | None) -> float:
        """Robot time from the kill to `t_ns` [ms]; NaN for None."""
        return float("nan") if t_ns is None else max(t_ns - self.killed_ns, 0) / 1e6
