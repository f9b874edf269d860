"""What a folder of episodes holds, from verdicts and bags, without ROS."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RecordingError
from pld.recording import labels
from pld.recording.mcap_read import Salvage
from pld.recording.recover import bag_path, counted_messages, episodes_at, part_path
from pld.recording.statistics import EpisodeStatistics, TopicFigures
from pld.recording.verdict import Verdict, load_verdict


@dataclass(frozen=True)
class EpisodeInfo:
    """One episode's folder: its verdict, its outcome after labels, and its size on the disk."""

    folder: Path
    verdict: Verdict | None
    outcome: str
    size_bytes: int
    problem: str


def run_info(path: Path) -> list[EpisodeInfo]:
    """One entry per episode at or below `path`, unfinished ones included."""
    return [episode_info(folder) for folder in episodes_at(path)]


def episode_info(folder: Path) -> EpisodeInfo:
    """Summary of one episode; a missing or bad verdict is its `problem`, not an error."""
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
    try:
        verdict = load_verdict(folder)
        outcome = labels.outcome(folder)
    except RecordingError as error:
        return EpisodeInfo(folder, None, "", size, str(error))
    problem = verdict.error
    if verdict.undecodable:
        problem = problem or f"{verdict.undecodable} messages do not fit the types of this version"
    if part_path(folder).exists():
        problem = problem or f"not recovered; run: pld bag recover {folder}"
    return EpisodeInfo(folder, verdict, outcome, size, problem)


def recount(folder: Path) -> tuple[TopicFigures, ...]:
    """Topic figures counted anew from the bag or its part, by reading every message.

    Losses that only the recorder could see (before the first message, in shared topics, in its
    own queue) are taken from the verdict.
    """
    path = bag_path(folder) if bag_path(folder).exists() else part_path(folder)
    if not path.exists():
        raise RecordingError(f"{str(folder)!r} has no bag; an episode folder holds NAME/NAME.mcap")
    salvage = Salvage(path)
    statistics = EpisodeStatistics({})
    for message in counted_messages(salvage):
        statistics.declare(salvage.topics[message.topic])
        statistics.add(message)
    for topic in salvage.topics.values():
        statistics.declare(topic)
    seen = _losses_in_verdict(folder)
    return tuple(
        dataclasses.replace(f, lost=_larger(f.lost, seen.get(f.name)))
        for f in statistics.topic_figures()
    )


def _losses_in_verdict(folder: Path) -> dict[str, int | None]:
    try:
        return {t.name: t.lost for t in load_verdict(folder).topics}
    except RecordingError:
        return {}


def _larger(first: int | None, second: int | None) -> int | None:
    known = [v for v in (first, second) if v is not None]
    return max(known, default=None)
