"""One RealSense camera on the graph: images, intrinsics, and how old and how complete they are.

A thread of its own captures and publishes; the executor only reports. In the twin the camera is a
software device in this process, and each delivered image is confirmed to the simulator.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus

from pld.cameras.capture import CameraState, Capture, Clocks, Recovery, RecoveryPolicy
from pld.cameras.realsense import RealSenseCamera, RealSenseConfig
from pld.cameras.repeated import Repetitions
from pld.contract import CAMERAS, IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX
from pld.errors import ConfigError
from pld.twin.link import LINK_NAME, TwinLink
from pld.twin.realsense import TwinCamera
from pld.types import CameraImage, Intrinsics, Pose
from pld_nodes.ros import images
from pld_nodes.ros.node import EXIT_FAILED, GraphNode, run_node

JOIN_S = 8.0
EXPECTED_HZ = 30.0


@dataclass(frozen=True)
class CameraConfig:
    """Parameters of the node: `twin_dir` is the twin's run folder, or empty on hardware.

    A camera is lost when the graph clock moves on by `max_age_s` without an image.
    """

    camera: str
    serial: str
    depth: bool = False
    twin_dir: str = ""
    max_age_s: float = 1.0
    allow_usb2: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.camera not in CAMERAS:
            raise ConfigError.unknown("camera", self.camera, CAMERAS)
        if not self.serial:
            raise ConfigError("serial: is empty; `pld camera list` prints the serial numbers")
        if self.max_age_s <= 0:
            raise ConfigError(f"max_age_s: {self.max_age_s} is not positive")


class CameraNode(GraphNode):
    """Publishes one camera."""

    def __init__(self) -> None:
        super().__init__("camera_node")
        self._settings = settings = self.config(CameraConfig)
        base = f"camera/{settings.camera}"
        self._color = self.publisher(f"{base}/color/image_raw")
        self._info = self.publisher(f"{base}/color/camera_info")
        self._depth = self.publisher(f"{base}/depth/image_rect_raw")
        self._depth_info = self.publisher(f"{base}/depth/camera_info")
        self._twin: TwinCamera | None = None
        self._link: TwinLink | None = None
        if settings.twin_dir:
            self._twin = TwinCamera(Path(settings.twin_dir), settings.camera)
            self._link = TwinLink(Path(settings.twin_dir) / LINK_NAME)
        self._repetitions = Repetitions()
        self._stop = threading.Event()
        self._capture = self._make_capture()
        self._reported = (0, 0, 0)
        self._thread = threading.Thread(target=self._capture.run, args=(self._stop,), daemon=True)
        self._thread.start()
        self.create_timer(1.0, self._report)

    def _make_capture(self) -> Capture:
        settings = self._settings
        camera = self._camera = RealSenseCamera(
            RealSenseConfig(
                settings.serial,
                IMAGE_WIDTH_PX,
                IMAGE_HEIGHT_PX,
                depth=settings.depth,
                allow_usb2=settings.allow_usb2,
            ),
            None if self._twin is None else self._twin.context,
        )
        clocks = Clocks(self._graph_ns, time.monotonic, self._stop.wait)
        return Capture(
            camera,
            Recovery(RecoveryPolicy()),
            clocks,
            self._publish,
            max_age_s=settings.max_age_s,
        )

    def _graph_ns(self) -> int:
        return time.time_ns() if self._link is None else self._link.t_ns

    def _publish(self, image: CameraImage, intrinsics: Intrinsics) -> bool:
        """Tell an image; one that repeats the last is none, and safety soon misses the next."""
        camera = self._settings.camera
        if self._repetitions.is_one(image):
            self._confirm(image.t_ns)
            return False
        self._color.publish(images.color_to_msg(image, camera))
        self._info.publish(images.camera_info(image.t_ns, images.color_frame(camera), intrinsics))
        depth, seen_by = images.depth_to_msg(image, camera), self._camera.depth_intrinsics
        if depth is not None and seen_by is not None:
            self._depth.publish(depth)
            frame = images.depth_frame(camera)
            self._depth_info.publish(images.camera_info(image.t_ns, frame, seen_by))
        self._confirm(image.t_ns)
        return True

    def _confirm(self, t_ns: int) -> None:
        if self._link is not None:
            self._link.confirm(self._settings.camera, t_ns, time.monotonic_ns())

    def _report(self) -> None:
        """Diagnostics once a second; ends the process when the camera is beyond recovery."""
        health, recovery, now_ns = self._capture.health, self._capture.recovery, self._graph_ns()
        images_before, dropped_before, t_before_ns = self._reported
        new = health.images - self._repetitions.count
        self._reported = (new, health.dropped, now_ns)
        elapsed_s = (now_ns - t_before_ns) / 1e9
        rate_hz = (new - images_before) / elapsed_s if elapsed_s > 0 else 0.0
        streaming = recovery.state == CameraState.STREAMING
        slow = rate_hz < 0.9 * EXPECTED_HZ and elapsed_s > 0
        lossy = health.dropped > dropped_before
        level = DiagnosticStatus.ERROR
        if streaming:
            level = DiagnosticStatus.WARN if slow or lossy else DiagnosticStatus.OK
        self.diagnose(
            now_ns,
            level,
            recovery.state.value if streaming else f"{recovery.state.value}: {recovery.reason}",
            serial=self._settings.serial,
            rate_hz=f"{rate_hz:.1f}",
            age_ms=f"{(now_ns - health.last_t_ns) / 1e6:.1f}",
            delivery_age_ms=f"{health.age_ns / 1e6:.1f}",
            max_delivery_age_ms=f"{health.max_age_ns / 1e6:.1f}",
            images=health.images,
            dropped=health.dropped,
            repeated=self._repetitions.count,
            reconnects=recovery.losses,
            color_T_depth=_told(self._camera.color_T_depth),
        )
        if recovery.state == CameraState.FAILED or not self._thread.is_alive():
            sys.stderr.write(f"error: {recovery.reason or 'the capture thread ended'}\n")
            self.finish(EXIT_FAILED)

    def shutdown(self) -> None:
        """Sign off at the simulator; stop capturing, then feeding."""
        self._stop.set()
        self._thread.join(JOIN_S)
        self._confirm(0)
        if self._twin is not None:
            self._twin.close()


def _told(pose: Pose | None) -> str:
    """A pose as x y z qx qy qz qw [m]; empty where there is none."""
    return "" if pose is None else " ".join(f"{v + 0.0:.7g}" for v in (*pose.p_m, *pose.q_xyzw))


def main() -> None:
    """Entry point of the node."""
    run_node(CameraNode)


if __name__ == "__main__":
    main()
