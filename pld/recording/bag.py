"""What a bag is made of: topics with their schema, and serialized messages with three times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

EPISODES_FOLDER = "episodes"
VERDICT_NAME = "verdict.json"
LABELS_NAME = "labels.jsonl"
METADATA_NAME = "metadata.yaml"
PART_SUFFIX = ".mcap.part"
TRUNCATED_SUFFIX = ".mcap.truncated"
EPISODE_RECORD = "pld_episode"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of episodes, and of the runs that they are named after: of one folder, and no option."""

ARM_STATE = "pld_interfaces/msg/ArmState"
BASE_ACTION = "pld_interfaces/msg/BaseAction"
RESIDUAL_ACTION = "pld_interfaces/msg/ResidualAction"
HUMAN_ACTION = "pld_interfaces/msg/HumanAction"
CHOICE = "pld_interfaces/msg/Choice"
ARM_COMMAND = "pld_interfaces/msg/ArmCommand"
EPISODE_STATUS = "pld_interfaces/msg/EpisodeStatus"
REWARD = "pld_interfaces/msg/Reward"
IMAGE = "sensor_msgs/msg/Image"


@dataclass(frozen=True)
class OfferedQos:
    """The quality of service that the producer of a topic offers."""

    depth: int = 10
    reliable: bool = True
    latched: bool = False


@dataclass(frozen=True)
class RecordedTopic:
    """One topic of a bag: absolute name, type, concatenated ros2msg schema and RIHS01 hash.

    `single_producer` says that the publication sequence numbers in the bag come from one
    publisher, so that a gap in them is a lost message.
    """

    name: str
    type: str
    schema: str
    type_hash: str
    qos: OfferedQos = field(default_factory=OfferedQos)
    single_producer: bool = True

    @property
    def has_header(self) -> bool:
        """Whether the first field is a std_msgs/Header, whose stamp is the time of measurement."""
        for line in self.schema.splitlines():
            code = line.split("#", 1)[0].split()
            if code:
                return code[0] in ("std_msgs/Header", "std_msgs/msg/Header", "Header")
        return False


@dataclass(frozen=True)
class RawMessage:
    """A serialized message (CDR) and its times [ns].

    `log_time_ns`: received by the recorder; `publish_time_ns`: handed to the middleware by the
    producer; both on the system clock, as rosbag2 does. The time of measurement is inside, in the
    header. `sequence` is the producer's publication sequence number, 0 when unknown. `lost` is
    how many messages of the topic are missing just before this one, None when nobody can tell.
    """

    topic: str
    cdr: bytes
    log_time_ns: int
    publish_time_ns: int
    sequence: int = 0
    lost: int | None = 0


@dataclass(frozen=True)
class RunDescription:
    """What the recorder is told about the run and cannot see on a topic."""

    namespace: str = ""
    deployment: str = ""
    ros_distro: str = "kilted"
    parameters: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
