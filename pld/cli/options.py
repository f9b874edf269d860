"""Options that many commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pld.errors import ConfigError


def writable(path: Path | None) -> Path | None:
    """Refuse, before anything runs, a file that cannot be written when it is over."""
    if path is None:
        return None
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir():
        where = str(path if path.is_dir() else folder)
        problem = "is a folder" if path.is_dir() else "is no folder"
        raise ConfigError(f"{str(path)!r} cannot be written: {where!r} {problem}; name a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigError(f"{str(path)!r} may not be written; name a file elsewhere")
    return path


def writable_folder(folder: Path) -> Path:
    """Refuse, before anything runs, a folder that cannot be made or written into."""
    if folder.is_file():
        raise ConfigError(f"{str(folder)!r} is a file; name a folder")
    writable(folder / "file")
    return folder


JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the figures to this file too.", callback=writable),
]
