"""Images handed from the renderer to a camera's process: one memory-mapped ring file per camera.

The writer fills the oldest slot and then raises the count; a reader copies a slot and then checks
that the writer has not come round to it. Nobody waits for anybody, a killed process leaves a plain
file behind, and a new writer replaces the file, which readers notice by its identity.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pld.errors import CameraError
from pld.types import Image, Intrinsics

MAGIC = 0x504C_445F_4652_414D
SLOTS = 4
DEPTH_UNIT_M = 0.001
HEADER = np.dtype(
    [
        ("magic", "<u8"),
        ("width_px", "<i8"),
        ("height_px", "<i8"),
        ("has_depth", "<i8"),
        ("k", "<f8", 4),
        ("distortion", "<f8", 5),
        ("written", "<i8"),
    ]
)


@dataclass(frozen=True)
class Frame:
    """One rendered image: `number` counts camera periods, so that a gap is a lost image.

    `rgb` (H, W, 3) uint8; `depth` (H, W) uint16 in DEPTH_UNIT_M along the optical axis, 0 where
    nothing is near enough, or None.
    """

    number: int
    t_ns: int
    rgb: Image
    depth: NDArray[np.uint16] | None


def frames_path(twin_dir: Path, camera: str) -> Path:
    """Where the ring of `camera` lies in the twin's run folder."""
    return twin_dir / f"{camera}.frames"


def _slot_dtype(width_px: int, height_px: int, has_depth: bool) -> np.dtype[Any]:
    depth_rows = height_px if has_depth else 0
    return np.dtype(
        [
            ("number", "<i8"),
            ("t_ns", "<i8"),
            ("rgb", "u1", (height_px, width_px, 3)),
            ("depth", "<u2", (depth_rows, width_px)),
        ]
    )


class FrameWriter:
    """Creates the ring (replacing an older one as a whole) and fills it; the only writer."""

    def __init__(self, path: Path, intrinsics: Intrinsics, *, depth: bool) -> None:
        slot = _slot_dtype(intrinsics.width_px, intrinsics.height_px, depth)
        header = np.zeros(1, HEADER)
        header["magic"] = MAGIC
        header["width_px"], header["height_px"] = intrinsics.width_px, intrinsics.height_px
        header["has_depth"] = int(depth)
        header["k"] = (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
        header["distortion"] = intrinsics.distortion
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(header.tobytes() + bytes(SLOTS * slot.itemsize))
        temporary.replace(path)
        self._map = _map(path)
        self._header, self._slots = _views(self._map, slot)

    def write(
        self, number: int, t_ns: int, rgb: Image, depth: NDArray[np.uint16] | None = None
    ) -> None:
        """Hand over one image; see Frame for shapes and units."""
        written = int(self._header["written"][0])
        slot = self._slots[written % SLOTS : written % SLOTS + 1]
        slot["number"], slot["t_ns"] = number, t_ns
        slot["rgb"][0] = rgb
        if depth is not None:
            slot["depth"][0] = depth
        self._header["written"][0] = written + 1


class FrameReader:
    """Reads a ring in order, from the image after the latest at opening; skips what was lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        if not self._path.exists():
            raise CameraError(
                f"no images at {str(self._path)!r}; start `python -m pld.twin.renderer` first"
            )
        self._map = _map(self._path)
        header = np.frombuffer(self._map, HEADER, 1)
        if int(header["magic"][0]) != MAGIC:
            raise CameraError(f"{str(self._path)!r} is not a frame ring; delete it")
        self.has_depth = bool(header["has_depth"][0])
        width_px, height_px = int(header["width_px"][0]), int(header["height_px"][0])
        fx, fy, cx, cy = map(float, header["k"][0])
        k1, k2, p1, p2, k3 = map(float, header["distortion"][0])
        self.intrinsics = Intrinsics(width_px, height_px, fx, fy, cx, cy, (k1, k2, p1, p2, k3))
        slot = _slot_dtype(width_px, height_px, self.has_depth)
        self._header, self._slots = _views(self._map, slot)
        self._identity = _identity(self._path)
        self._next = int(self._header["written"][0])

    def reopen_if_replaced(self) -> bool:
        """Follow a new writer; True when there is one. Call it when no image came for a while."""
        if _identity(self._path) in (None, self._identity):
            return False
        self._open()
        self._next = 0
        return True

    def next(self) -> Frame | None:
        """The next image in order, copied; None when there is none yet."""
        while True:
            written = int(self._header["written"][0])
            if self._next >= written:
                return None
            self._next = max(self._next, written - SLOTS + 1)
            slot = self._slots[self._next % SLOTS]
            depth = slot["depth"].copy() if self.has_depth else None
            frame = Frame(int(slot["number"]), int(slot["t_ns"]), slot["rgb"].copy(), depth)
            if int(self._header["written"][0]) - SLOTS < self._next:
                self._next += 1
                return frame


def _map(path: Path) -> mmap.mmap:
    with path.open("r+b") as stream:
        return mmap.mmap(stream.fileno(), 0)


def _views(memory: mmap.mmap, slot: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    header = np.frombuffer(memory, HEADER, 1)
    return header, np.frombuffer(memory, slot, SLOTS, offset=HEADER.itemsize)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file, or None while it is being replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
