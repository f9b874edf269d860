"""The twin as a program: `python -m pld.twin.serve --task cube_pickup --twin-dir DIR`.

It serves the robot on 1337 and the hand on 1338 of a loopback address, writes DIR/twin.link and
answers DIR/twin.sock. It prints one line when it is ready, and ends on SIGINT, SIGTERM, the
control line's `shutdown`, or its parent's death.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pld.errors import ConfigError, PldError
from pld.twin.control import SOCKET_NAME, ControlServer, Handler
from pld.twin.fci import NS_PER_MS, SERVER_VERSION, FciServer, close_all
from pld.twin.link import LINK_NAME, TwinLink
from pld.twin.loop import TwinLoop, pacer
from pld.twin.scene import SceneOptions
from pld.twin.stage import Stage
from pld.twin.tasks import TASKS

EXIT_CONFIG = 2
PR_SET_PDEATHSIG = 1


class Operations:
    """What the control line offers; each method answers one operation."""

    def __init__(self, stage: Stage, server: FciServer, loop: TwinLoop, link: TwinLink) -> None:
        self._stage, self._server, self._loop, self._link = stage, server, loop, link

    def handlers(self) -> dict[str, Handler]:
        """The operations by name."""
        return {
            "reset": self.reset,
            "truth": self.truth,
            "stats": self._loop.stats,
            "inject": self.inject,
            "clear": self.clear,
            "shutdown": self.shutdown,
        }

    def reset(self, task: str, seed: int, region: str | None = None) -> dict[str, Any]:
        """Lay the objects of `seed` anew."""
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"seed is {seed!r}; give a whole number from 0")
        return {"region": self._stage.reset(task, seed, region), "t_ns": self._t_ns}

    def truth(self) -> dict[str, Any]:
        """The physical truth now; poses as position [m] and quaternion xyzw in O."""
        truth = self._stage.truth(self._loop.t_ms)
        scene = self._stage.task.truth(truth.qpos)
        poses = {"O_T_object": scene.O_T_object, "O_T_goal": scene.O_T_goal}
        return {
            "t_ns": truth.t_ns,
            "success": truth.success,
            "contact_n": truth.contact_n,
            "object_speed_m_s": truth.object_speed_m_s,
            "qpos": truth.qpos.tolist(),
            "qvel": truth.qvel.tolist(),
            "wrench": self._stage.robot.sense.effort.wrench.tolist(),
            **{n: [*map(float, p.p_m), *map(float, p.q_xyzw)] for n, p in poses.items()},
        }

    def inject(self, fault: str, **parameters: Any) -> dict[str, Any]:
        """Switch a fault on; see pld.twin.faults."""
        name = str(parameters.get("name", "cartesian_reflex"))
        self._server.faults.inject(fault, self._t_ns, parameters)
        if fault == "reflex":
            self._server.reflex(frozenset({name}))
        self._link.repeat(self._server.faults.repeating)
        return {"fault": fault, "t_ns": self._t_ns}

    def clear(self) -> dict[str, Any]:
        """Switch every fault off."""
        self._server.faults.clear()
        self._link.repeat(())
        return {"t_ns": self._t_ns}

    def shutdown(self) -> dict[str, Any]:
        """End the twin."""
        self._loop.stopping = True
        return {}

    @property
    def _t_ns(self) -> int:
        return self._loop.t_ms * NS_PER_MS


def serve(options: argparse.Namespace) -> None:
    """Run the twin until it is told to stop; raises ConfigError before anything is bound."""
    address = _loopback(options.address)
    twin_dir = Path(options.twin_dir)
    stage = Stage(options.task, SceneOptions(frictionloss_scale=options.frictionloss_scale))
    server = FciServer(stage.robot, address, version=options.server_version)
    server.init()
    try:
        stage.start(options.seed)
        twin_dir.mkdir(parents=True, exist_ok=True)
        link = TwinLink(twin_dir / LINK_NAME, create=True)
        loop = TwinLoop(stage, server, link, pacer(options.rate_hz))
        operations = Operations(stage, server, loop, link)
        control = ControlServer(twin_dir / SOCKET_NAME, operations.handlers())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: operations.shutdown())
        try:
            _say(f"twin ready: {options.task} at {address} in {twin_dir}")
            loop.run(control)
        finally:
            control.close()
    finally:
        close_all([server])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 after a clean stop, 2 when the options or the machine do not allow to start."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="twin: %(message)s")
    _die_with_parent()
    try:
        serve(options)
    except PldError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_CONFIG
    except OSError as error:
        sys.stderr.write(f"error: cannot use the folder {options.twin_dir!r}: {error}\n")
        return EXIT_CONFIG
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pld.twin.serve", description=__doc__)
    parser.add_argument("--task", required=True, help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--address", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--twin-dir", required=True, help="folder for twin.link and twin.sock")
    parser.add_argument("--seed", type=int, default=0, help="scene laid at the start")
    parser.add_argument("--rate-hz", type=float, default=20.0, help="control rate of the graph")
    parser.add_argument("--server-version", type=int, default=SERVER_VERSION)
    parser.add_argument("--frictionloss-scale", type=float, default=0.1)
    return parser


def _loopback(address: str) -> str:
    try:
        allowed = ipaddress.ip_address(address).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise ConfigError(f"address is {address!r}; valid: a loopback address, 127.0.0.1 to .254")
    return address


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(EXIT_CONFIG)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
