"""The faults of `pld bench safety`, as a table: how each is injected, noticed and undone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pld import types
from pld.errors import ConfigError
from pld.twin.control import ControlClient
from pld_nodes.bench.fault_watcher import (
    Answers,
    FaultWatcher,
    base_action,
    choice_up,
    command_ahead,
)
from pld_nodes.bench.truth_path import TruthPath
from pld_nodes.graph import Deployment, processes
from pld_nodes.supervisor import Supervisor

UP = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
GENTLY_UP = np.array([0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
OUTWARD = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
CAMERAS = ("third_person_camera_node", "wrist_camera_node")
REPORTING = ("recorder_node", "reward_node", "twin_node")


@dataclass
class Field:
    """What an injection may touch."""

    watcher: FaultWatcher
    supervisor: Supervisor
    truth: TruthPath
    twin: ControlClient
    device: subprocess.Popen[str] | None = None

    def pid(self, name: str) -> int:
        """Process id of a process of the run."""
        return next(c for c in self.supervisor.children if c.name == name).popen.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process of the run."""
        os.kill(self.pid(name), number)


Act = Callable[[Field], None]


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    `prepare` is done before the arm is waited for.
    `causes`: what safety or the driver must say, any of them; empty: the hold itself is the sign.
    `is_final`: once the arm holds, no command to move may be executed.
    `takes_over`: a person has control instead of a hold, from the coming control step on.
    `stands_still`: nobody is left to say when the hold began, so standing still counts instead.
    `homing`: injected while the driver takes the arm home, not while it follows commands.
    `moves`: motion goes on but stays in bounds. `kills` this process, or ends the episode for the
    reason `ends_with`: the run ends with it. `window_s` of robot time are watched, at most `wall_s`
    of steady time where robot time may stop.
    """

    name: str
    inject: Act
    undo: Act = lambda field: None
    prepare: Act = lambda field: None
    causes: tuple[str, ...] = ()
    is_final: bool = False
    takes_over: bool = False
    stands_still: bool = False
    homing: bool = False
    moves: bool = False
    kills: str = ""
    ends_with: str = ""
    window_s: float = 0.8
    wall_s: float = 8.0

    @property
    def ends_run(self) -> bool:
        """Whether nothing can be injected after it."""
        return bool(self.kills or self.ends_with)


def _stopped(node: str, *causes: str, **options: object) -> Fault:
    """A process that hangs: SIGSTOP, later SIGCONT."""
    return Fault(
        f"SIGSTOP {node}",
        lambda field: field.signal(node, signal.SIGSTOP),
        lambda field: field.signal(node, signal.SIGCONT),
        causes=causes,
        **options,  # type: ignore[arg-type]
    )


def _killed(node: str) -> Fault:
    alone = node == "franka_node"
    return Fault(
        f"SIGKILL {node}",
        lambda field: field.signal(node, signal.SIGKILL),
        kills=node,
        stands_still=alone,
        window_s=1.5,
    )


def _policy(name: str, answers: Callable[[int], Answers], *causes: str, **options: object) -> Fault:
    """The base policy is silenced and another answers in its place; it is told the robot time."""

    def inject(field: Field) -> None:
        field.signal("vla_node", signal.SIGSTOP)
        field.watcher.answers = answers(field.truth.t_ns)

    def undo(field: Field) -> None:
        field.watcher.answers = None
        field.signal("vla_node", signal.SIGCONT)

    return Fault(f"policy: {name}", inject, undo, causes=causes, **options)  # type: ignore[arg-type]


def _always(action: types.Array, _: int) -> Answers:
    return lambda arm: [base_action(arm.step, action)]


def _stale(_: int) -> Answers:
    return lambda arm: [base_action(arm.step - 3, UP)]


def _swapped(since_ns: int) -> Answers:
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


def _wire(title: str, fault: str, *causes: str, **parameters: object) -> Fault:
    wall_s = 8.0 if fault != "freeze" else 5.0
    return Fault(
        f"wire: {title}",
        lambda field: _said(field.twin.call("inject", fault=fault, **parameters)),
        lambda field: _said(field.twin.call("clear")),
        causes=causes,
        stands_still=fault in ("silence", "freeze"),
        wall_s=wall_s,
    )


def _said(_: dict[str, object]) -> None:
    """An answer of the twin that nobody needs."""


def _second_publisher(topic: str, cause: str, speak: Callable[[types.ArmState], object]) -> Fault:
    def inject(field: Field) -> None:
        publisher = field.watcher.intrude(topic)
        for _ in range(3):
            publisher.publish(speak(field.watcher.states[-1]))

    return Fault(
        f"second publisher on {topic}",
        inject,
        lambda field: field.watcher.leave(),
        causes=(cause,),
        is_final=True,
    )


def _replayed(field: Field) -> None:
    """Commands that safety itself sent a moment ago come again, in reverse."""
    old = [c for c in field.watcher.commands[-12:-2] if not c.hold]
    publisher = field.watcher.intrude("arm/command")
    for command in reversed(old):
        publisher.publish(command)


def _stop_service(field: Field) -> None:
    field.watcher.press_stop()


def _open_device(field: Field) -> None:
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


def _press_stop_key(field: Field) -> None:
    assert field.device is not None
    assert field.device.stdin is not None
    field.device.stdin.write('{"keys": ["stop"]}\n')
    field.device.stdin.flush()


def _close_device(field: Field) -> None:
    """The operator leaves; the stop key had paused the episode."""
    assert field.device is not None
    field.device.terminate()
    field.device.wait(DEVICE_S)
    field.watcher.come_back()
    field.watcher.let_go()


def _press_deadman(field: Field) -> None:
    field.watcher.take_over(GENTLY_UP)


def _two_deadmen(field: Field) -> None:
    field.watcher.second_hand = field.watcher.intrude("teleop/action")
    field.watcher.take_over(GENTLY_UP)


def _one_goes(field: Field) -> None:
    field.watcher.second_hand = None
    field.watcher.leave()
    field.watcher.let_go()


def _freeze_picture(field: Field) -> None:
    """The wrist camera hangs, and its last picture comes again and again under new stamps."""
    field.signal(CAMERAS[1], signal.SIGSTOP)
    field.watcher.repeat_picture("wrist")


def _unfreeze_picture(field: Field) -> None:
    field.watcher.stop_repeating()
    field.signal(CAMERAS[1], signal.SIGCONT)


def _fill_disk(field: Field) -> None:
    """From now on the recorder cannot make any file longer, as on a full disk."""
    _, hard = resource.prlimit(field.pid("recorder_node"), resource.RLIMIT_FSIZE)
    resource.prlimit(field.pid("recorder_node"), resource.RLIMIT_FSIZE, (0, hard))


MISSING = "choice_missing"
DEVICE_S, SETTLED_S = 20.0, 2.0
NODES = tuple(p.name for p in processes(Deployment.SIM) if p.is_node)


def chosen(only: str) -> list[Fault]:
    """The faults that words by comma name, or whose names contain them; all where there is none.

    Raises ConfigError for a word that fits no fault.
    """
    words = [word.strip() for word in only.split(",") if word.strip()]
    wanted = {f.name for f in FAULTS} if not words else set()
    for word in words:
        named = {f.name for f in FAULTS if f.name == word}
        found = named or {f.name for f in FAULTS if word in f.name}
        if not found:
            raise ConfigError.unknown("fault", word, (f.name for f in FAULTS))
        wanted |= found
    return [f for f in FAULTS if f.name in wanted]


FAULTS: tuple[Fault, ...] = (
    Fault("service safety_node/stop", _stop_service, causes=("operator_stop",), is_final=True),
    Fault(
        "stop key of pld teleop",
        _press_stop_key,
        _close_device,
        _open_device,
        causes=("operator_stop",),
        is_final=True,
    ),
    Fault(
        "service safety_node/stop on the way home",
        _stop_service,
        causes=("operator_stop",),
        stands_still=True,
        homing=True,
        window_s=1.5,
    ),
    Fault("operator takes over", _press_deadman, lambda f: f.watcher.let_go(), takes_over=True),
    Fault("two operators take over", _two_deadmen, _one_goes),
    _stopped("vla_node", MISSING),
    _stopped("arbitrator_node", MISSING),
    _stopped("safety_node"),
    _stopped("franka_node", "communication_constraints_violation", stands_still=True),
    *(_stopped(camera, "node_silent", window_s=1.2) for camera in CAMERAS),
    _stopped("renderer", "node_silent", window_s=1.2),
    Fault(
        "one picture repeated",
        _freeze_picture,
        _unfreeze_picture,
        causes=(MISSING, "node_silent"),
        window_s=1.2,
    ),
    *(_stopped(node, "node_silent", window_s=1.2) for node in REPORTING),
    _policy("NaN", partial(_always, np.full(7, np.nan)), "not_finite"),
    _policy("1e300", partial(_always, np.full(7, 1e300)), "absurd"),
    _policy("out of the box", partial(_always, OUTWARD), "workspace", moves=True, window_s=1.6),
    _policy("answers three steps old", _stale, MISSING),
    _policy("answers in the wrong order", _swapped, MISSING),
    _second_publisher("arm/command", "foreign_command", command_ahead),
    _second_publisher("arbitrator/choice", "foreign_choice", choice_up),
    Fault(
        "old commands again on arm/command",
        _replayed,
        lambda f: f.watcher.leave(),
        causes=("foreign_command",),
        is_final=True,
    ),
    _wire("reflex", "reflex", "cartesian_reflex"),
    _wire("30 packets lost", "packet_loss", "communication_constraints_violation", count=30),
    _wire("every reply late", "latency", "communication_constraints_violation"),
    _wire("2 s of silence", "silence", "network_lost", "arm_state_lost", duration_s=2.0),
    _wire("robot clock stands still", "freeze", "robot_time_stopped", "network_lost"),
    Fault("disk full", _fill_disk, ends_with="recording_failed", window_s=3.0, wall_s=20.0),
    *(_killed(node) for node in NODES),
)
