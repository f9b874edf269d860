"""The success classifier: two small images to a probability, then two checks.

An episode ends as a success only where the probability passes a threshold that no failed frame of
the validation episodes reached, AND the arm's own sensors agree (SENSES), for several control steps
in a row (pld.probing.episode). A classifier alone rewards what merely looks like success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pld.contract import CAMERAS, POLICY_IMAGE_PX
from pld.errors import ConfigError
from pld.policy_image import policy_image
from pld.tensor_file import read_tensors, refuse_not_finite, write_tensors
from pld.types import ArmState, CameraImage

KIND, SCHEMA = "pld-success-classifier", 1


@dataclass(frozen=True)
class Senses:
    """What the arm itself must feel at a success: bounds of the hand's width and height in O."""

    width_m: tuple[float, float]
    height_m: tuple[float, float]

    def agree(self, arm: ArmState) -> bool:
        """Whether `arm` is within all bounds."""
        height = float(arm.O_T_EE.p_m[2])
        wide = self.width_m[0] <= arm.gripper_width_m <= self.width_m[1]
        return wide and self.height_m[0] <= height <= self.height_m[1]


# The cube (40 mm) is between the fingers and lifted; the peg (20 mm) is still held and pushed in.
SENSES = {
    "cube_pickup": Senses((0.030, 0.055), (0.085, 1.0)),
    "peg_insertion": Senses((0.012, 0.028), (0.0, 0.105)),
}


class SuccessNetwork(nn.Module):
    """Images (B, cameras, px, px, 3) of numbers in [0, 255] to logits (B,) of success."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.views = nn.ModuleList([_view() for _ in CAMERAS])
        self.head = nn.Sequential(
            nn.Linear(len(CAMERAS) * 32 * 9, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        pixels = images.float() / 255 - 0.5
        seen = [view(pixels[:, i].permute(0, 3, 1, 2)) for i, view in enumerate(self.views)]
        logits: Tensor = self.head(torch.cat(seen, dim=1)).squeeze(-1)
        return logits


def _view() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
    )


@dataclass(frozen=True)
class ClassifierCard:
    """What a file says of its classifier; counts are of frames of the validation episodes."""

    task: str
    threshold: float
    episodes: int
    true_successes: int
    found_successes: int
    true_failures: int
    false_successes: int


class SuccessClassifier:
    """A trained network with its threshold; `senses` defaults to those of its task."""

    def __init__(self, network: SuccessNetwork, card: ClassifierCard) -> None:
        if card.task not in SENSES:
            raise ConfigError.unknown("task with a second check", card.task, SENSES)
        self.network, self.card, self.senses = network.eval(), card, SENSES[card.task]

    @torch.no_grad()
    def probability(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of success (N,) of frames (N, cameras, px, px, 3)."""
        scores: NDArray[np.float32] = torch.sigmoid(self.network(torch.from_numpy(images))).numpy()
        return scores

    def succeeded(self, images: Mapping[str, CameraImage], arm: ArmState) -> bool:
        """Whether both the images and the arm's senses say success; a missing image says no."""
        if not self.senses.agree(arm) or any(camera not in images for camera in CAMERAS):
            return False
        frame = np.stack([policy_image(images[camera].rgb) for camera in CAMERAS])
        return float(self.probability(frame[None])[0]) >= self.card.threshold

    def save(self, path: Path) -> str:
        """Write one safetensors file; returns its content hash."""
        described = asdict(self.card) | {"image_px": POLICY_IMAGE_PX, "cameras": list(CAMERAS)}
        tensors = dict(self.network.state_dict())
        return write_tensors(path, KIND, SCHEMA, self.card.task, described, tensors)

    @classmethod
    def load(cls, path: Path, task: str) -> SuccessClassifier:
        """Read a file; ConfigError when it is damaged, of another task or of other images."""
        described, tensors = read_tensors(path, KIND, SCHEMA, task)
        refuse_not_finite(path, tensors)
        _require_images(path, described)
        network = SuccessNetwork()
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ConfigError(f"{path} does not hold this network: {error}; train anew") from error
        return cls(network, ClassifierCard(**described))


def _require_images(path: Path, described: dict[str, Any]) -> None:
    """Remove what a file says of its images, having checked it."""
    wanted = {"image_px": POLICY_IMAGE_PX, "cameras": list(CAMERAS)}
    for name, value in wanted.items():
        if (found := described.pop(name, None)) != value:
            raise ConfigError(f"{path} was trained on {name} {found!r}, not {value!r}; train anew")
