"""Rebuild what a killed recorder, a full disk or a damaged one left behind.

Finished episodes that can be read are not touched.

A part file is streamed into a new bag, then metadata.yaml and the verdict are written, and last
the part file is renamed to `.mcap.truncated` and kept. Interrupted at any point, a recovery is
simply run again: as long as the part file has its name, it starts from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain, count
from pathlib import Path

import yaml

from pld.errors import RecordingError
from pld.recording.bag import (
    EPISODE_RECORD,
    EPISODES_FOLDER,
    METADATA_NAME,
    PART_SUFFIX,
    TRUNCATED_SUFFIX,
    VERDICT_NAME,
    RawMessage,
)
from pld.recording.bag_metadata import metadata_text
from pld.recording.durable import describe, rename_durably, write_durably
from pld.recording.mcap_file import McapFile
from pld.recording.mcap_read import BagFile, Salvage
from pld.recording.sequences import SequenceTracker
from pld.recording.statistics import EpisodeStatistics
from pld.recording.translate import unknown_update
from pld.recording.verdict import Ending, judge, load_verdict, save_verdict
from pld.recording.writer import run_record

RECORDER_LOST = "recorder_lost"


class RecoverResult(IntEnum):
    """Exit codes of a recovery, as MCAP's own tool has them."""

    OK = 0
    NOTHING = 1
    LOSSY = 3


@dataclass(frozen=True)
class Recovery:
    """What became of one episode's folder."""

    folder: Path
    result: RecoverResult
    messages: int
    note: str


def episodes_at(path: Path) -> list[Path]:
    """The episode folders below `path`: itself, its children, or those in its `episodes`."""
    if not path.is_dir():
        raise RecordingError(f"{str(path)!r} is not a folder; give an episode or a run folder")
    if is_episode(path):
        return [path]
    root = path / EPISODES_FOLDER if (path / EPISODES_FOLDER).is_dir() else path
    found = sorted(child for child in root.iterdir() if child.is_dir() and is_episode(child))
    if not found:
        raise RecordingError(
            f"no episodes in {str(path)!r}; give an episode's folder or a run folder with "
            f"{EPISODES_FOLDER}/"
        )
    return found


def _is_damaged(bag: Path) -> bool:
    """Whether a finished bag cannot be read to its end."""
    try:
        deque(BagFile(bag).messages(), maxlen=0)
    except RecordingError:
        return True
    return False


def one_episode(path: Path) -> Path:
    """`path` when it is an episode's folder; raises RecordingError that says which to give."""
    if not path.is_dir():
        raise RecordingError(f"{str(path)!r} is not a folder; give one episode: RUN/episodes/ID")
    found = episodes_at(path)
    if found != [path]:
        raise RecordingError(
            f"{str(path)!r} holds {len(found)} episodes; give one episode, such as {found[0]}"
        )
    return path


def recover_episode(folder: Path, reason: str = RECORDER_LOST) -> Recovery:
    """Rebuild one episode if it needs it; raises RecordingError when the disk refuses."""
    part, bag = part_path(folder), bag_path(folder)
    try:
        if part.exists():
            return _rebuild(folder, part, reason)
        if bag.exists() and _is_damaged(bag):
            rename_durably(bag, part)
            return _rebuild(folder, part, reason)
        if bag.exists() and needs_recovery(folder):
            return _complete(folder, bag, reason)
    except OSError as error:
        raise RecordingError(f"cannot recover {str(folder)!r}: {describe(error)}") from error
    if not bag.exists():
        return Recovery(folder, RecoverResult.NOTHING, 0, "no bag and no part of one")
    return Recovery(folder, RecoverResult.OK, load_verdict(folder).messages, "nothing to do")


def recover_all(folders: list[Path], reason: str) -> list[Recovery]:
    """Recover several episodes; one that cannot be does not keep the others from it."""
    recoveries = []
    for folder in folders:
        try:
            recoveries.append(recover_episode(folder, reason))
        except RecordingError as error:
            if len(folders) == 1:
                raise
            recoveries.append(Recovery(folder, RecoverResult.NOTHING, 0, str(error)))
    return recoveries


def bag_path(folder: Path) -> Path:
    """The finished bag of an episode's folder."""
    return folder / f"{folder.name}.mcap"


def part_path(folder: Path) -> Path:
    """The unfinished bag of an episode's folder."""
    return folder / f"{folder.name}{PART_SUFFIX}"


def needs_recovery(folder: Path) -> bool:
    """Whether the episode has an unfinished bag, or lacks its metadata or verdict."""
    last = (folder / METADATA_NAME, folder / VERDICT_NAME)
    return part_path(folder).exists() or not all(path.exists() for path in last)


def overall(recoveries: list[Recovery]) -> RecoverResult:
    """One exit code for several episodes: nothing only when no episode has a message."""
    found = {r.result for r in recoveries}
    if found <= {RecoverResult.OK}:
        return RecoverResult.OK
    return RecoverResult.NOTHING if found == {RecoverResult.NOTHING} else RecoverResult.LOSSY


