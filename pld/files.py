"""Files that are either whole or absent: temporary name, flush to disk, rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pld.errors import ConfigError

LOCK_FILE = ".lock"


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write `content`; after a crash at any moment the old file or the new one is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigError(f"{str(path.parent)!r} is a file, no folder; give another") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_json_atomically(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, indented, keys in the given order."""
    write_bytes_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; raises ConfigError that names a missing or broken file."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{str(path)!r} is not JSON ({error}); give another file, or delete this "
            "one and run what wrote it again"
        ) from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Work in `folder` alone; ConfigError that names the process which does already.

    The lock goes with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{str(folder)!r} cannot be a folder ({error.strerror}); give another with --run"
        ) from error
    with (folder / LOCK_FILE).open("a+") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise ConfigError(
                f"process {stream.read().strip() or 'unknown'} is at work in {str(folder)!r}; "
                "wait until it has ended, or give another folder with --run"
            ) from error
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
