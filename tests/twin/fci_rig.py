"""A twin in its own process for the tests of the wire: genuine client, genuine sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from pld.errors import RobotError
from pld.robots.franka import FrankaArm, FrankaConfig
from pld.twin.process import RunningTwin
from pld.types import ArmState, Array, Command, Pose


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
def connected_arm(twin: RunningTwin, **changes: object) -> Iterator[FrankaArm]:
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
