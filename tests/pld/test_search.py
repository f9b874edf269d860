"""Searching at a start where the specialist failed: pushes within the bound, the same again."""

from __future__ import annotations

import numpy as np

from pld.probing.horizon import sample_takeover_step
from pld.residual.search import DECISIONS_PER_PUSH, Search
from pld.residual.trainer import FAILED_STARTS, Phase, SpecialistTrainer, training_seed
from tests.pld.toy_task import ToyTask, toy_config

SCALE = np.array([0.3, 0.3, 0.3, 0.02, 0.02, 0.15, 1.25])


def pushes(seed: int, attempt: int, residual: np.ndarray) -> np.ndarray:
    search = Search(seed, attempt)
    return np.array([search.pushed(residual, SCALE) for _ in range(5 * DECISIONS_PER_PUSH)])


def test_a_push_lasts_for_its_decisions_and_then_is_another() -> None:
    made = pushes(3, 1, np.zeros(7)).reshape(5, DECISIONS_PER_PUSH, 7)
    assert (made == made[:, :1]).all()
    assert len(np.unique(made[:, 0, 0])) == 5
    assert (np.abs(made[..., :3]).max(axis=(0, 1)) > 0.1).all()


def test_only_where_the_hand_is_gets_pushed_and_never_beyond_the_bound() -> None:
    residual = SCALE * [0.9, -0.9, 0.5, 1.0, -1.0, 0.5, -0.8]
    made = pushes(3, 2, residual)
    assert (np.abs(made) <= SCALE).all()
    assert (made[:, 3:] == residual[3:]).all()
    assert (made[:, :3] != residual[:3]).any(axis=1).all()


def test_the_same_attempt_searches_the_same_way_and_another_does_not() -> None:
    first = pushes(3, 1, np.zeros(7))
    assert (first == pushes(3, 1, np.zeros(7))).all()
    assert (first != pushes(3, 2, np.zeros(7)))[:, :3].all()
    assert (first != pushes(4, 1, np.zeros(7)))[:, :3].all()


def test_training_begins_again_where_it_failed_and_searches_there() -> None:
    env = ToyTask()
    config = toy_config(seed=4, online_steps=300, search_fraction=0.5)
    trainer = SpecialistTrainer(env, config, sample_takeover_step)
    trainer.learner.act = lambda seen: seen[-2:].astype(np.float64)  # the base's own action
    failed: set[int] = set()
    again = 0
    while not trainer.finished:
        before, units = trainer.progress, len(env.seeds)
        now = trainer.advance()
        if before.phase is not Phase.ONLINE or len(env.seeds) == units:
            continue
        episode = trainer.last_episode
        assert episode is not None
        searched = now.searches > before.searches
        again += searched
        new = training_seed(4, before.episodes)
        assert episode.seed in failed if searched else episode.seed == new
        assert now.online_episodes - before.online_episodes == (not searched)
        added = np.array(env.executed) - np.array(env.proposed[: len(env.executed)])
        assert (np.abs(added).max() > 0.05) == searched
        if not episode.success:
            failed.add(episode.seed)
        assert set(trainer.failed_starts) <= failed
        assert len(trainer.failed_starts) <= FAILED_STARTS
    assert again >= 5
    assert trainer.progress.searches == again


def test_a_searching_policy_is_pushed_off_its_own_action() -> None:
    search = Search(1, 0).over(lambda seen: np.array([0.2, -0.1]), np.array([0.5, 0.5]))
    seen = np.array([0.0, 0.0, 0.0, 0.1, 0.1], np.float32)
    moved = np.array([search(seen) for _ in range(40)])
    assert (np.abs(moved - [0.1, 0.1]) <= 0.5 + 1e-6).all()
    assert (np.ptp(moved, axis=0) > 0.4).all()
