"""A twin in a process of its own, for whoever drives it without the graph: benches and tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RobotError
from pld.twin.control import SOCKET_NAME, ControlClient
from pld.twin.link import LINK_NAME
from pld.twin.observer import TwinObserver

CONTROL_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0


@dataclass
class RunningTwin:
    """A twin that serves `address`; its link and control socket are in `folder`."""

    address: str
    folder: Path
    process: subprocess.Popen[str]
    control: ControlClient

    def observer(self) -> TwinObserver:
        """What tells the twin's link how far its driver has read."""
        return TwinObserver(self.folder / LINK_NAME)


def serve_command(address: str, twin_dir: Path, *options: str) -> list[str]:
    """The words that start `pld.twin.serve`, with the cube's task unless `options` name one."""
    task = () if "--task" in options else ("--task", "cube_pickup")
    where = ("--address", address, "--twin-dir", str(twin_dir))
    return [sys.executable, "-m", "pld.twin.serve", *task, *where, *options]


@contextmanager
def running_twin(address: str, *options: str) -> Iterator[RunningTwin]:
    """Start a twin, wait until it is ready, and end it; raises RobotError when it does not come."""
    with tempfile.TemporaryDirectory(prefix="pld-twin-") as folder:
        twin_dir = Path(folder)
        process = subprocess.Popen(
            serve_command(address, twin_dir, *options),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if "ready" not in said:
                raise RobotError(f"no twin at {address}: it said {said.strip() or 'nothing'!r}")
            control = ControlClient(twin_dir / SOCKET_NAME, timeout_s=CONTROL_TIMEOUT_S)
            yield RunningTwin(address, twin_dir, process, control)
            control.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=END_TIMEOUT_S)
