"""The built-in VLA as a base policy: observation in, action chunk and features out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pld.base_policy.builtin_checkpoint import Checkpoint, load_checkpoint
from pld.base_policy.builtin_network import tokens
from pld.contract import proprio
from pld.errors import ConfigError, ContractError
from pld.policy_image import policy_image
from pld.types import Array, Observation


class BuiltinPolicy:
    """Frozen weights that answer observations; deterministic, on one thread.

    `infer` and `encode` on the same observation object share one forward pass.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.policy_id = checkpoint.policy_id
        self.rate_hz = checkpoint.rate_hz
        self.config = checkpoint.network.config
        self.feature_dim = self.config.feature_dim
        self._network = checkpoint.network.eval()
        self._words: dict[str, Tensor] = {}
        self._last: tuple[Observation, Array, Array] | None = None
        refuse_blind_network(self)

    @classmethod
    def load(cls, path: Path, task: str | None = None) -> BuiltinPolicy:
        """Read weights from disk; raises ConfigError when they do not fit."""
        return cls(load_checkpoint(path, task))

    def reset(self, seed: int) -> None:
        """Forget the last observation; nothing here is random."""
        del seed
        self._last = None

    def infer(self, observation: Observation) -> Array:
        """Chunk (chunk_horizon, 7) of actions in [-1, 1], first row for this step."""
        return np.array(self._forward(observation)[0])

    def encode(self, observation: Observation) -> Array:
        """Features (feature_dim,) of the frozen encoder and trunk, all within [-1, 1]."""
        return np.array(self._forward(observation)[1])

    def _forward(self, observation: Observation) -> tuple[Array, Array]:
        if self._last is not None and self._last[0] is observation:
            return self._last[1], self._last[2]
        chunk, features = self.forward_arrays(
            self.images(observation), proprio(observation.arm), observation.instruction
        )
        if not np.isfinite(chunk).all():
            raise ContractError(f"{self.policy_id} answered a non-finite action; check its inputs")
        self._last = (observation, chunk, features)
        return chunk, features

    def images(self, observation: Observation) -> np.ndarray:
        """All cameras' policy images (cameras, px, px, 3) uint8, in the network's order."""
        missing = [c for c in self.config.cameras if c not in observation.images]
        if missing:
            raise ContractError(
                f"no image of camera {missing[0]!r}; there are: {', '.join(observation.images)}"
            )
        side = self.config.image_px
        return np.stack(
            [policy_image(observation.images[c].rgb, side) for c in self.config.cameras]
        )

    @torch.inference_mode()
    def forward_arrays(
        self, images: np.ndarray, body: Array, instruction: str
    ) -> tuple[Array, Array]:
        """One forward pass on arrays: images (cameras, px, px, 3), proprioception (P,)."""
        chunk, features = self._network(
            torch.from_numpy(images[None]),
            torch.from_numpy(body[None].astype(np.float32)),
            self._tokens(instruction),
        )
        actions = self._network.actions(chunk)[0]
        return actions.numpy().astype(float), features[0].numpy().astype(float)

    def _tokens(self, instruction: str) -> Tensor:
        if instruction not in self._words:
            numbers = tokens(self.config.vocabulary, instruction)
            if not any(numbers):
                raise ConfigError(
                    f"instruction {instruction!r} has no word known to {self.policy_id}; "
                    f"known: {', '.join(self.config.vocabulary)}"
                )
            self._words[instruction] = torch.tensor([numbers])
        return self._words[instruction]


def refuse_blind_network(policy: BuiltinPolicy) -> None:
    """Start-up self-test: black and white images must give different actions.

    Raises ConfigError for a network that ignores its images.
    """
    side, cameras = policy.config.image_px, len(policy.config.cameras)
    shape = (cameras, side, side, 3)
    body = np.zeros(policy.config.proprio_dim)
    text = " ".join(policy.config.vocabulary[:1])
    black, _ = policy.forward_arrays(np.zeros(shape, np.uint8), body, text)
    # A uniform image has no structure after convolution except at the rim, so a gradient is used.
    white, _ = policy.forward_arrays(np.full(shape, 255, np.uint8), body, text)
    if np.array_equal(black, white):
        raise ConfigError(
            f"{policy.policy_id} gives the same action for black and white images; "
            "its weights ignore the cameras: train it again"
        )
