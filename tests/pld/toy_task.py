"""A small deterministic task for the learner's tests: reach a target with a base that misses."""

from __future__ import annotations

import numpy as np
import torch

from pld.residual.config import ResidualConfig
from pld.residual.protocol import ResidualObservation, StepOutcome
from pld.types import Array

torch.set_num_threads(1)
STEP_M = 0.1
REACHED_M = 0.08


class ToyTask:
    """A point on a plane; features (5,): position, target, steps so far. Success: close enough.

    The base heads for a place beside the target, off by up to 0.2 depending on the seed.
    `action_limit` stands for a safety filter: the executed action is the asked one, clipped.
    `diverge_at` makes that step of every episode return NaN.
    """

    task = "toy"
    feature_dim = 5
    action_dim = 2
    max_steps = 15

    def __init__(self, action_limit: float = 1.0, diverge_at: int | None = None) -> None:
        self.action_limit, self.diverge_at = action_limit, diverge_at
        self.executed: list[Array] = []
        self.proposed: list[Array] = []
        self.seeds: list[int] = []

    def reset(self, seed: int) -> ResidualObservation:
        rng = np.random.default_rng(seed)
        self.at = rng.uniform(-0.3, 0.3, 2)
        self.target = self.at + rng.choice([-0.5, 0.5], 2)
        self.error = rng.uniform(-0.2, 0.2, 2) * (rng.random() < 0.6)
        self.steps = 0
        self.executed, self.proposed = [], []
        self.seeds.append(seed)
        return self._seen()

    def step(self, action: Array) -> StepOutcome:
        executed = np.clip(action, -self.action_limit, self.action_limit)
        self.executed.append(executed)
        self.at = self.at + STEP_M * executed
        self.steps += 1
        broken = self.diverge_at is not None and self.steps > self.diverge_at
        if broken:
            self.at = np.full(2, np.nan)
        success = bool(np.linalg.norm(self.at - self.target) < REACHED_M)
        late = self.steps >= self.max_steps
        return StepOutcome(
            self._seen(), executed, float(success), success, late and not success, success
        )

    def _seen(self) -> ResidualObservation:
        base = np.clip((self.target + self.error - self.at) / (3 * STEP_M), -1.0, 1.0)
        self.proposed.append(base)
        return ResidualObservation(np.array([*self.at, *self.target, float(self.steps)]), base)


def toy_config(**changes: object) -> ResidualConfig:
    """Settings small enough for a test."""
    small: dict[str, object] = {
        "residual_scale": (0.5,),
        "hidden": (32, 32),
        "batch_size": 32,
        "base_episodes": 12,
        "calql_updates": 20,
        "online_steps": 60,
        "learning_starts": 32,
        "actor_starts": 20,
        "actor_learning_rate": 5e-4,
        "actor_every": 1,
        "entropy_learning_rate": 5e-4,
        "average_rate": 0.001,
        "residual_cost": 0.0,
        "n_step": 1,
        "replay_capacity": 4000,
        "updates_per_step": 1.0,
        "decision_steps": 1,
        "gamma": 0.97,
        "tau": 0.01,
        "log_std_init": -2.0,
        "log_std_max": -0.7,
        "entropy_init": 0.005,
    }
    return ResidualConfig(**{**small, **changes})  # type: ignore[arg-type]
