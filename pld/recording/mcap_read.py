"""Read MCAP files on the `mcap` package: whole bags by topic, and truncated ones as a stream."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from pld.config import from_mapping
from pld.errors import ConfigError, MissingPackageError, RecordingError
from pld.recording.bag import (
    EPISODE_RECORD,
    OfferedQos,
    RawMessage,
    RecordedTopic,
    RunDescription,
)

try:
    from mcap.exceptions import McapError
    from mcap.reader import make_reader
    from mcap.records import Channel, Footer, Message, Metadata, Schema
    from mcap.stream_reader import StreamReader
    from zstandard import ZstdError
except ImportError as error:  # pragma: no cover - depends on the environment
    raise MissingPackageError("the package mcap is missing: pip install 'mcap>=1.6.0'") from error

RECORD_LIMIT_BYTES = 256 << 20
DAMAGE = (
    McapError,
    EOFError,
    KeyError,
    OSError,
    OverflowError,
    ValueError,
    ZstdError,
    struct.error,
)
"""What the packages raise on damaged bytes."""
MAGIC = b"\x89MCAP0\r\n"
TAIL = struct.Struct("<BQQQI8s")
"""The footer and what ends a file: opcode, length, summary, summary offsets, CRC, magic."""
LATCHED_WORDS = ("transient_local", 1)
BEST_EFFORT_WORDS = ("best_effort", 2)


@dataclass
class Salvage:
    """A streamed bag: what it declares, filled in while `messages` is walked.

    `complete` is set when the file's footer was reached; else `damage` says what stopped it.
    """

    path: Path
    topics: dict[str, RecordedTopic] = field(default_factory=dict)
    run: RunDescription = field(default_factory=RunDescription)
    complete: bool = False
    damage: str = ""
    rosbag2_information: str = ""

    def messages(self) -> Iterator[RawMessage]:
        """Every readable message in file order.

        Stops at the first damage, whatever error the damaged bytes provoke in the parser.
        """
        schemas: dict[int, Schema] = {}
        channels: dict[int, str] = {}
        with self.path.open("rb") as stream:
            try:
                for record in _records(stream):
                    if isinstance(record, Message):
                        yield _raw(channels[record.channel_id], record)
                    else:
                        self._declare(record, schemas, channels)
            except Exception as error:
                self.damage = f"{type(error).__name__}: {error}"

    def _declare(
        self, record: object, schemas: dict[int, Schema], channels: dict[int, str]
    ) -> None:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record.topic
            self.topics[record.topic] = _topic(record, schemas[record.schema_id])
        elif isinstance(record, Metadata) and record.name == EPISODE_RECORD:
            self.run = _run(record.metadata)
        elif isinstance(record, Metadata) and record.name == "rosbag2":
            self.rosbag2_information = record.metadata["serialized_metadata"]
        elif isinstance(record, Footer):
            self.complete = True


class BagFile:
    """A finished bag, read by its index. Every call opens the file anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise RecordingError(
                f"there is no bag {str(path)!r}; rebuild it with: pld bag recover {path.parent}"
            )
        with path.open("rb") as stream, _damage_told(path):
            reader = make_reader(stream, validate_crcs=True)
            _check_summary(stream)
            summary = reader.get_summary()
            records = {m.name: m.metadata for m in reader.iter_metadata()}
        if summary is None or summary.statistics is None:
            raise RecordingError(
                f"{str(path)!r} has no summary; run: pld bag recover {path.parent}"
            )
        self.topics = {
            c.topic: _topic(c, summary.schemas[c.schema_id]) for c in summary.channels.values()
        }
        self.counts = {
            c.topic: summary.statistics.channel_message_counts.get(c.id, 0)
            for c in summary.channels.values()
        }
        self.run = _run(records.get(EPISODE_RECORD, {}))

    def messages(
        self, topics: Sequence[str] | None = None, at_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Messages in log time order, of `topics` only, and logged exactly at `at_ns` if given.

        Raises RecordingError where the file is damaged: what a chunk holds is checked first.
        """
        with self.path.open("rb") as stream:
            with _damage_told(self.path):
                found = make_reader(stream, validate_crcs=True).iter_messages(
                    topics=topics, starting_at=at_ns, ending_at=at_ns
                )
            while True:
                with _damage_told(self.path):
                    _, channel, message = next(found, (None, None, None))
                if channel is None or message is None:
                    return
                yield _raw(channel.topic, message)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """What the bytes of a damaged file provoke in its parser, as one error with a remedy."""
    try:
        yield
    except DAMAGE as error:
        raise RecordingError(
            f"{str(path)!r} is not a finished bag, or it is damaged ({type(error).__name__}: "
            f"{error}); rebuild it with: pld bag recover {path.parent}"
        ) from error


def _check_summary(stream: IO[bytes]) -> None:
    """Raise McapError where the summary is not what was written, as far as its CRC tells."""
    stream.seek(-TAIL.size, os.SEEK_END)
    *_, start, _, crc, magic = TAIL.unpack(stream.read(TAIL.size))
    end = stream.tell() - len(magic) - 4
    stream.seek(start)
    if magic != MAGIC or (start and crc and zlib.crc32(stream.read(end - start)) != crc):
        raise McapError("the summary at the end of the file does not match its checksum")


def _records(stream: IO[bytes]) -> Iterator[object]:
    return StreamReader(stream, validate_crcs=True, record_size_limit=RECORD_LIMIT_BYTES).records


def _raw(topic: str, message: Message) -> RawMessage:
    return RawMessage(topic, message.data, message.log_time, message.publish_time, message.sequence)


def _topic(channel: Channel, schema: Schema) -> RecordedTopic:
    profiles: Any = yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or [{}]
    profile = profiles[0]
    return RecordedTopic(
        channel.topic,
        schema.name,
        schema.data.decode(),
        channel.metadata.get("topic_type_hash", ""),
        OfferedQos(
            int(profile.get("depth", 10)),
            profile.get("reliability") not in BEST_EFFORT_WORDS,
            profile.get("durability") in LATCHED_WORDS,
        ),
        single_producer=channel.metadata.get("pld_single_producer", "true") == "true",
    )


def _run(record: dict[str, str]) -> RunDescription:
    try:
        return from_mapping(json.loads(record.get("run", "{}")), RunDescription)
    except (ValueError, ConfigError) as error:
        raise RecordingError(f"unreadable record {EPISODE_RECORD!r}: {error}") from error
