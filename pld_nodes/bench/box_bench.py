"""`pld bench box`: random and adversarial commands in a twin; the arm stays in its box.

The lockstep twin has no reflexes, the arm and the FCI twin (`--fci`) have: where a contact force
exceeds the driver's collision threshold, the arm would have stopped, so the scene is laid anew. It
is also laid anew where the filter holds an arm that left its box, as an operator would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pld.contract import ActionSpec
from pld.robots.twin import LockstepTwin, TwinConfig
from pld.safety.filter import filter_choice
from pld.safety.limits import load_limits
from pld.safety.wander import wandering_actions
from pld.twin.tasks import task_named
from pld.types import ActionSource, ArmState, Choice, Command
from pld_nodes.bench.aims import Figure

COLLISION_N = 40.0
TRACKING_MARGIN_MM = 30.0


@dataclass
class Excursions:
    """What was measured: excess over the box of every measured pose [mm], and the rest."""

    outside_mm: list[float]
    nearest_joint_limit_rad: float = np.inf
    reflexes: int = 0
    left: int = 0
    refused: int = 0
    changed: int = 0

    def figures(self) -> list[Figure]:
        """The rows of the table; commanded targets are inside by the filter's own tests."""
        outside = np.maximum(self.outside_mm, 0.0)
        p99, p9999 = (float(v) for v in np.percentile(outside, (99, 99.99)))
        return [
            Figure("commands", len(outside), "", at_least=1),
            Figure("refused with a hold", self.refused, ""),
            Figure("bounded", self.changed, ""),
            Figure("collisions, after which the scene was laid anew", self.reflexes, ""),
            Figure("held outside the box, after which it was laid anew", self.left, ""),
            Figure("outside the box p99", p99, "mm"),
            Figure("outside the box p99.99", p9999, "mm"),
            Figure("outside the box max", float(outside.max()), "mm", at_most=TRACKING_MARGIN_MM),
            Figure("nearest to a joint limit", self.nearest_joint_limit_rad, "rad", at_least=0.0),
        ]


class Arm(Protocol):
    """What is driven about: an arm over a scene, with `reset` for both."""

    def reset(self) -> ArmState:
        """Home, the scene laid anew."""

    def step(self, command: Command) -> tuple[ArmState, bool]:
        """One control step, and whether the arm stopped by itself in it, on a collision."""


class LockstepArm:
    """The lockstep twin; its first scene is that of `seed`."""

    def __init__(self, twin: LockstepTwin, seed: int) -> None:
        self._twin = twin
        self._seed: int | None = seed

    def reset(self) -> ArmState:
        """Home, the scene laid anew."""
        seed, self._seed = self._seed, None
        return self._twin.reset(seed)

    def step(self, command: Command) -> tuple[ArmState, bool]:
        """One control step, and whether a real arm would have stopped in it."""
        self._twin.apply(command)
        arm = self._twin.wait_step()
        return arm, _collided(arm)


@contextmanager
def lockstep_arm(rate_hz: float, seed: int) -> Iterator[LockstepArm]:
    """A lockstep twin without images."""
    config = TwinConfig(spec=ActionSpec(rate_hz=rate_hz), image_px=None)
    with closing(LockstepTwin(task_named("cube_pickup"), config)) as twin:
        yield LockstepArm(twin, seed)


def measure(
    robot: Arm, commands: Iterable[int], rate_hz: float, seed: int, limits_file: Path
) -> Excursions:
    """Drive `robot` through the filter, by one wandering command for each of `commands`."""
    limits, spec = load_limits(limits_file), ActionSpec(rate_hz=rate_hz)
    actions = wandering_actions(seed)
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    joints = np.array([limits.lower_q_rad, limits.upper_q_rad])
    found, arm = Excursions([]), robot.reset()
    for _ in commands:
        choice = Choice(arm.step, ActionSource.BASE, next(actions))
        command = filter_choice(choice, arm, limits, spec)
        found.refused += int(command.hold)
        found.changed += int(bool(command.reasons) and not command.hold)
        arm, collided = robot.step(command)
        outside_m = np.maximum(low - arm.O_T_EE.p_m, arm.O_T_EE.p_m - high).max()
        found.outside_mm.append(float(outside_m) * 1e3)
        room = np.minimum(arm.q_rad - joints[0], joints[1] - arm.q_rad).min()
        found.nearest_joint_limit_rad = min(found.nearest_joint_limit_rad, float(room))
        left = "left_workspace" in command.reasons and not collided
        found.reflexes += int(collided)
        found.left += int(left)
        if collided or left:
            arm = robot.reset()
    return found


def _collided(arm: ArmState) -> bool:
    """Whether the force on any axis exceeds the driver's collision threshold."""
    return bool(np.abs(arm.O_F_ext_hat_K[:3]).max() > COLLISION_N)
