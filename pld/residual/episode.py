"""One episode as the learner stores it, and how it is collected from an environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pld.residual.protocol import ResidualEnv, ResidualObservation, StepOutcome, Vector
from pld.types import Array

Policy = Callable[[Vector], Array]


@dataclass(frozen=True)
class Episode:
    """The learnable part of one episode, T transitions, and what became of it.

    `observations`, `next_observations` (T, F + A) end in the base's action for that observation;
    `actions` (T, A) are the executed ones; `rewards`, `terminated` (T,); `returns` (T,) are the
    discounted Monte Carlo returns. `takeover_step` base steps came before and are not in here;
    `steps` counts all of them. `diverged` says that the simulation broke and the broken step was
    dropped. `with_specialist` says that a specialist was to take over; it is told of episodes that
    the graph ran, since those that a trainer runs itself are known to it. `helped` says that a
    person took over in the end; what the person did is not in here.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    terminated: NDArray[np.float32]
    returns: NDArray[np.float32]
    success: bool
    steps: int
    takeover_step: int
    seed: int
    diverged: bool = False
    with_specialist: bool = False
    helped: bool = False

    def __len__(self) -> int:
        """The number of stored transitions."""
        return len(self.rewards)


def discounted_returns(rewards: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    """Return-to-go (T,) of `rewards` (T,): G_t = r_t + gamma * G_{t+1}."""
    returns = np.zeros(len(rewards), dtype=np.float64)
    running = 0.0
    for t in reversed(range(len(rewards))):
        running = float(rewards[t]) + gamma * running
        returns[t] = running
    return returns.astype(np.float32)


def with_failure_cost(episode: Episode, cost: float, gamma: float) -> Episode:
    """`episode` with `cost` taken from the last reward, where it was ended without success.

    That is a fault of the arm, or whatever else a task ends a failed episode for; running out of
    time is none.
    """
    if not cost or episode.success or not len(episode) or not episode.terminated[-1]:
        return episode
    rewards = episode.rewards.copy()
    rewards[-1] -= cost
    return replace(episode, rewards=rewards, returns=discounted_returns(rewards, gamma))


def is_sound(outcome: StepOutcome) -> bool:
    """Whether a step may be learned from: declared valid and every number finite."""
    observation = outcome.observation
    return (
        outcome.valid
        and bool(np.isfinite(outcome.reward))
        and bool(np.isfinite(observation.features).all())
        and bool(np.isfinite(observation.base_action).all())
        and bool(np.isfinite(outcome.executed_action).all())
    )


def collect_episode(
    env: ResidualEnv,
    seed: int,
    policy: Policy,
    takeover_step: int,
    gamma: float,
    max_steps: int | None = None,
) -> Episode:
    """Run one episode: the base until `takeover_step`, then `policy`; store only the latter.

    It is truncated after `max_steps`, by default the task's own limit. Where the simulation breaks,
    be it at the reset, the episode ends before the broken step.
    """
    observation = env.reset(seed)
    stored: list[tuple[Vector, StepOutcome]] = []
    if not np.isfinite(observation.vector()).all():
        return _episode(env, stored, seed, 0, takeover_step, gamma, diverged=True)
    limit = env.max_steps if max_steps is None else min(max_steps, env.max_steps)
    for step in range(limit):
        seen = observation.vector()
        probing = step < takeover_step
        outcome = env.step(observation.base_action if probing else policy(seen))
        if not is_sound(outcome):
            return _episode(env, stored, seed, step + 1, takeover_step, gamma, diverged=True)
        if not probing:
            stored.append((seen, outcome))
        if outcome.terminated or outcome.truncated:
            success = outcome.success
            return _episode(env, stored, seed, step + 1, takeover_step, gamma, success=success)
        observation = outcome.observation
    return _episode(env, stored, seed, limit, takeover_step, gamma)


def base_policy_of(action_dim: int) -> Policy:
    """The policy that does what the base proposes: the end of what it sees."""
    return lambda seen: seen[-action_dim:].astype(np.float64)


def _episode(
    env: ResidualEnv,
    stored: list[tuple[Vector, StepOutcome]],
    seed: int,
    steps: int,
    takeover_step: int,
    gamma: float,
    *,
    success: bool = False,
    diverged: bool = False,
) -> Episode:
    outcomes = [outcome for _, outcome in stored]
    rewards = np.array([o.reward for o in outcomes], dtype=np.float32)
    return Episode(
        observations=_rows([seen for seen, _ in stored], env.feature_dim + env.action_dim),
        actions=_rows([o.executed_action for o in outcomes], env.action_dim),
        rewards=rewards,
        next_observations=_rows(
            [_vector(o.observation) for o in outcomes], env.feature_dim + env.action_dim
        ),
        terminated=np.array([o.terminated for o in outcomes], dtype=np.float32),
        returns=discounted_returns(rewards, gamma),
        success=success,
        steps=steps,
        takeover_step=takeover_step,
        seed=seed,
        diverged=diverged,
    )


def _vector(observation: ResidualObservation) -> Vector:
    return observation.vector()


def _rows(rows: list[Vector] | list[Array], width: int) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32).reshape(len(rows), width)
