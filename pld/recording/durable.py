"""Files that survive a crash: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pld.errors import RecordingError

MIN_FREE_BYTES = 500_000_000


def write_durably(path: Path, text: str) -> None:
    """Replace `path` by `text` at once; a reader sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def append_durably(path: Path, line: str) -> None:
    """Append one line to `path`, below one that was cut short, and force it to the disk."""
    with path.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            is_cut = stream.read(1) != b"\n"
            stream.write(b"\n" * is_cut)
        stream.write(f"{line.rstrip()}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)


def rename_durably(source: Path, target: Path) -> None:
    """Rename within a folder and force the folder entry to the disk."""
    source.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Force the entries of `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write below `folder`."""
    return shutil.disk_usage(folder).free


def require_room(
    folder: Path,
    needed_bytes: int = MIN_FREE_BYTES,
    free: Callable[[Path], int] = free_bytes,
) -> None:
    """Make `folder` and prove that bags can be written there; raises RecordingError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-test-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as error:
        raise RecordingError(
            f"cannot write bags into {str(folder)!r}: {describe(error)}; "
            "choose a folder that you may write with output_dir:=FOLDER"
        ) from error
    available = free(folder)
    if available < needed_bytes:
        raise RecordingError(
            f"{str(folder)!r} has {available} bytes free, recording needs at least "
            f"{needed_bytes}; free some space or choose another disk with output_dir:=FOLDER"
        )


def describe(error: OSError) -> str:
    """An operating system error in words, with its name: 'No space left on device (ENOSPC)'."""
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return f"{error.strerror or error} ({name})"


class Reserve:
    """A few bytes kept aside on the disk, so that a verdict can be written when it is full."""

    def __init__(self, path: Path, size_bytes: int = 1 << 17) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def take(self) -> None:
        """Occupy the space; raises OSError when it is not there."""
        with self._path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, self._size_bytes)

    def release(self) -> None:
        """Give the space back; safe to call twice."""
        self._path.unlink(missing_ok=True)
