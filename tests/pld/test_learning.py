"""Learning from a run's bags: phases, what is taken once, killing and resuming, weights offered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pld import learning
from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_checkpoint import save_checkpoint
from pld.errors import ContractError, PldError
from pld.experience import LearnerView
from pld.experience import experience as real_experience
from pld.learning import GraphTask, RunLearner
from pld.recording.bag import EPISODES_FOLDER, VERDICT_NAME
from pld.recording.recover import bag_path, part_path
from pld.residual.actor import load_actor
from pld.residual.config import ResidualConfig
from pld.residual.episode import Episode, discounted_returns
from pld.residual.trainer import MIN_LENGTHS, Phase
from tests.pld.recording_stream import record as record_bag
from tests.pld.toy_task import toy_config
from tests.pld.vla_fixtures import dataset, network

TASK, FEATURES, ACTIONS = "cube_pickup", 5, 7
WARM_UP = 3
CONFIG = replace(
    toy_config(base_episodes=WARM_UP, learning_starts=4, online_steps=60, actor_starts=0),
    residual_scale=(0.5,),
    decision_steps=3,
)


def toy_episode(folder: Path, view: LearnerView) -> Episode:
    """An episode that follows from the folder's number; a specialist acts after the warm-up."""
    number = int(folder.name.split("-")[-1])
    rng = np.random.default_rng(number)
    steps = 4
    seen = rng.normal(size=(steps + 1, FEATURES + ACTIONS)).clip(-1, 1).astype(np.float32)
    rewards = np.zeros(steps, np.float32)
    rewards[-1] = number % 2 == 0
    return Episode(
        observations=seen[:-1],
        actions=rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32),
        rewards=rewards,
        next_observations=seen[1:],
        terminated=rewards.copy(),
        returns=discounted_returns(rewards, view.gamma),
        success=bool(rewards[-1]),
        steps=steps,
        takeover_step=0,
        seed=number,
        with_specialist=number >= WARM_UP,
    )


@pytest.fixture
def base(tmp_path: Path) -> BuiltinPolicy:
    path = tmp_path / "base.safetensors"
    save_checkpoint(path, network(dataset()), (TASK,), ("pick up the red cube",), 10.0)
    return BuiltinPolicy.load(path, TASK)


