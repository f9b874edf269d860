"""The process table as a ROS 2 launch description; the same rows that the supervisor runs.

Only this file imports `launch`, which a laptop without /opt/ros does not have.
"""

from __future__ import annotations

import atexit
import dataclasses
import signal
import sys
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown, matches_action
from launch.events.process import SignalProcess
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from pld.recording.run_files import note_termination
from pld_nodes import run
from pld_nodes.graph import Deployment, OnExit, Process
from pld_nodes.parameters import RunParameters, parse_arguments
from pld_nodes.ros.environment import variables


def describe(deployment: Deployment) -> LaunchDescription:
    """Launch arguments from the parameter table, then one action per process of the deployment."""
    defaults = parse_arguments(deployment, [])
    arguments = [
        DeclareLaunchArgument(
            field.name,
            default_value=_unsaid(getattr(defaults, field.name)),
            description=field.metadata["help"],
        )
        for field in dataclasses.fields(RunParameters)
    ]
    start = OpaqueFunction(function=_start, args=[deployment])
    return LaunchDescription([*arguments, start])


def describe_replay() -> LaunchDescription:
    """A bag played for viewing; its commands go under names that no driver reads."""
    arguments = {
        "bag": "an episode's folder, or its .mcap",
        "rate": "times the pace of recording",
        "start": "seconds to skip",
    }
    defaults = {"rate": "1.0", "start": "0.0"}
    command = [sys.executable, "-m", "pld_nodes.replay", LaunchConfiguration("bag")]
    for name in defaults:
        command += [f"--{name}", LaunchConfiguration(name)]
    environment = [SetEnvironmentVariable(n, v) for n, v in variables().items()]
    declared = [
        DeclareLaunchArgument(n, default_value=defaults.get(n), description=text)
        for n, text in arguments.items()
    ]
    player = ExecuteProcess(cmd=command, name="replay", output="both")
    ending = OnProcessExit(
        target_action=player, on_exit=lambda *_: [EmitEvent(event=Shutdown(reason="bag ended"))]
    )
    return LaunchDescription([*declared, *environment, player, RegisterEventHandler(ending)])


def _unsaid(value: Any) -> str:
    """A default as launch shows it, told apart from the same value said by the operator.

    A resumed run keeps its own values but for those that were said, equal to a default or not.
    """
    return f"{value} (default)"


def _start(context: LaunchContext, deployment: Deployment) -> list[Any]:
    """Check the parameters as `pld up` does, then start the rows."""
    defaults = dataclasses.asdict(parse_arguments(deployment, []))
    found = {name: LaunchConfiguration(name).perform(context) for name in defaults}
    said = [f"{n}:={value}" for n, value in found.items() if value != _unsaid(defaults[n])]
    prepared = run.prepare(parse_arguments(deployment, said), deployment)
    environment = [SetEnvironmentVariable(n, v) for n, v in variables().items()]
    actions: list[Any] = list(environment)
    processes = {row.name: _process(row.name, prepared.commands[row.name]) for row in prepared.rows}
    driver, ended = processes["franka_node"], list[str]()
    for row in prepared.rows:
        ending = _ending(row, prepared.run_dir, driver, ended)
        handler = OnProcessExit(target_action=processes[row.name], on_exit=ending)
        actions += [processes[row.name], RegisterEventHandler(handler)]
    atexit.register(prepared.clean_up)  # a shutdown only begins to end the processes
    return actions


def _process(name: str, command: list[str]) -> Any:
    return ExecuteProcess(
        cmd=command, name=name, output="both", sigterm_timeout="20", sigkill_timeout="25"
    )


def _ending(row: Process, run_dir: Path, driver: Any, ended: list[str]) -> Any:
    """The end of any process ends the launch; the reason is left for the recorder.

    What ends after the first, or because the launch was told to end, is no reason. The driver is
    told to hold before everybody, itself too, is told to end.
    """
    halt = SignalProcess(signal_number=signal.SIGUSR1, process_matcher=matches_action(driver))

    def on_exit(event: Any, context: LaunchContext) -> list[Any]:
        if context.is_shutdown or ended:
            return []
        ended.append(row.name)
        finished = row.on_exit is OnExit.FINISH_RUN and event.returncode == 0
        if not finished:
            note_termination(run_dir, f"node_lost:{row.name}", f"exit {event.returncode}")
        end = EmitEvent(event=Shutdown(reason=f"{row.name} ended"))
        return [end] if row.name == "franka_node" else [EmitEvent(event=halt), end]

    return on_exit
