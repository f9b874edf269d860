"""Plays a bag for viewing (RViz, Foxglove); nothing of it can reach a node of the graph.

    python -m pld_nodes.replay BAG [--rate 1.0] [--start 0.0]

It publishes serialized messages under the names of pld.recording.viewing and reads nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pld.errors import PldError, RecordingError
from pld.recording.bag import RecordedTopic
from pld.recording.mcap_read import BagFile
from pld.recording.recover import bag_path, one_episode
from pld.recording.viewing import Due, check_pace, schedule, viewing_name
from pld_nodes import graph
from pld_nodes.ros import environment

EXIT_BAD_INPUT = 2
LAST_WORD_S = 2.0
KEPT = 100  # who watches may read more slowly than a node that acts
DISCOVERY_S = 2.0
"""Who watches is found within a second or so (pld_nodes/ros/fastdds.xml)."""


def open_bag(path: Path) -> BagFile:
    """The bag of an episode's folder, or the file itself; raises RecordingError."""
    if not path.exists():
        raise RecordingError(f"{str(path)!r} is not there; give an episode's folder or its .mcap")
    return BagFile(path if path.is_file() else bag_path(one_episode(path)))


class Player:
    """Publishers under viewing names; `stop` ends the play from any thread."""

    def __init__(self, bag: BagFile) -> None:
        environment.prepare()
        import rclpy

        self._bag = bag
        self.stop = threading.Event()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("replay", context=self._context)
        self._latched = {name for name, topic in bag.topics.items() if topic.qos.latched}
        self._publishers = {t.name: self._publisher(t) for t in bag.topics.values()}

    def play(self, rate: float, start_s: float) -> int:
        """Publish to the end, or until `stop`; returns how many messages."""
        import time

        published = 0
        begin_s = time.monotonic() + DISCOVERY_S
        for due in schedule(self._bag.messages(), rate, start_s):
            if self.stop.wait(max(begin_s + max(due.after_s, 0.0) - time.monotonic(), 0.0)):
                break
            published += self._show(due)
        return published

    def close(self) -> None:
        """Let everybody hear the last messages, and let go of the middleware."""
        import rclpy
        from rclpy.duration import Duration

        for publisher in filter(None, self._publishers.values()):
            publisher.wait_for_all_acked(Duration(seconds=LAST_WORD_S))
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _show(self, due: Due) -> bool:
        topic = due.message.topic
        publisher = self._publishers[topic]
        if publisher is None or (due.after_s < 0.0 and topic not in self._latched):
            return False
        publisher.publish(due.message.cdr)
        return True

    def _publisher(self, topic: RecordedTopic) -> Any:
        from pld_nodes.ros.node import message_class, qos_profile

        try:
            kind = message_class(topic.type)
        except (ImportError, AttributeError):
            self._node.get_logger().warning(f"{topic.name} is left out: no {topic.type} here")
            return None
        depth = 1 if topic.qos.latched else KEPT
        qos = graph.Qos(depth, topic.qos.reliable, topic.qos.latched)
        name = viewing_name(topic.name, topic.type)
        return self._node.create_publisher(kind, name, qos_profile(qos))


def replay(path: Path, rate: float, start_s: float) -> int:
    """Play the bag at `path`; returns how many messages were published."""
    check_pace(rate, start_s)
    player = Player(open_bag(path))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: player.stop.set())
    try:
        return player.play(rate, start_s)
    finally:
        player.close()


def main() -> None:
    """Entry point; an expected error is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(description="Play a bag for viewing.")
    parser.add_argument("bag", type=Path)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--start", type=float, default=0.0)
    given = parser.parse_args()
    try:
        replay(given.bag, given.rate, given.start)
    except PldError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    main()
