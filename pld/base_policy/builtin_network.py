"""The built-in VLA's network: two small CNNs steered by words, keypoints, an L1 action chunk.

Per camera: four convolutions, the last two modulated by the instruction (FiLM), then a spatial
softmax that turns each channel into one image point. Points, proprioception and the instruction
go through two layers to a chunk of actions. Words are a learned embedding of the training
instructions' vocabulary (see docs/vla.md for why).

Sources: FiLM (Perez et al. 2018), spatial softmax (Levine et al. 2016), L1 chunks (OpenVLA-OFT).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pld.contract import CAMERAS, POLICY_IMAGE_PX, PROPRIO_DIM
from pld.types import ACTION_DIM


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; `chunk_horizon` steps are predicted by one inference."""

    cameras: tuple[str, ...] = CAMERAS
    image_px: int = POLICY_IMAGE_PX
    proprio_dim: int = PROPRIO_DIM
    action_dim: int = ACTION_DIM
    channels: tuple[int, int, int] = (16, 32, 32)
    text_dim: int = 32
    hidden: int = 256
    bottleneck: int = 64
    chunk_horizon: int = 4
    proprio_dropout: float = 0.0
    vocabulary: tuple[str, ...] = ()

    @property
    def feature_dim(self) -> int:
        """Length of the feature vector: image points of all cameras, then the last layer."""
        return 2 * self.channels[2] * len(self.cameras) + self.bottleneck


class SpatialSoftmax(nn.Module):
    """Feature maps (B, C, H, W) to the expected image point of each channel (B, 2C), in [-1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Softmax over the image, then the mean coordinates."""
        height, width = maps.shape[2:]
        logits = maps.float().flatten(2) * self.temperature[None, :, None]
        weights = functional.softmax(logits, dim=-1).reshape(*maps.shape)
        ys = torch.linspace(-1, 1, height, device=maps.device)
        xs = torch.linspace(-1, 1, width, device=maps.device)
        return torch.cat([(weights.sum(2) * xs).sum(-1), (weights.sum(3) * ys).sum(-1)], dim=1)


class CameraEncoder(nn.Module):
    """One camera's pixels (B, 3, H, W) in [-0.5, 0.5] and a text code to image points (B, 2C)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        first, second, last = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(second, last, 3, padding=1), nn.Conv2d(last, last, 3, padding=1)]
        )
        self.film = nn.Linear(config.text_dim, 2 * last * len(self.convolutions))
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.points = SpatialSoftmax(last)

    def forward(self, pixels: Tensor, text: Tensor) -> Tensor:
        """Encode; FiLM starts as the identity."""
        maps = self.stem(pixels)
        for convolution, film in zip(
            self.convolutions, self.film(text).chunk(len(self.convolutions), dim=1), strict=True
        ):
            scale, shift = film[:, :, None, None].chunk(2, dim=1)
            maps = functional.relu(convolution(maps) * (1 + scale) + shift)
        points: Tensor = self.points(maps)
        return points


class BuiltinNetwork(nn.Module):
    """Images, proprioception and word codes to (chunk of normalised actions, features).

    Normalisation statistics are buffers, so they are saved, loaded and hashed with the weights.
    """

    proprio_mean: Tensor
    proprio_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.EmbeddingBag(len(config.vocabulary) + 1, config.text_dim, mode="mean")
        self.encoders = nn.ModuleList([CameraEncoder(config) for _ in config.cameras])
        points = 2 * config.channels[2] * len(config.cameras)
        self.trunk = nn.Sequential(
            nn.Linear(points + config.proprio_dim + config.text_dim, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.bottleneck),
            nn.Tanh(),
        )
        self.head = nn.Linear(config.bottleneck, config.chunk_horizon * config.action_dim)
        for name, size in (("proprio", config.proprio_dim), ("action", config.action_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, proprio: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Chunk (B, H, 7) in normalised units and features (B, feature_dim).

        `images` (B, cameras, px, px, 3) uint8; `proprio` (B, P); `words` (B, L) from `tokens`.
        """
        text = self.words(words)
        pixels = images.float() / 255 - 0.5
        points = [
            encoder(pixels[:, i].permute(0, 3, 1, 2), text)
            for i, encoder in enumerate(self.encoders)
        ]
        body = (proprio - self.proprio_mean) / self.proprio_std
        body = functional.dropout(body, self.config.proprio_dropout, self.training)
        code = self.trunk(torch.cat([*points, body, text], dim=1)).float()
        chunk = (
            self.head(code).float().reshape(-1, self.config.chunk_horizon, self.config.action_dim)
        )
        return chunk, torch.cat([*points, code], dim=1)

    def actions(self, chunk: Tensor) -> Tensor:
        """Normalised chunk to policy actions in [-1, 1]; the gripper opens or closes, no less.

        A gripper command between the two would keep the fingers as they are, and a policy that
        hesitates there stalls.
        """
        actions = (chunk * self.action_std + self.action_mean).clamp(-1, 1)
        gripper = torch.where(actions[..., -1:] < 0, -1.0, 1.0)
        return torch.cat([actions[..., :-1], gripper], dim=-1)

    def normalised(self, actions: Tensor) -> Tensor:
        """Policy actions to the units in which the loss is taken."""
        return (actions - self.action_mean) / self.action_std


def words_of(instruction: str) -> tuple[str, ...]:
    """An instruction's words: lower case, no punctuation."""
    kept = "".join(c if c.isalnum() else " " for c in instruction.lower())
    return tuple(kept.split())


def vocabulary_of(instructions: tuple[str, ...]) -> tuple[str, ...]:
    """The sorted words of all training instructions."""
    return tuple(sorted({word for text in instructions for word in words_of(text)}))


def tokens(vocabulary: tuple[str, ...], instruction: str) -> list[int]:
    """Word numbers of an instruction; 0 stands for any word never seen in training."""
    return [
        vocabulary.index(word) + 1 if word in vocabulary else 0 for word in words_of(instruction)
    ] or [0]
