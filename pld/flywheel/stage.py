"""Stages of a run: each is done once, remembered with the hashes of what went in and came out.

A stage that was killed is taken up again inside (its own files are atomic); a stage that finished
is skipped as long as its inputs and outputs are what they were.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from pld.errors import ConfigError
from pld.files import read_json, sha256_of, write_json_atomically
from pld.flywheel.names import command_for

DONE = "done.json"
BEGUN = "begun.json"
REPLACED = ".replaced"


class Meter(Protocol):
    """Shows progress and tells CPU seconds; the command line gives a drawing one."""

    def begin(self, title: str, total: int) -> None:
        """A piece of work of `total` units starts."""

    def update(self, completed: int, note: str = "") -> None:
        """So many units are done."""

    def end(self, note: str = "") -> None:
        """The piece of work is over."""

    def cpu_s(self) -> float:
        """CPU seconds of this process so far."""


class SilentMeter:
    """Shows nothing and counts no time; for tests and for use as a library."""

    def begin(self, title: str, total: int) -> None:
        """Show nothing."""

    def update(self, completed: int, note: str = "") -> None:
        """Show nothing."""

    def end(self, note: str = "") -> None:
        """Show nothing."""

    def cpu_s(self) -> float:
        """No time is counted."""
        return 0.0


@dataclass(frozen=True)
class StageRecord:
    """What a finished stage left: its figures and the CPU seconds it took, interruptions included.

    A process killed without warning loses the CPU seconds of its attempt from the count.
    """

    name: str
    figures: dict[str, Any]
    cpu_s: float
    skipped: bool


Work = Callable[[Path], dict[str, Any]]


def fingerprint(content: Any) -> str:
    """Hex SHA-256 of JSON-able content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_stage(
    run: Path,
    name: str,
    settings: dict[str, Any],
    upstream: Sequence[Path],
    work: Work,
    meter: Meter,
    amount: dict[str, Any] | None = None,
) -> StageRecord:
    """Do the stage `name` in `run/name`, or skip it when it is done.

    `work` gets the stage's folder, may find files of a killed attempt there, and returns its
    figures. A stage whose settings or upstream files changed starts from an empty folder; where
    only settings named in `amount` did, with what it made before. What a finished stage had made is
    moved to `.replaced` in the run's folder first. Raises ConfigError where an upstream file is
    missing or its stage was not finished, with the command that makes it.
    """
    folder = run / name
    for path in upstream:
        if not path.exists():
            raise missing(run, str(path.relative_to(run)))
        if maker := _unfinished(path):
            raise unfinished(run, str(maker.relative_to(run)))
    made_of = {str(p.relative_to(run)): _hash(p) for p in upstream}
    inputs, kind = (fingerprint([s, made_of]) for s in (settings | (amount or {}), settings))
    if record := _finished(folder, inputs):
        return StageRecord(name, record["figures"], record["cpu_s"], skipped=True)
    _begin(run, name, inputs, kind)
    spent = float(read_json(folder / BEGUN)["cpu_s"])
    start = meter.cpu_s()
    try:
        figures = work(folder)
    finally:
        spent += meter.cpu_s() - start
        write_json_atomically(folder / BEGUN, {"inputs": inputs, "kind": kind, "cpu_s": spent})
    outputs = {str(p.relative_to(folder)): sha256_of(p) for p in _outputs(folder)}
    done = {"inputs": inputs, "made_of": made_of, "outputs": outputs, "figures": figures}
    write_json_atomically(folder / DONE, {**done, "cpu_s": spent})
    return StageRecord(name, figures, spent, skipped=False)


def current_stages(run: Path) -> list[Path]:
    """Folders of the finished stages that are made of what the run's other stages hold now.

    A run taken up with other settings leaves stages behind that belong to what it was before. In
    the order in which they were finished.
    """
    hashed = cache(_hash)

    @cache
    def is_current(folder: Path) -> bool:
        made_of: dict[str, str] = read_json(folder / DONE).get("made_of", {})
        for name, digest in made_of.items():
            path = run / name
            if not path.exists() or hashed(path) != digest:
                return False
            makers = [p for p in (path, path.parent) if (p / DONE).exists()]
            if makers and not is_current(makers[0]):
                return False
        return True

    found = [p for p in run.glob(f"**/{DONE}") if p.relative_to(run).parts[0] != REPLACED]
    finished = sorted(found, key=lambda p: p.stat().st_mtime)
    return [path.parent for path in finished if is_current(path.parent)]


def _finished(folder: Path, inputs: str) -> dict[str, Any] | None:
    if not (folder / DONE).exists():
        return None
    record: dict[str, Any] = read_json(folder / DONE)
    if record["inputs"] != inputs:
        return None
    for name, digest in record["outputs"].items():
        path = folder / name
        if not path.exists() or sha256_of(path) != digest:
            raise ConfigError(
                f"{str(path)!r} was changed after its stage finished; delete {str(folder)!r} to "
                "do the stage again"
            )
    return record


def _begin(run: Path, name: str, inputs: str, kind: str) -> None:
    folder = run / name
    begun = read_json(folder / BEGUN) if (folder / BEGUN).exists() else {}
    if begun.get("inputs") == inputs or begun.get("kind") == kind:
        (folder / DONE).unlink(missing_ok=True)
        return
    if (folder / DONE).exists():
        _set_aside(run, name)
    elif folder.exists():
        shutil.rmtree(folder)
    write_json_atomically(folder / BEGUN, {"inputs": inputs, "kind": kind, "cpu_s": 0.0})


def _set_aside(run: Path, name: str) -> None:
    """Keep what a finished stage made, as `.replaced/STAGE-N`: it took minutes to hours."""
    kept, flat = run / REPLACED, name.replace("/", "-")
    kept.mkdir(exist_ok=True)
    number = next(n for n in count(1) if not (kept / f"{flat}-{n}").exists())
    (run / name).rename(kept / f"{flat}-{number}")


def _unfinished(path: Path) -> Path | None:
    """The folder of the stage that makes `path`, where it was begun and not finished."""
    makers = [p for p in (path, path.parent) if (p / BEGUN).exists()]
    return next((p for p in makers if not (p / DONE).exists()), None)


def _outputs(folder: Path) -> list[Path]:
    """Finished files; what lies under a dotted name is the stage's own scratch."""
    kept = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.name not in (DONE, BEGUN):
            kept.append(path)
    return kept


def unfinished(run: Path, name: str) -> ConfigError:
    """What to say where the stage `name` of `run` was begun and not finished."""
    return ConfigError(
        f"{str(run / name)!r} is not finished; `{command_for(name)} --run {run}` goes on with it"
    )


def missing(run: Path, name: str) -> ConfigError:
    """What to say where `name`, a stage of `run` or a file of one, is not there."""
    return ConfigError(
        f"{str(run / name)!r} is missing; `{command_for(name)} --run {run}` makes it"
    )


def _hash(path: Path) -> str:
    if path.is_dir():
        made = [p for p in sorted(path.iterdir()) if p.is_file() and p.name not in (DONE, BEGUN)]
        return fingerprint({p.name: sha256_of(p) for p in made})
    return sha256_of(path)
