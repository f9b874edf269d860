"""Cal-QL, temporal-difference targets and the start of the residual."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pld.probing.horizon import sample_takeover_step
from pld.residual.episode import Episode, discounted_returns
from pld.residual.losses import calql_penalty, td_target
from pld.residual.replay import ResidualBatch
from pld.residual.sac import ResidualSac
from pld.residual.trainer import Phase, SpecialistTrainer
from tests.pld.toy_task import ToyTask, toy_config


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1)


def learner_with_targets_at(value: float) -> ResidualSac:
    """A learner whose target critics answer `value` whatever they see."""
    learner = ResidualSac(5, 2, toy_config(target_clip=None, entropy_in_target=False, gamma=0.9))
    with torch.no_grad():
        for network in learner.critic_target.q_networks:
            network[-1].weight.zero_()
            network[-1].bias.fill_(value)
    return learner


def batch(rewards: torch.Tensor, terminated: torch.Tensor, returns: torch.Tensor) -> ResidualBatch:
    n = len(rewards)
    rng = torch.Generator().manual_seed(3)
    seen = torch.rand((n, 7), generator=rng) - 0.5
    after = torch.rand((n, 7), generator=rng) - 0.5
    return ResidualBatch(
        seen, torch.zeros(n, 2), after, terminated, rewards, returns, torch.full_like(rewards, 0.9)
    )


def test_the_calql_penalty_is_floored_by_the_return_of_the_base() -> None:
    q_policy = torch.stack([column(0.1, 0.9), column(0.3, 0.2)])
    penalty = calql_penalty(q_policy, column(0.5, 0.5), column(0.4, 0.6))
    assert float(penalty) == pytest.approx((0.5 + 0.9 + 0.5 + 0.5) / 4 - 0.5)


def test_calql_does_not_push_q_down_where_it_is_below_the_return_of_the_base() -> None:
    q_policy = torch.stack([column(0.1, 0.9)]).requires_grad_()
    calql_penalty(q_policy, column(0.5, 0.5), column(0.0, 0.0)).backward()
    assert q_policy.grad is not None
    assert q_policy.grad.ravel().tolist() == pytest.approx([0.0, 0.5])


def test_the_learners_penalty_uses_the_stored_returns() -> None:
    learner = ResidualSac(5, 2, toy_config())
    zeros, tens = torch.zeros(4, 1), torch.full((4, 1), 10.0)
    flat = (torch.zeros(4, 1), torch.zeros(4, 1))
    high = learner.penalty(batch(zeros, zeros, tens), flat)
    low = learner.penalty(batch(zeros, zeros, -tens), flat)
    assert high.item() == pytest.approx(2 * 10.0)
    assert low.item() < 10.0


def test_a_terminated_step_does_not_bootstrap_and_a_truncated_one_does() -> None:
    target = td_target(column(1.0, 0.0), column(1.0, 0.0), column(7.0, 7.0), 0.5, None)
    assert target.ravel().tolist() == [1.0, 3.5]


@pytest.mark.parametrize(("terminated", "expected"), [(1.0, 0.25), (0.0, 0.25 + 0.9 * 8.0)])
def test_the_critic_regresses_to_the_reward_alone_when_the_task_has_ended(
    terminated: float, expected: float
) -> None:
    learner = learner_with_targets_at(8.0)
    some = batch(column(0.25), column(terminated), column(0.0))
    values = (column(expected), column(expected))
    assert float(learner.td_loss(some, values)) == pytest.approx(0.0, abs=1e-9)


def test_targets_are_clipped_to_what_a_binary_reward_can_give() -> None:
    target = td_target(column(1.0, 0.0), column(0.0, 0.0), column(9.0, -4.0), 0.9, (0.0, 1.0))
    assert target.ravel().tolist() == [1.0, 0.0]


def test_the_target_depends_on_the_base_action_of_the_next_state() -> None:
    learner = ResidualSac(5, 2, toy_config(entropy_in_target=False, target_clip=None))
    one = batch(column(0.0), column(0.0), column(0.0))
    moved = one.next_observations.clone()
    moved[:, -2:] += 0.4
    state = learner.actor.noise.get_state()
    before = learner.td_loss(one, (column(0.0),))
    learner.actor.noise.set_state(state)
    after = learner.td_loss(one._replace(next_observations=moved), (column(0.0),))
    assert float(before) != pytest.approx(float(after), rel=1e-6)


def test_the_residual_starts_at_zero() -> None:
    learner = ResidualSac(5, 2, toy_config())
    seen = torch.rand((64, 7)) * 2.0 - 1.0
    assert torch.equal(learner.actor(seen, deterministic=True), seen[:, -2:])
    assert torch.equal(learner.average(seen, deterministic=True), seen[:, -2:])


def test_the_residual_is_still_zero_after_pre_training() -> None:
    trainer = SpecialistTrainer(ToyTask(), toy_config(), sample_takeover_step)
    while trainer.progress.phase is not Phase.ONLINE:
        trainer.advance()
    seen = torch.rand((64, 7)) * 2.0 - 1.0
    assert trainer.progress.pretrain_updates == 20
    assert torch.equal(trainer.learner.actor(seen, deterministic=True), seen[:, -2:])


def test_base_episodes_teach_nothing_about_what_is_added_to_the_base() -> None:
    learner = ResidualSac(5, 2, toy_config(calql_weight=0.0, gamma=0.9))
    n = 64
    seen = np.random.default_rng(0).uniform(-0.5, 0.5, (n, 7)).astype(np.float32)
    action, ones = seen[:, -2:], np.ones(n, dtype=np.float32)
    worth = (seen[:, -1] > 0).astype(np.float32)
    learner.offline.add_episode(Episode(seen, action, worth, seen, ones, worth, True, n, 0, 0))
    learner.pretrain(200)
    with torch.no_grad():
        base = learner.critic(torch.from_numpy(seen), torch.from_numpy(action))[0]
        more = learner.critic(torch.from_numpy(seen), torch.from_numpy(action + 0.3))[0]
    assert float(np.corrcoef(base[:, 0].numpy(), worth)[0, 1]) > 0.8
    assert torch.equal(base, more)


def test_exploration_starts_small_and_stays_within_the_bound() -> None:
    learner = ResidualSac(5, 2, toy_config(scale_start=1.0))
    seen = torch.zeros((4000, 7))
    residual = learner.actor(seen).detach()
    assert 0.04 < float(residual.std()) < 0.09
    with torch.no_grad():
        learner.actor.mu.bias.fill_(50.0)
    assert float(learner.actor(seen).detach().max()) == pytest.approx(0.5)


def test_the_log_probability_is_that_of_a_squashed_gaussian() -> None:
    learner = ResidualSac(5, 2, toy_config(scale_start=1.0))
    with torch.no_grad():
        learner.actor.mu.bias.copy_(torch.tensor([0.3, -0.2]))
    seen = torch.zeros((1, 7))
    action, log_prob = learner.actor.action_log_prob(seen)
    residual = action.detach().double().numpy()[0] / 0.5
    u = np.arctanh(residual)
    z = (u - [0.3, -0.2]) / np.exp(-2.0)
    density = -0.5 * z**2 + 2.0 - 0.5 * np.log(2 * np.pi) - np.log(1 - residual**2)
    assert float(log_prob.detach()) == pytest.approx(float(density.sum()), abs=1e-3)


def test_returns_are_discounted_from_each_step_on() -> None:
    returns = discounted_returns(np.array([0.0, 0.0, 1.0], dtype=np.float32), 0.5)
    assert returns.tolist() == [0.25, 0.5, 1.0]


def test_calql_leaves_q_of_the_base_near_its_return_and_lower_elsewhere() -> None:
    learner = ResidualSac(5, 2, toy_config(calql_weight=1.0, gamma=0.9))
    n = 64
    rng = np.random.default_rng(0)
    seen = rng.uniform(-0.5, 0.5, (n, 7)).astype(np.float32)
    ones, action = np.ones(n, dtype=np.float32), seen[:, -2:]
    learner.offline.add_episode(Episode(seen, action, ones, seen, ones, ones, True, n, 0, 0))
    learner.pretrain(300)
    with torch.no_grad():
        at_base, below, above = (
            float(torch.cat(learner.critic(torch.from_numpy(seen), torch.from_numpy(a))).mean())
            for a in (action, action - 0.4, action + 0.4)
        )
    assert at_base == pytest.approx(1.0, abs=0.15)
    assert max(below, above) < at_base - 0.1
