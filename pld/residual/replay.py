"""Replay of whole episodes, on stable-baselines3's buffer, and batches from two of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer

from pld.errors import ContractError
from pld.residual.episode import Episode

ROWS = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "returns",
    "discounts",
)


class ResidualBatch(NamedTuple):
    """N transitions: observations (N, F + A), executed actions (N, A), the rest (N, 1)."""

    observations: th.Tensor
    actions: th.Tensor
    next_observations: th.Tensor
    dones: th.Tensor
    rewards: th.Tensor
    returns: th.Tensor
    discounts: th.Tensor


class EpisodeReplay(ReplayBuffer):
    """A ring of transitions with their Monte Carlo returns.

    Base actions a_b and a_b' are the last A entries of the observations. `dones` holds
    `terminated` only: a truncated transition bootstraps. With `n_step` above 1 a row holds the
    discounted rewards of up to that many steps, what was seen after them, and the power of gamma
    in `discounts` that belongs to it; an episode's end cuts them short.
    """

    def __init__(
        self,
        capacity: int,
        observations: spaces.Box,
        actions: spaces.Box,
        gamma: float = 0.97,
        n_step: int = 1,
    ) -> None:
        super().__init__(capacity, observations, actions, device="cpu")
        self.gamma, self.n_step = gamma, n_step
        self.returns = np.zeros((self.buffer_size, 1), dtype=np.float32)
        self.discounts = np.zeros((self.buffer_size, 1), dtype=np.float32)

    def add_episode(self, episode: Episode) -> None:
        """Append every transition of `episode`; refuses numbers that are not finite."""
        columns = self._columns(episode)
        for name, values in columns.items():
            if not np.isfinite(values).all():
                raise ContractError(
                    f"{name} of the episode with seed {episode.seed} are not finite; end the "
                    "episode before the broken step and do not store it"
                )
        rows = (self.pos + np.arange(len(episode))) % self.buffer_size
        for name, values in columns.items():
            getattr(self, name)[rows] = values
        self.full = self.full or self.pos + len(episode) >= self.buffer_size
        self.pos = (self.pos + len(episode)) % self.buffer_size

    def _columns(self, episode: Episode) -> dict[str, NDArray[np.float32]]:
        """Rows of the buffer (T, 1, ...) for `episode`."""
        first = np.arange(len(episode))
        last = np.minimum(first + self.n_step, len(episode)) - 1
        powers = self.gamma ** np.arange(self.n_step)
        rewards = [
            float(episode.rewards[a : b + 1] @ powers[: b + 1 - a])
            for a, b in zip(first, last, strict=True)
        ]
        return {
            "observations": episode.observations[:, None],
            "next_observations": episode.next_observations[last][:, None],
            "actions": episode.actions[:, None],
            "rewards": np.array(rewards, dtype=np.float32)[:, None],
            "dones": episode.terminated[last][:, None],
            "returns": episode.returns[:, None],
            "discounts": (self.gamma ** (last - first + 1)).astype(np.float32)[:, None],
        }

    def gather(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
        """The chosen rows in the order of ResidualBatch."""
        return (
            self.observations[rows, 0],
            self.actions[rows, 0],
            self.next_observations[rows, 0],
            self.dones[rows],
            self.rewards[rows],
            self.returns[rows],
            self.discounts[rows],
        )


def sample_batch(
    online: EpisodeReplay,
    offline: EpisodeReplay,
    size: int,
    offline_fraction: float,
    rng: np.random.Generator,
) -> ResidualBatch:
    """`size` transitions, `offline_fraction` of them from base successes, the rest from online.

    An empty buffer leaves all of the batch to the other one.
    """
    from_offline = round(size * offline_fraction) if offline.size() else 0
    if not online.size():
        from_offline = size
    parts = []
    for buffer, count in ((offline, from_offline), (online, size - from_offline)):
        if count:
            parts.append(buffer.gather(rng.integers(0, buffer.size(), size=count)))
    columns = (
        parts[0] if len(parts) == 1 else [np.concatenate(pair) for pair in zip(*parts, strict=True)]
    )
    return ResidualBatch(*(th.from_numpy(column) for column in columns))
