"""A twin in its own process for the tests of the wire: genuine client, genuine sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.errors import RobotError
from pld.robots.franka import FrankaArm, FrankaConfig
from pld.twin.control import ControlClient
from pld.twin.observer import TwinObserver
from pld.types import ArmState, Array, Command, Pose

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@dataclass
class Twin:
    address: str
    run_dir: Path
    process: subprocess.Popen[str]
    control: ControlClient

    def observer(self) -> TwinObserver:
        return TwinObserver(self.run_dir / "twin.link")


def serve_command(address: str, run_dir: Path, *options: str) -> list[str]:
    task = () if "--task" in options else ("--task", "cube_pickup")
    return [
        sys.executable, "-m", "pld.twin.serve", *task, "--address", address,
        "--run-dir", str(run_dir), *options,
    ]  # fmt: skip


@contextmanager
def running_twin(address: str, *options: str) -> Iterator[Twin]:
    with tempfile.TemporaryDirectory(prefix="pld-test-") as folder:
        run_dir = Path(folder)
        process = subprocess.Popen(
            serve_command(address, run_dir, *options),
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        try:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline()
            control = ControlClient(run_dir / "twin.sock", timeout_s=60.0)
            yield Twin(address, run_dir, process, control)
            control.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def twin_config(address: str, **changes: object) -> FrankaConfig:
    settings: dict[str, object] = {
        "address": address,
        "realtime": "ignore",
        "translational_stiffness_n_m": 1500.0,
        "rotational_stiffness_nm_rad": 60.0,
        "translational_clip_m": 0.02,
        "rotational_clip_rad": 0.2,
        "dynamics_factor": 0.3,
        "clock_guard_s": 5.0,
        **changes,
    }
    return FrankaConfig(**settings)  # type: ignore[arg-type]


@contextmanager
def connected_arm(twin: Twin, **changes: object) -> Iterator[FrankaArm]:
    arm = FrankaArm(twin_config(twin.address, **changes), twin.observer().reading)
    arm.connect()
    try:
        yield arm
    finally:
        twin.control.call("clear")
        with suppress(RobotError):
            arm.recover()
        arm.close()


def command(state: ArmState, p_m: Array, gripper_open: float = 1.0) -> Command:
    target = Pose(np.asarray(p_m, dtype=float), np.array([1.0, 0.0, 0.0, 0.0]))
    return Command(state.step, target, gripper_open, np.zeros(7))


def drive(
    arm: FrankaArm,
    steps: int,
    target_m: Callable[[ArmState, int], Array],
    gripper_open: float = 1.0,
) -> list[ArmState]:
    """Command `target_m(state, i)` at each of `steps` control steps; the states seen."""
    states = []
    for i in range(steps):
        state = arm.wait_step()
        states.append(state)
        arm.apply(command(state, target_m(state, i), gripper_open))
    return states


def towards(goal_m: Array, step_m: float = 0.0125) -> Callable[[ArmState, int], Array]:
    """Move the reference straight to `goal_m` by at most `step_m` per control step."""

    def target(state: ArmState, _: int) -> Array:
        gap = np.asarray(goal_m) - state.reference.p_m
        distance = float(np.linalg.norm(gap))
        return state.reference.p_m + gap * min(1.0, step_m / max(distance, 1e-9))

    return target
