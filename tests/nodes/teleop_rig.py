"""A run of the graph on the twin with a scripted operator beside it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pld.cadence import applied_commands
from pld.recording.reader import Episode
from pld.twin.link import TwinLink
from pld.types import ActionSource
from pld_nodes.bench.arm_watcher import ArmWatcher
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import prepare
from pld_nodes.supervisor import RunFailedError

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "pld"
PATIENCE_S = 240.0


@dataclass
class Operator:
    """What a drill may do: act on the device, look at the arm, ask services, read robot time."""

    watcher: ArmWatcher
    link: TwinLink
    device: subprocess.Popen[str]
    folder: Path
    presses_ns: list[int] = field(default_factory=list)
    findings: dict[str, object] = field(default_factory=dict)

    def say(self, **line: object) -> int:
        """Write one line of the script; returns the robot time just before."""
        assert self.device.stdin is not None
        t_ns = self.link.t_ns
        self.device.stdin.write(json.dumps(line) + "\n")
        self.device.stdin.flush()
        return t_ns

    def press(self, *translation: float) -> None:
        """Press the deadman and deflect; the robot time is kept."""
        self.presses_ns.append(
            self.say(deadman=True, translation=list(translation or (0.0, 0.0, 1.0)))
        )

    def release(self) -> None:
        self.say()

    def wait(self, robot_s: float) -> None:
        """Let robot time pass."""
        end_ns = self.link.t_ns + round(robot_s * 1e9)
        self.until(lambda: self.link.t_ns >= end_ns)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; AssertionError when it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the graph did not get there"
            time.sleep(0.0005)

    def is_moving(self) -> bool:
        return self.watcher.moving()

    def is_still(self) -> bool:
        last = self.watcher.states[-1]
        return float(np.linalg.norm(last.O_dP_EE[:3])) < 0.005


def start_device(
    log: Path, device: str = "scripted", *, stdin: int = subprocess.PIPE, **parameters: object
) -> subprocess.Popen[str]:
    """The teleoperation node as an operator starts it, its input at our hands."""
    flags = [part for n, v in parameters.items() for part in (f"--{n.replace('_', '-')}", str(v))]
    return subprocess.Popen(
        [sys.executable, "-m", "pld_nodes.cli", "teleop", device, *flags],
        cwd=ROOT,
        stdin=stdin,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        env=os.environ.copy(),
    )


def is_ready(log: Path) -> bool:
    """Whether the node that writes `log` would follow the deadman by now."""
    words = log.read_text()
    return "after a release" in words and "the deadman counts" in words


def run_drill(
    folder: Path, address: str, drill: Callable[[Operator], None], *arguments: str, **device: object
) -> Operator:
    """Run the graph with the device beside it, do the drill once the arm moves, end the run."""
    run = prepare(
        parse_arguments(
            Deployment.SIM,
            [
                "policy:=sweep",
                "episodes:=1",
                "horizon_s:=600",
                f"robot_ip:={address}",
                f"output_dir:={folder}",
                "run:=r",
                *arguments,
            ],
        ),
        Deployment.SIM,
    )
    assert run.twin_dir is not None
    supervisor = run.supervisor(lambda name, line: None)
    found: list[Operator] = []
    failures: list[BaseException] = []

    def operate(watcher: ArmWatcher) -> None:
        process = start_device(folder / "teleop.log", **device)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not watcher.moving():
                assert time.monotonic() < deadline, "the arm never moved"
                time.sleep(0.01)
            operator = Operator(watcher, TwinLink(run.twin_dir / "twin.link"), process, folder)
            operator.until(lambda: is_ready(folder / "teleop.log"))
            found.append(operator)
            drill(operator)
        except BaseException as error:
            failures.append(error)
        finally:
            supervisor.stop_requested = True
            process.kill()
            process.wait()

    with ArmWatcher(NAMESPACE) as watcher:
        thread = threading.Thread(target=operate, args=(watcher,), daemon=True)
        thread.start()
        try:
            supervisor.run()
        except RunFailedError as error:
            failures.append(error)
        finally:
            run.finish()
            thread.join(10.0)
    if failures:
        log = folder / "teleop.log"
        raise AssertionError(log.read_text() if log.exists() else "") from failures[0]
    return found[0]


@dataclass(frozen=True)
class Takeover:
    """From one press [robot time] to the first human command executed; infinite when none was.

    `policy_steps` counts policy commands executed for steps that began after the press.
    """

    latency_ms: float
    policy_steps: int


def takeovers(episode: Episode, presses_ns: list[int]) -> list[Takeover]:
    """What each press came to, from the driver's own echo of executed commands."""
    applied = applied_commands(episode)
    sources = {c.value.step: c.value.source for c in episode.choices}
    began_ns = {a.value.step: a.t_ns for a in episode.arm_states}
    executed = [
        (int(t), int(s), sources.get(int(s), ActionSource.HOLD))
        for s, t in zip(applied.step, applied.t_ns, strict=True)
    ]
    return [_takeover(press_ns, executed, began_ns) for press_ns in presses_ns]


def _takeover(
    press_ns: int, executed: list[tuple[int, int, ActionSource]], began_ns: dict[int, int]
) -> Takeover:
    policy = 0
    for t_ns, step, source in executed:
        if t_ns > press_ns and source is ActionSource.HUMAN:
            return Takeover((t_ns - press_ns) / 1e6, policy)
        if source is not ActionSource.HOLD and began_ns.get(step, 0) > press_ns:
            policy += 1
    return Takeover(float("inf"), policy)
