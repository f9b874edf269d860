"""An MCAP file as rosbag2 writes it, on the `mcap` package's writer.

The flush many times a second needs `mcap.writer.Writer.flush`, public from mcap 1.6.0;
before that a killed recorder lost the whole open chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from pld.errors import ConfigError, MissingPackageError
from pld.recording.bag import RawMessage, RecordedTopic
from pld.recording.bag_metadata import (
    BagSummary,
    bag_information,
    channel_metadata,
    information_text,
    metadata_text,
)

try:
    from mcap.writer import CompressionType, Writer
except ImportError as error:  # pragma: no cover - depends on the environment
    raise MissingPackageError("the package mcap is missing: pip install 'mcap>=1.6.0'") from error

CHUNK_BYTES = 1 << 20
COMPRESSIONS = {
    "none": CompressionType.NONE,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}


class McapFile:
    """Writes topics and messages into an open binary stream; the caller owns the stream."""

    def __init__(self, stream: IO[bytes], *, compression: str = "zstd") -> None:
        if compression not in COMPRESSIONS:
            raise ConfigError.unknown("compression", compression, COMPRESSIONS)
        self._writer: Any = Writer(
            stream, chunk_size=CHUNK_BYTES, compression=COMPRESSIONS[compression]
        )
        self._topics: dict[str, RecordedTopic] = {}
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.messages = 0
        self.start_ns = 0
        self.end_ns = 0

    def start(self, records: Mapping[str, Mapping[str, str]]) -> None:
        """Write the file's head and metadata `records`, readable even in a truncated file."""
        self._writer.start(profile="ros2", library="pld")
        for name, content in records.items():
            self._writer.add_metadata(name, dict(content))
        self._writer.flush()

    def add_topic(self, topic: RecordedTopic) -> None:
        """Declare a topic; a second declaration is ignored."""
        if topic.name in self._channels:
            return
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._writer.register_schema(
                topic.type, "ros2msg", topic.schema.encode()
            )
        self._channels[topic.name] = self._writer.register_channel(
            topic.name, "cdr", self._schemas[topic.type], channel_metadata(topic)
        )
        self._topics[topic.name] = topic
        self.counts[topic.name] = 0

    def write(self, message: RawMessage) -> None:
        """Append a message of a declared topic."""
        self._writer.add_message(
            self._channels[message.topic],
            log_time=message.log_time_ns,
            data=message.cdr,
            publish_time=message.publish_time_ns,
            sequence=message.sequence & 0xFFFFFFFF,
        )
        first = self.messages == 0
        self.start_ns = message.log_time_ns if first else min(self.start_ns, message.log_time_ns)
        self.messages += 1
        self.end_ns = max(self.end_ns, message.log_time_ns)
        self.counts[message.topic] += 1

    def flush(self) -> None:
        """Close the open chunk and hand everything to the operating system."""
        self._writer.flush()

    def finish(self, file_name: str, ros_distro: str) -> str:
        """Write the bag's summary and index; returns the text for metadata.yaml."""
        summary = BagSummary(file_name, self.counts, self.start_ns, self.end_ns, ros_distro)
        information = bag_information(self._ordered_topics(), summary)
        self._writer.flush()
        self._writer.add_metadata("rosbag2", {"serialized_metadata": information_text(information)})
        self._writer.finish()
        return metadata_text(information)

    def _ordered_topics(self) -> Sequence[RecordedTopic]:
        return [self._topics[name] for name in self._channels]
