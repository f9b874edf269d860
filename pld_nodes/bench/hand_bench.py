"""`pld bench hand`: stop the hand while its fingers close; how long and how far do they go on?

The genuine driver and client against the simulated hand; a real one's own delay is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pld.errors import RobotError
from pld.robots.franka import FrankaArm
from pld.types import Command, Pose
from pld_nodes.bench.aims import Figure
from pld_nodes.bench.box_fci import FciArm

CLOSING_STEPS = (3, 18)
OPENING_STEPS = 40
REST_STEPS = 10
TIMEOUT_S = 10.0
BAR_MS = 100.0


@dataclass
class Stops:
    """What `trials` stops came to: time until the motion had ended [ms], travel to rest [mm]."""

    ended_ms: list[float] = field(default_factory=list)
    travel_mm: list[float] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        """The rows of the table; the bar is that of a hold."""
        p50, p99 = np.percentile(self.ended_ms, [50, 99])
        return [
            Figure("stops while the fingers closed", len(self.ended_ms), ""),
            Figure("until the hand had ended its motion, p50", float(p50), "ms"),
            Figure("until the hand had ended its motion, p99", float(p99), "ms", at_most=BAR_MS),
            Figure("until the hand had ended its motion, max", max(self.ended_ms), "ms"),
            Figure(
                "fingers went on by, until they rested, max",
                max(self.travel_mm),
                "mm",
                at_most=10.0,
            ),
        ]


def measure(robot: FciArm, trials: Iterable[int], seed: int) -> Stops:
    """Close the hand for a random time, stop it, open it again; the arm holds its pose.

    Steady time, not robot time: it is the client and the machine that are measured.
    """
    rng, stops = np.random.default_rng(seed), Stops()
    robot.reset()
    for _ in trials:
        _command_hand(robot, -1.0, int(rng.integers(*CLOSING_STEPS)))
        _stop_hand(robot.driver, float(rng.uniform(0.0, 1.0 / robot.driver.config.rate_hz)), stops)
        _command_hand(robot, 1.0, OPENING_STEPS)
    return stops


def _stop_hand(driver: FrankaArm, after_s: float, stops: Stops) -> None:
    """Stop the hand `after_s` into a control step; the driver goes on reading meanwhile."""
    stopped: list[tuple[float, float]] = []
    ended: list[tuple[float, float]] = []
    began_s = time.monotonic()

    def look(_: int) -> None:
        now = (time.monotonic(), driver.hand_width_m)
        if not stopped and now[0] >= began_s + after_s:
            stopped.append(now)
            driver.stop_hand()
        elif stopped and not ended and not driver.hand_moves:
            ended.append(now)

    while not ended and time.monotonic() < began_s + TIMEOUT_S:
        driver.wait_step(look)
    if not ended:
        raise RobotError(f"the hand did not stop within {TIMEOUT_S:g} s")
    for _ in range(REST_STEPS):
        driver.wait_step()
    stops.ended_ms.append((ended[0][0] - stopped[0][0]) * 1e3)
    stops.travel_mm.append((stopped[0][1] - driver.hand_width_m) * 1e3)


def _command_hand(robot: FciArm, gripper_open: float, steps: int) -> None:
    for _ in range(steps):
        state = robot.driver.wait_step()
        here = Pose(state.reference.p_m, state.reference.q_xyzw)
        robot.driver.apply(Command(state.step, here, gripper_open, np.zeros(7)))
