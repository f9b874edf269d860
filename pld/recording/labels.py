"""Labels given after an episode: appended beside the verdict, the last one counts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pld.config import from_mapping
from pld.errors import ConfigError, RecordingError
from pld.recording.bag import LABELS_NAME
from pld.recording.durable import append_durably
from pld.recording.verdict import OUTCOMES, load_verdict


@dataclass(frozen=True)
class Label:
    """One word on an episode: an outcome, who said it, and when [ns, system clock]."""

    outcome: str
    by: str
    t_ns: int

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ConfigError.unknown("outcome", self.outcome, OUTCOMES)


def append_label(folder: Path, label: Label) -> None:
    """Add a label to an episode that has a verdict; earlier labels stay."""
    load_verdict(folder)
    append_durably(folder / LABELS_NAME, json.dumps(asdict(label)))


def load_labels(folder: Path) -> tuple[Label, ...]:
    """All labels of an episode, oldest first; raises RecordingError naming the bad line."""
    path = folder / LABELS_NAME
    if not path.exists():
        return ()
    lines = path.read_bytes().split(b"\n")
    return tuple(_parse(path, n, line) for n, line in enumerate(lines, 1) if line.strip())


def outcome(folder: Path) -> str:
    """The outcome that counts: the newest label's, else the verdict's."""
    labels = load_labels(folder)
    return labels[-1].outcome if labels else load_verdict(folder).outcome


def _parse(path: Path, number: int, line: bytes) -> Label:
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ConfigError(f"expected an object, got {type(content).__name__}")
        return from_mapping(content, Label, where=f"line {number}")
    except (ValueError, ConfigError) as error:
        raise RecordingError(
            f"{path}:{number}: not a label: {error}; delete that line, and label the episode again"
        ) from error
