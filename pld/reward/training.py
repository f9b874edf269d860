"""Training the success classifier: balanced batches, and a threshold from episodes kept aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pld.augmentation import Augmentation, augmented
from pld.errors import ConfigError
from pld.reward.classifier import ClassifierCard, SuccessClassifier, SuccessNetwork
from pld.reward.frames import LabelledFrames

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class RewardTraining:
    """How long and on what; every `held_out_every`-th episode only chooses the threshold.

    The threshold lies `margin` of the way from the highest score of a failed frame kept aside to 1,
    and is at least `least_threshold`.
    """

    seed: int = 0
    steps: int = 600
    batch_size: int = 64
    learning_rate: float = 1e-3
    held_out_every: int = 4
    margin: float = 0.2
    least_threshold: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.held_out_every < 2:
            raise ConfigError(f"held_out_every is {self.held_out_every}; give 2 or more")
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; give 1 or more")


def train_classifier(
    frames: LabelledFrames, config: RewardTraining, progress: Progress | None = None
) -> SuccessClassifier:
    """A classifier of `frames`; ConfigError when one part lacks successes or failures."""
    aside = held_out(frames, config.held_out_every)
    shown, kept = frames.of(~aside), frames.of(aside)
    for name, part in (("training", shown), ("validation", kept)):
        if not part.success.any() or part.success.all():
            raise ConfigError(
                f"the {name} episodes have {int(part.success.sum())} frames of success among "
                f"{len(part)}; both kinds are needed: record more episodes"
            )
    torch.manual_seed(config.seed)
    network = SuccessNetwork()
    _fit(network, shown, config, progress)
    trial = SuccessClassifier(network, ClassifierCard(frames.task, 1.0, 0, 0, 0, 0, 0))
    scores = np.concatenate([trial.probability(part) for part in np.array_split(kept.images, 20)])
    return SuccessClassifier(network, _card(kept, scores, config))


def held_out(frames: LabelledFrames, every: int) -> NDArray[np.bool_]:
    """Which frames (N,) are of validation episodes: every so many-th of each outcome."""
    chosen: set[int] = set()
    for succeeded in (True, False):
        numbers = [
            number
            for number in np.unique(frames.episode)
            if bool(frames.success[frames.episode == number].any()) is succeeded
        ]
        chosen.update(int(n) for n in numbers[every - 1 :: every] or numbers[-1:])
    return np.isin(frames.episode, sorted(chosen))


def _fit(
    network: SuccessNetwork,
    shown: LabelledFrames,
    config: RewardTraining,
    progress: Progress | None,
) -> None:
    """Half of every batch are successes, however rare they are."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    rows = [np.flatnonzero(shown.success), np.flatnonzero(~shown.success)]
    labels = torch.tensor([1.0, 0.0]).repeat_interleave(config.batch_size // 2)
    for step in range(config.steps):
        rng = np.random.default_rng((config.seed, step))
        batch = np.concatenate([rng.choice(kind, config.batch_size // 2) for kind in rows])
        logits = network(augmented(shown.images, batch, config.augmentation, rng))
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if progress is not None:
            progress(step + 1, float(loss.detach()))


def _card(
    kept: LabelledFrames, scores: NDArray[np.float32], config: RewardTraining
) -> ClassifierCard:
    highest = float(scores[~kept.success].max())
    threshold = max(config.least_threshold, highest + config.margin * (1.0 - highest))
    found = scores >= threshold
    return ClassifierCard(
        task=kept.task,
        threshold=threshold,
        episodes=len(np.unique(kept.episode)),
        true_successes=int(kept.success.sum()),
        found_successes=int(found[kept.success].sum()),
        true_failures=int((~kept.success).sum()),
        false_successes=int(found[~kept.success].sum()),
    )
