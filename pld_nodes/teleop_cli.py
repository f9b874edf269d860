"""`pld teleop DEVICE`: the teleoperation node in this terminal, beside a run."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pld.errors import ConfigError
from pld.teleop.devices import DEVICES
from pld.teleop.shaping import ShapingConfig
from pld_nodes.operator_words import AFTER_RELEASE
from pld_nodes.parameters import check_namespace
from pld_nodes.processes import yaml_word

app = typer.Typer(help="Take over by hand.", no_args_is_help=True)
DEFAULTS = ShapingConfig()


@app.command()
def teleop(
    device: Annotated[str, typer.Argument(help=", ".join(DEVICES))],
    path: Annotated[str, typer.Option(help="device file, to choose among several")] = "",
    speed: Annotated[float, typer.Option(help="part of full speed, up to 1")] = DEFAULTS.speed,
    turn: Annotated[float, typer.Option(help="part of full turning speed")] = DEFAULTS.turn,
    look_deg: Annotated[
        float, typer.Option(help="where you look: 0 along base x, 180 facing the robot")
    ] = DEFAULTS.look_deg,
    after_release: Annotated[
        str, typer.Option(help="hold, or policy: it goes on by itself when you let go")
    ] = "hold",
    namespace: Annotated[str, typer.Option(help="ROS namespace of the run")] = "pld",
) -> None:
    """Take over by hand while the deadman is held, and end, label or pause episodes."""
    if device not in DEVICES:
        raise ConfigError.unknown("teleoperation device", device, DEVICES)
    if after_release not in AFTER_RELEASE:
        raise ConfigError.unknown("after_release", after_release, AFTER_RELEASE)
    ShapingConfig(speed, turn, look_deg)
    namespace = namespace.strip("/")
    check_namespace(namespace)
    values = {
        "device": device,
        "path": path,
        "speed": speed,
        "turn": turn,
        "look_deg": look_deg,
        "after_release": after_release,
    }
    given = ((name, yaml_word(value)) for name, value in values.items())
    parameters = [part for name, word in given for part in ("-p", f"{name}:={word}")]
    remaps = ["-r", "__node:=teleop_node", "-r", f"__ns:=/{namespace}"]
    command = [sys.executable, "-m", "pld_nodes.teleop_node", "--ros-args", *remaps, *parameters]
    sys.stdout.flush()
    os.execve(sys.executable, command, _environment())  # noqa: S606  the terminal stays ours


def _environment() -> dict[str, str]:
    from pld_nodes.ros.environment import variables

    return {**os.environ, **variables()}