def is_episode(folder: Path) -> bool:
    """Whether a folder is an episode's: it has a bag, a part of one or a verdict."""
    names = (VERDICT_NAME, f"{folder.name}.mcap", f"{folder.name}{PART_SUFFIX}")
    return any((folder / name).exists() for name in names)


def _rebuild(folder: Path, part: Path, reason: str) -> Recovery:
    with _locked(part):
        salvage = Salvage(part)
        target = bag_path(folder)
        copy = _copy(salvage, target)
        if copy is None:
            note = f"no readable message in {part.name} ({salvage.damage}); it is kept"
            return Recovery(folder, RecoverResult.NOTHING, 0, note)
        metadata, statistics = copy
        write_durably(folder / METADATA_NAME, metadata)
        _judge(folder, salvage, statistics, reason, "complete" if salvage.complete else "recovered")
        rename_durably(part, _kept_name(folder))
    result = RecoverResult.OK if salvage.complete else RecoverResult.LOSSY
    note = "it was whole" if salvage.complete else f"its end may be missing ({salvage.damage})"
    return Recovery(folder, result, statistics.messages, note)


def _kept_name(folder: Path) -> Path:
    """Where what was recovered from stays; that of an earlier recovery is not replaced."""
    first = folder / f"{folder.name}{TRUNCATED_SUFFIX}"
    others = (first.with_name(f"{first.name}.{number}") for number in count(2))
    return next(path for path in chain([first], others) if not path.exists())


def _copy(salvage: Salvage, target: Path) -> tuple[str, EpisodeStatistics] | None:
    """Stream into `target`, by a temporary name; None when there is nothing to copy."""
    messages = counted_messages(salvage)
    first = next(messages, None)
    if first is None:
        return None
    temporary = target.with_name(target.name + ".recovering")
    with temporary.open("wb", buffering=1 << 20) as stream:
        file = McapFile(stream)
        file.start({EPISODE_RECORD: run_record(salvage.run)})
        statistics = EpisodeStatistics(salvage.topics, salvage.run.namespace)
        for topic in salvage.topics.values():
            file.add_topic(topic)
        for message in chain([first], messages):
            statistics.declare(salvage.topics[message.topic])
            file.add_topic(salvage.topics[message.topic])
            file.write(message)
            statistics.add(message)
        metadata = file.finish(target.name, salvage.run.ros_distro)
        stream.flush()
        os.fsync(stream.fileno())
    rename_durably(temporary, target)
    return metadata, statistics


def _complete(folder: Path, bag: Path, reason: str) -> Recovery:
    """The recorder died after the rename: only metadata.yaml or the verdict is missing."""
    salvage = Salvage(bag)
    statistics: EpisodeStatistics | None = None
    for message in counted_messages(salvage):
        statistics = statistics or EpisodeStatistics(salvage.topics, salvage.run.namespace)
        statistics.declare(salvage.topics[message.topic])
        statistics.add(message)
    if statistics is None or not salvage.complete:
        return Recovery(folder, RecoverResult.NOTHING, 0, f"{bag.name}: {salvage.damage}")
    if not (folder / METADATA_NAME).exists():
        text = metadata_text(yaml.safe_load(salvage.rosbag2_information))
        write_durably(folder / METADATA_NAME, text)
    _judge(folder, salvage, statistics, reason, "complete")
    return Recovery(folder, RecoverResult.OK, statistics.messages, "its last files were missing")


def _judge(
    folder: Path, salvage: Salvage, statistics: EpisodeStatistics, reason: str, bag_state: str
) -> None:
    """Write the verdict; what an earlier one knew of the end is kept."""
    update = statistics.last_update or unknown_update(folder.name)
    ending = Ending(bag_path(folder).name, bag_state, reason, salvage.damage)
    if not (folder / VERDICT_NAME).exists():
        save_verdict(folder, judge(update, statistics, salvage.run, ending))
        return
    earlier = load_verdict(folder)
    known = replace(
        ending, reason=earlier.termination_reason, error=earlier.error or salvage.damage
    )
    verdict = judge(update, statistics, salvage.run, known)
    outcome = earlier.outcome if earlier.outcome != "unlabelled" else verdict.outcome
    is_cut = verdict.fingerprint != earlier.fingerprint
    recorded_as = earlier.fingerprint if is_cut else ""
    save_verdict(folder, replace(verdict, outcome=outcome, recorded_as=recorded_as))


def counted_messages(salvage: Salvage) -> Iterator[RawMessage]:
    """The salvaged messages with what is missing before each, by sequence number."""
    tracker = SequenceTracker()
    for message in salvage.messages():
        missing = None
        if salvage.topics[message.topic].single_producer:
            missing = tracker.missing_before(message.topic, message.sequence)
        yield RawMessage(
            message.topic,
            message.cdr,
            message.log_time_ns,
            message.publish_time_ns,
            message.sequence,
            missing,
        )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Refuse a part file that a living recorder holds."""
    with part.open("rb") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordingError(
                f"{str(part)!r} is being written by a running recorder; end the run first"
            ) from error
        yield
