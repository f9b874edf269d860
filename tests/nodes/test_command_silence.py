"""The middleware itself tells the driver that commands stopped: the second line of watchdogs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from domain_coordinator import domain_id

from pld_nodes import graph
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import ArmCommand  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from pld_nodes.ros.node import GraphNode, qos_profile  # noqa: E402

DEADLINE_S = 1.5


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[GraphNode]:
    """The driver's node in name, with a shorter deadline for the test."""
    rows = [
        replace(row, qos=replace(row.qos, deadline_s=DEADLINE_S)) if row.qos.deadline_s else row
        for row in graph.TOPICS
    ]
    monkeypatch.setattr(graph, "TOPICS", tuple(rows))
    with domain_id() as domain:
        rclpy.init(domain_id=int(domain))
        node = GraphNode("franka_node")
        try:
            yield node
        finally:
            node.destroy_node()
            rclpy.shutdown()


def spin(executor: SingleThreadedExecutor, condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    return condition()


def test_only_the_command_topic_has_a_deadline_far_beyond_its_watchdog() -> None:
    timed = {row.name: row.qos.deadline_s for row in graph.TOPICS if row.qos.deadline_s}
    assert timed == {"arm/command": 2.0}
    stale_ms = graph.topic("arm/command").stale_after_ms
    assert stale_ms is not None
    assert timed["arm/command"] * 1000 > 10 * stale_ms


def test_commands_that_stop_are_told_and_those_that_come_are_not(reader: GraphNode) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(reader)
    heard: list[ArmCommand] = []
    silences: list[float] = []
    reader.subscribe("arm/command", heard.append, on_silence=lambda: silences.append(1.0))
    profile = qos_profile(graph.topic("arm/command").qos)
    publisher = reader.create_publisher(ArmCommand, "arm/command", profile)
    assert spin(executor, lambda: publisher.get_subscription_count() > 0, 10.0)
    for _ in range(20):
        publisher.publish(ArmCommand())
        spin(executor, lambda: False, DEADLINE_S / 15)
    assert heard
    assert silences == []
    assert spin(executor, lambda: bool(silences), 10 * DEADLINE_S)
