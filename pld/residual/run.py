"""Training that survives being killed, and what it leaves behind: the exported actor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pld.residual.actor import ActorCard, ResidualActor, actor_from_network
from pld.residual.checkpoint import resume, save_checkpoint
from pld.residual.trainer import Progress, SpecialistTrainer


def train_resumably(
    trainer: SpecialistTrainer,
    folder: Path,
    *,
    every_units: int = 20,
    on_unit: Callable[[SpecialistTrainer], None] | None = None,
) -> Progress:
    """Train to the end, from the newest checkpoint of `folder` if there is one.

    A checkpoint is written every `every_units` units and at the end. A run that was killed and
    started again ends in the same bits as one that was not, if the environment and its base are
    deterministic given the seed of a reset.
    """
    resume(folder, trainer)
    units = 0
    while not trainer.finished:
        trainer.advance()
        units += 1
        if units % every_units == 0 or trainer.finished:
            save_checkpoint(folder, trainer)
        if on_unit is not None:
            on_unit(trainer)
    return trainer.progress


def exported_actor(trainer: SpecialistTrainer, base_policy_id: str = "") -> ResidualActor:
    """The averaged actor of a trainer as it stands."""
    learner = trainer.learner
    card = _card(trainer, base_policy_id)
    return actor_from_network(learner.average, learner.normaliser, card, explores=False)


def exploring_actor(trainer: SpecialistTrainer, base_policy_id: str = "") -> ResidualActor:
    """The actor that gathers experience for a trainer: its newest, with its noise."""
    learner = trainer.learner
    card = _card(trainer, base_policy_id)
    return actor_from_network(learner.actor, learner.normaliser, card, explores=True)


def _card(trainer: SpecialistTrainer, base_policy_id: str) -> ActorCard:
    return ActorCard(
        trainer.env.task,
        trainer.env.feature_dim,
        trainer.env.action_dim,
        trainer.config.hidden,
        trainer.config.use_base,
        base_policy_id,
        trainer.progress.learned_steps,
        trainer.config.seed,
        trainer.config.decision_steps,
        trainer.progress.horizon_steps * trainer.config.decision_steps,
    )
