"""Checkpoints of a training run: everything that the next unit of work depends on, no pickle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from pld.errors import ConfigError
from pld.residual.config import ResidualConfig
from pld.residual.replay import ROWS, EpisodeReplay
from pld.residual.sac import ResidualSac
from pld.residual.trainer import Phase, Progress, SpecialistTrainer
from pld.tensor_file import read_tensors, write_tensors

KIND = "pld-residual-checkpoint"
SCHEMA = 3
KEEP = 2


def save_checkpoint(folder: Path, trainer: SpecialistTrainer) -> Path:
    """Write the run's state beside the older checkpoints and keep the newest two."""
    units = trainer.progress.episodes + trainer.progress.pretrain_updates
    path = folder / f"specialist-{units:08d}.safetensors"
    write_tensors(path, KIND, SCHEMA, trainer.env.task, _described(trainer), _tensors(trainer))
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("specialist-*.safetensors"))


def resume(folder: Path, trainer: SpecialistTrainer) -> bool:
    """Load the newest checkpoint of `folder` into `trainer`; False when there is none."""
    found = checkpoints(folder)
    if not found:
        return False
    try:
        load_checkpoint(found[-1], trainer)
    except ConfigError as error:
        older = f"; the one before it is {found[-2].name}" if len(found) > 1 else ""
        raise ConfigError(f"{error}{older}") from error
    return True


def load_checkpoint(path: Path, trainer: SpecialistTrainer) -> None:
    """Put a saved state into `trainer`, made with the same task, shapes and configuration.

    Raises ConfigError, with `trainer` untouched, for another task, shape, version or setting and
    for a file that is not whole.
    """
    described, tensors = read_tensors(path, KIND, SCHEMA, trainer.env.task)
    _check_same(path, described, trainer)
    restore_learner(trainer.learner, tensors, described["learner"])
    trainer.progress = Progress(
        **{**described["progress"], "phase": Phase(described["progress"]["phase"])}
    )
    trainer.base_lengths = list(described["base_lengths"])
    trainer.failed_starts = list(described["failed_starts"])
    trainer.rng.bit_generator.state = described["rng"]


def _check_same(path: Path, described: dict[str, Any], trainer: SpecialistTrainer) -> None:
    shapes = [trainer.env.feature_dim, trainer.env.action_dim]
    if described["shapes"] != shapes:
        raise ConfigError(
            f"{path} is for (features, actions) {described['shapes']}, this task has {shapes}; "
            "train a new specialist or use the base policy that it was trained with"
        )
    saved = ResidualConfig.from_dict(described["config"])
    if saved != trainer.config:
        now = trainer.config.as_dict()
        changed = [f"{k}: {v!r} -> {now[k]!r}" for k, v in saved.as_dict().items() if v != now[k]]
        raise ConfigError(
            f"{path} was made with other settings ({'; '.join(changed)}); resume with the same "
            "settings or start in an empty folder"
        )


def _described(trainer: SpecialistTrainer) -> dict[str, Any]:
    return {
        "shapes": [trainer.env.feature_dim, trainer.env.action_dim],
        "config": trainer.config.as_dict(),
        "progress": asdict(trainer.progress),
        "base_lengths": trainer.base_lengths,
        "failed_starts": trainer.failed_starts,
        "rng": trainer.rng.bit_generator.state,
        "learner": describe_learner(trainer.learner),
    }


def _tensors(trainer: SpecialistTrainer) -> dict[str, th.Tensor]:
    return learner_tensors(trainer.learner)


def describe_learner(learner: ResidualSac) -> dict[str, Any]:
    """The learner's counters and its batch generator's state, as JSON values."""
    return {
        "updates": learner._n_updates,
        "rng": learner.rng.bit_generator.state,
        "online": [learner.replay_buffer.pos, learner.replay_buffer.full],
        "offline": [learner.offline.pos, learner.offline.full],
    }


def learner_tensors(learner: ResidualSac) -> dict[str, th.Tensor]:
    """Weights, optimisers, temperature, noise generator and both buffers, by name."""
    assert learner.log_ent_coef is not None
    assert learner.actor.noise is not None
    tensors = {f"policy.{k}": v for k, v in learner.policy.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in learner.average.state_dict().items()}
    tensors |= {f"normaliser.{k}": v for k, v in learner.normaliser.state_dict().items()}
    tensors["log_ent_coef"] = learner.log_ent_coef.detach()
    tensors["noise"] = learner.actor.noise.get_state()
    for name, optimiser in _optimisers(learner).items():
        for index, moments in optimiser.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{name}.{index}.{key}"] = value
    for name, buffer in _buffers(learner).items():
        for row in ROWS:
            tensors[f"{name}.{row}"] = th.from_numpy(getattr(buffer, row)[: buffer.size()])
    return tensors


def restore_learner(
    learner: ResidualSac, tensors: dict[str, th.Tensor], described: dict[str, Any]
) -> None:
    """Put tensors and counters back; the inverse of the two functions above."""
    assert learner.log_ent_coef is not None
    assert learner.actor.noise is not None
    learner.policy.load_state_dict(_under("policy.", tensors))
    learner.average.load_state_dict(_under("average.", tensors))
    learner.normaliser.load_state_dict(_under("normaliser.", tensors))
    with th.no_grad():
        learner.log_ent_coef.copy_(tensors["log_ent_coef"])
    learner.actor.noise.set_state(tensors["noise"])
    for name, optimiser in _optimisers(learner).items():
        _restore_optimiser(optimiser, _under(f"{name}.", tensors))
    for name, buffer in _buffers(learner).items():
        for row in ROWS:
            values = tensors[f"{name}.{row}"].numpy()
            getattr(buffer, row)[: len(values)] = values
        buffer.pos, buffer.full = described[name]
    learner._n_updates = described["updates"]
    learner.rng = np.random.default_rng()
    learner.rng.bit_generator.state = described["rng"]


def _restore_optimiser(optimiser: th.optim.Optimizer, tensors: dict[str, th.Tensor]) -> None:
    whole = optimiser.state_dict()
    state: dict[int, dict[str, th.Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**whole, "state": state})


def _optimisers(learner: ResidualSac) -> dict[str, th.optim.Optimizer]:
    assert learner.ent_coef_optimizer is not None
    return {
        "optimiser-actor": learner.actor.optimizer,
        "optimiser-critic": learner.critic.optimizer,
        "optimiser-entropy": learner.ent_coef_optimizer,
    }


def _buffers(learner: ResidualSac) -> dict[str, EpisodeReplay]:
    return {"online": learner.replay_buffer, "offline": learner.offline}


def _under(prefix: str, tensors: dict[str, th.Tensor]) -> dict[str, th.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
