"""The recorder's life over a run: follows the episode status and keeps one bag per episode.

Pure but for the files: messages come as bytes, times as arguments. The caller asks `status` after
each call and tells the graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from pld.errors import RecordingError
from pld.recording import bag
from pld.recording.bag import SAFE_NAME, RawMessage, RecordedTopic, RunDescription
from pld.recording.decoding import decoder
from pld.recording.drain import Activity, Drain
from pld.recording.durable import MIN_FREE_BYTES, Reserve, describe, free_bytes, require_room
from pld.recording.latched import LatchedMessages
from pld.recording.sequences import SequenceTracker
from pld.recording.translate import EpisodeUpdate, episode_update, unknown_update
from pld.recording.verdict import Ending, judge, save_verdict
from pld.recording.writer import EpisodeWriter, Opener, WriterConfig, open_exclusively
from pld.types import EpisodeState

OPENING_STATES = (EpisodeState.RESETTING, EpisodeState.RUNNING)
RECORDING_FAILED = "recording_failed"
SUPERSEDED = "superseded"


class RecorderState(IntEnum):
    """What the recorder is doing; values as in pld_interfaces/RecorderStatus."""

    IDLE = 0
    RECORDING = 1
    CLOSED = 2
    FAILED = 3


@dataclass(frozen=True)
class SessionStatus:
    """The recorder's answer for an episode."""

    state: RecorderState = RecorderState.IDLE
    episode_id: str = ""
    path: str = ""
    messages: int = 0
    lost: int = 0
    error: str = ""


@dataclass(frozen=True)
class SessionConfig:
    """Where bags go and what they need; `run_dir` gets `episodes/<episode_id>/`.

    Nobody is told that an episode is being recorded before each of the topics `awaited` has been
    heard or found once: on a busy machine a reader may be found later than the first step.
    """

    run_dir: Path
    min_free_bytes: int = MIN_FREE_BYTES
    drain_s: float = 0.25
    drain_limit_s: float = 3.0
    writer: WriterConfig = field(default_factory=WriterConfig)
    awaited: frozenset[str] = frozenset()


