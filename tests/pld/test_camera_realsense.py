"""The hardware camera driver on librealsense's genuine pipeline, fed by a software device."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pld.cameras.capture import CameraState, Capture, Clocks, Recovery, RecoveryPolicy
from pld.cameras.realsense import RealSenseCamera, RealSenseConfig, list_cameras
from pld.errors import CameraError
from pld.twin.frames import Frame, FrameWriter, frames_path
from pld.twin.realsense import SoftwareDevice, TwinCamera
from pld.types import CameraImage, Intrinsics

INTRINSICS = Intrinsics(424, 240, 308.5, 308.25, 211.5, 119.5)
PERIOD_NS = 33_000_000


class Source:
    """Writes numbered images into a camera's ring: image n is filled with n, stamped n periods."""

    def __init__(self, folder: Path, camera: str, *, depth: bool) -> None:
        self._writer = FrameWriter(frames_path(folder, camera), INTRINSICS, depth=depth)
        self._depth = depth
        self.number = 0

    def send(self, count: int = 1, *, every_s: float = 0.01) -> None:
        for _ in range(count):
            self.number += 1
            rgb = np.full((240, 424, 3), self.number, np.uint8)
            depth = np.full((240, 424), 100 * self.number, np.uint16) if self._depth else None
            self._writer.write(self.number, self.number * PERIOD_NS, rgb, depth)
            time.sleep(every_s)


@contextmanager
def streaming(
    folder: Path, camera: str, *, depth: bool = False
) -> Iterator[tuple[Source, RealSenseCamera]]:
    source = Source(folder, camera, depth=depth)
    twin = TwinCamera(folder, camera)
    serial = f"TWIN-{camera.upper().replace('_', '-')}"
    driver = RealSenseCamera(RealSenseConfig(serial, depth=depth), twin.context)
    try:
        yield source, driver
    finally:
        twin.close()
        driver.close()


