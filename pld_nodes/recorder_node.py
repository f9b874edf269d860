"""Records every episode: one bag and one verdict each, of all topics that the table records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, RecorderStatus
from rclpy.serialization import deserialize_message

from pld.recording.bag import RawMessage, RunDescription
from pld.recording.durable import MIN_FREE_BYTES
from pld.recording.run_files import describe_run, termination_reason
from pld.recording.session import RecorderState, RecordingSession, SessionConfig, SessionStatus
from pld.recording.writer import WriterConfig
from pld_nodes import graph
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, publisher_of, run_node
from pld_nodes.ros.schemas import recorded_topic

POLL_S = 0.05
DEPTH = 30  # a second of images: a recorder that falls behind for a moment loses nothing
REPORT_EVERY = round(1.0 / POLL_S)


@dataclass(frozen=True)
class RecorderConfig:
    """Parameters of the node.

    `nodes`: the run's nodes, by comma. No episode begins before those whose words are acted upon
    were found.
    """

    run_dir: Path
    deployment: str = ""
    nodes: str = ""
    compression: str = "zstd"
    min_free_bytes: int = MIN_FREE_BYTES


class RecorderNode(GraphNode):
    """Hands serialized messages to the recording session and publishes its answers."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        self._config = config = self.config(RecorderConfig)
        rows = graph.recorded_topics()
        names = {row.name: self.resolve_topic_name(row.name) for row in rows}
        speaking = (*graph.STREAMED, *acted_upon(config.nodes.split(",")))
        self._session = RecordingSession(
            SessionConfig(
                config.run_dir,
                config.min_free_bytes,
                writer=WriterConfig(compression=config.compression),
                awaited=frozenset(names[name] for name in speaking),
            ),
            {names[row.name]: recorded_topic(row, names[row.name]) for row in rows},
            self._describe_run,
        )
        self._session.check()
        self._told = SessionStatus()
        self._polls = 0
        self._publish = self.publisher("recorder/status").publish
        self._beat = self.heartbeat()
        self._state_topic = names["arm/state"]
        self._readers = {
            names[row.name]: self.subscribe(
                row.name, self._receiver(names[row.name]), raw=True, depth=DEPTH
            )
            for row in rows
        }
        self._streamed = frozenset(names[name] for name in graph.STREAMED)
        self.create_timer(POLL_S, self._poll)

    def _receiver(self, topic: str) -> Callable[[bytes, dict[str, Any]], None]:
        """A callback that keeps what the middleware knows of a message beside its bytes."""

        def receive(cdr: bytes, info: dict[str, Any]) -> None:
            received_ns = info["received_timestamp"] or time.time_ns()
            published_ns = info["source_timestamp"] or received_ns
            sequence = info["publication_sequence_number"] or 0
            self._session.on_message(
                RawMessage(topic, cdr, received_ns, published_ns, sequence), publisher_of(info)
            )
            self._answer()
            if topic == self._state_topic:
                self._beat(deserialize_message(cdr, ArmState).step)

        return receive

    def _poll(self) -> None:
        for topic in self._session.awaited:
            if topic not in self._streamed and self._readers[topic].get_publisher_count():
                self._session.on_found(topic)
        self._session.poll(time.time_ns())
        self._answer()
        self._polls += 1
        if self._polls % REPORT_EVERY == 0:
            self._report()

    def _answer(self) -> None:
        """Publish the session's status when it changed."""
        status = self._session.status
        if status is self._told:
            return
        self._told = status
        if status.state is RecorderState.FAILED:
            self.get_logger().error(status.error)
        elif status.lost:
            self.get_logger().warning(f"{status.episode_id}: {status.lost} messages lost")
        self._publish(
            RecorderStatus(
                header=messages.header(time.time_ns()),
                episode_id=status.episode_id,
                state=int(status.state),
                path=status.path,
                messages=status.messages,
                lost=status.lost,
                error=status.error,
            )
        )

    def _report(self) -> None:
        status, level = self._session.status, DiagnosticStatus.OK
        if status.state is RecorderState.FAILED:
            level = DiagnosticStatus.ERROR
        elif status.lost or self._session.dropped:
            level = DiagnosticStatus.WARN
        self.diagnose(
            time.time_ns(),
            level,
            status.error or status.state.name.lower(),
            episode_id=status.episode_id,
            lost_in_last_episode=status.lost,
            dropped_in_this_episode=self._session.dropped,
            awaited=" ".join(self._session.awaited),
        )

    def _describe_run(self) -> RunDescription:
        return describe_run(
            self._config.run_dir,
            self.get_namespace(),
            self._config.deployment,
            os.environ.get("ROS_DISTRO", "kilted"),
        )

    def shutdown(self) -> None:
        """Close the open bag, with the reason that the supervisor left if a process died."""
        self._session.shutdown(termination_reason(self._config.run_dir))
        self._answer()


def acted_upon(nodes: Container[str]) -> tuple[str, ...]:
    """Recorded topics on which `nodes` tell others what to do, or how it went."""
    rows = (t for t in graph.recorded_topics() if t.consumers and not t.qos.latched)
    return tuple(t.name for t in rows if t.producer in nodes)


def main() -> None:
    """Entry point of the node."""
    run_node(RecorderNode)


if __name__ == "__main__":
    main()