class RecordingSession:
    """Opens, fills and closes the bag of each episode as the episode status says."""

    def __init__(
        self,
        config: SessionConfig,
        topics: Mapping[str, RecordedTopic],
        describe_run: Callable[[], RunDescription],
        opener: Opener = open_exclusively,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._config = config
        self._topics = topics
        self._describe_run = describe_run
        self._opener = opener
        self._free = free
        self._tracker = SequenceTracker()
        self._latched = LatchedMessages(topics)
        self._activity = Activity()
        self._writer: EpisodeWriter | None = None
        self._reserve: Reserve | None = None
        self._run = RunDescription()
        self._update: EpisodeUpdate | None = None
        self._drain: Drain | None = None
        self._awaited = set(config.awaited)
        self.status = SessionStatus()
        for topic in topics.values():
            decoder(topic.type, topic.schema)

    @property
    def episodes_folder(self) -> Path:
        """Where the episode folders are."""
        return self._config.run_dir / bag.EPISODES_FOLDER

    @property
    def dropped(self) -> int:
        """Messages of the open episode that the recorder could not take so far."""
        return 0 if self._writer is None else self._writer.dropped

    def check(self) -> None:
        """Raise RecordingError unless bags can be written; to be called before anything moves."""
        require_room(self.episodes_folder, self._config.min_free_bytes, self._free)
        self._run = self._describe_run()

    def on_message(self, message: RawMessage, publisher: Hashable = None) -> None:
        """Take a message of a declared topic, in order of arrival.

        `publisher` tells the publishers of a shared topic apart; None when nobody can.
        """
        topic = self._topics[message.topic]
        message = dataclasses.replace(message, lost=self._missing(topic, message, publisher))
        if topic.type == bag.EPISODE_STATUS:
            self._follow(self._decoded(topic, message), message)
        self._latched.keep(message)
        self._activity.on_message(message)
        self._awaited.discard(message.topic)
        if self._writer is not None:
            self._writer.put(message)
            self._announce()
        if self._drain is not None:
            self._drain.on_message(message)
        if self._writer is not None and self._writer.failure:
            self._give_up(self._writer.failure)
        elif self._drain is not None and self._drain.has_everything:
            self._close("")

    @property
    def awaited(self) -> tuple[str, ...]:
        """Topics that were neither heard nor found yet."""
        return tuple(sorted(self._awaited))

    def on_found(self, topic: str) -> None:
        """Take note that what will be published on `topic` will be heard."""
        self._awaited.discard(topic)
        if self._writer is not None:
            self._announce()

    def poll(self, now_ns: int) -> None:
        """Notice failed writes and the end of the drain; to be called about 20 times a second."""
        if self._writer is not None and self._writer.failure:
            self._give_up(self._writer.failure)
        elif self._drain is not None and self._drain.is_complete(now_ns):
            self._close("")

    def shutdown(self, reason: str) -> None:
        """Close the open bag, if any, with the reason why the recorder has to end."""
        if self._writer is not None:
            self._close(reason)

    def _missing(
        self, topic: RecordedTopic, message: RawMessage, publisher: Hashable
    ) -> int | None:
        if publisher is None and not topic.single_producer:
            return None
        return self._tracker.missing_before(topic.name, message.sequence, publisher)

    def _decoded(self, topic: RecordedTopic, message: RawMessage) -> EpisodeUpdate:
        return episode_update(decoder(topic.type, topic.schema)(message.cdr))

    def _follow(self, update: EpisodeUpdate, message: RawMessage) -> None:
        is_new = update.episode_id not in ("", self.status.episode_id)
        if is_new and update.state in OPENING_STATES:
            self.shutdown(SUPERSEDED)
            self._open(update, message.log_time_ns)
        elif self._writer is not None and update.episode_id == self.status.episode_id:
            self._update = update
            if update.state is EpisodeState.ENDED and self._drain is None:
                self._drain = Drain(
                    message.publish_time_ns,
                    self._activity.active(message.publish_time_ns),
                    round(self._config.drain_s * 1e9),
                    round(self._config.drain_limit_s * 1e9),
                )

    def _announce(self) -> None:
        """Tell that the open episode is being recorded, once everybody has been heard."""
        if self.status.state is RecorderState.IDLE and not self._awaited:
            self._tell(RecorderState.RECORDING)

    def _open(self, update: EpisodeUpdate, now_ns: int) -> None:
        folder = self.episodes_folder / update.episode_id
        self.status = SessionStatus(RecorderState.IDLE, update.episode_id, str(folder))
        self._update, self._drain = update, None
        try:
            if not SAFE_NAME.fullmatch(update.episode_id):
                raise RecordingError(
                    f"episode_id {update.episode_id!r} is no folder name; valid: letters, digits, "
                    "'.', '_' and '-', not starting with a sign"
                )
            self.check()
            writer = EpisodeWriter(
                folder, self._topics, self._run, self._config.writer, self._opener
            )
            writer.start()
            self._writer = writer
            self._reserve = Reserve(folder / ".verdict-reserve")
            self._reserve.take()
        except (RecordingError, OSError) as error:
            self._fail_to_open(error)
            return
        for kept in self._latched.messages(now_ns):
            writer.put(kept)
        self._announce()

    def _fail_to_open(self, error: RecordingError | OSError) -> None:
        text = describe(error) if isinstance(error, OSError) else str(error)
        if self._writer is not None:
            self._give_up(text)
        else:
            self._tell(RecorderState.FAILED, error=text)

    def _close(self, reason: str) -> None:
        writer = self._writer
        if writer is None:
            return
        try:
            writer.close()
            self._write_verdict(writer, Ending(writer.bag.name, reason=reason))
        except (RecordingError, OSError) as error:
            self._give_up(describe(error) if isinstance(error, OSError) else str(error))
            return
        self._tell(RecorderState.CLOSED)
        self._writer = self._drain = None

    def _give_up(self, error: str) -> None:
        """Recording failed: keep what was written, write a verdict if the disk still lets us."""
        writer = self._writer
        if writer is None:
            return
        writer.abandon()
        try:
            ending = Ending(writer.part.name, "failed", RECORDING_FAILED, error)
            self._write_verdict(writer, ending)
        except OSError as second:
            error = f"{error}; and no verdict could be written: {describe(second)}"
        self._tell(RecorderState.FAILED, error=error)
        self._writer = self._drain = None

    def _write_verdict(self, writer: EpisodeWriter, ending: Ending) -> None:
        if self._reserve is not None:
            self._reserve.release()
        update = self._update or unknown_update(writer.folder.name)
        save_verdict(writer.folder, judge(update, writer.statistics, self._run, ending))

    def _tell(self, state: RecorderState, error: str = "") -> None:
        messages = lost = 0
        if self._writer is not None:
            messages = self._writer.statistics.messages
            lost = sum(t.lost or 0 for t in self._writer.statistics.topic_figures())
        self.status = dataclasses.replace(
            self.status, state=state, messages=messages, lost=lost, error=error
        )
