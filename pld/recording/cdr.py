"""The few fields of serialized messages that the recorder reads without a full decoding.

CDR (XCDR1) as ROS 2 sends it: four bytes of encapsulation, then fields aligned to their size
counted from the end of the encapsulation; strings are a uint32 length with the closing zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pld.errors import ContractError

_ENCAPSULATION = 4
_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "8UC1": 1, "16UC1": 1, "mono16": 1, "32FC1": 1}
_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


@dataclass(frozen=True)
class ImageLayout:
    """Where the pixels of a serialized sensor_msgs/Image are."""

    stamp_ns: int
    height_px: int
    width_px: int
    encoding: str
    big_endian: bool
    row_bytes: int
    offset: int
    size: int


def header_stamp_ns(cdr: bytes) -> int:
    """The stamp [ns] of a message whose first field is a std_msgs/Header."""
    order = "<" if cdr[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", cdr, _ENCAPSULATION)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def image_layout(cdr: bytes) -> ImageLayout:
    """The layout of a sensor_msgs/Image; raises ContractError when the bytes are too few."""
    try:
        return _image_layout(cdr)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ContractError(f"not a serialized sensor_msgs/Image: {error}") from error


def _image_layout(cdr: bytes) -> ImageLayout:
    order = "<" if cdr[1] & 1 else ">"
    at = _skip_string(cdr, _ENCAPSULATION + 8, order)
    at = _aligned(at)
    height, width = struct.unpack_from(order + "II", cdr, at)
    (length,) = struct.unpack_from(order + "I", cdr, at + 8)
    encoding = bytes(cdr[at + 12 : at + 12 + length]).rstrip(b"\0").decode("ascii")
    at += 12 + length
    big_endian = bool(cdr[at])
    at = _aligned(at + 1)
    row_bytes, size = struct.unpack_from(order + "II", cdr, at)
    if len(cdr) < at + 8 + size:
        raise struct.error(f"{size} bytes of pixels announced, {len(cdr) - at - 8} there")
    return ImageLayout(
        header_stamp_ns(cdr), height, width, encoding, big_endian, row_bytes, at + 8, size
    )


def pixels(cdr: bytes) -> bytes:
    """The pixel bytes alone of a sensor_msgs/Image."""
    layout = image_layout(cdr)
    return cdr[layout.offset : layout.offset + layout.size]


def image_array(cdr: bytes) -> NDArray[np.generic]:
    """Pixels (H, W, C) or (H, W) of a sensor_msgs/Image, colours as RGB.

    8-bit images are uint8, 16UC1 depth is uint16 [mm], 32FC1 depth is float32 [m].
    """
    layout = image_layout(cdr)
    if layout.encoding not in _CHANNELS:
        raise ContractError(
            f"image encoding {layout.encoding!r} is unknown; valid: {', '.join(_CHANNELS)}"
        )
    kind = np.dtype(_TYPES.get(layout.encoding, "u1")).newbyteorder(
        ">" if layout.big_endian else "<"
    )
    channels = _CHANNELS[layout.encoding]
    rows = np.frombuffer(cdr, np.uint8, layout.size, layout.offset)
    rows = rows.reshape(layout.height_px, layout.row_bytes)
    packed = rows[:, : layout.width_px * channels * kind.itemsize]
    array: NDArray[np.generic] = np.ascontiguousarray(packed).view(kind)
    if channels == 1:
        return array
    colours = array.reshape(layout.height_px, layout.width_px, channels)
    rgb: NDArray[np.generic] = colours[:, :, ::-1].copy() if layout.encoding == "bgr8" else colours
    return rgb


def _skip_string(cdr: bytes, at: int, order: str) -> int:
    at = _aligned(at)
    (length,) = struct.unpack_from(order + "I", cdr, at)
    return at + 4 + int(length)


def _aligned(at: int) -> int:
    return at + (-(at - _ENCAPSULATION) % 4)