def test_images_arrive_in_order_with_robot_time_and_frame_number(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist") as (source, camera):
        camera.open()
        for expected in range(1, 11):
            source.send()
            image = camera.read(2.0)
            assert image.sequence == expected
            assert image.t_ns == expected * PERIOD_NS
            assert image.rgb.shape == (240, 424, 3)
            assert image.rgb.dtype == np.uint8
            assert (image.rgb == expected).all()
            assert image.depth_m is None


def test_intrinsics_come_from_the_device(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist") as (_, camera):
        found = camera.open()
    assert (found.width_px, found.height_px) == (424, 240)
    assert found.fx == pytest.approx(308.5)
    assert found.fy == pytest.approx(308.25)
    assert (found.cx, found.cy) == (211.5, 119.5)


def test_depth_arrives_with_its_image_in_metres(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist", depth=True) as (source, camera):
        camera.open()
        assert camera.color_T_depth is not None
        np.testing.assert_allclose(camera.color_T_depth.p_m, 0.0)
        assert camera.depth_intrinsics is not None
        for expected in range(1, 6):
            source.send()
            image = camera.read(2.0)
            assert image.sequence == expected
            assert image.depth_m is not None
            assert image.depth_m.dtype == np.float32
            np.testing.assert_allclose(image.depth_m, 0.1 * expected, rtol=1e-6)


def test_a_colour_image_does_not_come_with_the_depth_of_an_earlier_one() -> None:
    device = SoftwareDevice("42", INTRINSICS, depth=True)
    camera = RealSenseCamera(RealSenseConfig("42", depth=True), device.context)
    camera.open()
    pixels = np.full((240, 424, 3), 7, np.uint8)

    def push(number: int, depth: NDArray[np.uint16] | None) -> None:
        time.sleep(0.033)
        device.push(Frame(number, number * PERIOD_NS, pixels, depth))

    for number in range(1, 6):
        push(number, np.full((240, 424), number, np.uint16))
        assert camera.read(2.0).sequence == number
    for number in range(6, 12):
        push(number, None)
    with pytest.raises(CameraError, match=r"sent no image for 0\.2 s"):
        camera.read(0.2)
    camera.close()


def test_a_slow_reader_loses_nothing_up_to_the_queues_depth(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist") as (source, camera):
        camera.open()
        source.send(3)
        assert [camera.read(1.0).sequence for _ in range(3)] == [1, 2, 3]


def test_an_absent_serial_lists_those_present(tmp_path: Path) -> None:
    Source(tmp_path, "wrist", depth=False)
    twin = TwinCamera(tmp_path, "wrist")
    try:
        camera = RealSenseCamera(RealSenseConfig("0000"), twin.context)
        with pytest.raises(CameraError, match=r"'0000'; present: TWIN-WRIST"):
            camera.open()
        assert [c.serial for c in list_cameras(twin.context)] == ["TWIN-WRIST"]
    finally:
        twin.close()


class Broken:
    """A context whose device says what a camera says just after a replug."""

    def query_devices(self) -> list[object]:
        raise RuntimeError("hwmon command 0x15 failed (HW not ready)")


def test_a_camera_that_is_not_ready_yet_is_an_error_to_recover_from() -> None:
    camera = RealSenseCamera(RealSenseConfig("1"), Broken())
    for act in (camera.open, camera.reset):
        with pytest.raises(CameraError, match=r"camera 1 .*HW not ready.*replug"):
            act()
    with pytest.raises(CameraError, match="the cameras cannot be listed: hwmon"):
        list_cameras(Broken())


def test_a_usb_2_link_is_refused_unless_allowed() -> None:
    device = SoftwareDevice("42", INTRINSICS, depth=False, usb="2.1")
    with pytest.raises(CameraError, match=r"USB 2\.1"):
        RealSenseCamera(RealSenseConfig("42"), device.context).open()
    allowed = RealSenseCamera(RealSenseConfig("42", allow_usb2=True), device.context)
    assert allowed.open().width_px == 424
    allowed.close()


def test_a_mode_that_the_camera_lacks_is_refused_with_its_name(tmp_path: Path) -> None:
    Source(tmp_path, "wrist", depth=False)
    twin = TwinCamera(tmp_path, "wrist")
    try:
        camera = RealSenseCamera(RealSenseConfig("TWIN-WRIST", 640, 480), twin.context)
        with pytest.raises(CameraError, match="640x480 at 30 Hz"):
            camera.open()
    finally:
        twin.close()


def test_a_silent_camera_is_an_error_and_can_be_opened_again(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist") as (source, camera):
        camera.open()
        source.send()
        camera.read(1.0)
        with pytest.raises(CameraError, match=r"sent no image for 0\.2 s"):
            camera.read(0.2)
        camera.open()
        source.send()
        assert camera.read(1.0).sequence == 2


def test_reading_before_opening_is_an_error(tmp_path: Path) -> None:
    with (
        streaming(tmp_path, "wrist") as (_, camera),
        pytest.raises(CameraError, match="is not open"),
    ):
        camera.read(0.1)


def test_two_cameras_deliver_their_own_images(tmp_path: Path) -> None:
    with (
        streaming(tmp_path, "wrist") as (near, wrist),
        streaming(tmp_path, "third_person") as (far, third_person),
    ):
        wrist.open()
        third_person.open()
        far.number = 100
        for expected in range(1, 6):
            near.send()
            far.send()
            assert wrist.read(1.0).rgb[0, 0, 0] == expected
            assert third_person.read(1.0).rgb[0, 0, 0] == 100 + expected


def test_a_new_renderer_is_followed(tmp_path: Path) -> None:
    with streaming(tmp_path, "wrist") as (source, camera):
        camera.open()
        source.send()
        camera.read(1.0)
        again = Source(tmp_path, "wrist", depth=False)
        again.number = 50
        again.send()
        assert camera.read(2.0).sequence == 51


def test_closing_does_not_wait_for_a_pipeline_that_hangs() -> None:
    released = threading.Event()

    class Hanging:
        def stop(self) -> None:
            released.wait(30.0)

    camera = RealSenseCamera(RealSenseConfig("1", close_timeout_s=0.1))
    camera._pipeline = Hanging()
    began = time.monotonic()
    camera.close()
    assert time.monotonic() - began < 5.0
    released.set()


def test_capture_reconnects_the_genuine_pipeline_after_a_stall(tmp_path: Path) -> None:
    seen: list[CameraImage] = []
    graph_ns = [0]

    def capture_one() -> None:
        """Send an image and go on until it is seen, however slow the machine is."""
        source.send()
        wanted, deadline = len(seen) + 1, time.monotonic() + 5.0
        while len(seen) < wanted and time.monotonic() < deadline:
            capture.step()

    with streaming(tmp_path, "wrist") as (source, camera):
        capture = Capture(
            camera,
            Recovery(RecoveryPolicy(backoff_s=(0.01,))),
            Clocks(lambda: graph_ns[0], time.monotonic, time.sleep),
            lambda image, _: seen.append(image) is None,
            max_age_s=1.0,
            read_timeout_s=0.1,
        )
        capture.step()
        capture_one()
        graph_ns[0] = 2_000_000_000
        capture.step()
        assert capture.recovery.state == CameraState.WAITING
        time.sleep(0.02)
        capture.step()
        capture_one()
    assert capture.recovery.state == CameraState.STREAMING
    assert [image.sequence for image in seen] == [1, 2]
    assert capture.recovery.losses == 1
