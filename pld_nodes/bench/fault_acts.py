"""What `pld bench safety` does to the running graph: signals, answers, keys, pictures."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pld import types
from pld.twin.control import ControlClient
from pld_nodes.bench.fault_watcher import Answers, FaultWatcher, base_action
from pld_nodes.bench.truth_path import TruthPath
from pld_nodes.supervisor import Supervisor

UP = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
GENTLY_UP = np.array([0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
OUTWARD = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
DEVICE_S, SETTLED_S = 20.0, 2.0
Act = Callable[["Field"], None]


@dataclass
class Field:
    """What an injection may touch."""

    watcher: FaultWatcher
    supervisor: Supervisor
    truth: TruthPath
    twin: ControlClient
    device: subprocess.Popen[str] | None = None
    acted_ns: int = 0

    def do(self, act: Act) -> int:
        """Act; returns the robot time [ns] just before, of a signal that at which it was sent."""
        self.acted_ns = self.truth.t_ns
        act(self)
        return self.acted_ns

    def pid(self, name: str) -> int:
        """Process id of a process of the run."""
        return next(c for c in self.supervisor.children if c.name == name).popen.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process of the run."""
        pid = self.pid(name)
        self.acted_ns = self.truth.t_ns
        os.kill(pid, number)


def always(action: types.Array, _: int) -> Answers:
    """The same action at every step."""
    return lambda arm: [base_action(arm.step, action)]


def stale(_: int) -> Answers:
    """Answers to three steps ago."""
    return lambda arm: [base_action(arm.step - 3, UP)]


def swapped(since_ns: int) -> Answers:
    """Answers in the wrong order: to every second step, the newer one first.

    They begin with the first step after `since_ns`; the one before may have its answer already.
    """
    kept: list[types.BaseAction] = []

    def answers(arm: types.ArmState) -> list[types.BaseAction]:
        if arm.t_ns <= since_ns:
            return []
        kept.append(base_action(arm.step, UP))
        if len(kept) < 2:
            return []
        pair = [kept[1], kept[0]]
        kept.clear()
        return pair

    return answers


def said(_: dict[str, object]) -> None:
    """An answer of the twin that nobody needs."""


def replayed(field: Field) -> None:
    """Commands that safety itself sent a moment ago come again, in reverse."""
    old = [c for c in field.watcher.commands[-12:-2] if not c.hold]
    publisher = field.watcher.intrude("arm/command")
    for command in reversed(old):
        publisher.publish(command)


def stop_service(field: Field) -> None:
    """The operator's stop, as a service call."""
    field.watcher.press_stop()


def open_device(field: Field) -> None:
    """An operator's device beside the run, as `pld teleop` starts it."""
    field.watcher.make_room()
    command = [sys.executable, "-m", "pld_nodes.cli", "teleop", "scripted"]
    field.device = subprocess.Popen(
        [*command, "--namespace", field.watcher.namespace],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + DEVICE_S
    while field.watcher.stop_buttons() < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SETTLED_S)


def press_stop_key(field: Field) -> None:
    """The stop key of the device that `open_device` opened."""
    assert field.device is not None
    assert field.device.stdin is not None
    field.device.stdin.write('{"keys": ["stop"]}\n')
    field.device.stdin.flush()


def close_device(field: Field) -> None:
    """The operator leaves; the stop key had paused the episode."""
    assert field.device is not None
    field.device.terminate()
    field.device.wait(DEVICE_S)
    field.watcher.come_back()
    field.watcher.let_go()


def attend(field: Field) -> None:
    """A person's device speaks at every step from now on; the deadman is released."""
    field.watcher.attends = True


def release_deadman(field: Field) -> None:
    """The person lets go and leaves."""
    field.watcher.attends = False
    field.watcher.let_go()


def press_deadman(field: Field) -> None:
    """A person takes over."""
    field.watcher.take_over(GENTLY_UP)


def two_deadmen(field: Field) -> None:
    """Two people take over at a time."""
    field.watcher.second_hand = field.watcher.intrude("teleop/action")
    field.watcher.take_over(GENTLY_UP)


def one_goes(field: Field) -> None:
    """The second leaves, the first lets go."""
    field.watcher.second_hand = None
    field.watcher.leave()
    field.watcher.let_go()


def fill_disk(field: Field) -> None:
    """From now on the recorder cannot make any file longer, as on a full disk."""
    _, hard = resource.prlimit(field.pid("recorder_node"), resource.RLIMIT_FSIZE)
    resource.prlimit(field.pid("recorder_node"), resource.RLIMIT_FSIZE, (0, hard))
