"""Serialized messages into objects with the message's field names, on `mcap_ros2`; no ROS."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pld.errors import MissingPackageError, RecordingError

try:
    from mcap_ros2.decoder import DecoderFactory
except ImportError as error:  # pragma: no cover - depends on the environment
    raise MissingPackageError(
        "the package mcap-ros2-support is missing: pip install mcap-ros2-support==0.6.0"
    ) from error

Decoder = Callable[[bytes], Any]


class _Schema:
    """What DecoderFactory asks of a schema."""

    encoding = "ros2msg"

    def __init__(self, name: str, text: str) -> None:
        self.id, self.name, self.data = 1, name, text.encode()


@cache
def decoder(type_name: str, schema: str) -> Decoder:
    """A function from CDR bytes to an object with the fields of `type_name`.

    That function raises RecordingError when the bytes are not such a message.
    """
    vendor = DecoderFactory().decoder_for("cdr", _Schema(type_name, schema))  # type: ignore[arg-type]
    if vendor is None:
        raise RecordingError(f"no decoder for {type_name!r}")

    def decode(cdr: bytes) -> Any:
        try:
            return vendor(cdr)
        except Exception as error:
            raise RecordingError(f"{len(cdr)} bytes are not a {type_name}: {error}") from error

    return decode
