"""The metadata that standard rosbag2 tools expect: metadata.yaml version 9 and channel fields.

Source: rosbag2_storage's `metadata_io` and `yaml`/`qos` conversions, kilted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pld.recording.bag import OfferedQos, RecordedTopic

VERSION = 9
INFINITE = {"sec": 9223372036, "nsec": 854775807}


@dataclass(frozen=True)
class BagSummary:
    """Counts and times [ns, log time] of a whole bag file."""

    file_name: str
    counts: Mapping[str, int]
    start_ns: int
    end_ns: int
    ros_distro: str


def qos_document(qos: OfferedQos) -> dict[str, Any]:
    """One offered QoS profile in rosbag2's words."""
    return {
        "history": "keep_last",
        "depth": qos.depth,
        "reliability": "reliable" if qos.reliable else "best_effort",
        "durability": "transient_local" if qos.latched else "volatile",
        "deadline": dict(INFINITE),
        "lifespan": dict(INFINITE),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(INFINITE),
        "avoid_ros_namespace_conventions": False,
    }


def channel_metadata(topic: RecordedTopic) -> dict[str, str]:
    """The metadata of the topic's MCAP channel."""
    return {
        "offered_qos_profiles": _dump([qos_document(topic.qos)]),
        "topic_type_hash": topic.type_hash,
        "pld_single_producer": str(topic.single_producer).lower(),
    }


def bag_information(topics: Sequence[RecordedTopic], summary: BagSummary) -> dict[str, Any]:
    """The content of `rosbag2_bagfile_information`, version 9."""
    span = {
        "duration": {"nanoseconds": max(0, summary.end_ns - summary.start_ns)},
        "starting_time": {"nanoseconds_since_epoch": summary.start_ns},
    }
    count = sum(summary.counts.values())
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        **span,
        "message_count": count,
        "topics_with_message_count": [
            {
                "topic_metadata": _topic_metadata(topic),
                "message_count": summary.counts.get(topic.name, 0),
            }
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [summary.file_name],
        "files": [{"path": summary.file_name, **span, "message_count": count}],
        "custom_data": None,
        "ros_distro": summary.ros_distro,
    }


def information_text(information: Mapping[str, Any]) -> str:
    """`information` as the YAML that goes into the MCAP record `rosbag2`."""
    return _dump(information)


def metadata_text(information: Mapping[str, Any]) -> str:
    """`information` as the text of metadata.yaml."""
    return _dump({"rosbag2_bagfile_information": information}) + "\n"


def _topic_metadata(topic: RecordedTopic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "type": topic.type,
        "serialization_format": "cdr",
        "offered_qos_profiles": [qos_document(topic.qos)],
        "type_description_hash": topic.type_hash,
    }


_FastDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _PlainDumper(_FastDumper):  # type: ignore[misc, valid-type]
    """Writes repeated values in full: rosbag2 readers need no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(document: Any) -> str:
    return yaml.dump(
        document, Dumper=_PlainDumper, sort_keys=False, default_flow_style=False
    ).strip()
