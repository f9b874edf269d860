"""PLD on anybody's simulator: a Gymnasium task and a base policy in, a specialist out.

    task = GymnasiumTask(gymnasium.make("Mine-v0"), base_policy=lambda seen: ..., name="mine")
    actor = train_specialist(task, task_config(task, online_steps=5000))
    before, after = evaluate(task, None, range(100)), evaluate(task, actor, range(100))
    probed = probe(task, actor, wanted=50, first_seed=10_000)

Probe and Learn are here; to distill, fine-tune your own policy on what `probe` returns: raw
observations and the actions that were executed, in the environment's units.

The base policy is any callable from the environment's observation to an action in the
environment's own units; it is frozen. A success is what the task says it is (by default
`info["is_success"]` or `info["success"]`), and the learner's reward is 1 at success, else 0. The
environment's own reward is not used. `actor.save(path)` keeps a trained specialist,
`pld.residual.actor.load_actor` reads it; a training that was interrupted here begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pld.errors import ConfigError
from pld.evaluation.results import Rate
from pld.gym_task import BasePolicyCallable, GymnasiumTask, flat, info_success
from pld.probing.horizon import sample_takeover_step
from pld.residual.actor import ResidualActor
from pld.residual.config import ResidualConfig
from pld.residual.episode import Episode, collect_episode
from pld.residual.export import exported_actor
from pld.residual.held import HeldResidual
from pld.residual.trainer import EmptyOfflineBufferError, SpecialistTrainer, training_seeds
from pld.types import Array

__all__ = [
    "BasePolicyCallable",
    "Evaluation",
    "GymnasiumTask",
    "Probed",
    "evaluate",
    "flat",
    "info_success",
    "probe",
    "run_episode",
    "task_config",
    "train_specialist",
]
EVERY_STEP: dict[str, Any] = {
    "decision_steps": 1,
    "gamma": 0.97,
    "n_step": 1,
    "tau": 0.01,
    "updates_per_step": 2.0,
    "search_fraction": 0.0,
    "log_std_init": -2.0,
    "online_steps": 10000,
    "actor_every": 1,
    "actor_learning_rate": 2e-4,
    "entropy_learning_rate": 5e-4,
    "average_rate": 0.001,
}


@dataclass(frozen=True)
class Probed:
    """One whole successful episode, the base until `takeover_step` and the specialist from there.

    `observations` are the T raw ones on which the T `actions` (T, A) were executed, these in the
    environment's units: pairs to fine-tune a policy of your own on, from `takeover_step` on or, as
    in the paper, all of them.
    """

    seed: int
    takeover_step: int
    observations: list[Any]
    actions: NDArray[Any]

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.actions)


@dataclass(frozen=True)
class Evaluation:
    """Successes by seed, with the Wilson interval of the rate."""

    successes: dict[int, bool]
    mean_steps: float

    @property
    def rate(self) -> Rate:
        """Successes `k` of `n` episodes."""
        return Rate(sum(self.successes.values()), len(self.successes))

    def __str__(self) -> str:
        return f"{self.rate}, {self.mean_steps:.0f} steps"


def task_config(task: GymnasiumTask, **changes: Any) -> ResidualConfig:
    """Settings for `task`: one bound of 0.5 for all dimensions unless told otherwise.

    The specialist decides at every step (EVERY_STEP) and does not search: pushes are made for a
    hand's x, y and z. Where one step moves little, as at 10 Hz and
    more, `decision_steps=3, gamma=0.91, n_step=3, tau=0.05` learn faster.
    """
    known = [field.name for field in fields(ResidualConfig)]
    for name in changes:
        if name not in known:
            raise ConfigError.unknown("setting", name, known)
    settings = {"residual_scale": (0.5,), **EVERY_STEP, **changes}
    config = replace(ResidualConfig(), **settings)
    config.scale_for(task.action_dim)
    return config


def train_specialist(
    task: GymnasiumTask,
    config: ResidualConfig | None = None,
    on_unit: Callable[[SpecialistTrainer], None] | None = None,
) -> ResidualActor:
    """Train a residual over the task's base; returns the averaged, deterministic actor.

    Raises ConfigError where the task never says whether it succeeded, and
    pld.residual.trainer.EmptyOfflineBufferError where the base never does.
    """
    trainer = SpecialistTrainer(task, config or task_config(task), sample_takeover_step)
    try:
        trainer.run(on_unit)
    except EmptyOfflineBufferError:
        _refuse_silence(task)
        raise
    _refuse_silence(task)
    return exported_actor(trainer)


def _refuse_silence(task: GymnasiumTask) -> None:
    if not task.tells_success:
        raise ConfigError(
            f"task {task.task!r} never said whether it succeeded: no step's info has is_success or "
            "success; let the environment say it, or pass success=, a function of info"
        )


def evaluate(task: GymnasiumTask, actor: ResidualActor | None, seeds: Iterable[int]) -> Evaluation:
    """Run one episode per seed with the specialist, or with the base alone when None.

    Training used the seeds from 100,000 * (config.seed + 1) on: take others. Raises ConfigError
    where a seed comes twice, or is one of the 100,000 that `actor` was trained with.
    """
    wanted = [int(seed) for seed in seeds]
    trained = training_seeds(actor.card.seed) if actor else range(0)
    if known := [seed for seed in wanted if seed in trained]:
        raise ConfigError(
            f"{len(known)} seeds, from {min(known)} on, are the actor's own training seeds "
            f"({trained[0]} to {trained[-1]}); evaluate on others"
        )
    if twice := len(wanted) - len(set(wanted)):
        raise ConfigError(f"{twice} seeds come twice; give each once")
    episodes = [run_episode(task, actor, seed, 0) for seed in wanted]
    steps = float(np.mean([e.steps for e in episodes])) if episodes else 0.0
    return Evaluation({e.seed: e.success for e in episodes}, steps)


def probe(
    task: GymnasiumTask,
    actor: ResidualActor,
    *,
    wanted: int,
    first_seed: int,
    horizon_steps: int | None = None,
    alpha: float = 0.6,
    attempts: int = 10,
) -> list[Probed]:
    """`wanted` successful WHOLE episodes, base first, specialist from a sampled step on.

    Failures are dropped, and successes that the base had before the specialist took over; after
    `attempts * wanted` episodes what there is is returned. The takeover step is drawn from U[0,
    alpha * horizon_steps], by default the median length of the base's successes in training.
    """
    horizon = horizon_steps or actor.card.horizon_steps or task.max_steps
    rng = np.random.default_rng(first_seed)
    kept: list[Probed] = []
    for seed in range(first_seed, first_seed + attempts * wanted):
        if len(kept) == wanted:
            break
        takeover = sample_takeover_step(rng, alpha, horizon)
        episode = run_episode(task, actor, seed, takeover)
        if episode.success and takeover < episode.steps:
            kept.append(Probed(seed, takeover, task.seen[:-1], np.stack(task.executed)))
    return kept


def run_episode(
    task: GymnasiumTask, actor: ResidualActor | None, seed: int, takeover_step: int
) -> Episode:
    """One whole episode, every step stored; the specialist acts from `takeover_step` on."""
    step = -1
    specialist = HeldResidual(actor) if actor else None

    def policy(seen: NDArray[np.float32]) -> Array:
        nonlocal step
        step += 1
        features, base = np.split(seen.astype(np.float64), [-task.action_dim])
        if specialist is None or step < takeover_step:
            return base
        return np.clip(base + specialist.residual(step, lambda: features, base), -1.0, 1.0)

    whole = collect_episode(task, seed, policy, 0, gamma=1.0)
    return replace(whole, takeover_step=takeover_step)
