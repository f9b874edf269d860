"""The adapter for others' Gymnasium tasks, and the example that uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pld.errors import ConfigError
from pld.gym import (
    BasePolicyCallable,
    Evaluation,
    GymnasiumTask,
    evaluate,
    flat,
    probe,
    task_config,
    train_specialist,
)
from pld.probing.horizon import sample_takeover_step
from pld.residual.episode import base_policy_of, collect_episode
from pld.residual.export import exported_actor
from pld.residual.trainer import SpecialistTrainer

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)


class Slide(gymnasium.Env[np.ndarray, np.ndarray]):
    """A position in metres, moved by actions in [0, 10] around 5; success beyond 0.5."""

    observation_space = spaces.Box(-5.0, 5.0, (1,))
    action_space = spaces.Box(0.0, 10.0, (1,))

    def __init__(self, broken: str = "", time_limit: int = 1000) -> None:
        self.broken, self.time_limit = broken, time_limit
        self.actions: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.at, self.steps = float(self.np_random.uniform(-0.2, 0.2)), 0
        return np.array([np.nan if self.broken == f"reset {seed}" else self.at]), {}

    def step(self, action: np.ndarray):
        self.actions.append(float(action[0]))
        self.at += 0.02 * (float(action[0]) - 5.0)
        self.steps += 1
        if self.broken == "raises" and self.steps == 3:
            raise FloatingPointError("overflow")
        seen = np.array([np.nan if self.broken == "nan" and self.steps == 3 else self.at])
        success = self.at > 0.5
        return seen, -1.0, success, self.steps >= self.time_limit, {"is_success": success}


class Silent(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Says nothing about success."""

    def step(self, action: np.ndarray):
        return *self.env.step(action)[:4], {}


def task(env: Slide | None = None, speed: float = 7.5, **more: Any) -> GymnasiumTask:
    return GymnasiumTask(
        env or Slide(), lambda seen: np.array([speed]), name="slide", **{"max_steps": 9, **more}
    )


def strict(speed: float) -> BasePolicyCallable:
    """A base policy that is never asked about numbers that are not finite."""

    def base(seen: np.ndarray) -> np.ndarray:
        assert np.isfinite(seen).all()
        return np.array([speed])

    return base


def test_actions_are_normalised_over_the_bounds_of_the_action_space() -> None:
    env = Slide()
    slide = task(env, speed=7.5)
    assert slide.reset(0).base_action.tolist() == [0.5]
    slide.step(np.array([-1.0]))
    slide.step(np.array([0.5]))
    assert env.actions == [0.0, 7.5]


def test_the_reward_is_success_whatever_the_environment_pays() -> None:
    episode = collect_episode(task(speed=10.0), 1, base_policy_of(1), 0, 1.0)
    assert episode.success
    assert episode.rewards.tolist() == [0.0] * (len(episode) - 1) + [1.0]
    assert episode.terminated.tolist() == episode.rewards.tolist()


@pytest.mark.parametrize("env", [Slide(), Slide(time_limit=9)])
def test_a_time_limit_truncates(env: Slide) -> None:
    slide = task(env, speed=5.0)
    slide.reset(0)
    outcomes = [slide.step(np.zeros(1)) for _ in range(9)]
    assert [o.truncated for o in outcomes] == [False] * 8 + [True]
    assert not any(o.terminated for o in outcomes)


@pytest.mark.parametrize("broken", ["raises", "nan"])
def test_a_simulation_that_breaks_ends_the_episode_without_its_last_step(broken: str) -> None:
    slide = GymnasiumTask(Slide(broken), lambda seen: np.array([5.0]), name="slide", max_steps=9)
    episode = collect_episode(slide, 0, base_policy_of(1), 0, 1.0)
    assert episode.diverged
    assert len(episode) == 2
    assert np.isfinite(episode.next_observations).all()


def test_a_base_policy_is_not_asked_about_numbers_that_are_not_finite() -> None:
    slide = GymnasiumTask(Slide("nan"), strict(7.5), name="slide", max_steps=9)
    episode = collect_episode(slide, 1, base_policy_of(1), 0, 1.0)
    assert len(episode) < 3


def test_a_reset_that_breaks_costs_an_episode_and_no_training() -> None:
    slide = GymnasiumTask(Slide("reset 3"), strict(5.0), name="slide", max_steps=9)
    broken = collect_episode(slide, 3, base_policy_of(1), 0, 1.0)
    assert (broken.diverged, len(broken), broken.success) == (True, 0, False)
    assert len(collect_episode(slide, 4, base_policy_of(1), 0, 1.0)) == 9


