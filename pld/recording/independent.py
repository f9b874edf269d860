"""What an independent reader, `rosbags`, finds in a bag; used to check our own writing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pld.errors import MissingPackageError, RecordingError

try:
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
except ImportError as error:  # pragma: no cover - depends on the environment
    raise MissingPackageError(
        "the package rosbags is missing: pip install rosbags==0.11.9"
    ) from error


@dataclass(frozen=True)
class IndependentTopic:
    """A topic as `rosbags` sees it.

    `announced` is the count in metadata.yaml, `messages` those read, `decoded` those that its own
    decoder takes; `computed_hash` is the RIHS01 hash that it computes from the schema's text.
    """

    name: str
    type: str
    announced: int
    messages: int
    decoded: int
    type_hash: str
    computed_hash: str


def read_independently(folder: Path) -> dict[str, IndependentTopic]:
    """Read and decode every message of the bag in `folder`; raises RecordingError."""
    try:
        return _read(folder)
    except Exception as error:
        raise RecordingError(
            f"rosbags cannot read {str(folder)!r}: {type(error).__name__}: {error}"
        ) from error


def _read(folder: Path) -> dict[str, IndependentTopic]:
    store = get_typestore(Stores.EMPTY)
    found: Counter[str] = Counter()
    decoded: Counter[str] = Counter()
    with Reader(folder) as reader:
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, _, data in reader.messages():
            found[connection.topic] += 1
            store.deserialize_cdr(data, connection.msgtype)
            decoded[connection.topic] += 1
        return {
            c.topic: IndependentTopic(
                c.topic,
                c.msgtype,
                c.msgcount,
                found[c.topic],
                decoded[c.topic],
                c.digest,
                store.hash_rihs01(c.msgtype),
            )
            for c in reader.connections
        }
