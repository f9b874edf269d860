"""Intel RealSense through the genuine `rs.pipeline`; the only driver of a real camera.

What the public issue tracker says of these cameras shapes it: silent stalls, a fallback to USB 2,
`pipeline.stop()` that never returns. Reads time out, the link is checked, closing is bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pld.errors import CameraError, MissingPackageError
from pld.geometry import pose_from_matrix
from pld.types import CameraImage, Intrinsics, Pose

QUEUE_DEPTH = 4
TOGETHER = 0.6  # periods between an image and its depth: half of one at most, and a bit


@dataclass(frozen=True)
class RealSenseConfig:
    """Which camera and which mode; 424 x 240 at 30 Hz is a native mode of the D400 series.

    `close_timeout_s` bounds how long closing may take before the pipeline is left behind.
    `allow_usb2` accepts a link that cannot carry two streams.
    """

    serial: str
    width_px: int = 424
    height_px: int = 240
    fps: int = 30
    depth: bool = False
    close_timeout_s: float = 3.0
    allow_usb2: bool = False


@dataclass(frozen=True)
class RealSenseDescription:
    """What a camera says of itself; `usb` is its link, such as 3.2, empty where unknown."""

    serial: str
    name: str
    usb: str
    firmware: str


@contextmanager
def _failing_as_camera(what: str) -> Iterator[None]:
    """Librealsense's RuntimeError as a CameraError: a camera that goes raises it anywhere."""
    try:
        yield
    except RuntimeError as error:
        raise CameraError(f"{what}: {error}; replug the camera if that stays") from error


def list_cameras(context: Any = None) -> tuple[RealSenseDescription, ...]:
    """The cameras that are present on this machine, or on an injected `rs.context`.

    Raises CameraError where one goes while it is asked.
    """
    with _failing_as_camera("the cameras cannot be listed"):
        return _listed(context)


def _listed(context: Any) -> tuple[RealSenseDescription, ...]:
    rs = pyrealsense2_module()
    info = rs.camera_info

    def said(device: Any, what: Any) -> str:
        return str(device.get_info(what)) if device.supports(what) else ""

    return tuple(
        RealSenseDescription(
            said(device, info.serial_number),
            said(device, info.name),
            said(device, info.usb_type_descriptor),
            said(device, info.firmware_version),
        )
        for device in (context or rs.context()).query_devices()
    )


