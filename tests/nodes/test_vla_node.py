"""The base policy's node: a busy one answers with the newest images, and never with stale ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from pld.contract import CAMERAS
from pld.robots.fake import FakeArm
from pld.tasks import task_facts
from pld_nodes import graph
from pld_nodes.ros import environment
from tests.nodes.test_graph_probing import TASK, random_base

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import BaseAction, EpisodeStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from pld_nodes.ros import messages  # noqa: E402
from pld_nodes.ros.node import message_class, qos_profile  # noqa: E402
from pld_nodes.vla_node import VlaNode  # noqa: E402

MS = 1_000_000
T_NS = 5_000 * MS
SIDE = 96


class Beside:
    """Plays cameras, arbitrator and driver beside a vla_node, which works when told to."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("beside", namespace="/pld")
        self.actions: list[BaseAction] = []
        row = graph.topic("base/action")
        self.node.create_subscription(
            BaseAction, row.name, self.actions.append, qos_profile(row.qos)
        )
        names = ("episode", "arm/state", *map(graph.image_topic, CAMERAS))
        self.publishers = {name: self._publisher(name) for name in names}
        self.vla = VlaNode()
        self.executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
        for executor, node in zip(self.executors, (self.vla, self.node), strict=True):
            executor.add_node(node)
        arm = FakeArm()
        arm.connect()
        self.arm = replace(arm.reset(), t_ns=T_NS, step=7)
        running = EpisodeStatus(episode_id="e", state=EpisodeStatus.RUNNING)
        running.instruction = task_facts(TASK).instruction
        self.say("episode", running)
        self.work()

    def _publisher(self, name: str):
        row = graph.topic(name)
        return self.node.create_publisher(message_class(row.type), name, qos_profile(row.qos))

    def say(self, name: str, msg) -> None:
        self.publishers[name].publish(msg)

    def show(self, age_ms: int) -> None:
        """One image of each camera, so old when the step begins."""
        for camera in CAMERAS:
            msg = Image(height=SIDE, width=SIDE, encoding="rgb8", step=3 * SIDE)
            msg.header = messages.header(T_NS - age_ms * MS)
            msg.data.frombytes(bytes(3 * SIDE * SIDE))
            self.say(graph.image_topic(camera), msg)

    def begin_step(self) -> None:
        self.say("arm/state", messages.arm_state_to_msg(self.arm))

    def work(self) -> None:
        """Let the node do all that waits, then hear its answers."""
        for executor in self.executors:
            for _ in range(20):
                executor.spin_once(timeout_sec=0.01)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    weights = tmp_path / "base.safetensors"
    random_base(weights)
    said = (f"task:={TASK}", f"policy:={weights}", "rate_hz:=10.0")
    arguments = ["--ros-args", "-r", "__ns:=/pld"]
    for word in said:
        arguments += ["-p", word]
    with domain_id() as domain:
        rclpy.init(args=arguments, domain_id=domain)
        try:
            yield Beside()
        finally:
            rclpy.shutdown()


def test_a_node_that_was_busy_answers_with_the_newest_images(beside: Beside) -> None:
    for age_ms in (140, 107, 73, 40):
        beside.show(age_ms)
    beside.begin_step()
    beside.work()
    (action,) = beside.actions
    assert action.step == 7
    newest_ns = T_NS - 40 * MS
    assert [messages.nanoseconds(stamp) for stamp in action.image_stamps] == [newest_ns] * 2


def test_a_step_without_a_fresh_image_is_not_answered(beside: Beside) -> None:
    beside.show(101)
    beside.begin_step()
    beside.work()
    assert beside.actions == []
