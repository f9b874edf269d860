"""Nodes that a busy machine kept waiting: what came meanwhile is judged by the newest of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from domain_coordinator import domain_id

from pld.contract import CAMERAS
from pld.robots.fake import FakeArm
from pld.tasks import task_facts
from pld.types import ControlMode
from pld_nodes import graph
from pld_nodes.ros import environment
from tests.nodes.test_graph_probing import TASK, random_base

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import EpisodeStatus, RecorderStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import UInt64  # noqa: E402

from pld_nodes.ros import messages  # noqa: E402
from pld_nodes.ros.node import GraphNode, message_class, qos_profile  # noqa: E402
from pld_nodes.safety_node import SafetyNode  # noqa: E402
from pld_nodes.vla_node import VlaNode  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MS = 1_000_000
T_NS = 5_000 * MS
STEP = 7
SIDE = 96


class Beside:
    """Plays the rest of the graph in one process with a node, which works when told to."""

    def __init__(self, kind: type[GraphNode], answers: str) -> None:
        self.node = rclpy.create_node("beside", namespace="/pld")
        self.heard: list = []
        row = graph.topic(answers)
        self.node.create_subscription(
            message_class(row.type), answers, self.heard.append, qos_profile(row.qos)
        )
        self.publishers: dict = {}
        self.nodes = (kind(), self.node)
        self.executors = [SingleThreadedExecutor() for _ in self.nodes]
        for executor, node in zip(self.executors, self.nodes, strict=True):
            executor.add_node(node)
        arm = FakeArm()
        arm.connect()
        self.arm = replace(arm.reset(), t_ns=T_NS, step=STEP)

    def say(self, name: str, msg) -> None:
        if name not in self.publishers:
            row = graph.topic(name)
            self.publishers[name] = self.node.create_publisher(
                message_class(row.type), name, qos_profile(row.qos)
            )
        self.publishers[name].publish(msg)

    def say_state(self, **changes: object) -> None:
        self.say("arm/state", messages.arm_state_to_msg(replace(self.arm, **changes)))

    def close(self) -> None:
        for executor, node in zip(self.executors, self.nodes, strict=True):
            executor.shutdown()
            node.destroy_node()

    def work(self) -> None:
        """Let the node do all that waits, then hear its answers."""
        for executor in self.executors:
            for _ in range(20):
                executor.spin_once(timeout_sec=0.01)


@contextmanager
def beside(kind: type[GraphNode], answers: str, *parameters: str) -> Iterator[Beside]:
    arguments = ["--ros-args", "-r", "__ns:=/pld"]
    for word in parameters:
        arguments += ["-p", word]
    with domain_id() as domain:
        rclpy.init(args=arguments, domain_id=domain)
        try:
            with closing(Beside(kind, answers)) as rig:
                yield rig
        finally:
            rclpy.shutdown()


@contextmanager
def base_policy(folder: Path) -> Iterator[Beside]:
    """A vla_node in an episode that runs."""
    weights = folder / "base.safetensors"
    random_base(weights)
    said = (f"task:={TASK}", f"policy:={weights}", "rate_hz:=10.0")
    with beside(VlaNode, "base/action", *said) as rig:
        running = EpisodeStatus(episode_id="e", state=EpisodeStatus.RUNNING)
        running.instruction = task_facts(TASK).instruction
        rig.say("episode", running)
        rig.work()
        yield rig


def show(rig: Beside, age_ms: int) -> None:
    """One image of each camera, so old when the step begins."""
    for camera in CAMERAS:
        msg = Image(height=SIDE, width=SIDE, encoding="rgb8", step=3 * SIDE)
        msg.header = messages.header(T_NS - age_ms * MS)
        msg.data.frombytes(bytes(3 * SIDE * SIDE))
        rig.say(graph.image_topic(camera), msg)


def test_the_base_policy_answers_with_the_newest_images(tmp_path: Path) -> None:
    with base_policy(tmp_path) as rig:
        for age_ms in (140, 107, 73, 40):
            show(rig, age_ms)
        rig.say_state()
        rig.work()
    (action,) = rig.heard
    assert action.step == STEP
    newest_ns = T_NS - 40 * MS
    assert [messages.nanoseconds(stamp) for stamp in action.image_stamps] == [newest_ns] * 2


def test_a_step_without_a_fresh_image_is_not_answered(tmp_path: Path) -> None:
    with base_policy(tmp_path) as rig:
        show(rig, 101)
        rig.say_state()
        rig.work()
        assert rig.heard == []
        show(rig, 40)
        rig.say_state(step=STEP + 1)
        rig.work()
    assert [action.step for action in rig.heard] == [STEP + 1]


class Interrupted(SafetyNode):
    """Safety that is kept waiting in the middle of its work."""

    def meanwhile(self) -> None:
        """What the others do until it goes on."""

    def _on_recorder(self, msg: RecorderStatus) -> None:
        super()._on_recorder(msg)
        self.meanwhile()


def live(rig: Beside, first_ms: int, last_ms: int, *, camera_works: bool) -> None:
    """The driver tells the time, a side node works and the camera takes images."""
    for ms in range(first_ms, last_ms, 4):
        if camera_works and ms % 32 == 0:
            stamp = messages.header(T_NS + ms * MS)
            rig.say(graph.info_topic("wrist"), CameraInfo(header=stamp))
        if ms == 8:
            rig.say(graph.heartbeat_topic("reward_node"), UInt64(data=STEP))
        if ms % 8 == 4:
            rig.say("arm/time", messages.stamp(T_NS + ms * MS))


def holds_of_interrupted_safety(*, camera_works: bool) -> int:
    """How often safety holds a moving arm that goes on living while safety is kept waiting."""
    limits = f"limits:={ROOT / 'launch' / 'config' / 'limits_fr3.yaml'}"
    with beside(Interrupted, "arm/command", limits, "rate_hz:=10.0") as rig:
        rig.say_state(control_mode=ControlMode.TRACKING)
        live(rig, 0, 100, camera_works=True)
        rig.work()
        assert rig.heard == []
        rig.nodes[0].meanwhile = partial(live, rig, 104, 250, camera_works=camera_works)
        rig.say("recorder/status", RecorderStatus())
        rig.say("arm/time", messages.stamp(T_NS + 100 * MS))
        rig.work()
    return len(rig.heard)


def test_safety_misses_nobody_who_worked_while_it_was_kept_waiting() -> None:
    assert holds_of_interrupted_safety(camera_works=True) == 0


def test_safety_misses_a_camera_that_was_silent_while_it_was_kept_waiting() -> None:
    assert holds_of_interrupted_safety(camera_works=False) == 1
