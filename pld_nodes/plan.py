"""The arbitrator's parameters, and the plan of a run that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from pld.probing.arbitrator import NEVER
from pld.probing.episode import EpisodePlan
from pld.tasks import task_facts

OPERATOR_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class ArbitratorConfig:
    """Parameters of the node. `scene` says who lays the objects: a service or the operator.

    `latest_takeover` is the last step at which the specialist takes over; NEVER: there is none. In
    mode `learn` a learner says so: alpha * T, T being what it has seen of the base. `success_steps`
    successes in a row end an episode.
    """

    task: str
    run: str
    mode: str = "collect"
    episodes: int = 10
    first_episode: int = 0
    seed: int = 0
    rate_hz: float = 20.0
    horizon_s: float = 0.0
    scene: str = "service"
    latest_takeover: int = NEVER
    alpha: float = 0.6
    success_steps: int = 3


def make_plan(config: ArbitratorConfig) -> EpisodePlan:
    """The run's plan from the node's parameters; an operator has an hour to lay the scene."""
    facts = task_facts(config.task)
    by_hand = config.scene == "operator"
    return EpisodePlan(
        config.run,
        config.episodes,
        config.seed,
        config.horizon_s or facts.horizon_s,
        config.rate_hz,
        first_episode=config.first_episode,
        scene_timeout_s=OPERATOR_TIMEOUT_S if by_hand else 30.0,
        success_steps=config.success_steps,
        grasped_at_start=facts.grasped_at_start,
        latest_takeover=config.latest_takeover,
    )
