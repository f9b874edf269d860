"""A small graph around a genuine recorder process: what the other nodes would publish."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import (  # noqa: E402
    ArmCommand,
    ArmState,
    BaseAction,
    Choice,
    EpisodeStatus,
    RecorderStatus,
    SafetyStatus,
)
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402

from pld_nodes import graph  # noqa: E402
from pld_nodes.ros.messages import header  # noqa: E402
from pld_nodes.ros.node import message_class, qos_profile  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HELLO_S = 1.0
STARTED: list[subprocess.Popen[str]] = []
CAMERAS = ("third_person", "wrist")


def start_recorder(run_dir: Path, domain: int, **parameters: object) -> subprocess.Popen[str]:
    """The recorder node as its own process."""
    command = [sys.executable, "-m", "pld_nodes.recorder_node", "--ros-args", "-r", "__ns:=/pld"]
    for name, value in {"run_dir": run_dir, "deployment": "sim", **parameters}.items():
        command += ["-p", f"{name}:={value}"]
    recorder = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment_of(domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(recorder)
    return recorder


def kill_started() -> None:
    """A failed test leaves no recorder behind that would answer in the next one's place."""
    while STARTED:
        recorder = STARTED.pop()
        recorder.kill()
        recorder.wait()


def environment_of(domain: int) -> dict[str, str]:
    logs = Path(tempfile.gettempdir()) / "pld-test-ros-log"
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(logs)}


class SmallGraph:
    """Publishes every recorded topic and listens to the recorder's answers."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("small_graph", namespace="/pld", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.published: dict[str, int] = {}
        self.answers: list[RecorderStatus] = []
        self._publishers = {
            row.name: self.node.create_publisher(
                message_class(row.type), row.name, qos_profile(row.qos)
            )
            for row in graph.recorded_topics()
        }
        status = graph.topic("recorder/status")
        self.node.create_subscription(
            RecorderStatus, status.name, self.answers.append, qos_profile(status.qos)
        )
        self._pixels = [array.array("B", bytes([i]) * (424 * 240 * 3)) for i in range(8)]
        self._step = 0

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        """Spin until `condition` holds."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if condition():
                return True
            self.executor.spin_once(timeout_sec=0.01)
        return False

    def is_matched(self) -> bool:
        """Whether the recorder listens to every topic and is heard."""
        listening = all(p.get_subscription_count() for p in self._publishers.values())
        return listening and self.node.count_publishers("recorder/status") > 0

    def say_hello(self) -> None:
        """Let the recorder hear everybody who streams, well before an episode."""
        self.run_for(HELLO_S)
        self.wait(lambda: False, HELLO_S)
        self.published.clear()

    def publish(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)
        self.published[name] = self.published.get(name, 0) + 1

    def status(self, episode_id: str, state: int, **fields: object) -> None:
        message = EpisodeStatus(
            header=header(self._step * 50_000_000),
            episode_id=episode_id,
            state=state,
            task="cube_pickup",
            takeover_step=-1,
            **fields,
        )
        self.publish("episode", message)

    def answered(self, state: int, episode_id: str) -> bool:
        return any(a.state == state and a.episode_id == episode_id for a in self.answers)

    def run_for(self, seconds: float) -> None:
        """Two raw cameras at 30 Hz and every small topic at 20 Hz, in real time."""
        start = time.monotonic()
        images = steps = 0
        while (elapsed := time.monotonic() - start) < seconds:
            if elapsed * 30 >= images:
                images += 1
                self._publish_images(images)
            if elapsed * 20 >= steps:
                steps += 1
                self._publish_step()
            self.executor.spin_once(timeout_sec=0.002)

    def _publish_images(self, count: int) -> None:
        for camera in CAMERAS:
            message = Image(
                header=header(self._step * 50_000_000, camera),
                height=240,
                width=424,
                encoding="rgb8",
                step=424 * 3,
                data=self._pixels[count % len(self._pixels)],
            )
            self.publish(f"camera/{camera}/color/image_raw", message)

    def _publish_step(self) -> None:
        self._step += 1
        common = {"header": header(self._step * 50_000_000), "step": self._step}
        chunk = {"chunk_horizon": 8, "chunk": array.array("d", [0.0] * 56)}
        self.publish("arm/state", ArmState(**common))
        self.publish("base/action", BaseAction(**common, **chunk))
        self.publish("arbitrator/choice", Choice(**common, source=1))
        self.publish("arm/command", ArmCommand(**common))
        self.publish("safety/status", SafetyStatus(**common))
        self.publish("joint_states", JointState(header=common["header"], position=[0.0] * 9))


def stop(process: subprocess.Popen[str], signal_number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal if it still runs; exit code and output."""
    if process.poll() is None:
        process.send_signal(signal_number)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output
