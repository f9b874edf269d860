"""One child process of a run: how it is started, read, asked to stop and made to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pld_nodes.graph import Process
from pld_nodes.ros.environment import variables

PR_SET_PDEATHSIG = 1
TELLING = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
"""Lines come at once; a process that crashes in a library or is aborted tells where it stood."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def command_line(process: Process, parameters: Mapping[str, Any], namespace: str) -> list[str]:
    """The command that starts a process: a ROS node, or a program of the twin."""
    if not process.is_node:
        flags = [
            part
            for name, value in parameters.items()
            for part in _flag(name.replace("_", "-"), value)
        ]
        return [sys.executable, "-m", process.executable, *flags]
    remaps = ["-r", f"__node:={process.name}", "-r", f"__ns:=/{namespace}"]
    values = [part for name, v in parameters.items() for part in ("-p", f"{name}:={yaml_word(v)}")]
    module = f"pld_nodes.{process.executable}"
    return [sys.executable, "-m", module, "--ros-args", *remaps, *values]


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", str(value)]


def yaml_word(value: Any) -> str:
    """A parameter's value as ROS reads it on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    quoted = value.replace("'", "''")
    return f"'{quoted}'"


def die_with_parent() -> None:
    """The kernel ends this child should the supervisor be killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """A started process; its output is passed on line by line and kept in a log file."""

    row: Process
    popen: subprocess.Popen[str]
    reader: threading.Thread

    @property
    def name(self) -> str:
        """Name in the process table."""
        return self.row.name

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def exit_words(self) -> str:
        """How it ended, in words."""
        code = self.popen.returncode
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit {code}"

    def ask(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.running():
            self.popen.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join(1.0)
        return True


def start(
    row: Process, command: list[str], log_dir: Path, say: Callable[[str, str], None]
) -> Child:
    """Start a process whose lines go to `say(name, line)` and to `<log_dir>/<name>.log`.

    Lines are read on where either cannot take them (a full disk): a process whose pipe is full
    would stand still. A resumed run's lines follow those of before.
    """
    popen = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **variables(), **TELLING},
        preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads of ours run between fork and exec
        start_new_session=True,
    )

    def read() -> None:
        assert popen.stdout is not None
        for line in popen.stdout:
            with contextlib.suppress(OSError, ValueError):  # ValueError: a terminal of ASCII
                say(row.name, line.rstrip("\n"))
            with contextlib.suppress(OSError), (log_dir / f"{row.name}.log").open("a") as log:
                log.write(line)

    reader = threading.Thread(target=read, name=f"log-{row.name}", daemon=True)
    reader.start()
    return Child(row, popen, reader)
