"""Decisions that last several control steps: the same in training and at work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pld.contract import is_sensible
from pld.probing.arbitrator import Offers, choose
from pld.probing.horizon import sample_takeover_step
from pld.residual.export import exported_actor
from pld.residual.held import HeldEnv, HeldResidual, held
from pld.residual.protocol import ResidualObservation
from pld.residual.trainer import SpecialistTrainer
from pld.types import Array
from tests.pld.toy_task import ToyTask, toy_config

STEPS = 3


def trained(**changes: object) -> SpecialistTrainer:
    config = toy_config(decision_steps=STEPS, actor_learning_rate=5e-3, **changes)
    trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
    trainer.run()
    return trainer


def test_a_decision_keeps_its_residual_while_the_base_goes_on() -> None:
    task = ToyTask()
    env = HeldEnv(task, STEPS)
    seen = env.reset(1)
    residual = np.array([0.2, -0.1])
    env.step(np.clip(seen.base_action + residual, -1.0, 1.0))
    wanted = [np.clip(base + residual, -1.0, 1.0) for base in task.proposed[:STEPS]]
    np.testing.assert_allclose(task.executed, wanted)
    assert len({tuple(base) for base in task.proposed[:STEPS]}) > 1


def test_a_decision_ends_with_its_episode_and_keeps_the_reward() -> None:
    env = HeldEnv(ToyTask(), 15)
    rewards = []
    for seed in range(12):
        seen = env.reset(seed)
        rewards.append(env.step(seen.base_action).reward)
    assert set(rewards) == {0.0, 1.0}


def test_one_control_step_per_decision_is_the_task_itself() -> None:
    task = ToyTask()
    assert held(task, 1) is task


@pytest.mark.parametrize("use_base", [True, False])
def test_an_exported_actor_does_at_work_what_its_training_saw(use_base: bool) -> None:
    actor = exported_actor(trained(use_base=use_base))
    assert actor.card.decision_steps == STEPS
    saturated = 0
    for seed in range(20):
        task = SaturatingTask()
        env = HeldEnv(task, STEPS, use_base=use_base)
        seen = env.reset(seed)
        ended = False
        while not ended:
            outcome = env.step(actor.combined(seen.vector()))
            seen, ended = outcome.observation, outcome.terminated or outcome.truncated
        at_work = working(SaturatingTask(), actor, seed)
        np.testing.assert_allclose(at_work, task.executed, atol=1e-6)
        assert len(task.executed) > STEPS
        saturated += int(np.sum(np.abs(task.executed) == 1.0))
    assert saturated > 20 or not use_base


class SaturatingTask(ToyTask):
    """The toy task with a base that jumps between the end of its range and the middle."""

    def _seen(self) -> ResidualObservation:
        seen = super()._seen()
        base = seen.base_action if len(self.executed) % STEPS else np.sign(seen.base_action)
        return replace(seen, base_action=base)


def working(task: ToyTask, actor: object, seed: int) -> list[Array]:
    """The executed actions of an episode in which the actor is asked at every control step."""
    specialist = HeldResidual(actor)  # type: ignore[arg-type]
    seen, ended, step = task.reset(seed), False, 40
    while not ended:
        now = seen.vector().astype(float)
        residual = specialist.residual(step, lambda now=now: now[:-2], now[-2:])
        outcome = task.step(np.clip(now[-2:] + residual, -1.0, 1.0))
        seen, ended, step = outcome.observation, outcome.terminated or outcome.truncated, step + 1
    return task.executed


def test_a_step_that_was_not_answered_delays_the_next_decision_by_nothing() -> None:
    specialist = HeldResidual(exported_actor(trained()))
    asked: list[int] = []

    def features(step: int) -> Array:
        asked.append(step)
        return np.zeros(5)

    for step in (10, 11, 14, 15, 16, 17):
        specialist.residual(step, lambda step=step: features(step), np.zeros(2))
    assert asked == [10, 14, 17]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_base_action_that_is_no_number_gets_no_correction_and_spoils_no_decision(bad) -> None:
    specialist = HeldResidual(exported_actor(trained()))
    residuals = [
        specialist.residual(step, lambda: np.full(5, 0.5), np.array([base, 0.1]))
        for step, base in ((10, 0.2), (11, bad), (12, 0.2), (40, bad), (41, 0.2))
    ]
    np.testing.assert_array_equal(residuals[1], np.zeros(2))
    np.testing.assert_array_equal(residuals[2], residuals[0])
    np.testing.assert_array_equal(residuals[3], np.zeros(2))
    assert np.isfinite(residuals[4]).all()
    combined = choose(11, 5, 0, Offers(np.array([bad, 0.1]), residuals[1])).action
    assert not is_sensible(combined), "the safety filter is to find it"


def test_the_learner_counts_decisions() -> None:
    trainer = trained()
    episode = trainer.last_episode
    assert episode is not None
    assert episode.steps <= trainer.env.max_steps == ToyTask.max_steps // STEPS
    assert trainer.progress.decisions < sum([ToyTask.max_steps] * trainer.progress.episodes) / 2
