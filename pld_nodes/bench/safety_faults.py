"""The faults of `pld bench safety`, as a table: how each is injected, noticed and undone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pld import types
from pld.contract import CAMERAS
from pld.errors import ConfigError
from pld_nodes.bench.fault_acts import (
    OUTWARD,
    Act,
    Field,
    always,
    attend,
    close_device,
    fill_disk,
    one_goes,
    open_device,
    press_deadman,
    press_stop_key,
    release_deadman,
    replayed,
    said,
    stale,
    stop_service,
    swapped,
    two_deadmen,
)
from pld_nodes.bench.fault_watcher import (
    Answers,
    choice_up,
    command_ahead,
)
from pld_nodes.graph import Deployment, camera_node, processes

CAMERA_NODES = tuple(camera_node(camera) for camera in CAMERAS)
REPORTING = ("recorder_node", "reward_node", "twin_node")


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


def _twins(name: str, fault: str, *causes: str, **parameters: object) -> Fault:
    """A fault that the twin plays itself (pld.twin.faults)."""
    wall_s = 8.0 if fault != "freeze" else 5.0
    return Fault(
        name,
        lambda field: said(field.twin.call("inject", fault=fault, **parameters)),
        lambda field: said(field.twin.call("clear")),
        causes=causes,
        stands_still=fault in ("silence", "freeze"),
        wall_s=wall_s,
    )


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


MISSING = "choice_missing"
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
    Fault("service safety_node/stop", stop_service, causes=("operator_stop",), is_final=True),
    Fault(
        "stop key of pld teleop",
        press_stop_key,
        close_device,
        open_device,
        causes=("operator_stop",),
        is_final=True,
    ),
    Fault(
        "service safety_node/stop on the way home",
        stop_service,
        causes=("operator_stop",),
        stands_still=True,
        homing=True,
        window_s=1.5,
    ),
    Fault("operator takes over", press_deadman, release_deadman, attend, takes_over=True),
    Fault("two operators take over", two_deadmen, one_goes),
    _stopped("vla_node", MISSING),
    _stopped("arbitrator_node", MISSING),
    _stopped("safety_node"),
    _stopped("franka_node", "communication_constraints_violation", stands_still=True),
    *(_stopped(camera, "node_silent", window_s=1.2) for camera in CAMERA_NODES),
    _stopped("renderer", "node_silent", window_s=1.2),
    _twins("one picture repeated", "repeated_picture", "node_silent", camera="wrist"),
    *(_stopped(node, "node_silent", window_s=1.2) for node in REPORTING),
    _policy("NaN", partial(always, np.full(7, np.nan)), "not_finite"),
    _policy("1e300", partial(always, np.full(7, 1e300)), "absurd"),
    _policy("out of the box", partial(always, OUTWARD), "workspace", moves=True, window_s=1.6),
    _policy("answers three steps old", stale, MISSING),
    _policy("answers in the wrong order", swapped, MISSING),
    _second_publisher("arm/command", "foreign_command", command_ahead),
    _second_publisher("arbitrator/choice", "foreign_choice", choice_up),
    Fault(
        "old commands again on arm/command",
        replayed,
        lambda f: f.watcher.leave(),
        causes=("foreign_command",),
        is_final=True,
    ),
    _twins("wire: reflex", "reflex", "cartesian_reflex"),
    _twins("wire: 30 packets lost", "packet_loss", "communication_constraints_violation", count=30),
    _twins("wire: every reply late", "latency", "communication_constraints_violation"),
    _twins("wire: 2 s of silence", "silence", "network_lost", "arm_state_lost", duration_s=2.0),
    _twins("wire: robot clock stands still", "freeze", "robot_time_stopped", "network_lost"),
    Fault("disk full", fill_disk, ends_with="recording_failed", window_s=3.0, wall_s=20.0),
    *(_killed(node) for node in NODES),
)