def test_a_base_policy_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'slide' gave an action of shape \(2,\).*takes \(1,\)"):
        GymnasiumTask(Slide(), lambda seen: np.zeros(2), name="slide", max_steps=9)


def test_an_environment_without_a_step_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="pass max_steps="):
        GymnasiumTask(Slide(), lambda seen: np.zeros(1), name="slide")


def test_an_unbounded_action_space_is_refused() -> None:
    env = Slide()
    env.action_space = spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(ConfigError, match="give a Box with finite bounds"):
        GymnasiumTask(env, lambda seen: np.zeros(1), name="slide", max_steps=9)


def test_an_action_without_a_range_is_refused() -> None:
    env = Slide()
    env.action_space = spaces.Box(np.float32([-1, 2]), np.float32([1, 2]))
    with pytest.raises(ConfigError, match=r"entries \[1\] have no range"):
        GymnasiumTask(env, lambda seen: np.zeros(2), name="slide", max_steps=9)


def test_dictionary_observations_are_flattened_in_key_order() -> None:
    seen = {"b": np.array([[2.0, 3.0]]), "a": np.array(1.0)}
    assert flat(seen).tolist() == [1.0, 2.0, 3.0]
    assert flat((seen["b"], (4, seen["a"]))).tolist() == [2.0, 3.0, 4.0, 1.0]


class Reusing(Slide):
    """Tells all its observations in one array."""

    def reset(self, **kwargs: Any):
        seen, info = super().reset(**kwargs)
        self.buffer = seen
        return self.buffer, info

    def step(self, action: np.ndarray):
        seen, *rest = super().step(action)
        self.buffer[:] = seen
        return (self.buffer, *rest)


def test_an_environment_may_reuse_the_array_of_its_observations() -> None:
    reusing = GymnasiumTask(Reusing(), lambda seen: np.array([7.0]), name="slide", max_steps=9)
    episode = collect_episode(reusing, 3, base_policy_of(1), 0, 0.9)
    places = [float(seen[0]) for seen in reusing.seen]
    assert len(set(places)) == len(places) > 5
    assert episode.observations[:, 0] == pytest.approx(places[:-1])
    assert episode.next_observations[:, 0] == pytest.approx(places[1:])


@pytest.mark.parametrize("bounds", [(-0.1, 0.3), (0.7, 0.8), (-1e-3, 1e3 / 3)])
def test_the_ends_of_the_action_range_are_in_the_action_space(bounds) -> None:
    slide = Slide()
    slide.action_space = spaces.Box(*bounds, (1,), np.float64)
    at_work = GymnasiumTask(slide, lambda seen: np.array([bounds[0]]), name="slide", max_steps=9)
    at_work.reset(1)
    for end in (-1.0, 1.0):
        at_work.step(np.array([end]))
        assert slide.action_space.contains(at_work.executed[-1])


def test_a_base_policy_with_a_reset_is_reset_with_the_seed() -> None:
    seeds: list[int] = []

    class Counting:
        def reset(self, seed: int) -> None:
            seeds.append(seed)

        def __call__(self, seen: np.ndarray) -> np.ndarray:
            return np.array([5.0])

    GymnasiumTask(Slide(), Counting(), name="slide", max_steps=9).reset(77)
    assert seeds == [0, 77], "before it is asked for the first time, too"


def test_an_evaluation_reports_its_interval() -> None:
    result = evaluate(task(speed=10.0), None, range(8))
    assert (result.rate.k, result.rate.n) == (8, 8)
    assert str(Evaluation({1: True, 2: False}, 3.0)).startswith("1/2 [0.09, 0.91]")
    assert evaluate(task(speed=10.0), None, np.arange(3)).rate.n == 3
    with pytest.raises(ConfigError, match="2 seeds come twice"):
        evaluate(task(speed=10.0), None, [1, 1, 2, 1])


def test_probing_keeps_whole_successes_with_the_executed_actions_as_labels() -> None:
    slide = task(speed=7.0, max_steps=15)
    config = task_config(slide, base_episodes=4, calql_updates=4, online_steps=8, batch_size=8)
    trainer = SpecialistTrainer(slide, config, lambda rng, alpha, horizon: 0)
    while not trainer.learner.offline.size():
        trainer.advance()
    with torch.no_grad():
        trainer.learner.average.mu.bias.fill_(5.0)
    actor = exported_actor(trainer)
    episodes = probe(slide, actor, wanted=12, first_seed=500, horizon_steps=10)
    takeovers = {e.takeover_step for e in episodes}
    assert len(episodes) == 12
    assert takeovers <= set(range(7))
    assert len(takeovers) > 2
    assert all(e.takeover_step < len(e) for e in probe(slide, actor, wanted=9, first_seed=900))
    for episode in episodes:
        steps = len(episode)
        assert len(episode.observations) == steps
        base, specialist = 0.4, 0.4 + float(actor.residual_scale[0])
        expected = np.array([base] * episode.takeover_step + [specialist] * steps)[:steps]
        assert episode.actions[:, 0] == pytest.approx(5.0 + 5.0 * expected, abs=5e-3)
        moved = np.cumsum(0.02 * (episode.actions[:, 0] - 5.0))
        seen = np.array(episode.observations)[:, 0]
        assert seen[1:] == pytest.approx(seen[0] + moved[:-1], abs=1e-5)
        assert seen[0] + moved[-1] > 0.5


