"""What a trainer leaves behind: its actor, averaged or exploring, on its own."""

from __future__ import annotations

from pld.residual.actor import ActorCard, ResidualActor, actor_from_network
from pld.residual.trainer import SpecialistTrainer


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
