"""Latched messages: kept between episodes, so that every bag holds the newest of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pld.recording import bag
from pld.recording.bag import RawMessage, RecordedTopic

MAX_KEPT = 64


class LatchedMessages:
    """Keeps the newest message of each latched topic; all distinct ones of shared topics.

    The status of an earlier episode is no part of a new bag and is not kept.
    """

    def __init__(self, topics: Mapping[str, RecordedTopic]) -> None:
        self._topics = {
            name: topic
            for name, topic in topics.items()
            if topic.qos.latched and topic.type != bag.EPISODE_STATUS
        }
        self._kept: dict[str, list[RawMessage]] = {name: [] for name in self._topics}

    def keep(self, message: RawMessage) -> None:
        """Remember a message if its topic is latched."""
        if message.topic not in self._topics:
            return
        kept = self._kept[message.topic]
        if self._topics[message.topic].single_producer:
            kept.clear()
        if all(other.cdr != message.cdr for other in kept):
            kept.append(message)
            del kept[:-MAX_KEPT]

    def messages(self, now_ns: int) -> list[RawMessage]:
        """What to write first into a new bag, logged at `now_ns`, nothing counted as lost."""
        return [
            dataclasses.replace(message, log_time_ns=now_ns, lost=0)
            for kept in self._kept.values()
            for message in kept
        ]
