"""Training of one specialist as a sequence of units, each a pure function of what came before.

A unit is one base episode, one slice of critic pre-training, or one online episode with its
updates. Between units everything that matters is in `SpecialistTrainer.progress`, the learner and
two random generators; that is what a checkpoint holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from pld.errors import PldError
from pld.residual.config import ResidualConfig
from pld.residual.episode import (
    Episode,
    Policy,
    base_policy_of,
    collect_episode,
    with_failure_cost,
)
from pld.residual.held import held
from pld.residual.protocol import ResidualEnv
from pld.residual.sac import ResidualSac
from pld.residual.search import Search

TakeoverSampler = Callable[[np.random.Generator, float, int], int]
SEEDS_PER_RUN = 100_000
PRETRAIN_SLICE = 100
MIN_LENGTHS = 5
FAILED_STARTS = 40


class Phase(str, Enum):
    """What the trainer does next."""

    WARM_UP = "warm-up"
    PRETRAINING = "pre-training"
    ONLINE = "online"
    FINISHED = "finished"


@dataclass(frozen=True)
class Progress:
    """How far training has come. A step is a decision: ResidualConfig.decision_steps control steps.

    `learned_steps` are the online steps that entered replay, `probing_steps` those that did not.
    Online episodes begin at new starts; searches at some where an earlier episode failed.
    `horizon_steps` is the median length of the base's successes.
    """

    phase: Phase = Phase.WARM_UP
    episodes: int = 0
    base_episodes: int = 0
    base_successes: int = 0
    base_steps: int = 0
    horizon_steps: int = 0
    pretrain_updates: int = 0
    online_episodes: int = 0
    online_successes: int = 0
    searches: int = 0
    search_successes: int = 0
    learned_steps: int = 0
    probing_steps: int = 0
    diverged_episodes: int = 0
    pending_updates: float = 0.0
    last_skipped: bool = False

    @property
    def decisions(self) -> int:
        """All decisions made in the environment so far."""
        return self.base_steps + self.learned_steps + self.probing_steps


class EmptyOfflineBufferError(PldError):
    """The base never succeeded, so there is nothing to pre-train on."""


def training_seeds(run_seed: int) -> range:
    """All environment seeds that the training of `run_seed` may use."""
    return range((run_seed + 1) * SEEDS_PER_RUN, (run_seed + 2) * SEEDS_PER_RUN)


def training_seed(run_seed: int, episode: int) -> int:
    """The environment seed of training episode `episode`; runs do not share seeds."""
    if episode >= SEEDS_PER_RUN:
        raise PldError(f"a run has at most {SEEDS_PER_RUN} training episodes; start another run")
    return (run_seed + 1) * SEEDS_PER_RUN + episode


class SpecialistTrainer:
    """Trains a residual over a frozen base in `env`; `advance` does one unit."""

    def __init__(
        self, env: ResidualEnv, config: ResidualConfig, sample_takeover: TakeoverSampler
    ) -> None:
        self.env = held(env, config.decision_steps, use_base=config.use_base)
        self.config = config
        self.sample_takeover = sample_takeover
        self.learner = ResidualSac(env.feature_dim, env.action_dim, config)
        self.rng = np.random.default_rng([config.seed, 1])
        self.progress = Progress(phase=Phase.WARM_UP if config.base_episodes else Phase.ONLINE)
        self.base_lengths: list[int] = []
        self.failed_starts: list[int] = []
        self.last_episode: Episode | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.progress.phase is Phase.FINISHED

    def advance(self) -> Progress:
        """Do one unit of work and return the progress after it."""
        units = {
            Phase.WARM_UP: self._base_episode,
            Phase.PRETRAINING: self._pretrain_slice,
            Phase.ONLINE: self._online_episode,
        }
        if not self.finished:
            units[self.progress.phase]()
        return self.progress

    def run(self, on_unit: Callable[[SpecialistTrainer], None] | None = None) -> Progress:
        """Advance until finished; `on_unit` is called after every unit."""
        while not self.finished:
            self.advance()
            if on_unit is not None:
                on_unit(self)
        return self.progress

    def episode_limit(self) -> int:
        """Steps after which a training episode is truncated; the task's own until it is known."""
        limit = self.config.episode_limit
        if not limit or len(self.base_lengths) < MIN_LENGTHS:
            return self.env.max_steps
        return min(self.env.max_steps, math.ceil(limit * float(np.median(self.base_lengths))))

    def _collect(self, policy: Policy, takeover_step: int, seed: int | None = None) -> Episode:
        new = training_seed(self.config.seed, self.progress.episodes)
        return collect_episode(
            self.env,
            new if seed is None else seed,
            policy,
            takeover_step,
            self.config.gamma,
            self.episode_limit(),
        )

    def _count(self, episode: Episode) -> None:
        self.last_episode = episode
        self._update(
            episodes=self.progress.episodes + 1,
            diverged_episodes=self.progress.diverged_episodes + episode.diverged,
        )

    def _costed(self, episode: Episode) -> Episode:
        return with_failure_cost(episode, self.config.failure_cost, self.config.gamma)

    def _update(self, **changes: object) -> None:
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]

    def _base_episode(self) -> None:
        self.take_base_episode(self._collect(base_policy_of(self.env.action_dim), 0))

    def take_base_episode(self, episode: Episode) -> None:
        """Learn from an episode of the base alone, whoever ran it."""
        self._count(episode)
        learner, now = self.learner, self.progress
        (learner.offline if episode.success else learner.replay_buffer).add_episode(
            self._costed(episode)
        )
        if episode.success:
            self.base_lengths.append(episode.steps)
        self._update(
            base_episodes=now.base_episodes + 1,
            base_successes=now.base_successes + episode.success,
            base_steps=now.base_steps + episode.steps,
        )
        if self._warm_up_is_over():
            self._end_warm_up()

    def _warm_up_is_over(self) -> bool:
        now, config = self.progress, self.config
        if now.base_episodes < config.base_episodes:
            return False
        return now.base_successes > 0 or now.base_episodes >= config.base_episodes_max

    def _end_warm_up(self) -> None:
        now = self.progress
        if not self.base_lengths:
            raise EmptyOfflineBufferError(
                f"the base policy of task {self.env.task!r} succeeded in 0 of "
                f"{now.base_episodes} episodes, so the offline buffer is empty; train the base "
                "longer or on more demonstrations, make the task easier, or learn without base "
                "data (control 'no-base-data')"
            )
        self.learner.fit_normaliser()
        phase = Phase.PRETRAINING if self.config.calql_updates else Phase.ONLINE
        self._update(phase=phase, horizon_steps=int(np.median(self.base_lengths)))

    def _pretrain_slice(self) -> None:
        done = self.progress.pretrain_updates
        updates = min(PRETRAIN_SLICE, self.config.calql_updates - done)
        self.learner.pretrain(updates)
        self._update(pretrain_updates=done + updates)
        if self.progress.pretrain_updates >= self.config.calql_updates:
            self._update(phase=Phase.ONLINE)

    def _takeover_step(self) -> int:
        if not self.config.probing_alpha or self.progress.last_skipped:
            return 0
        horizon = self.progress.horizon_steps
        return self.sample_takeover(self.rng, self.config.probing_alpha, horizon)

    def _online_episode(self) -> None:
        learner = self.learner
        learner.set_learned_steps(self.progress.learned_steps)
        if self._is_to_search():
            episode = self._search(self.failed_starts.pop(0))
            self._update(
                searches=self.progress.searches + 1,
                search_successes=self.progress.search_successes + episode.success,
            )
            self._learn_from(episode)
        else:
            episode = self._collect(learner.act, self._takeover_step())
            self.take_online_episode(episode)
        if not episode.success and len(self.failed_starts) < FAILED_STARTS:
            self.failed_starts.append(episode.seed)

    def _is_to_search(self) -> bool:
        fraction = self.config.search_fraction
        return bool(fraction and self.failed_starts and self.rng.random() < fraction)

    def _search(self, seed: int) -> Episode:
        scale = np.array(self.config.scale_for(self.env.action_dim))
        search = Search(seed, self.progress.episodes).over(self.learner.act, scale)
        return self._collect(search, self._takeover_step(), seed)

    def take_online_episode(self, episode: Episode) -> None:
        """Learn from an episode in which the specialist took over, whoever ran it."""
        now = self.progress
        self.learner.set_learned_steps(now.learned_steps)
        self._update(
            online_episodes=now.online_episodes + 1,
            online_successes=now.online_successes + episode.success,
        )
        self._learn_from(episode)

    def _learn_from(self, episode: Episode) -> None:
        self._count(episode)
        self.learner.replay_buffer.add_episode(self._costed(episode))
        now = self.progress
        self._update(
            learned_steps=now.learned_steps + len(episode),
            probing_steps=now.probing_steps + episode.steps - len(episode),
            last_skipped=len(episode) == 0,
        )
        self._learn(len(episode))
        if self.progress.learned_steps >= self.config.online_steps:
            self._update(phase=Phase.FINISHED)

    def _learn(self, steps: int) -> None:
        stored = self.learner.replay_buffer.size() + self.learner.offline.size()
        if stored < self.config.learning_starts:
            return
        if self.progress.base_episodes == 0 and self.learner._n_updates == 0:
            self.learner.fit_normaliser()
        due = self.progress.pending_updates + steps * self.config.updates_per_step
        self.learner.train(int(due))
        self._update(pending_updates=due - int(due))
