"""Is a bag what it says: three readers, the verdict and the installed types have to agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RecordingError
from pld.recording.decoding import Decoder, decoder
from pld.recording.independent import IndependentTopic, read_independently
from pld.recording.mcap_read import BagFile
from pld.recording.recover import bag_path
from pld.recording.verdict import load_verdict

InstalledHash = Callable[[str], str]


@dataclass(frozen=True)
class TopicCheck:
    """One topic of one bag: counts by each reader, hashes by each source, and what disagrees.

    `installed_hash` is that of the message package on this machine, empty when there is none.
    """

    name: str
    type: str
    in_verdict: int
    in_mcap_index: int
    decoded_mcap_ros2: int
    decoded_rosbags: int
    type_hash: str
    computed_hash: str
    installed_hash: str
    problems: tuple[str, ...]


def verify_episode(folder: Path, installed_hash: InstalledHash) -> list[TopicCheck]:
    """Check every topic; raises RecordingError when the bag cannot be read at all."""
    verdict = load_verdict(folder)
    bag = BagFile(bag_path(folder))
    decoded = _decode_all(bag)
    independent = read_independently(folder)
    in_verdict = {t.name: t.messages for t in verdict.topics}
    return [
        _check(bag, name, in_verdict, decoded, independent.get(name), installed_hash)
        for name in sorted(bag.topics)
    ]


def _decode_all(bag: BagFile) -> dict[str, int]:
    decoders: dict[str, Decoder] = {
        topic.type: decoder(topic.type, topic.schema) for topic in bag.topics.values()
    }
    counts = dict.fromkeys(bag.topics, 0)
    for message in bag.messages():
        try:
            decoders[bag.topics[message.topic].type](message.cdr)
        except RecordingError:
            continue
        counts[message.topic] += 1
    return counts


def _check(
    bag: BagFile,
    name: str,
    in_verdict: Mapping[str, int],
    decoded: Mapping[str, int],
    other: IndependentTopic | None,
    installed_hash: InstalledHash,
) -> TopicCheck:
    topic = bag.topics[name]
    counts = {
        "verdict": in_verdict.get(name, 0),
        "mcap": bag.counts[name],
        "mcap_ros2": decoded[name],
        "rosbags": other.decoded if other else 0,
        "metadata.yaml": other.announced if other else 0,
    }
    hashes = {
        "bag": topic.type_hash,
        "rosbags": other.computed_hash if other else "",
        "installed": installed_hash(topic.type) or topic.type_hash,
    }
    problems = [
        f"{what} differ: " + ", ".join(f"{k} {v}" for k, v in values.items())
        for what, values in (("counts", counts), ("type hashes", hashes))
        if len(set(values.values())) > 1
    ]
    return TopicCheck(
        name,
        topic.type,
        counts["verdict"],
        counts["mcap"],
        counts["mcap_ros2"],
        counts["rosbags"],
        topic.type_hash,
        hashes["rosbags"],
        installed_hash(topic.type),
        tuple(problems),
    )
