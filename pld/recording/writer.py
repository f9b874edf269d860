"""Writes one episode's bag on its own thread, so that the disk never holds up the receiver.

The queue is bounded in bytes. What does not fit is counted as dropped, per topic, and shown; it
is never lost in silence. The open chunk is flushed 20 times a second of log time: a killed
process loses about as much, and a full disk shows as soon. A failed write stops the bag: what
was written stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pld.errors import ConfigError, RecordingError
from pld.recording.bag import (
    EPISODE_RECORD,
    METADATA_NAME,
    PART_SUFFIX,
    RawMessage,
    RecordedTopic,
    RunDescription,
)
from pld.recording.durable import describe, rename_durably, write_durably
from pld.recording.mcap_file import COMPRESSIONS, McapFile
from pld.recording.statistics import EpisodeStatistics

Opener = Callable[[Path], IO[bytes]]


@dataclass(frozen=True)
class WriterConfig:
    """Sizes and times of the bag writer.

    `queue_bytes` holds about 7 s of two uncompressed colour cameras at 30 Hz.
    """

    compression: str = "zstd"
    queue_bytes: int = 128 << 20
    flush_s: float = 0.05

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise ConfigError.unknown("compression", self.compression, COMPRESSIONS)


def open_exclusively(path: Path) -> IO[bytes]:
    """Create `path` and lock it while it is open, so that a recovery leaves it alone."""
    stream = path.open("xb", buffering=1 << 20)
    fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return stream


class EpisodeWriter:
    """One episode's bag: `start`, `put` messages, then `close` or `abandon`."""

    def __init__(
        self,
        folder: Path,
        topics: Mapping[str, RecordedTopic],
        run: RunDescription,
        config: WriterConfig | None = None,
        opener: Opener = open_exclusively,
    ) -> None:
        self.folder = folder
        self.statistics = EpisodeStatistics(topics, run.namespace)
        self._topics = topics
        self._run = run
        self._config = config or WriterConfig()
        self._opener = opener
        self._queue: list[RawMessage] = []
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = self._stopped = False
        self._dropped: Counter[str] = Counter()
        self._failure: str = ""
        self._flushed_ns = 0
        self._thread = threading.Thread(target=self._run_thread, name="bag-writer", daemon=True)

    @property
    def bag(self) -> Path:
        """The finished bag file."""
        return self.folder / f"{self.folder.name}.mcap"

    @property
    def part(self) -> Path:
        """The bag file while it is written."""
        return self.folder / f"{self.folder.name}{PART_SUFFIX}"

    @property
    def failure(self) -> str:
        """Why writing stopped, or an empty string."""
        return self._failure

    @property
    def dropped(self) -> int:
        """Messages that did not fit into the queue or came after a failure."""
        return sum(self._dropped.values())

    def start(self) -> None:
        """Make the folder and the part file; raises RecordingError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=False)
            self._stream = self._opener(self.part)
            self._file = McapFile(self._stream, compression=self._config.compression)
            self._file.start({EPISODE_RECORD: run_record(self._run)})
            for topic in self._topics.values():
                self._file.add_topic(topic)
        except FileExistsError as error:
            raise RecordingError(
                f"{str(self.folder)!r} is there already and bags are never overwritten; "
                "give the run another name"
            ) from error
        except OSError as error:
            raise RecordingError(
                f"cannot open a bag in {str(self.folder)!r}: {describe(error)}"
            ) from error
        self._thread.start()

    def put(self, message: RawMessage) -> bool:
        """Hand over a message without waiting; False when it had to be dropped (and counted)."""
        with self._changed:
            full = self._queued_bytes + len(message.cdr) > self._config.queue_bytes
            if full or self._failure or self._closing:
                self._dropped[message.topic] += 1 + (message.lost or 0)
                return False
            self._queue.append(message)
            self._queued_bytes += len(message.cdr)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Write what is queued, then summary, fsync, rename and metadata.yaml.

        Raises RecordingError when any write failed, now or before; the part file is kept then.
        """
        self._stop()
        if self._failure:
            self._let_go()
            raise RecordingError(self._failure)
        try:
            metadata = self._file.finish(self.bag.name, self._run.ros_distro)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            rename_durably(self.part, self.bag)
            self._stream.close()
            write_durably(self.folder / METADATA_NAME, metadata)
        except OSError as error:
            self._fail(error)
            self._let_go()
            raise RecordingError(self._failure) from error

    def abandon(self) -> None:
        """Stop after a failure: write what can be written, keep the part file as it is."""
        self._stop()
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()
        self._let_go()

    def _stop(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._stopped:
            return
        self._stopped = True
        for topic, count in self._dropped.items():
            self.statistics.add_dropped(topic, count)

    def _let_go(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.close()

    def _run_thread(self) -> None:
        batch: list[RawMessage] | None = []
        try:
            while batch := self._next_batch():
                self._write(batch)
        except Exception as error:
            self._fail(error, unwritten=batch or ())

    def _next_batch(self) -> list[RawMessage] | None:
        """Wait for messages; None at the end. Idle time flushes the open chunk."""
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(self._config.flush_s)
                batch, self._queue = self._queue, []
                self._queued_bytes = 0
                if batch or self._closing:
                    return batch or None
            self._file.flush()

    def _write(self, batch: list[RawMessage]) -> None:
        while batch:
            message = batch[0]
            self._file.write(message)
            self.statistics.add(message)
            batch.pop(0)
            if message.log_time_ns - self._flushed_ns >= self._config.flush_s * 1e9:
                self._file.flush()
                self._flushed_ns = message.log_time_ns

    def _fail(self, error: Exception, unwritten: Iterable[RawMessage] = ()) -> None:
        what = describe(error) if isinstance(error, OSError) else repr(error)
        with self._changed:
            self._dropped.update(m.topic for m in (*unwritten, *self._queue))
            self._queue.clear()
            self._failure = (
                f"writing {str(self.part)!r} failed: {what}; what was written is kept: "
                f"make room, then run: pld bag recover {self.folder}"
            )


def run_record(run: RunDescription) -> dict[str, str]:
    """The run's description as an MCAP metadata record."""
    return {"run": json.dumps(asdict(run))}