def test_a_specialist_is_trained_in_a_few_lines() -> None:
    slide = task(speed=7.5, max_steps=20)
    config = task_config(slide, base_episodes=4, calql_updates=4, online_steps=30, hidden=(16,))
    actor = train_specialist(slide, config)
    assert actor.card.task == "slide"
    assert actor.act(np.zeros(1), np.zeros(1)).shape == (1,)


def test_a_task_that_never_says_whether_it_succeeded_is_told_so() -> None:
    silent = GymnasiumTask(
        Silent(Slide()), lambda seen: np.array([7.5]), name="silent", max_steps=20
    )
    for base_episodes in (2, 0):
        settings = {"base_episodes": base_episodes, "base_episodes_max": base_episodes}
        fraction = {} if base_episodes else {"offline_fraction": 0.0}
        config = task_config(
            silent, calql_updates=0, online_steps=20, hidden=(16,), **settings, **fraction
        )
        with pytest.raises(ConfigError, match=r"no step's info has is_success or success;"):
            train_specialist(silent, config)


@pytest.mark.slow
def test_the_example_lifts_its_half_good_base() -> None:
    command = [sys.executable, "-W", "ignore", "examples/gymnasium_pld.py", "--episodes", "60"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found = {name: int(k) for name, k in re.findall(r"(\w+) +(\d+)/60 \[", done.stdout)}
    assert 12 <= found["base"] <= 45
    assert found["specialist"] >= found["base"] + 12


class Writes(Slide):
    """Reuses the arrays that it is given and gives."""

    def step(self, action: np.ndarray):
        told = super().step(action)
        action *= 0.0
        return told


def test_what_was_seen_and_executed_stays_whatever_others_do_to_their_arrays() -> None:
    def base(seen: np.ndarray) -> np.ndarray:
        seen -= seen.mean() + 1.0
        return np.array([7.5])

    slide = GymnasiumTask(Writes(), base, name="slide", max_steps=9)
    began = slide.reset(3).features.tolist()
    slide.step(np.array([0.5]))
    assert [a.tolist() for a in slide.executed] == [[7.5]]
    assert slide.seen[0].tolist() == began


@pytest.mark.parametrize("largest", [5, 7, 10, 255])
def test_integer_actions_are_those_that_the_base_asked_for(largest: int) -> None:
    class Steps(Slide):
        action_space = spaces.Box(0, largest, (1,), np.int64)

    for wanted in range(largest + 1):
        env = Steps()
        slide = task(env, speed=float(wanted))
        slide.step(slide.reset(0).base_action)
        assert env.actions == [float(wanted)]


def test_a_start_that_breaks_is_no_episode_and_ends_nothing() -> None:
    class Unsettled(Slide):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
            if seed == 4:
                raise FloatingPointError("overflow")
            return super().reset(seed=seed)

    found = evaluate(task(Unsettled(), speed=10.0), None, range(3, 6))
    assert found.successes == {3: True, 4: False, 5: True}


def test_features_are_a_vector() -> None:
    slide = task(features=lambda seen: torch.tensor(seen) * 2.0)
    assert slide.reset(0).features.tolist() == [2.0 * slide.seen[0][0]]
    with pytest.raises(ConfigError, match=r"features= of 'slide' gave shape \(1, 1\)"):
        task(features=lambda seen: seen.reshape(1, 1))


def test_settings_and_step_limits_that_cannot_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'learning_rates'; valid: seed"):
        task_config(task(), learning_rates=1)
    with pytest.raises(ConfigError, match="max_steps is -3"):
        task(max_steps=-3)


def test_no_actor_is_evaluated_on_its_own_training_seeds() -> None:
    slide = task(speed=10.0)
    actor = exported_actor(
        SpecialistTrainer(slide, task_config(slide, seed=2), sample_takeover_step)
    )
    assert evaluate(slide, actor, [299_999]).rate.n == 1
    with pytest.raises(ConfigError, match="2 seeds, from 300000 on"):
        evaluate(slide, actor, range(299_999, 300_002))
