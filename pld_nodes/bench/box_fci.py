"""The arm of `pld bench box --fci`: the genuine driver and client against a simulated Franka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pld.config import load_yaml
from pld.errors import RobotError
from pld.robots.franka import FrankaArm
from pld.robots.franka_config import FrankaConfig
from pld.twin.control import ControlClient
from pld.twin.observer import TwinObserver
from pld.twin.serve import LINK_NAME, SOCKET_NAME
from pld.types import ArmState, Command, ControlMode
from pld_nodes.share import share_path

ARM_CONFIG = "launch/config/arm_twin.yaml"
PATIENCE_S = 60.0


class FciBox:
    """A twin in its own process, the driver connected to it; an arm for `box_bench.measure`.

    Raises RobotError when the twin does not come up or the arm cannot be recovered.
    """

    def __init__(self, address: str, rate_hz: float, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pld-box-")
        run_dir, self._seed = Path(self._folder.name), seed
        words = ["--task", "cube_pickup", "--address", address, "--run-dir", str(run_dir)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pld.twin.serve", *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if "ready" not in said:
            raise RobotError(f"the twin did not start at {address}: {said.strip() or 'it ended'}")
        self._scene = ControlClient(run_dir / SOCKET_NAME, timeout_s=PATIENCE_S)
        config = replace(
            load_yaml(share_path(ARM_CONFIG), FrankaConfig),
            address=address,
            rate_hz=rate_hz,
            realtime="ignore",
        )
        self._arm = FrankaArm(config, TwinObserver(run_dir / LINK_NAME).reading)
        self._arm.connect()

    def reset(self) -> ArmState:
        """Recover the arm if it stopped, take it home and lay the scene anew."""
        if self._arm.fault:
            self._arm.recover()
        self._arm.reset()
        self._scene.call("reset", task="cube_pickup", seed=self._seed)
        return self._arm.wait_step()

    def step(self, command: Command) -> ArmState | None:
        """One control step; None after a reflex."""
        self._arm.apply(command)
        state = self._arm.wait_step()
        return None if state.control_mode is ControlMode.FAULT else state

    def __enter__(self) -> FciBox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hold, let go of the arm and end the twin."""
        self._arm.close()
        self._scene.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_S)
        self._folder.cleanup()
