"""The camera node as a process: every image of the twin arrives once, stamped with robot time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pld.twin.frames import FrameWriter, frames_path
from pld.twin.link import Truth, TwinLink
from pld.types import Intrinsics
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from domain_coordinator import domain_id  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from pld_nodes.graph import STREAM  # noqa: E402
from pld_nodes.ros.messages import nanoseconds  # noqa: E402
from pld_nodes.ros.node import qos_profile  # noqa: E402

INTRINSICS = Intrinsics(424, 240, 308.5, 308.25, 211.5, 119.5)
PERIOD_NS = 33_000_000


class StandIn:
    """The simulator and renderer of one camera: waits for each image to be confirmed."""

    def __init__(self, folder: Path, *, depth: bool) -> None:
        self.link = TwinLink(folder / "twin.link", create=True)
        self._writer = FrameWriter(frames_path(folder, "wrist"), INTRINSICS, depth=depth)
        self._depth = depth
        self.number = self.shade = 0

    def advance(self, *, again: bool = False) -> None:
        """One image later, in robot time that nobody waits for; with `again` the same picture."""
        self.number += 1
        t_ns = self.number * PERIOD_NS
        self.link.publish(Truth(t_ns, np.zeros(9), np.zeros(9), 0, False, 0.0, 0.0))
        self.shade = self.shade if again else self.number % 256
        rgb = np.full((240, 424, 3), self.shade, np.uint8)
        depth = np.full((240, 424), self.number, np.uint16) if self._depth else None
        self._writer.write(self.number, t_ns, rgb, depth)

    def confirmed(self) -> bool:
        return self.link.confirmed("wrist")[0] == self.number * PERIOD_NS


class Probe:
    """What another process sees of the node."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("probe", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.color: list[Image] = []
        self.depth: list[Image] = []
        self.info: list[CameraInfo] = []
        self.depth_info: list[CameraInfo] = []
        self.status: dict[str, str] = {}
        base, qos = "camera/wrist", qos_profile(STREAM)
        subscribe = self._node.create_subscription
        self.images = subscribe(Image, f"{base}/color/image_raw", self.color.append, qos)
        subscribe(Image, f"{base}/depth/image_rect_raw", self.depth.append, qos)
        subscribe(CameraInfo, f"{base}/color/camera_info", self.info.append, qos)
        subscribe(CameraInfo, f"{base}/depth/camera_info", self.depth_info.append, qos)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.status = {v.key: v.value for v in status.values} | {"message": status.message}

    def matched(self) -> bool:
        return len(self._node.get_publishers_info_by_topic("/camera/wrist/color/image_raw")) > 0

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            self._executor.spin_once(timeout_sec=0.005)

    def listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > deadline)

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def start_node(domain: int, folder: Path, **parameters: object) -> subprocess.Popen[str]:
    values = {"camera": "wrist", "serial": "TWIN-WRIST", "twin_dir": str(folder)} | parameters
    given = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    return subprocess.Popen(
        [
            sys.executable, "-m", "pld_nodes.camera_node", "--ros-args",
            "-r", "__node:=wrist_camera_node", *given,
        ],
        env=os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.fixture
def domain() -> Iterator[int]:
    with domain_id() as number:
        yield number


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    made = Probe(domain)
    yield made
    made.close()


@pytest.fixture
def started(domain: int, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(**parameters: object) -> subprocess.Popen[str]:
        processes.append(start_node(domain, tmp_path, **parameters))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def warm_up(probe: Probe, twin: StandIn) -> None:
    """Send images until the probe gets one and the node has confirmed the last."""
    probe.until(probe.matched)
    while not probe.color:
        twin.advance()
        probe.listen(0.1)
    probe.until(lambda: twin.confirmed() and nanoseconds(probe.color[-1].header.stamp) > 0)


def test_every_image_of_two_seconds_arrives_once_with_its_depth_and_intrinsics(
    probe: Probe, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    twin = StandIn(tmp_path, depth=True)
    node = started(depth="true")
    warm_up(probe, twin)
    first = twin.number + 1
    for _ in range(61):
        twin.advance()
        probe.until(twin.confirmed)
    expected = [n * PERIOD_NS for n in range(first, first + 61)]
    topics = (probe.color, probe.depth, probe.info, probe.depth_info)
    probe.until(lambda: all(nanoseconds(m[-1].header.stamp) == expected[-1] for m in topics))
    for received in topics:
        stamps = [nanoseconds(m.header.stamp) for m in received]
        assert [t for t in stamps if t >= expected[0]] == expected

    color, depth, info = probe.color[-1], probe.depth[-1], probe.info[-1]
    assert (color.encoding, color.height, color.width, color.step) == ("rgb8", 240, 424, 1272)
    assert set(color.data) == {twin.number % 256}
    assert (depth.encoding, depth.step) == ("16UC1", 848)
    assert set(np.frombuffer(depth.data, np.uint16)) == {twin.number}
    assert color.header.frame_id == info.header.frame_id == "wrist_color_optical_frame"
    depth_frames = {depth.header.frame_id, probe.depth_info[-1].header.frame_id}
    assert depth_frames == {"wrist_depth_optical_frame"}
    np.testing.assert_allclose(probe.depth_info[-1].k, info.k)
    np.testing.assert_allclose(info.k, [308.5, 0, 211.5, 0, 308.25, 119.5, 0, 0, 1])
    assert list(info.p[:3]) == [308.5, 0.0, 211.5]

    probe.until(lambda: int(probe.status.get("images", 0)) >= twin.number - 1)
    assert probe.status["message"] == "streaming"
    assert probe.status["color_T_depth"] == "0 0 0 0 0 0 1"
    assert probe.status["dropped"] == "0"
    assert probe.status["reconnects"] == "0"
    node.send_signal(signal.SIGINT)
    assert node.wait(20) == 0
    assert twin.link.confirmed("wrist")[0] == 0


def test_a_picture_that_comes_again_is_not_told_and_robot_time_goes_on(
    probe: Probe, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    twin = StandIn(tmp_path, depth=False)
    started()
    warm_up(probe, twin)
    told = [len(probe.color), len(probe.info)]
    for _ in range(5):
        twin.advance(again=True)
        probe.until(twin.confirmed)
    probe.until(lambda: probe.status.get("repeated") == "5")
    assert [len(probe.color), len(probe.info)] == told
    twin.advance()
    probe.until(lambda: [len(probe.color), len(probe.info)] == [n + 1 for n in told])


def test_an_absent_serial_ends_the_node_with_those_present(
    probe: Probe, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    StandIn(tmp_path, depth=False)
    node = started(serial="'0123'")
    _, errors = node.communicate(timeout=60)
    assert node.returncode == 1
    assert "'0123'" in errors
    assert "present: TWIN-WRIST" in errors


def test_a_camera_that_freezes_is_reported_and_comes_back(
    probe: Probe, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    twin = StandIn(tmp_path, depth=False)
    started(max_age_s=0.5)
    warm_up(probe, twin)
    t_ns = twin.number * PERIOD_NS + 600_000_000
    twin.link.publish(Truth(t_ns, np.zeros(9), np.zeros(9), 0, False, 0.0, 0.0))
    probe.until(lambda: probe.status.get("reconnects") == "1")
    twin.number += 30
    received = len(probe.color)
    while len(probe.color) < received + 5:
        twin.advance()
        probe.listen(0.05)
    probe.until(lambda: probe.status.get("message") == "streaming")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"camera": "left"}, "third_person, wrist"),
        ({"serial": "''"}, "pld camera list"),
        ({"max_age_s": -1.0}, "max_age_s"),
    ],
)
def test_bad_parameters_are_refused(
    parameters: dict[str, object],
    words: str,
    domain: int,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    node = started(**parameters)
    _, errors = node.communicate(timeout=60)
    assert node.returncode == 2
    assert words in errors
