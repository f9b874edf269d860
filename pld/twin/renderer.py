"""The twin's cameras as a program: `python -m pld.twin.renderer --task T --twin-dir DIR`.

It draws both cameras at every camera instant of robot time (30 Hz) from DIR/twin.link, in its own
process, and hands the images over in DIR/<camera>.frames. An image belongs to its instant however
late it is drawn; the simulator waits for the cameras' confirmations, so that none is skipped.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pld.contract import CAMERAS, IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX
from pld.errors import ConfigError, PldError
from pld.twin.drawing import Drawing
from pld.twin.frames import FrameWriter, frames_path
from pld.twin.link import LINK_NAME, Instant, TwinLink
from pld.twin.scene import build_model, camera_intrinsics
from pld.twin.tasks import TASKS, task_named
from pld.types import Image

EXIT_CONFIG = 2
POLL_S = 0.001
MAX_BEHIND = 4


@dataclass
class Backlog:
    """Which camera instant comes next; `skipped` counts those given up for being too far behind."""

    next_number: int
    skipped: int = 0

    def take(self, link: TwinLink) -> Instant | None:
        """The next instant to draw, or None when it is still to come."""
        latest = link.instants
        if latest - self.next_number >= MAX_BEHIND:
            self.skipped += latest - self.next_number
            self.next_number = latest
        instant = link.instant(self.next_number)
        if instant is not None:
            self.next_number += 1
        return instant


class Renderer:
    """Draws both cameras of `task` for each instant of the link in `twin_dir`.

    No two pictures in a row are the same to the last bit, as a sensor's never are; a camera that
    is to repeat itself (pld.twin.faults) shows its last one again.
    """

    def __init__(self, task: str, twin_dir: Path, *, depth: bool) -> None:
        model = build_model(task_named(task))
        self._drawing = Drawing(model, IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX)
        self._depth = depth
        self._shown: dict[str, tuple[Image, NDArray[np.uint16] | None]] = {}
        self._writers = {
            camera: FrameWriter(
                frames_path(twin_dir, camera),
                camera_intrinsics(model, camera, IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX),
                depth=depth,
            )
            for camera in CAMERAS
        }

    def draw(self, instant: Instant, repeats: Callable[[str], bool] = lambda _: False) -> None:
        """Draw one instant and hand it over; a camera that `repeats` itself hands over its last."""
        self._drawing.place(instant.qpos)
        for camera, writer in self._writers.items():
            if not repeats(camera) or camera not in self._shown:
                rgb, depth = self._drawing.draw(camera, depth=self._depth)
                kept = None if depth is None else depth.copy()
                self._shown[camera] = (with_noise(rgb, instant.number), kept)
            writer.write(instant.number, instant.t_ns, *self._shown[camera])

    def run(self, link: TwinLink, stopping: Callable[[], bool]) -> Backlog:
        """Draw until `stopping` says so."""
        backlog = Backlog(max(link.instants, 1))
        while not stopping():
            instant = backlog.take(link)
            if instant is None:
                time.sleep(POLL_S)
            else:
                self.draw(instant, link.repeats)
        return backlog

    def close(self) -> None:
        """Free the GL context."""
        self._drawing.close()


def with_noise(rgb: Image, number: int) -> Image:
    """A copy of `rgb` (H, W, 3) whose first pixel differs from the last picture's by one bit."""
    noisy: Image = rgb.copy()
    noisy[0, 0] ^= np.array([number & 1, number >> 1 & 1, number >> 2 & 1], np.uint8)
    return noisy


def await_link(path: Path, timeout_s: float, stopping: Callable[[], bool]) -> TwinLink:
    """The simulator's page, once it exists; raises ConfigError when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not path.exists() and not stopping():
        if time.monotonic() > deadline:
            raise ConfigError(
                f"no twin at {str(path)!r} after {timeout_s:g} s; start `python -m pld.twin.serve` "
                "with the same run folder"
            )
        time.sleep(0.05)
    return TwinLink(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 after a clean stop, 2 when the options or the machine do not allow to start."""
    options = _parser().parse_args(arguments)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    try:
        link_path = Path(options.twin_dir) / LINK_NAME
        link_path.parent.mkdir(parents=True, exist_ok=True)
        renderer = Renderer(options.task, link_path.parent, depth=options.depth)
        try:
            link = await_link(link_path, options.wait_s, lambda: bool(stopped))
            _say(f"renderer ready: {options.task}, {', '.join(CAMERAS)} in {options.twin_dir}")
            backlog = renderer.run(link, lambda: bool(stopped))
        finally:
            renderer.close()
    except PldError as error:
        if stopped:
            return 0
        sys.stderr.write(f"error: {error}\n")
        return EXIT_CONFIG
    except OSError as error:
        sys.stderr.write(f"error: cannot use the folder {options.twin_dir!r}: {error}\n")
        return EXIT_CONFIG
    _say(f"renderer stopped: {backlog.skipped} camera instants skipped")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pld.twin.renderer", description=__doc__)
    parser.add_argument("--task", required=True, help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--twin-dir", required=True, help="folder of twin.link")
    parser.add_argument("--depth", action="store_true", help="depth images too")
    parser.add_argument("--wait-s", type=float, default=30.0, help="how long to wait for the twin")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
