"""A bag played for viewing is seen by viewers and by nobody who acts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from pld.errors import ConfigError
from pld.recording import bag
from pld.recording.bag import RawMessage
from pld.recording.viewing import schedule, viewing_name
from pld_nodes import graph
from pld_nodes.ros import environment
from tests.pld.recording_stream import TYPES, record

environment.prepare()

import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from pld_nodes.ros.node import message_class, qos_profile  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAMESPACES = ("/pld", "/replay", "/replay/pld", "/replay/pld/arm", "/replay/replay/pld", "")
STEPS, QUIET_LOOKS = 20, 30


def absolute(namespace: str, name: str) -> str:
    return name if name.startswith("/") else f"{namespace}/{name}"


@pytest.mark.parametrize("recorded_in", NAMESPACES)
@pytest.mark.parametrize("row", graph.TOPICS, ids=lambda row: row.name)
def test_no_namespace_makes_a_played_action_or_command_a_topic_of_the_graph(
    row: graph.Topic, recorded_in: str
) -> None:
    shown = viewing_name(absolute(recorded_in, row.name), row.type)
    assert shown.startswith("/replay/")
    live = {name for name in (t.name for t in graph.TOPICS) if shown.endswith(f"/{name}")}
    assert not live or not row.type.startswith("pld_interfaces/")
    assert shown not in {absolute("/pld", t.name) for t in graph.TOPICS}


class Listener:
    """Counts what arrives on every topic of the graph in every namespace, and under /replay."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.acted: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()
        for row in graph.TOPICS:
            if row.type.startswith("pld_interfaces/"):
                for namespace in NAMESPACES:
                    qos = replace(row.qos, deadline_s=None)  # a player offers none, and must match
                    self._count(self.acted, row.type, absolute(namespace, row.name), qos)
        for name, kind in TYPES.items():
            qos = graph.Qos(100, latched=name in ("/pld/episode", "/tf_static"))
            self._count(self.shown, kind, viewing_name(name, kind), qos)

    def _count(self, counter: Counter[str], kind: str, name: str, qos: graph.Qos) -> None:
        def arrived(_: object) -> None:
            counter[name] += 1

        self.node.create_subscription(message_class(kind), name, arrived, qos_profile(qos))

    def listen(self, process: subprocess.Popen[str]) -> set[str]:
        """Until the player has ended and all is read; returns the topics that it published."""
        found: set[str] = set()
        deadline = time.monotonic() + 60.0
        while process.poll() is None and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.01)
            try:
                rows = self.node.get_publisher_names_and_types_by_node("replay", "/")
            except rclpy._rclpy_pybind11.NodeNameNonExistentError:
                continue
            found |= {name for name, _ in rows}
        quiet, heard = 0, -1
        while quiet < QUIET_LOOKS:
            self.executor.spin_once(timeout_sec=0.01)
            quiet = quiet + 1 if self.shown.total() == heard else 0
            heard = self.shown.total()
        return found

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def domain() -> Iterator[int]:
    with domain_id() as found:
        yield int(found)


def player(domain: int, *arguments: str, log_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pld_nodes.cli", "bag", "replay", *arguments],
        cwd=ROOT,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(log_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_played_bag_is_seen_under_replay_and_reaches_no_topic_of_the_graph(
    tmp_path: Path, domain: int
) -> None:
    folder = record(tmp_path / "run", steps=STEPS)
    listener = Listener(domain)
    process = player(domain, str(folder), log_dir=tmp_path)
    published = listener.listen(process)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert listener.shown["/replay/pld/arm/command/recorded"] == STEPS
    assert listener.shown["/replay/pld/camera/wrist/color/image_raw"] == STEPS
    assert listener.shown["/replay/pld/episode/recorded"] >= 2
    assert listener.acted == Counter()
    own = {name for name in published if not name.startswith(("/rosout", "/parameter_events"))}
    assert own
    assert all(name.startswith("/replay/") for name in own)
    listener.close()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["/nowhere"], "give an episode's folder"),
        (["{bag}", "--rate", "0"], "rate: 0.0 is not from 0.01 to 100"),
        (["{bag}", "--start", "-1"], "start: -1.0 is not 0 or more"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(
    tmp_path: Path, domain: int, arguments: list[str], named: str
) -> None:
    folder = record(tmp_path / "run", steps=3)
    given = [a.format(bag=folder) for a in arguments]
    process = player(domain, *given, log_dir=tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert named in output.replace("\n", " ")
    assert "Traceback" not in output


def test_the_pace_is_that_of_the_recording_times_the_rate() -> None:
    messages = [RawMessage("/t", b"", 10**9 + i * 10**8, 0) for i in range(5)]
    due = [round(d.after_s, 6) for d in schedule(messages, 2.0, 0.1)]
    assert due == [-0.05, 0.0, 0.05, 0.1, 0.15]
    assert bag.ARM_COMMAND.startswith("pld_interfaces/")


def test_a_namespace_under_replay_is_refused() -> None:
    from pld_nodes.parameters import RunParameters

    with pytest.raises(ConfigError, match="played for viewing"):
        RunParameters(namespace="replay/pld")
