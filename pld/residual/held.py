"""A specialist that decides every few control steps and keeps its correction in between.

The base is still asked at every step; what is held is the residual. A correction of one step of a
tenth of a second moves the outcome by less than a critic's error: held for a few steps it moves it
measurably, is explored together, and an episode is fewer decisions long. For a specialist without
a base the action itself is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pld.residual.actor import ResidualActor
from pld.residual.protocol import ResidualEnv, ResidualObservation, StepOutcome
from pld.residual.search import Search
from pld.types import Array


class HeldEnv:
    """`env` as its learner sees it: one step is one decision, `decision_steps` control steps long.

    The base action that an observation ends in is the one at the decision; at the steps after it
    the same residual is added to what the base then proposes. The outcome's executed action is the
    decision's first, its reward the sum.
    """

    def __init__(self, env: ResidualEnv, decision_steps: int, *, use_base: bool = True) -> None:
        self._env, self._steps, self._use_base = env, decision_steps, use_base
        self.task, self.feature_dim, self.action_dim = env.task, env.feature_dim, env.action_dim
        self.max_steps = math.ceil(env.max_steps / decision_steps)

    def reset(self, seed: int) -> ResidualObservation:
        """Start the episode of `seed`."""
        self._seen = self._env.reset(seed)
        return self._seen

    def step(self, action: Array) -> StepOutcome:
        """Carry out one decision: the combined action (A,), then its residual again."""
        residual = action - self._seen.base_action
        outcome = self._env.step(action)
        first, reward = outcome.executed_action, outcome.reward
        for _ in range(self._steps - 1):
            if outcome.terminated or outcome.truncated or not outcome.valid:
                break
            base = outcome.observation.base_action
            outcome = self._env.step(
                np.clip(base + residual, -1.0, 1.0) if self._use_base else action
            )
            reward += outcome.reward
        self._seen = outcome.observation
        return replace(outcome, executed_action=first, reward=reward)


def held(env: ResidualEnv, decision_steps: int, *, use_base: bool = True) -> ResidualEnv:
    """`env` itself where every step is a decision, else a HeldEnv over it."""
    return env if decision_steps == 1 else HeldEnv(env, decision_steps, use_base=use_base)


class HeldResidual:
    """The actor at work: asked at every control step, it decides at some and repeats at the others.

    It decides `decision_steps` after its last decision, counted in the episode's own steps, so a
    step that was never answered delays nothing. What is held is what was left of the correction at
    the action range's end, as in HeldEnv. With `rng` its decisions explore; with `search` they are
    pushed about. A base action that is no number is left as it is, for the safety filter to see.
    """

    def __init__(
        self,
        actor: ResidualActor,
        rng: np.random.Generator | None = None,
        search: Search | None = None,
    ) -> None:
        self.actor, self._rng, self._search = actor, rng, search
        self.reset()

    @property
    def policy_id(self) -> str:
        """Name of the specialist."""
        return self.actor.policy_id

    def reset(self) -> None:
        """Forget the last decision: an episode begins."""
        self._decided_at: int | None = None
        self._decision = np.zeros(self.actor.card.action_dim)

    def residual(self, step: int, features: Callable[[], Array], base_action: Array) -> Array:
        """The residual (A,) for control step `step`; `features` (F,) are made at decisions only."""
        card = self.actor.card
        if not np.isfinite(base_action).all():
            return np.zeros(card.action_dim)
        since = None if self._decided_at is None else step - self._decided_at
        if since is None or not 0 <= since < card.decision_steps:
            self._decided_at = step
            self._decision = self.actor.act(features(), base_action, self._rng)
            if self._search is not None:
                self._decision = self._search.pushed(self._decision, self.actor.residual_scale)
            executed = np.clip(base_action + self._decision, -1.0, 1.0)
            self._decision = executed - base_action if card.use_base else executed
        return self._decision if card.use_base else self._decision - base_action
