"""What the residual learner needs from a task: the frozen base seen as part of the environment.

An environment hands out features of what the robot sees together with the action that the frozen
base would take there, and executes combined actions. The lockstep twin, any Gymnasium task
(pld.gym) and a robot fit behind these two methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pld.types import Array

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class ResidualObservation:
    """What the learner sees: `features` (F,) of any kind and the base's `base_action` (A,).

    `base_action` is normalised, each entry in [-1, 1].
    """

    features: Array
    base_action: Array

    def vector(self) -> Vector:
        """The learner's observation (F + A,): features, then the base action."""
        return np.concatenate([self.features, self.base_action]).astype(np.float32)


@dataclass(frozen=True)
class StepOutcome:
    """What one executed action led to.

    `observation` is what is seen afterwards, with the base's action for it, at the last step too:
    a truncated episode bootstraps from it. `executed_action` (A,) is what was done after every
    filter. `valid` is False when the simulation diverged or a sensor failed: such a step ends the
    episode and is never learned from.
    """

    observation: ResidualObservation
    executed_action: Array
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    valid: bool = True


class ResidualEnv(Protocol):
    """A task with its frozen base policy inside; deterministic given the seed of `reset`."""

    task: str
    feature_dim: int
    action_dim: int
    max_steps: int

    def reset(self, seed: int) -> ResidualObservation:
        """Start an episode whose start and noise follow from `seed` alone."""

    def step(self, action: Array) -> StepOutcome:
        """Execute a combined action (A,), each entry in [-1, 1]."""
