"""`pld bench reflex`: press on the table with a low threshold; the reflex must latch.

It must be shown in `arm/state`, refuse every motion, and be cleared by the recovery service alone.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from pld import types
from pld.share import share_path
from pld_nodes.bench.aims import Figure
from pld_nodes.bench.arm_watcher import ArmWatcher
from pld_nodes.bench.graph_bench import Say
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import prepare
from pld_nodes.supervisor import RunFailedError, Supervisor

WAIT_S = 60.0
THRESHOLD_N = 15.0
CHECKS = (
    "reflex shown in arm/state",
    "it is a cartesian_reflex",
    "still latched after 1 s",
    "reset is refused",
    "safety is not cleared before recovery",
    "still latched after both",
    "recover is accepted",
    "recovery clears the fault",
    "safety holds until it is cleared",
    "safety is cleared after recovery",
    "the next episode runs",
)


@dataclass
class Findings:
    """What was seen, in the order in which it was looked for; False until then."""

    names: tuple[str, ...] = ()
    force_n: float = 0.0
    moved_mm: float = float("nan")
    seen: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(CHECKS, False))

    def figures(self) -> list[Figure]:
        """The rows of the table."""
        checks = [Figure(name, float(ok), "", at_least=1) for name, ok in self.seen.items()]
        return [
            Figure("contact force when the reflex came", self.force_n, "N"),
            Figure("drift in 1 s of robot time while latched", self.moved_mm, "mm", at_most=2.0),
            *checks,
        ]


def measure(robot_ip: str, say: Say) -> list[Figure]:
    """Run two pressing episodes; play the operator between them."""
    with tempfile.TemporaryDirectory(prefix="pld-bench-") as folder:
        arguments = [
            "policy:=press",
            "episodes:=2",
            f"output_dir:={folder}",
            f"robot_ip:={robot_ip}",
            f"arm_config:={_changed(folder, 'arm_twin', collision_force_n=THRESHOLD_N)}",
            f"limits:={_changed(folder, 'limits_fr3', workspace_min_m=[0.28, -0.30, -0.05])}",
        ]
        run = prepare(parse_arguments(Deployment.SIM, arguments), Deployment.SIM)
        supervisor = run.supervisor(say)
        findings = Findings()
        with ArmWatcher("pld") as watcher:
            operator = threading.Thread(
                target=_play_operator, args=(watcher, supervisor, findings), daemon=True
            )
            operator.start()
            try:
                supervisor.run()
            except RunFailedError as error:
                say("bench", str(error))
            finally:
                run.finish()
                operator.join(5.0)
    say("bench", f"reflex: {', '.join(findings.names)}")
    return findings.figures()


def _changed(folder: str, name: str, **changes: object) -> Path:
    """A copy of one of the package's configuration files with some fields changed."""
    content = yaml.safe_load(share_path(f"launch/config/{name}.yaml").read_text())
    path = Path(folder) / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def _play_operator(watcher: ArmWatcher, supervisor: Supervisor, findings: Findings) -> None:
    """Wait for the reflex, try what must not work, recover, clear, and end the run."""
    try:
        _observe(watcher, findings)
    finally:
        supervisor.stop_requested = True


def _observe(watcher: ArmWatcher, findings: Findings) -> None:
    seen = findings.seen
    seen["reflex shown in arm/state"] = _until(lambda: bool(_errors(watcher)))
    if not _errors(watcher):
        return
    first = watcher.states[-1]
    findings.names = first.errors
    findings.force_n = max(float(np.linalg.norm(s.O_F_ext_hat_K[:3])) for s in watcher.states)
    seen["it is a cartesian_reflex"] = "cartesian_reflex" in first.errors
    if not _until(lambda: watcher.states[-1].t_ns > first.t_ns + 1_000_000_000):
        return
    last = watcher.states[-1]
    findings.moved_mm = float(np.linalg.norm(last.O_T_EE.p_m - first.O_T_EE.p_m)) * 1e3
    seen["still latched after 1 s"] = bool(last.errors)
    seen["reset is refused"] = not watcher.call("franka_node/reset").success
    seen["safety is not cleared before recovery"] = not watcher.call("safety_node/clear").success
    seen["still latched after both"] = bool(_errors(watcher))
    seen["recover is accepted"] = watcher.call("franka_node/recover").success
    seen["recovery clears the fault"] = _until(lambda: not _errors(watcher))
    seen["safety holds until it is cleared"] = "robot_fault" in watcher.latched
    seen["safety is cleared after recovery"] = _until(
        lambda: watcher.call("safety_node/clear").success  # it may hear of the recovery later
    )
    begun = len(watcher.states)
    seen["the next episode runs"] = _until(
        lambda: (
            watcher.running
            and any(s.control_mode is types.ControlMode.TRACKING for s in watcher.states[begun:])
        )
    )


def _errors(watcher: ArmWatcher) -> tuple[str, ...]:
    return watcher.states[-1].errors if watcher.states else ()


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
