"""Labelled frames for the success classifier: recorded bags in, images and labels out.

A frame is the newest image of every camera at a control step. It is a success where the run's own
detector said so and the episode counts as one; frames shortly before are left out, since nobody
can tell them from the first success. Where only the operator said so, the last frame is the one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pld.contract import CAMERAS
from pld.conversion import images_at
from pld.errors import ConfigError, RecordingError
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.recording.labels import outcome
from pld.recording.reader import Episode, ImageStream, read_episode
from pld.recording.recover import episodes_at
from pld.reward.frames import LabelledFrames

UNCLEAR_STEPS = 4
"""Steps before the first success that are neither."""


def frames_of(
    folders: Sequence[Path], left_out: Callable[[str], None] = lambda said: None
) -> LabelledFrames:
    """All labelled frames of runs or single episodes; ConfigError when they cannot teach anything.

    An episode that cannot be read, or is unlabelled, is left out; `left_out` is told which and why.
    """
    parts: list[LabelledFrames] = []
    for folder in (episode for given in folders for episode in episodes_at(given)):
        try:
            parts.append(_frames(len(parts), folder))
        except RecordingError as error:
            left_out(f"left out {folder.name}: {error}")
    tasks = sorted({part.task for part in parts})
    if len(tasks) > 1:
        raise ConfigError(f"the bags are of several tasks: {', '.join(tasks)}; give those of one")
    successes = sum(bool(part.success.any()) for part in parts)
    if successes < 2 or len(parts) - successes < 2:
        raise ConfigError(
            f"{len(parts)} episodes with {successes} successes cannot train a classifier; give at "
            "least two successful and two failed ones, better fifty of each"
        )
    return LabelledFrames(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.success for part in parts]),
        np.concatenate([part.episode for part in parts]),
        tasks[0],
    )


def _frames(number: int, folder: Path) -> LabelledFrames:
    recorded = read_episode(folder)
    if not recorded.updates:
        raise RecordingError(f"{folder.name} says nothing of its episode; leave it out")
    counted = outcome(folder)
    if counted == "unlabelled":
        raise RecordingError("it is unlabelled: nobody knows whether its frames show a success")
    if recorded.ended_ns is None:
        raise RecordingError("it was recovered without its end, where a success shows")
    last = recorded.updates[-1].value
    if last.seed in EVALUATION_BLOCK:
        raise RecordingError(f"it begins at a start of evaluations (seed {last.seed})")
    said = [r.value for r in recorded.rewards if r.value.step >= last.first_step]
    labels = clear_labels(np.array([r.success for r in said], bool), counts=counted == "success")
    kept = [(r.t_ns, label) for r, label in zip(said, labels, strict=True) if label is not None]
    images = _images(recorded, [t_ns for t_ns, _ in kept])
    return LabelledFrames(
        images,
        np.array([label for _, label in kept], bool),
        np.full(len(kept), number, np.int64),
        last.task,
    )


def clear_labels(said: NDArray[np.bool_], *, counts: bool) -> list[bool | None]:
    """What each step teaches, from what the detector `said` (T,): success, no success, nothing.

    Where the episode does not count as a success, a detector that said so was wrong, and what it
    was wrong about is left out. A success that the detector never saw was the operator's word,
    which ends the episode, or a later label: it is that of the last step.
    """
    if not said.any():
        if not (counts and len(said)):
            return [False] * len(said)
        said = np.arange(len(said)) == len(said) - 1
    first = int(np.argmax(said))
    labels: list[bool | None] = [False] * max(first - UNCLEAR_STEPS, 0)
    labels += [None] * (first - len(labels))
    return labels + [True if counts and success else None for success in said[first:]]


def _images(recorded: Episode, steps_ns: list[int]) -> NDArray[np.uint8]:
    columns = [_newest(recorded.images[camera], steps_ns) for camera in CAMERAS]
    return np.stack(columns, axis=1)


def _newest(stream: ImageStream, steps_ns: list[int]) -> NDArray[np.uint8]:
    """The policy's image (T, px, px, 3) that was newest at each of `steps_ns`."""
    newest = [stream.newest_before(t_ns) for t_ns in steps_ns]
    return images_at(stream, [int(stream.t_ns[index]) for index in newest])