class RealSenseCamera:
    """One camera; `context` is an `rs.context`, by default that of the USB devices."""

    def __init__(self, config: RealSenseConfig, context: Any = None) -> None:
        self.config = config
        self._context = context
        self._pipeline: Any = None
        self._queue: Any = None
        self._depth_unit_m = 0.001
        self._last_number = -1
        self.intrinsics: Intrinsics | None = None
        self.depth_intrinsics: Intrinsics | None = None
        self.color_T_depth: Pose | None = None

    def open(self) -> Intrinsics:
        """Start streaming; intrinsics are of the colour image.

        Raises CameraError that lists the serial numbers present, names a USB 2 link, or passes on
        why the mode was refused or what else failed.
        """
        self.close()
        with _failing_as_camera(f"camera {self.config.serial} failed while it was opened"):
            return self._open()

    def _open(self) -> Intrinsics:
        rs = pyrealsense2_module()
        if self._context is None:
            self._context = rs.context()
        self._check_present()
        self._use_global_time(rs)
        pipeline, queue = rs.pipeline(self._context), rs.frame_queue(QUEUE_DEPTH, True)
        try:
            profile = pipeline.start(self._mode(rs), queue)
        except RuntimeError as error:
            raise CameraError(
                f"camera {self.config.serial} refused {self._mode_words()}: {error}; close other "
                "programs that use it, or replug it"
            ) from error
        self._pipeline, self._queue, self._last_number = pipeline, queue, -1
        return self._describe(rs, profile)

    def read(self, timeout_s: float) -> CameraImage:
        """The next image in order; `sequence` is the camera's frame number.

        `t_ns` is the camera's time on the host's clock. `depth_m` (H, W) [m] is in the depth
        camera's own frame, 0 where unknown. Raises CameraError when no image arrives in time, or
        the camera repeats itself.
        """
        if self._queue is None:
            raise CameraError(f"camera {self.config.serial} is not open")
        frames = self._await_frames(timeout_s)
        color = frames.get_color_frame()
        number = int(color.get_frame_number())
        if number == self._last_number:
            raise CameraError(f"camera {self.config.serial} repeats frame {number}: it is frozen")
        self._last_number = number
        rgb = np.asanyarray(color.get_data()).copy()
        return CameraImage(self._t_ns(color), number, rgb, self._depth_of(frames))

    def close(self) -> None:
        """Stop streaming, within `close_timeout_s`; a pipeline that hangs is left to the process.

        Safe to call twice.
        """
        pipeline, self._pipeline, self._queue = self._pipeline, None, None
        if pipeline is not None:
            _bounded(pipeline.stop, self.config.close_timeout_s)

    def reset(self) -> None:
        """Power-cycle the camera's electronics; it leaves the bus for some seconds.

        Raises CameraError when it is absent or cannot be reset.
        """
        self.close()
        with _failing_as_camera(f"camera {self.config.serial} cannot be reset"):
            self._check_present().hardware_reset()

    def _await_frames(self, timeout_s: float) -> Any:
        """A frameset with every stream that was asked for; depth that stopped does not pass."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            frame = None
            if left_s > 0:
                arrived, frame = self._queue.try_wait_for_frame(max(int(left_s * 1000), 1))
                frame = frame if arrived else None
            if frame is None:
                raise CameraError(f"camera {self.config.serial} sent no image for {timeout_s:g} s")
            frames = frame.as_frameset()
            if frames.get_color_frame() and (not self.config.depth or self._fit(frames)):
                return frames

    def _fit(self, frames: Any) -> bool:
        """Whether depth was taken together with the colour image, as far as they ever are."""
        if not (depth := frames.get_depth_frame()):
            return False
        apart_ms = abs(float(frames.get_color_frame().get_timestamp() - depth.get_timestamp()))
        return apart_ms < TOGETHER * 1e3 / self.config.fps

    def _t_ns(self, frame: Any) -> int:
        """Time of the image on the host's clock [ns]."""
        rs = pyrealsense2_module()
        arrival = rs.frame_metadata_value.time_of_arrival
        if frame.get_frame_timestamp_domain() != rs.timestamp_domain.hardware_clock:
            timestamp_ms: float = frame.get_timestamp()
            return round(timestamp_ms * 1e6)
        if frame.supports_frame_metadata(arrival):
            return int(frame.get_frame_metadata(arrival)) * 1_000_000
        raise CameraError(
            f"camera {self.config.serial} stamps images with its own clock; enable global time "
            "(firmware 5.12 or later, kernel patches or the RSUSB backend)"
        )

    def _depth_of(self, frames: Any) -> NDArray[np.float32] | None:
        if not self.config.depth:
            return None
        raw = np.asanyarray(frames.get_depth_frame().get_data())
        depth_m: NDArray[np.float32] = raw.astype(np.float32) * np.float32(self._depth_unit_m)
        return depth_m

    def _check_present(self) -> Any:
        for device in self._context.query_devices():
            serial = pyrealsense2_module().camera_info.serial_number
            if device.get_info(serial) == self.config.serial:
                self._check_link(device)
                return device
        present = ", ".join(c.serial for c in list_cameras(self._context)) or "none"
        raise CameraError(
            f"no camera with serial number {self.config.serial!r}; present: {present}; check the "
            "cable, or give the number of another"
        )

    def _check_link(self, device: Any) -> None:
        descriptor = pyrealsense2_module().camera_info.usb_type_descriptor
        link = device.get_info(descriptor) if device.supports(descriptor) else ""
        if link.startswith("2") and not self.config.allow_usb2:
            raise CameraError(
                f"camera {self.config.serial} fell back to USB {link}; use a USB 3 port and cable "
                "and replug it"
            )

    def _use_global_time(self, rs: Any) -> None:
        option = rs.option.global_time_enabled
        for sensor in self._check_present().query_sensors():
            if sensor.supports(option) and not sensor.is_option_read_only(option):
                sensor.set_option(option, 1.0)

    def _mode(self, rs: Any) -> Any:
        c, mode = self.config, rs.config()
        mode.enable_device(c.serial)
        mode.enable_stream(rs.stream.color, c.width_px, c.height_px, rs.format.rgb8, c.fps)
        if c.depth:
            mode.enable_stream(rs.stream.depth, c.width_px, c.height_px, rs.format.z16, c.fps)
        return mode

    def _mode_words(self) -> str:
        c = self.config
        return f"{c.width_px}x{c.height_px} at {c.fps} Hz, {'with' if c.depth else 'without'} depth"

    def _describe(self, rs: Any, profile: Any) -> Intrinsics:
        color = profile.get_stream(rs.stream.color).as_video_stream_profile()
        self.intrinsics = _intrinsics(color.get_intrinsics())
        if self.config.depth:
            depth = profile.get_stream(rs.stream.depth).as_video_stream_profile()
            self.depth_intrinsics = _intrinsics(depth.get_intrinsics())
            self.color_T_depth = _pose(depth.get_extrinsics_to(color))
            self._depth_unit_m = profile.get_device().first_depth_sensor().get_depth_scale()
        return self.intrinsics


def _intrinsics(given: Any) -> Intrinsics:
    """Librealsense's intrinsics; its Brown-Conrady coefficients are taken as plumb_bob."""
    k1, k2, p1, p2, k3 = (float(c) for c in given.coeffs)
    return Intrinsics(
        given.width, given.height, given.fx, given.fy, given.ppx, given.ppy, (k1, k2, p1, p2, k3)
    )


def _pose(extrinsics: Any) -> Pose:
    """Librealsense's extrinsics, whose rotation is column-major."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(extrinsics.rotation, (3, 3)).T
    matrix[:3, 3] = extrinsics.translation
    return pose_from_matrix(matrix)


def _bounded(action: Any, timeout_s: float) -> bool:
    """Run `action` in a thread of its own; whether it ended in time."""

    def act() -> None:
        try:
            action()
        except RuntimeError:
            return

    thread = threading.Thread(target=act, name="camera-close", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return not thread.is_alive()


def pyrealsense2_module() -> Any:
    """librealsense; raises MissingPackageError with the remedy."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise MissingPackageError(
            f"pyrealsense2 cannot be imported ({error}); pip install 'pyrealsense2==2.59.1.11053' "
            "and apt install libusb-1.0-0"
        ) from error
    return pyrealsense2
