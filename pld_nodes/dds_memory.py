"""Shared memory that Fast DDS left behind when a process was killed.

A segment belongs to one process, which holds a lock on `SEGMENT_el` while it lives. So does the
reader of a port (`fastdds_port7411`), a queue that others write to; but a port may stay without any
lock file. One whose mutex a killed process held blocks whoever opens it next: its domain discovers
nobody any more, until the port and the mutex are removed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

PREFIXES = ("fastdds", "fastrtps")
SETTLED_S = 10.0
"""A port is left alone for so long after it changed: whoever makes one has yet to map it."""


def remove_stale_segments(folder: Path = Path("/dev/shm")) -> int:  # noqa: S108
    """Remove segments and ports that no living process uses; returns how many."""
    locks = [lock for prefix in PREFIXES for lock in folder.glob(f"{prefix}_*_el")]
    return sum(map(_remove_unlocked, locks)) + _remove_unmapped_ports(folder)


def _remove_unlocked(lock: Path) -> bool:
    """Remove a segment or port with its lock, unless its owner still holds that."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _unlink(lock.with_name(lock.name.removesuffix("_el")))
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _remove_unmapped_ports(folder: Path) -> int:
    """Remove ports without a lock, and mutexes without a port, that no process has mapped."""
    found = [file for prefix in PREFIXES for file in folder.glob(f"{prefix}_port*[0-9]")]
    found = [port for port in found if not port.with_name(f"{port.name}_el").exists()]
    for prefix in PREFIXES:
        mutexes = folder.glob(f"sem.{prefix}_port*_mutex")
        found += [mutex for mutex in mutexes if not _port_of(mutex).exists()]
    found = [file for file in found if _is_ours_and_settled(file)]
    if not found:
        return 0
    mapped = set(_mapped_paths())
    stale = [file for file in found if str(file) not in mapped]
    for file in stale:
        _unlink(_port_of(file))
    return len(stale)


def _port_of(file: Path) -> Path:
    """The port of a port's mutex; a port is its own."""
    return file.with_name(file.name.removeprefix("sem.").removesuffix("_mutex"))


def _is_ours_and_settled(port: Path) -> bool:
    """Whether every process that could have `port` mapped is one whose maps can be read."""
    try:
        described = port.stat()
    except OSError:
        return False
    return described.st_uid == os.getuid() and time.time() - described.st_mtime > SETTLED_S


def _mapped_paths() -> Iterator[str]:
    """Paths of the files that living processes have mapped."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            fields = line.split(maxsplit=5)
            if len(fields) == 6:
                yield fields[5]


def _unlink(segment: Path) -> None:
    """Remove a segment or port, its locks and its mutex."""
    companions = (f"{segment.name}_el", f"{segment.name}_sl", f"sem.{segment.name}_mutex")
    for path in (segment, *(segment.with_name(name) for name in companions)):
        path.unlink(missing_ok=True)
