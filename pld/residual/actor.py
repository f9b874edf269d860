"""The trained specialist on its own: a small torch module and its file, for the control graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from torch import nn

from pld.errors import ConfigError, ContractError
from pld.residual.networks import LOG_STD_MIN, FrozenNormaliser, ResidualActorNet
from pld.residual.protocol import Vector
from pld.tensor_file import (
    content_hash,
    described_text,
    read_tensors,
    refuse_not_finite,
    write_tensors,
)
from pld.types import Array

KIND = "pld-residual-actor"
SCHEMA = 2


@dataclass(frozen=True)
class ActorCard:
    """What an exported actor is: its task, shapes and origin.

    `decision_steps` are control steps per decision, `horizon_steps` the median length of its base's
    successes, in control steps: the T of probing.
    """

    task: str
    feature_dim: int
    action_dim: int
    hidden: tuple[int, ...]
    use_base: bool = True
    base_policy_id: str = ""
    learned_steps: int = 0
    seed: int = 0
    decision_steps: int = 1
    horizon_steps: int = 0


class ResidualActor:
    """residual = residual_scale * tanh(mean(features, base_action)), deterministic.

    Weights with a `log_std` head can also explore: tanh(mean + exp(log_std) * noise).
    """

    def __init__(self, card: ActorCard, tensors: dict[str, th.Tensor]) -> None:
        self.card = card
        self._network = _network(card)
        self._network.load_state_dict({k: v for k, v in tensors.items() if k[0].isdigit()})
        self._spread = {k: v for k, v in tensors.items() if k.startswith("log_std")}
        self._network.requires_grad_(False)
        self._mean, self._gain = tensors["mean"], tensors["gain"]
        self._scale = tensors["residual_scale"]

    @cached_property
    def digest(self) -> str:
        """The content hash, as `save` returns it."""
        return content_hash(described_text(asdict(self.card)), self._tensors())

    @property
    def policy_id(self) -> str:
        """Name of the specialist that this makes of its base: other weights, another name."""
        return f"specialist-{self.digest[:12]}-over-{self.card.base_policy_id}"

    @property
    def residual_scale(self) -> Array:
        """The bound of the residual per dimension (A,), in normalised action units."""
        return self._scale.double().numpy()

    @property
    def explores(self) -> bool:
        """Whether these weights can draw exploring residuals."""
        return bool(self._spread)

    def act(
        self, features: Array, base_action: Array, rng: np.random.Generator | None = None
    ) -> Array:
        """The residual (A,) to add to `base_action` (A,) given `features` (F,).

        With `rng` an exploring one is drawn, where the weights can.

        For a specialist that was trained without a base, the residual replaces the base action:
        it is the difference between the two. Raises ContractError on wrong shapes.
        """
        self._check("features", features, self.card.feature_dim)
        self._check("base_action", base_action, self.card.action_dim)
        seen = np.concatenate([features, base_action]).astype(np.float32)
        squashed = self._squashed(seen, rng)
        if not self.card.use_base:
            return squashed - base_action
        return self._scale.double().numpy() * squashed

    def combined(self, seen: Vector) -> Array:
        """The combined action (A,) for an observation (F + A,)."""
        width = self.card.action_dim
        base = seen[-width:].astype(np.float64)
        residual = self.act(seen[:-width].astype(np.float64), base)
        return np.clip(np.add(base, residual), -1.0, 1.0)

    def _squashed(self, seen: Vector, rng: np.random.Generator | None) -> Array:
        with th.no_grad():
            normal = ((th.from_numpy(seen) - self._mean) * self._gain).clamp_(-10.0, 10.0)
            latent = self._network[:-1](normal)
            u = self._network[-1](latent)
            if rng is not None and self._spread:
                noise = th.from_numpy(rng.standard_normal(len(u)).astype(np.float32))
                u = u + self._log_std(latent).exp() * noise
            return th.tanh(u).double().numpy()

    def _log_std(self, latent: th.Tensor) -> th.Tensor:
        """Log standard deviation (A,) of the residual before tanh."""
        weight, bias = self._spread["log_std.weight"], self._spread["log_std.bias"]
        limit = float(self._spread["log_std_max"])
        return nn.functional.linear(latent, weight, bias).clamp(LOG_STD_MIN, limit)

    def _check(self, name: str, values: Array, size: int) -> None:
        if np.shape(values) != (size,):
            raise ContractError(
                f"{name} has shape {np.shape(values)}; the specialist of task "
                f"{self.card.task!r} takes ({size},)"
            )

    def save(self, path: Path) -> str:
        """Write weights and card to `path` atomically; returns the content hash."""
        return write_tensors(path, KIND, SCHEMA, self.card.task, asdict(self.card), self._tensors())

    def _tensors(self) -> dict[str, th.Tensor]:
        tensors = {**self._network.state_dict(), "mean": self._mean, "gain": self._gain}
        return {**tensors, "residual_scale": self._scale, **self._spread}


def load_actor(path: Path, task: str | None = None) -> ResidualActor:
    """Read an exported actor; ConfigError when it is broken or of another task or version."""
    described, tensors = read_tensors(path, KIND, SCHEMA, task)
    refuse_not_finite(path, tensors)
    return ResidualActor(_card(path, described), tensors)


def load_actor_over(path: Path, task: str, base_policy_id: str, feature_dim: int) -> ResidualActor:
    """As `load_actor`; ConfigError also where it was trained over another base policy.

    Or with features other than that base and the sensors give (`feature_dim` of them).
    """
    actor = load_actor(path, task)
    if actor.card.base_policy_id != base_policy_id:
        raise ConfigError(
            f"{str(path)!r} was trained over {actor.card.base_policy_id}, and the base is "
            f"{base_policy_id}; give the base that it was trained with"
        )
    if actor.card.feature_dim != feature_dim:
        raise ConfigError(
            f"{str(path)!r} sees {actor.card.feature_dim} features, and here there are "
            f"{feature_dim}; it is of another version, train it again"
        )
    return actor


def actor_from_network(
    network: ResidualActorNet, normaliser: FrozenNormaliser, card: ActorCard, *, explores: bool
) -> ResidualActor:
    """The deterministic actor of a learner's network, copied, or one that `explores`."""
    tensors = {}
    for index, layer in enumerate(network.latent_pi):
        for name, value in layer.state_dict().items():
            tensors[f"{index}.{name}"] = value.clone()
    last = len(network.latent_pi)
    for name, value in network.mu.state_dict().items():
        tensors[f"{last}.{name}"] = value.clone()
    tensors |= {"mean": normaliser.mean.clone(), "gain": normaliser.gain.clone()}
    if explores:
        head = network.get_submodule("log_std").state_dict()
        tensors |= {f"log_std.{name}": value.clone() for name, value in head.items()}
        tensors["log_std_max"] = th.tensor(network.log_std_max)
    return ResidualActor(card, tensors | {"residual_scale": network.residual_scale.clone()})


def _network(card: ActorCard) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = card.feature_dim + card.action_dim
    for size in card.hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, card.action_dim))


def _card(path: Path, described: dict[str, Any]) -> ActorCard:
    try:
        return ActorCard(**{**described, "hidden": tuple(described["hidden"])})
    except (TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} holds no usable card ({json.dumps(described)}): {error}; export it again"
        ) from error
