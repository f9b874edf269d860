"""The twin's RealSense: a librealsense software device fed with the renderer's images.

The genuine `rs.pipeline` reads it through the context given here, so that the camera's process
runs the hardware code. Only this file knows that the device is not a real one.

librealsense keeps a weak reference to a device that is added to a context: it lives only as long
as the device list that its own arrival callback hands out.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from pld.cameras.realsense import pyrealsense2_module
from pld.twin.frames import DEPTH_UNIT_M, Frame, FrameReader, frames_path
from pld.types import Intrinsics

FPS = 30
POLL_S = 0.001
PAUSE_AFTER_FRAME_S = 0.010
IDLE_BEFORE_REOPEN_S = 0.1
COLOR_UID, DEPTH_UID = 1, 2


def twin_serial(camera: str) -> str:
    """Serial number of a camera of the twin, such as TWIN-WRIST."""
    return f"TWIN-{camera.upper().replace('_', '-')}"


class TwinCamera:
    """One software device and the thread that feeds it; `context` goes to the RealSense driver.

    Waits up to `timeout_s` for the renderer's ring; raises CameraError when it does not come.
    Close it before the process ends: librealsense must not be fed while it is being unloaded.
    """

    def __init__(self, twin_dir: Path, camera: str, *, timeout_s: float = 30.0) -> None:
        self._reader = _await_ring(frames_path(twin_dir, camera), timeout_s)
        self._device = SoftwareDevice(
            twin_serial(camera), self._reader.intrinsics, depth=self._reader.has_depth
        )
        self.context = self._device.context
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name=f"feed-{camera}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop feeding; safe to call twice."""
        self._stop.set()
        self._thread.join()

    def _feed(self) -> None:
        idle_since = time.monotonic()
        while not self._stop.is_set():
            frame = self._reader.next()
            now = time.monotonic()
            if frame is not None:
                self._device.push(frame)
                idle_since = now
                self._stop.wait(PAUSE_AFTER_FRAME_S)
                continue
            if now - idle_since > IDLE_BEFORE_REOPEN_S:
                self._reader.reopen_if_replaced()
                idle_since = now
            self._stop.wait(POLL_S)


def _await_ring(path: Path, timeout_s: float) -> FrameReader:
    deadline = time.monotonic() + timeout_s
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return FrameReader(path)


class SoftwareDevice:
    """A D435 in the mode that the ring has: rgb8 colour and, if asked, z16 depth.

    Depth is drawn from the colour camera, so its extrinsics to colour are the identity.
    Timestamps are robot time [ms] in the global time domain, as of a synchronised D435.
    """

    def __init__(
        self, serial: str, intrinsics: Intrinsics, *, depth: bool, usb: str = "3.2"
    ) -> None:
        self._rs = rs = pyrealsense2_module()
        self._intrinsics = intrinsics
        self.context = rs.context()
        self._alive: list[Any] = []
        self.context.set_devices_changed_callback(
            lambda event: self._alive.append(event.get_new_devices())
        )
        self._device = rs.software_device()
        self._device.register_info(rs.camera_info.name, "Intel RealSense D435 (software)")
        self._device.register_info(rs.camera_info.serial_number, serial)
        self._device.register_info(rs.camera_info.usb_type_descriptor, usb)
        self._sensors = [self._color_sensor()]
        if depth:
            self._sensors.append(self._depth_sensor())
            self._join_extrinsics()
        self._device.create_matcher(rs.matchers.dlr_c if depth else rs.matchers.default)
        self._device.add_to(self.context)

    def push(self, frame: Frame) -> None:
        """Deliver one image to whoever streams from this device."""
        for sensor, profile in self._sensors:
            is_color = profile.stream_type() == self._rs.stream.color
            pixels = frame.rgb if is_color else frame.depth
            if pixels is None:
                continue
            sample = self._rs.software_video_frame()
            sample.bpp = 3 if is_color else 2
            sample.stride = self._intrinsics.width_px * sample.bpp
            sample.pixels = pixels
            sample.timestamp = frame.t_ns / 1e6
            sample.domain = self._rs.timestamp_domain.global_time
            sample.frame_number = frame.number
            sample.profile = profile.as_video_stream_profile()
            if not is_color:
                sample.depth_units = DEPTH_UNIT_M
            sensor.on_video_frame(sample)

    def _color_sensor(self) -> tuple[Any, Any]:
        sensor = self._device.add_sensor("RGB Camera")
        stream = self._stream(self._rs.stream.color, COLOR_UID, self._rs.format.rgb8, 3)
        return sensor, sensor.add_video_stream(stream, True)

    def _depth_sensor(self) -> tuple[Any, Any]:
        sensor = self._device.add_sensor("Stereo Module")
        sensor.add_read_only_option(self._rs.option.depth_units, DEPTH_UNIT_M)
        stream = self._stream(self._rs.stream.depth, DEPTH_UID, self._rs.format.z16, 2)
        return sensor, sensor.add_video_stream(stream, True)

    def _stream(self, kind: Any, uid: int, pixel_format: Any, bytes_per_pixel: int) -> Any:
        given, stream = self._intrinsics, self._rs.video_stream()
        intrinsics = self._rs.intrinsics()
        intrinsics.width, intrinsics.height = given.width_px, given.height_px
        intrinsics.fx, intrinsics.fy = given.fx, given.fy
        intrinsics.ppx, intrinsics.ppy = given.cx, given.cy
        intrinsics.model = self._rs.distortion.brown_conrady
        intrinsics.coeffs = list(given.distortion)
        stream.type, stream.index, stream.uid = kind, 0, uid
        stream.width, stream.height, stream.fps = given.width_px, given.height_px, FPS
        stream.bpp, stream.fmt, stream.intrinsics = bytes_per_pixel, pixel_format, intrinsics
        return stream

    def _join_extrinsics(self) -> None:
        (_, color), (_, depth) = self._sensors
        same = self._rs.extrinsics()
        same.rotation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        same.translation = [0.0, 0.0, 0.0]
        depth.register_extrinsics_to(color, same)
        color.register_extrinsics_to(depth, same)