@pytest.fixture(autouse=True)
def _toy_bags(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(learning, "experience", toy_episode)


def record(run_dir: Path, *numbers: int) -> None:
    """Close episodes in a run folder."""
    for number in numbers:
        folder = run_dir / EPISODES_FOLDER / f"r-{number:05d}"
        folder.mkdir(parents=True)
        (folder / VERDICT_NAME).write_text("{}")


def learner(run_dir: Path, base: BuiltinPolicy, config: ResidualConfig = CONFIG) -> RunLearner:
    (run_dir / EPISODES_FOLDER).mkdir(parents=True, exist_ok=True)
    return RunLearner(run_dir, base, config, GraphTask(TASK, FEATURES, 80))


def test_the_base_acts_alone_until_the_warm_up_is_over(tmp_path: Path, base: BuiltinPolicy) -> None:
    run = learner(tmp_path, base)
    record(tmp_path, 0, 1)
    run.catch_up()
    assert run.trainer.progress.phase is Phase.WARM_UP
    assert run.offer().horizon_steps == 0
    record(tmp_path, 2)
    run.catch_up()
    assert run.trainer.progress.phase is Phase.ONLINE
    assert run.trainer.progress.pretrain_updates == CONFIG.calql_updates
    assert run.offer().horizon_steps == 4 * CONFIG.decision_steps


def test_an_offer_says_how_long_an_episode_is_worth_learning_from(
    tmp_path: Path, base: BuiltinPolicy
) -> None:
    config = replace(CONFIG, episode_limit=2.0, base_episodes=2 * MIN_LENGTHS)
    run = learner(tmp_path, base, config)
    assert run.offer().limit_steps == 27 * config.decision_steps, "80 steps are 27 decisions"
    run.trainer.base_lengths = [4] * MIN_LENGTHS
    assert run.offer().limit_steps == 2 * 4 * config.decision_steps


def test_every_episode_is_taken_once(tmp_path: Path, base: BuiltinPolicy) -> None:
    run = learner(tmp_path, base)
    record(tmp_path, *range(6))
    assert run.catch_up() == 6
    assert run.catch_up() == 0
    assert run.trainer.progress.online_episodes == 3
    assert run.offer().recent == (1, 3)


def test_a_finished_learner_learns_and_offers_no_more(tmp_path: Path, base: BuiltinPolicy) -> None:
    run = learner(tmp_path, base, replace(CONFIG, online_steps=1))
    record(tmp_path, *range(8))
    offered: list[int] = []
    count = run.catch_up(lambda: offered.append(run.offer().version))
    assert run.finished
    assert offered == list(range(1, count + 1))
    assert count < 8
    assert run.catch_up(lambda: offered.append(-1)) == 0
    assert -1 not in offered


def test_an_episode_of_a_phase_that_is_over_is_skipped_and_named(
    tmp_path: Path, base: BuiltinPolicy
) -> None:
    run = learner(tmp_path, base)
    record(tmp_path, 4, 0)
    run.catch_up()
    assert run.skipped == {"r-00004": "of a phase that is over"}


def test_a_bag_that_cannot_be_learned_from_is_skipped_with_its_reason(
    tmp_path: Path, base: BuiltinPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, view: LearnerView) -> Episode:
        raise ContractError("another base")

    monkeypatch.setattr(learning, "experience", broken)
    run = learner(tmp_path, base)
    record(tmp_path, 0)
    run.catch_up()
    assert run.skipped == {"r-00000": "another base"}
    assert run.trainer.progress.episodes == 0


def test_a_killed_learner_ends_in_the_same_bits(tmp_path: Path, base: BuiltinPolicy) -> None:
    whole = learner(tmp_path / "a", base)
    record(tmp_path / "a", *range(13))
    whole.catch_up()
    record(tmp_path / "b", *range(7))
    learner(tmp_path / "b", base).catch_up()  # dies here: its last checkpoint is two episodes old
    record(tmp_path / "b", *range(7, 13))
    resumed = learner(tmp_path / "b", base)
    assert resumed.trainer.progress.episodes == learning.CHECKPOINT_EVERY
    resumed.catch_up()
    assert resumed.offer().sha256 == whole.offer().sha256
    assert resumed.offer().recent == whole.offer().recent


def test_offered_weights_explore_and_the_averaged_ones_do_not(
    tmp_path: Path, base: BuiltinPolicy
) -> None:
    run = learner(tmp_path, base)
    record(tmp_path, *range(5))
    run.catch_up()
    offer = run.offer()
    exploring = load_actor(offer.path, TASK)
    averaged = load_actor(tmp_path / "learner" / learning.ACTOR_FILE, TASK)
    assert (exploring.explores, averaged.explores) == (True, False)
    assert exploring.card.base_policy_id == base.policy_id
    features, action = np.ones(FEATURES), np.zeros(ACTIONS)
    plain = exploring.act(features, action)
    drawn = [exploring.act(features, action, np.random.default_rng(i)) for i in range(40)]
    assert np.std(drawn, axis=0).min() > 0
    np.testing.assert_array_equal(exploring.act(features, action), plain)
    np.testing.assert_array_equal(
        averaged.act(features, action, np.random.default_rng(0)), averaged.act(features, action)
    )


def test_nobody_steps_the_graphs_task() -> None:
    task = GraphTask(TASK, FEATURES, 80)
    with pytest.raises(PldError, match="run by the graph"):
        task.reset(3)
    with pytest.raises(PldError, match="run by the graph"):
        task.step(np.zeros(7))


def test_a_failure_inside_an_episode_saves_nothing_half_learned(
    tmp_path: Path, base: BuiltinPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = learner(tmp_path, base)
    record(tmp_path, *range(5))
    run.catch_up()
    run.save()
    taken = run.trainer.progress.episodes
    record(tmp_path, 5)

    def fails(*_: object, **__: object) -> None:
        raise PldError("the critic loss is nan")

    with monkeypatch.context() as broken:
        broken.setattr(run.trainer, "take_online_episode", fails)
        with pytest.raises(PldError, match="nan"):
            run.catch_up()
        run.trainer.progress = replace(run.trainer.progress, episodes=taken + 1)
        run.save()
    again = learner(tmp_path, base)
    assert again.trainer.progress.episodes == taken
    assert again.catch_up() == 1
    assert again.trainer.progress.episodes == taken + 1


def test_an_episode_whose_recording_failed_is_skipped_and_named(
    tmp_path: Path, base: BuiltinPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "experience", real_experience)
    run = learner(tmp_path, base)
    recorded = record_bag(tmp_path / "elsewhere", steps=20)
    folder = recorded.rename(tmp_path / EPISODES_FOLDER / recorded.name)
    bag_path(folder).rename(part_path(folder))
    run.catch_up()
    assert "pld bag recover" in run.skipped[folder.name]
