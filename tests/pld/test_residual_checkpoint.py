"""Checkpoints and exported actors: whole or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pld.errors import ConfigError, ContractError
from pld.probing.horizon import sample_takeover_step
from pld.residual.actor import load_actor
from pld.residual.checkpoint import (
    SCHEMA,
    checkpoints,
    learner_tensors,
    load_checkpoint,
    resume,
    save_checkpoint,
)
from pld.residual.config import ResidualConfig
from pld.residual.export import exported_actor
from pld.residual.trainer import SpecialistTrainer
from tests.pld.toy_task import ToyTask, toy_config
from tests.pld.toy_training import train


def new_trainer(config: ResidualConfig | None = None, env: ToyTask | None = None):
    return SpecialistTrainer(env or ToyTask(), config or toy_config(), sample_takeover_step)


@pytest.fixture(scope="module")
def trained() -> SpecialistTrainer:
    trainer = new_trainer()
    trainer.run()
    return trainer


def same(first: SpecialistTrainer, second: SpecialistTrainer) -> bool:
    a, b = learner_tensors(first.learner), learner_tensors(second.learner)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_checkpoint_gives_back_everything(trained: SpecialistTrainer, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, trained)
    other = new_trainer()
    load_checkpoint(path, other)
    assert same(trained, other)
    assert other.progress == trained.progress
    assert other.rng.bit_generator.state == trained.rng.bit_generator.state
    assert other.learner.rng.bit_generator.state == trained.learner.rng.bit_generator.state


def test_the_optimisers_state_is_part_of_a_checkpoint(trained: SpecialistTrainer) -> None:
    names = learner_tensors(trained.learner)
    for optimiser in ("optimiser-actor", "optimiser-critic", "optimiser-entropy"):
        assert f"{optimiser}.0.exp_avg" in names
        assert float(names[f"{optimiser}.0.step"]) > 0


def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path: Path) -> None:
    config = toy_config(online_steps=40)
    whole = new_trainer(config)
    whole.run()
    stopped = new_trainer(config)
    for _ in range(15):
        stopped.advance()
    save_checkpoint(tmp_path, stopped)
    resumed = new_trainer(config)
    assert resume(tmp_path, resumed)
    resumed.run()
    assert same(whole, resumed)
    assert whole.progress == resumed.progress


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("task", "another", "has task 'toy', not 'another'"),
        ("feature_dim", 6, r"is for \(features, actions\) \[5, 2\], this task has \[6, 2\]"),
    ],
)
def test_a_checkpoint_of_another_task_or_shape_is_refused(
    trained: SpecialistTrainer, tmp_path: Path, attribute: str, value: object, message: str
) -> None:
    path = save_checkpoint(tmp_path, trained)
    env = ToyTask()
    setattr(env, attribute, value)
    other = new_trainer(env=env)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(path, other)
    assert other.progress.episodes == 0


def test_a_checkpoint_with_other_settings_is_refused(
    trained: SpecialistTrainer, tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path, trained)
    other = new_trainer(replace(toy_config(), gamma=0.9))
    with pytest.raises(ConfigError, match=r"gamma: 0\.97 -> 0\.9"):
        load_checkpoint(path, other)


def test_a_checkpoint_of_another_version_is_refused(
    trained: SpecialistTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path, trained)
    monkeypatch.setattr("pld.residual.checkpoint.SCHEMA", 99)
    with pytest.raises(ConfigError, match=f"has schema '{SCHEMA}', not '99'"):
        load_checkpoint(path, new_trainer())


@pytest.mark.parametrize("kept", [0, 5, 100, 5000, -1])
def test_a_half_written_checkpoint_is_refused(
    trained: SpecialistTrainer, tmp_path: Path, kept: int
) -> None:
    path = save_checkpoint(tmp_path, trained)
    path.write_bytes(path.read_bytes()[:kept])
    other = new_trainer()
    with pytest.raises(ConfigError, match="half-written or damaged"):
        load_checkpoint(path, other)
    assert other.progress.episodes == 0


def test_a_flipped_bit_is_noticed(trained: SpecialistTrainer, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, trained)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match="content hash does not match"):
        load_checkpoint(path, new_trainer())


def test_the_previous_good_checkpoint_stays(tmp_path: Path) -> None:
    trainer = new_trainer()
    for _ in range(4):
        trainer.advance()
        save_checkpoint(tmp_path, trainer)
    newest, previous = checkpoints(tmp_path)[::-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=f"the one before it is {previous.name}"):
        resume(tmp_path, new_trainer())
    newest.unlink()
    other = new_trainer()
    assert resume(tmp_path, other)
    assert other.progress.episodes == 3


def test_a_failed_write_leaves_the_old_file(
    trained: SpecialistTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path, trained)
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, trained)
    assert path.read_bytes() == before


def test_a_resumable_run_starts_where_it_stopped(tmp_path: Path) -> None:
    config = toy_config(online_steps=30)
    done = train(new_trainer(config), tmp_path, every_units=3)
    env = ToyTask()
    again = train(new_trainer(config, env), tmp_path)
    assert again == done
    assert env.seeds == []


def test_an_exported_actor_is_the_averaged_one(trained: SpecialistTrainer, tmp_path: Path) -> None:
    path = tmp_path / "actor.safetensors"
    exported_actor(trained, "base-1").save(path)
    actor = load_actor(path, task="toy")
    seen = np.random.default_rng(0).uniform(-1, 1, (50, 7)).astype(np.float32)
    with torch.no_grad():
        normal = trained.learner.normaliser(torch.from_numpy(seen))
        wanted = trained.learner.average(normal, deterministic=True).numpy()
    got = np.array([actor.combined(row) for row in seen])
    assert np.allclose(got, wanted, atol=1e-6)
    assert np.abs(got - seen[:, -2:]).max() > 1e-5
    assert actor.card.base_policy_id == "base-1"


def test_an_exported_actor_answers_the_bounded_residual(trained: SpecialistTrainer) -> None:
    actor = exported_actor(trained)
    rng = np.random.default_rng(0)
    features, base = rng.uniform(-9, 9, 5), rng.uniform(-1, 1, 2)
    residual = actor.act(features, base)
    assert residual.shape == (2,)
    assert np.all(np.abs(residual) <= actor.residual_scale)
    assert np.array_equal(residual, actor.act(features, base))


def test_an_exported_actor_refuses_other_shapes(trained: SpecialistTrainer) -> None:
    actor = exported_actor(trained)
    with pytest.raises(ContractError, match=r"features has shape \(4,\).*takes \(5,\)"):
        actor.act(np.zeros(4), np.zeros(2))


def test_a_checkpoint_is_no_actor(trained: SpecialistTrainer, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, trained)
    with pytest.raises(ConfigError, match="is no pld-residual-actor file; give one that is"):
        load_actor(path)


def test_an_actor_of_another_task_is_refused(trained: SpecialistTrainer, tmp_path: Path) -> None:
    path = tmp_path / "actor.safetensors"
    exported_actor(trained).save(path)
    with pytest.raises(ConfigError, match="has task 'toy', not 'other'"):
        load_actor(path, task="other")


def test_weights_that_are_not_finite_are_refused_by_name(
    trained: SpecialistTrainer, tmp_path: Path
) -> None:
    path = tmp_path / "actor.safetensors"
    actor = exported_actor(trained)
    actor._network[0].weight[0, 0] = float("nan")
    actor.save(path)
    with pytest.raises(ConfigError, match=r"tensor '0.weight' holds numbers that are not finite"):
        load_actor(path)
