"""Read an episode for training: the control loop's own types with stamps, images when asked for.

Stamps are those of measurement (header), on the graph clock. `log_time_ns` is when the recorder
received a message, on the system clock of the recording machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pld.errors import ContractError, RecordingError
from pld.recording import bag, translate
from pld.recording.camera_check import camera_name
from pld.recording.cdr import header_stamp_ns, image_array
from pld.recording.decoding import decoder
from pld.recording.mcap_read import BagFile
from pld.recording.recover import bag_path
from pld.recording.translate import (
    EpisodeUpdate,
    ResidualCorrection,
    RewardSignal,
    TeleopAction,
)
from pld.recording.verdict import Verdict, load_verdict
from pld.types import ArmState, BaseAction, CameraImage, Choice, Command, EpisodeState

T = TypeVar("T")


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """A value with its time of measurement and its time of arrival at the recorder [ns]."""

    t_ns: int
    log_time_ns: int
    value: T


@dataclass(frozen=True)
class ImageStream:
    """The images of one topic; pixels are read from the bag only when asked for."""

    path: Path
    topic: str
    t_ns: NDArray[np.int64]
    log_time_ns: NDArray[np.int64]
    sequence: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t_ns)

    def load(self, index: int) -> CameraImage:
        """Image `index`, in order of arrival."""
        wanted = int(self.sequence[index])
        for message in BagFile(self.path).messages([self.topic], int(self.log_time_ns[index])):
            if message.sequence == wanted:
                return _camera_image(message.cdr, wanted)
        raise RecordingError(f"{self.path}: image {index} of {self.topic} is gone")

    def all(self) -> Iterator[CameraImage]:
        """Every image in order of arrival, one in memory at a time."""
        for message in BagFile(self.path).messages([self.topic]):
            yield _camera_image(message.cdr, message.sequence)

    def newest_before(self, t_ns: int) -> int:
        """Index of the newest image measured at or before `t_ns`; raises RecordingError."""
        candidates = np.flatnonzero(self.t_ns <= t_ns)
        if not candidates.size:
            raise RecordingError(f"{self.path}: no image of {self.topic} at or before {t_ns} ns")
        return int(candidates[np.argmax(self.t_ns[candidates])])


@dataclass(frozen=True)
class Episode:
    """One recorded episode; `images` by camera name, the rest in order of arrival."""

    folder: Path
    verdict: Verdict
    images: dict[str, ImageStream]
    arm_states: tuple[Stamped[ArmState], ...]
    base_actions: tuple[Stamped[BaseAction], ...]
    residual_actions: tuple[Stamped[ResidualCorrection], ...]
    human_actions: tuple[Stamped[TeleopAction], ...]
    choices: tuple[Stamped[Choice], ...]
    commands: tuple[Stamped[Command], ...]
    rewards: tuple[Stamped[RewardSignal], ...]
    updates: tuple[Stamped[EpisodeUpdate], ...]

    @property
    def last_update(self) -> EpisodeUpdate:
        """What was last said of the episode; raises ContractError where nothing was."""
        if not self.updates:
            raise ContractError(f"{self.folder.name} says nothing of its episode; discard it")
        return self.updates[-1].value

    @property
    def ended_ns(self) -> int | None:
        """When the episode ended [graph clock]; None where a recovered bag does not show it."""
        ends = (u.value.t_ns for u in self.updates if u.value.state is EpisodeState.ENDED)
        return next(ends, None)


TRANSLATIONS: dict[str, Callable[[Any], Any]] = {
    bag.ARM_STATE: translate.arm_state,
    bag.BASE_ACTION: translate.base_action,
    bag.RESIDUAL_ACTION: translate.residual_action,
    bag.HUMAN_ACTION: translate.human_action,
    bag.CHOICE: translate.choice,
    bag.ARM_COMMAND: translate.command,
    bag.REWARD: translate.reward,
    bag.EPISODE_STATUS: translate.episode_update,
}


def read_episode(folder: Path) -> Episode:
    """Read the finished episode in `folder`; raises RecordingError when it is not finished."""
    verdict = load_verdict(folder)
    file = BagFile(bag_path(folder))
    found, rows = _read_all(file)
    return Episode(
        folder=folder,
        verdict=verdict,
        images={
            camera_name(topic, file.run.namespace): _image_stream(file.path, topic, table)
            for topic, table in rows.items()
        },
        arm_states=tuple(found[bag.ARM_STATE]),
        base_actions=tuple(found[bag.BASE_ACTION]),
        residual_actions=tuple(found[bag.RESIDUAL_ACTION]),
        human_actions=tuple(found[bag.HUMAN_ACTION]),
        choices=tuple(found[bag.CHOICE]),
        commands=tuple(found[bag.ARM_COMMAND]),
        rewards=tuple(found[bag.REWARD]),
        updates=tuple(found[bag.EPISODE_STATUS]),
    )


_ImageRow = tuple[int, int, int]


def _read_all(file: BagFile) -> tuple[dict[str, list[Stamped[Any]]], dict[str, list[_ImageRow]]]:
    """Everything but pixels, in one pass: values by type and image rows by topic."""
    decoders = {
        topic.type: decoder(topic.type, topic.schema)
        for topic in file.topics.values()
        if topic.type in TRANSLATIONS
    }
    rows: dict[str, list[_ImageRow]] = {
        name: [] for name in file.topics if camera_name(name, file.run.namespace)
    }
    found: dict[str, list[Stamped[Any]]] = {type_name: [] for type_name in TRANSLATIONS}
    wanted = [*rows, *(n for n, t in file.topics.items() if t.type in TRANSLATIONS)]
    for message in file.messages(wanted):
        stamp = header_stamp_ns(message.cdr)
        type_name = file.topics[message.topic].type
        if message.topic in rows:
            rows[message.topic].append((stamp, message.log_time_ns, message.sequence))
        else:
            value = TRANSLATIONS[type_name](decoders[type_name](message.cdr))
            found[type_name].append(Stamped(stamp, message.log_time_ns, value))
    return found, rows


def _image_stream(path: Path, topic: str, rows: list[_ImageRow]) -> ImageStream:
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    return ImageStream(path, topic, table[:, 0], table[:, 1], table[:, 2])


def _camera_image(cdr: bytes, sequence: int) -> CameraImage:
    rgb = np.asarray(image_array(cdr), dtype=np.uint8)
    return CameraImage(header_stamp_ns(cdr), sequence, rgb)
