"""`pld bench box`: random and adversarial commands in the lockstep twin; the arm stays in its box.

The lockstep twin has no reflexes, the arm and the graph's twin have: where a contact force exceeds
the driver's collision threshold, the arm would have stopped, so the scene is laid anew. It is also
laid anew where the filter holds an arm that left its box, as an operator would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.contract import ActionSpec
from pld.robots.twin import LockstepTwin, TwinConfig
from pld.safety.filter import filter_choice
from pld.safety.limits import load_limits
from pld.safety.wander import wandering_actions
from pld.twin.tasks import task_named
from pld.types import ActionSource, ArmState, Choice
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
            Figure("commands", len(outside), ""),
            Figure("refused with a hold", self.refused, ""),
            Figure("bounded", self.changed, ""),
            Figure("collisions, after which the scene was laid anew", self.reflexes, ""),
            Figure("held outside the box, after which it was laid anew", self.left, ""),
            Figure("outside the box p99", p99, "mm"),
            Figure("outside the box p99.99", p9999, "mm"),
            Figure("outside the box max", float(outside.max()), "mm", at_most=TRACKING_MARGIN_MM),
            Figure("nearest to a joint limit", self.nearest_joint_limit_rad, "rad", at_least=0.0),
        ]


def measure(commands: int, rate_hz: float, seed: int, limits_file: Path) -> Excursions:
    """Drive the lockstep twin by `commands` wandering commands through the filter."""
    limits, spec = load_limits(limits_file), ActionSpec(rate_hz=rate_hz)
    config = TwinConfig(spec=spec, image_px=None)
    twin, actions = LockstepTwin(task_named("cube_pickup"), config), wandering_actions(seed)
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    joints = np.array([limits.lower_q_rad, limits.upper_q_rad])
    found, arm = Excursions([]), twin.reset(seed)
    for _ in range(commands):
        choice = Choice(arm.step, ActionSource.BASE, next(actions))
        command = filter_choice(choice, arm, limits, spec)
        found.refused += int(command.hold)
        found.changed += int(bool(command.reasons) and not command.hold)
        twin.apply(command)
        arm = twin.wait_step()
        if _collided(arm):
            found.reflexes += 1
            arm = twin.reset()
            continue
        outside_m = np.maximum(low - arm.O_T_EE.p_m, arm.O_T_EE.p_m - high).max()
        found.outside_mm.append(float(outside_m) * 1e3)
        room = np.minimum(arm.q_rad - joints[0], joints[1] - arm.q_rad).min()
        found.nearest_joint_limit_rad = min(found.nearest_joint_limit_rad, float(room))
        if "left_workspace" in command.reasons:
            found.left += 1
            arm = twin.reset()
    twin.close()
    return found


def _collided(arm: ArmState) -> bool:
    """Whether the force on any axis exceeds the driver's collision threshold."""
    return bool(np.abs(arm.O_F_ext_hat_K[:3]).max() > COLLISION_N)
