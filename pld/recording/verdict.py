"""The verdict on an episode: a file written last, once; its presence says the bag is complete.

Outcome is kept apart from the reason of the end. The verdict is never rewritten by a label:
labels are appended beside it (see `labels`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pld.config import from_mapping
from pld.errors import ConfigError, RecordingError
from pld.recording.bag import VERDICT_NAME, RunDescription
from pld.recording.camera_check import CameraFigures
from pld.recording.durable import write_durably
from pld.recording.statistics import EpisodeStatistics, TopicFigures
from pld.recording.step_count import StepFigures
from pld.recording.translate import EpisodeUpdate
from pld.types import EpisodeState, Outcome

SCHEMA_VERSION = 1
OUTCOMES = tuple(o.name.lower() for o in Outcome)
BAG_STATES = ("complete", "failed", "recovered")


@dataclass(frozen=True)
class Verdict:
    """Everything that is known of an episode without opening its bag.

    `bag_state`: complete; failed (`error` says why, what was written is in the part file); or
    recovered (rebuilt from a part file; its end may be missing). `recorded_as` is the fingerprint
    from before a recovery.
    """

    schema_version: int
    episode_id: str
    index: int
    outcome: str
    termination_reason: str
    task: str
    instruction: str
    mode: str
    seed: int
    region: str
    takeover_step: int
    bag: str
    bag_state: str
    error: str
    messages: int
    lost: int
    undecodable: int
    steps: StepFigures
    cameras: tuple[CameraFigures, ...]
    topics: tuple[TopicFigures, ...]
    deployment: str = ""
    namespace: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    recorded_as: str = ""

    @property
    def fingerprint(self) -> str:
        """What tells this recording from another of the same name: counts and stamps of its bag.

        A recovery leaves it as it was.
        """
        if self.recorded_as:
            return self.recorded_as
        topics = [(t.name, t.messages, t.first_stamp_ns, t.last_stamp_ns) for t in self.topics]
        told = repr((self.episode_id, self.messages, topics))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ConfigError.unknown("schema_version", self.schema_version, (SCHEMA_VERSION,))
        if self.outcome not in OUTCOMES:
            raise ConfigError.unknown("outcome", self.outcome, OUTCOMES)
        if self.bag_state not in BAG_STATES:
            raise ConfigError.unknown("bag_state", self.bag_state, BAG_STATES)


@dataclass(frozen=True)
class Ending:
    """How an episode's bag came to its end, as the recorder knows it."""

    bag: str
    bag_state: str = "complete"
    reason: str = ""
    error: str = ""


def judge(
    update: EpisodeUpdate, statistics: EpisodeStatistics, run: RunDescription, ending: Ending
) -> Verdict:
    """The verdict from the newest status, the figures, the run and the end.

    A reason that the arbitrator gave with ENDED wins over the recorder's own; without ENDED the
    outcome is unlabelled.
    """
    ended = update.state is EpisodeState.ENDED
    topics = statistics.topic_figures()
    return Verdict(
        schema_version=SCHEMA_VERSION,
        episode_id=update.episode_id,
        index=update.index,
        outcome=(update.outcome if ended else Outcome.UNLABELLED).name.lower(),
        termination_reason=(ended and update.termination_reason) or ending.reason,
        task=update.task,
        instruction=update.instruction,
        mode=update.mode,
        seed=update.seed,
        region=update.region,
        takeover_step=update.takeover_step,
        bag=ending.bag,
        bag_state=ending.bag_state,
        error=ending.error,
        messages=statistics.messages,
        lost=sum(t.lost or 0 for t in topics),
        undecodable=statistics.undecodable,
        steps=statistics.step_figures(update.takeover_step),
        cameras=statistics.camera_figures(),
        topics=topics,
        deployment=run.deployment,
        namespace=run.namespace,
        parameters=dict(run.parameters),
        versions=dict(run.versions),
        checkpoints=dict(run.checkpoints),
    )


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain JSON values."""
    return dataclasses.asdict(verdict)


def save_verdict(folder: Path, verdict: Verdict) -> None:
    """Write `verdict.json` into the episode's folder, atomically."""
    text = json.dumps(verdict_document(verdict), indent=2, allow_nan=False)
    write_durably(folder / VERDICT_NAME, text + "\n")


def load_verdict(folder: Path) -> Verdict:
    """Read `verdict.json` strictly; raises RecordingError that names file, field and remedy."""
    path = folder / VERDICT_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordingError(
            f"{str(folder)!r} has no {VERDICT_NAME}: the episode was never closed; "
            f"rebuild it with: pld bag recover {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise RecordingError(f"{path}: expected an object, got {type(content).__name__}")
    try:
        return from_mapping(content, Verdict, where=str(path))
    except ConfigError as error:
        raise RecordingError(f"{path}: not a verdict: {error}") from error
