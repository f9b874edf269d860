"""What fine-tuning needs to know about the built-in VLA: its statistics and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pld.base_policy.builtin_network import BuiltinNetwork, NetworkConfig, tokens


class TrainingBatch(Protocol):
    """The tensors of one batch; shapes as in pld.distill.dataset.Batch."""

    @property
    def images(self) -> Tensor:
        """Images."""

    @property
    def proprio(self) -> Tensor:
        """Proprioception."""

    @property
    def chunk(self) -> Tensor:
        """Executed actions from here on."""

    @property
    def mask(self) -> Tensor:
        """1 within the episode."""

    @property
    def instruction(self) -> Tensor:
        """Numbers of instructions."""


BF16_UNITS = ("amx_bf16", "avx512_bf16")
"""What a processor has that multiplies in bf16 (names of torch.cpu.get_capabilities)."""


def multiplies_bf16() -> bool:
    """Whether this processor does; where it must emulate that, bf16 takes many times as long."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit, False) for unit in BF16_UNITS)


class BuiltinTrainer:
    """The network with its L1 loss on normalised action chunks.

    `bf16` lets convolutions and layers multiply in bf16 where the processor can.
    """

    def __init__(self, network: BuiltinNetwork, *, bf16: bool = True) -> None:
        self.network = network
        self._bf16 = bf16 and multiplies_bf16()
        self._padded: dict[tuple[str, ...], Tensor] = {}

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.network

    def loss(self, batch: TrainingBatch, instructions: tuple[str, ...]) -> Tensor:
        """Mean absolute error over the steps that lie within their episode."""
        words = self._words(instructions)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            chunk, _ = self.network(batch.images, batch.proprio, words[batch.instruction])
        target = self.network.normalised(batch.chunk)
        error = (chunk.float() - target).abs().mean(-1)
        mean: Tensor = (error * batch.mask).sum() / batch.mask.sum().clamp(min=1)
        return mean

    def _words(self, instructions: tuple[str, ...]) -> Tensor:
        """Word numbers (instructions, L); a short instruction repeats itself to the full length.

        The mean over whole repetitions equals the mean over one, which keeps batches rectangular.
        """
        if instructions not in self._padded:
            numbers = [tokens(self.network.config.vocabulary, text) for text in instructions]
            length = int(np.lcm.reduce([len(n) for n in numbers]))
            self._padded[instructions] = torch.tensor([n * (length // len(n)) for n in numbers])
        return self._padded[instructions]


def fresh_network(
    config: NetworkConfig, statistics: Mapping[str, NDArray[np.float32]], seed: int
) -> BuiltinNetwork:
    """A network with seeded weights and the statistics of its training data."""
    torch.manual_seed(seed)
    network = BuiltinNetwork(config)
    with torch.no_grad():
        for name, value in statistics.items():
            getattr(network, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))
    return network


def copy_network(network: BuiltinNetwork) -> BuiltinNetwork:
    """A trainable copy, to fine-tune without touching the frozen original."""
    clone = BuiltinNetwork(network.config)
    clone.load_state_dict(network.state_dict())
    return clone
