"""What a stream of recorded messages says about itself, collected message by message."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pld.errors import ContractError, RecordingError
from pld.recording import bag
from pld.recording.bag import RawMessage, RecordedTopic
from pld.recording.camera_check import CameraCheck, CameraFigures, camera_name
from pld.recording.cdr import header_stamp_ns
from pld.recording.decoding import decoder
from pld.recording.step_count import StepCount, StepFigures
from pld.recording.translate import EpisodeUpdate, arm_state, episode_update

MS = 1e6


@dataclass(frozen=True)
class TopicFigures:
    """Counts and times of one topic.

    Stamps [ns] and intervals [ms] are of the header (`clock` = header: time of measurement) or,
    for messages without one, of publication (`clock` = publish). `lost` is null when the topic
    has several publishers and the bag cannot tell. `dropped` is what the recorder itself could
    not take; it is part of `lost`. `gap_max_ms` is the longest silence on the recorder's clock.
    """

    name: str
    type: str
    type_hash: str
    messages: int
    lost: int | None
    dropped: int
    clock: str
    first_stamp_ns: int
    last_stamp_ns: int
    rate_hz: float
    interval_p50_ms: float
    interval_p99_ms: float
    interval_max_ms: float
    gap_max_ms: float


@dataclass
class _TopicCount:
    topic: RecordedTopic
    lost: int = 0
    loss_known: bool = True
    dropped: int = 0
    stamps: array[int] = field(default_factory=lambda: array("q"))
    logged: array[int] = field(default_factory=lambda: array("q"))

    def add(self, message: RawMessage) -> None:
        self.lost += message.lost or 0
        self.loss_known &= message.lost is not None
        stamp = message.publish_time_ns
        if self.topic.has_header and len(message.cdr) >= 12:
            stamp = header_stamp_ns(message.cdr)
        self.stamps.append(stamp)
        self.logged.append(message.log_time_ns)

    def figures(self) -> TopicFigures:
        intervals = intervals_ns(sorted(self.stamps))
        p50, p99, largest = quantiles_ms(intervals)
        gaps = intervals_ns(self.logged)
        span_s = float(intervals.sum()) / 1e9
        return TopicFigures(
            name=self.topic.name,
            type=self.topic.type,
            type_hash=self.topic.type_hash,
            messages=len(self.stamps),
            lost=self.lost + self.dropped if self.loss_known else None,
            dropped=self.dropped,
            clock="header" if self.topic.has_header else "publish",
            first_stamp_ns=min(self.stamps, default=0),
            last_stamp_ns=max(self.stamps, default=0),
            rate_hz=round(len(intervals) / span_s, 3) if span_s > 0 else 0.0,
            interval_p50_ms=p50,
            interval_p99_ms=p99,
            interval_max_ms=largest,
            gap_max_ms=quantiles_ms(gaps)[2],
        )


class EpisodeStatistics:
    """Collects figures per topic, per camera and per control step; `add` in order of arrival."""

    def __init__(self, topics: Mapping[str, RecordedTopic], namespace: str = "") -> None:
        self._namespace = namespace
        self._topics: dict[str, _TopicCount] = {}
        self._schemas: dict[str, str] = {}
        self._cameras: dict[str, CameraCheck] = {}
        self._steps = StepCount()
        self.last_update: EpisodeUpdate | None = None
        self.undecodable = 0
        for topic in topics.values():
            self.declare(topic)

    def declare(self, topic: RecordedTopic) -> None:
        """Make a topic known before its first message; again is harmless."""
        if topic.name in self._topics:
            return
        self._topics[topic.name] = _TopicCount(topic)
        self._schemas[topic.type] = topic.schema
        camera = camera_name(topic.name, self._namespace)
        if topic.type == bag.IMAGE and camera:
            self._cameras[topic.name] = CameraCheck(camera)

    def add(self, message: RawMessage) -> None:
        """Count one message; bytes that cannot be decoded are counted, never raised."""
        count = self._topics[message.topic]
        try:
            count.add(message)
            self._look_into(count.topic, message)
        except (RecordingError, ContractError, ValueError, AttributeError):
            self.undecodable += 1

    def add_dropped(self, topic: str, count: int) -> None:
        """Count messages that the recorder received and could not take."""
        self._topics[topic].dropped += count

    def topic_figures(self) -> tuple[TopicFigures, ...]:
        """One entry per declared topic, also for those without a message."""
        return tuple(count.figures() for count in self._topics.values())

    def camera_figures(self) -> tuple[CameraFigures, ...]:
        """One entry per colour camera."""
        return tuple(check.figures() for check in self._cameras.values())

    def step_figures(self, takeover_step: int = -1) -> StepFigures:
        """What happened in the control steps of the running episode."""
        return self._steps.figures(takeover_step)

    @property
    def messages(self) -> int:
        """Messages counted so far, all topics."""
        return sum(len(count.stamps) for count in self._topics.values())

    def _look_into(self, topic: RecordedTopic, message: RawMessage) -> None:
        if topic.name in self._cameras:
            self._cameras[topic.name].add_image(message.cdr)
        elif topic.type == bag.ARM_STATE:
            arm = arm_state(self._decode(topic.type, message.cdr))
            self._steps.add_arm_state(arm)
            for camera in self._cameras.values():
                camera.add_arm_state(arm)
        elif topic.type == bag.EPISODE_STATUS:
            self.last_update = episode_update(self._decode(topic.type, message.cdr))
            self._steps.add_update(self.last_update)
        elif topic.type in StepCount.TYPES:
            self._steps.add(topic.type, self._decode(topic.type, message.cdr))

    def _decode(self, type_name: str, cdr: bytes) -> object:
        return decoder(type_name, self._schemas[type_name])(cdr)


def intervals_ns(times_ns: Sequence[int]) -> NDArray[np.int64]:
    """The n - 1 intervals between n times."""
    values = np.array(times_ns, dtype=np.int64)
    return values[1:] - values[:-1]


def quantiles_ms(values_ns: NDArray[np.int64]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum of nanoseconds, in milliseconds; 0 when empty."""
    if values_ns.size == 0:
        return 0.0, 0.0, 0.0
    p50, p99, largest = (float(v) for v in np.percentile(values_ns, (50, 99, 100)))
    return round(p50 / MS, 3), round(p99 / MS, 3), round(largest / MS, 3)
