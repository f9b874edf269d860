"""What enters replay, and what must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pld.errors import ConfigError, ContractError
from pld.probing.horizon import latest_takeover, sample_takeover_step
from pld.residual.episode import base_policy_of, collect_episode, with_failure_cost
from pld.residual.replay import EpisodeReplay, sample_batch
from pld.residual.sac import ResidualSac
from pld.residual.trainer import SpecialistTrainer, training_seed
from tests.pld.toy_task import ToyTask, toy_config

AWAY = 0.9


def away(seen: np.ndarray) -> np.ndarray:
    del seen
    return np.full(2, AWAY)


def empty_replay() -> EpisodeReplay:
    return ResidualSac(5, 2, toy_config()).replay_buffer


def test_probing_steps_do_not_enter_replay() -> None:
    episode = collect_episode(ToyTask(), 1, away, takeover_step=4, gamma=0.9)
    replay = empty_replay()
    replay.add_episode(episode)
    step_counts = replay.observations[: replay.size(), 0, 4]
    assert step_counts.tolist() == list(range(4, 15))
    assert (episode.steps, len(episode)) == (15, 11)


def test_training_stores_only_what_the_specialist_did() -> None:
    env = ToyTask()
    trainer = SpecialistTrainer(env, toy_config(), lambda rng, alpha, horizon: 3)
    trainer.run()
    now, learner = trainer.progress, trainer.learner
    stored = learner.replay_buffer.size() + learner.offline.size()
    assert now.probing_steps > 0
    assert stored == now.base_steps + now.learned_steps
    first_online = now.base_steps - learner.offline.size()
    online = learner.replay_buffer.observations[first_online : learner.replay_buffer.size(), 0, 4]
    assert online[0] == 3.0


def test_the_stored_action_is_the_executed_one() -> None:
    env = ToyTask(action_limit=0.3)
    episode = collect_episode(env, 1, away, takeover_step=0, gamma=0.9)
    replay = empty_replay()
    replay.add_episode(episode)
    assert np.allclose(replay.actions[: replay.size(), 0], np.array(env.executed))
    assert np.allclose(replay.actions[: replay.size()], 0.3)


def test_the_base_actions_of_both_states_are_stored() -> None:
    env = ToyTask()
    episode = collect_episode(env, 1, lambda seen: 0.3 * seen[-2:], takeover_step=0, gamma=0.9)
    replay = empty_replay()
    replay.add_episode(episode)
    n = replay.size()
    assert np.ptp(env.proposed, axis=0).min() > 0.1
    assert np.allclose(replay.observations[:n, 0, -2:], np.array(env.proposed[:-1]))
    assert np.allclose(replay.next_observations[:n, 0, -2:], np.array(env.proposed[1:]))


def test_a_success_is_terminated_and_a_time_out_is_not() -> None:
    env, base = ToyTask(), base_policy_of(2)
    episodes = [collect_episode(env, seed, base, 0, 0.9) for seed in range(20)]
    won = next(e for e in episodes if e.success)
    lost = next(e for e in episodes if not e.success)
    replay = empty_replay()
    for episode in (won, lost):
        replay.add_episode(episode)
    dones = replay.dones[: replay.size(), 0]
    assert np.flatnonzero(dones).tolist() == [len(won) - 1]
    assert lost.steps == env.max_steps


def test_a_failure_costs_where_it_ended_the_episode_and_a_time_out_nothing() -> None:
    failed = replace(
        collect_episode(ToyTask(), 3, away, 0, 0.9, 4),
        rewards=np.zeros(4, np.float32),
        terminated=np.array([0.0, 0.0, 0.0, 1.0], np.float32),
    )
    costly = with_failure_cost(failed, 0.5, 0.9)
    assert costly.rewards.tolist() == [0.0, 0.0, 0.0, -0.5]
    assert costly.returns == pytest.approx([-0.5 * 0.9**n for n in (3, 2, 1, 0)])
    assert with_failure_cost(failed, 0.0, 0.9) is failed
    late = replace(failed, terminated=np.zeros(4, np.float32))
    succeeded = replace(failed, success=True)
    for other in (late, succeeded):
        assert with_failure_cost(other, 0.5, 0.9) is other


def test_what_the_trainer_stores_of_a_failure_costs() -> None:
    trainer = SpecialistTrainer(ToyTask(), toy_config(failure_cost=0.5), sample_takeover_step)
    fault = collect_episode(ToyTask(), 3, away, 0, 0.9, 4)
    fault.terminated[-1] = 1.0
    trainer.take_base_episode(fault)
    trainer.take_online_episode(fault)
    assert trainer.learner.replay_buffer.rewards[[3, 7], 0].tolist() == [-0.5, -0.5]


def test_targets_leave_room_for_a_failure_and_a_cost_beyond_a_success_is_refused() -> None:
    assert toy_config(failure_cost=0.5, target_clip=(0.0, 1.0)).target_bounds == (-0.5, 1.0)
    assert toy_config(failure_cost=0.5, target_clip=None).target_bounds is None
    with pytest.raises(ConfigError, match=r"failure_cost is 1.5; it must be in \[0, 1\]"):
        toy_config(failure_cost=1.5)


def test_a_step_that_diverged_is_dropped_and_ends_the_episode() -> None:
    episode = collect_episode(ToyTask(diverge_at=5), 1, away, takeover_step=0, gamma=0.9)
    assert episode.diverged
    assert not episode.success
    assert len(episode) == 5
    assert np.isfinite(episode.next_observations).all()
    assert episode.terminated.sum() == 0


def test_training_goes_on_after_a_diverged_episode() -> None:
    trainer = SpecialistTrainer(
        ToyTask(diverge_at=12), toy_config(online_steps=40), sample_takeover_step
    )
    now = trainer.run()
    assert now.diverged_episodes > 0
    assert now.learned_steps >= 40


def test_replay_refuses_numbers_that_are_not_finite() -> None:
    episode = collect_episode(ToyTask(), 1, away, takeover_step=0, gamma=0.9)
    episode.rewards[0] = np.nan
    replay = empty_replay()
    with pytest.raises(ContractError, match="rewards of the episode with seed 1"):
        replay.add_episode(episode)
    assert replay.size() == 0


def test_the_ring_overwrites_its_oldest_transitions() -> None:
    learner = ResidualSac(5, 2, toy_config(replay_capacity=20))
    episode = collect_episode(ToyTask(), 1, away, takeover_step=0, gamma=0.9)
    for _ in range(3):
        learner.replay_buffer.add_episode(episode)
    assert learner.replay_buffer.full
    assert learner.replay_buffer.pos == 45 % 20
    counts = learner.replay_buffer.observations[:, 0, 4].tolist()
    assert counts[:5] == list(range(10, 15))
    assert counts[5:10] == list(range(10, 15))


def test_half_of_a_batch_is_offline_and_half_online() -> None:
    learner = ResidualSac(5, 2, toy_config())
    episode = collect_episode(ToyTask(), 1, away, takeover_step=0, gamma=0.9)
    learner.replay_buffer.add_episode(episode)
    learner.offline.add_episode(episode)
    learner.offline.rewards[:] = 5.0
    batch = learner.sample()
    assert int((batch.rewards == 5.0).sum()) == 16
    assert len(batch.rewards) == 32


def test_an_empty_buffer_leaves_the_batch_to_the_other() -> None:
    learner = ResidualSac(5, 2, toy_config())
    episode = collect_episode(ToyTask(), 1, away, takeover_step=0, gamma=0.9)
    learner.replay_buffer.add_episode(episode)
    rng = np.random.default_rng(0)
    batch = sample_batch(learner.replay_buffer, learner.offline, 8, 0.5, rng)
    assert len(batch.rewards) == 8


def test_base_successes_go_offline_and_its_failures_online() -> None:
    trainer = SpecialistTrainer(ToyTask(), toy_config(), sample_takeover_step)
    for _ in range(12):
        trainer.advance()
    offline = trainer.learner.offline
    ends = int(offline.dones.sum())
    assert 0 < ends == trainer.progress.base_successes < 12
    assert int(trainer.learner.replay_buffer.dones.sum()) == 0
    proposed = offline.observations[: offline.size(), :, -2:]
    assert np.allclose(offline.actions[: offline.size()], proposed)


@pytest.mark.parametrize(
    ("alpha", "horizon", "latest"), [(0.6, 30, 18), (0.0, 30, 0), (1.0, 7, 7), (1.3, 27, 35)]
)
def test_takeover_steps_are_uniform_up_to_alpha_times_the_horizon(
    alpha: float, horizon: int, latest: int
) -> None:
    rng = np.random.default_rng(0)
    steps = [sample_takeover_step(rng, alpha, horizon) for _ in range(4000)]
    assert (min(steps), max(steps)) == (0, latest)
    assert latest_takeover(alpha, horizon) == latest
    assert np.mean(steps) == pytest.approx(latest / 2, abs=0.4)


@pytest.mark.parametrize(("alpha", "horizon"), [(-0.1, 10), (2.1, 10), (0.5, -1)])
def test_an_impossible_probing_horizon_is_refused(alpha: float, horizon: int) -> None:
    with pytest.raises(ConfigError, match=r"alpha is|horizon is"):
        latest_takeover(alpha, horizon)


def test_every_training_episode_has_a_seed_of_its_own() -> None:
    env = ToyTask()
    config = toy_config(seed=4, search_fraction=0.0)
    SpecialistTrainer(env, config, sample_takeover_step).run()
    assert env.seeds == [training_seed(4, i) for i in range(len(env.seeds))]
    assert len(set(env.seeds)) == len(env.seeds)


def test_n_step_rows_sum_rewards_and_stop_at_the_end_of_the_episode() -> None:
    space = ResidualSac(5, 2, toy_config())
    replay = EpisodeReplay(50, space.observation_space, space.action_space, gamma=0.5, n_step=3)
    env, base = ToyTask(), base_policy_of(2)
    episodes = (collect_episode(env, seed, base, 0, 0.5) for seed in range(20))
    won = next(e for e in episodes if e.success)
    replay.add_episode(won)
    n = len(won)
    assert replay.rewards[:n, 0].tolist() == [0.0] * (n - 3) + [0.25, 0.5, 1.0]
    assert replay.dones[:n, 0].tolist() == [0.0] * (n - 3) + [1.0] * 3
    assert replay.discounts[:n, 0].tolist() == [0.125] * (n - 2) + [0.25, 0.5]
    assert np.array_equal(replay.next_observations[0, 0], won.next_observations[2])
    assert np.array_equal(replay.next_observations[n - 1, 0], won.next_observations[n - 1])
