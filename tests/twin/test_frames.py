"""The image ring between renderer and camera: whole images, in order, whoever dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pld.errors import CameraError
from pld.twin.frames import SLOTS, FrameReader, FrameWriter
from pld.types import Intrinsics

SMALL = Intrinsics(64, 48, 50.0, 51.0, 31.5, 23.5, (0.1, 0.2, 0.3, 0.4, 0.5))


def write(writer: FrameWriter, number: int) -> None:
    writer.write(number, number * 10, np.full((48, 64, 3), number % 256, np.uint8))


def test_images_are_read_once_and_in_order(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "c.frames", SMALL, depth=False)
    reader = FrameReader(tmp_path / "c.frames")
    assert reader.next() is None
    for number in (1, 2, 3):
        write(writer, number)
    frames = [reader.next() for _ in range(3)]
    assert [f.number for f in frames if f] == [1, 2, 3]
    assert [f.t_ns for f in frames if f] == [10, 20, 30]
    assert reader.next() is None


def test_intrinsics_travel_with_the_images(tmp_path: Path) -> None:
    FrameWriter(tmp_path / "c.frames", SMALL, depth=True)
    reader = FrameReader(tmp_path / "c.frames")
    assert reader.intrinsics == SMALL
    assert reader.has_depth


def test_depth_arrives_with_its_image(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "c.frames", SMALL, depth=True)
    reader = FrameReader(tmp_path / "c.frames")
    depth = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    writer.write(7, 70, np.zeros((48, 64, 3), np.uint8), depth)
    frame = reader.next()
    assert frame is not None
    assert frame.depth is not None
    np.testing.assert_array_equal(frame.depth, depth)


def test_a_reader_left_behind_goes_on_with_the_oldest_that_is_whole(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "c.frames", SMALL, depth=False)
    reader = FrameReader(tmp_path / "c.frames")
    for number in range(1, 21):
        write(writer, number)
    numbers = []
    while (frame := reader.next()) is not None:
        numbers.append(frame.number)
        assert (frame.rgb == frame.number).all()
    assert numbers == list(range(20 - SLOTS + 2, 21))


def test_images_are_never_torn_while_the_writer_runs(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "c.frames", SMALL, depth=False)
    reader = FrameReader(tmp_path / "c.frames")
    thread = threading.Thread(target=lambda: [write(writer, n) for n in range(1, 5001)])
    thread.start()
    last = count = 0
    while thread.is_alive() or count == 0:
        frame = reader.next()
        if frame is None:
            continue
        count += 1
        assert frame.number > last
        assert (frame.rgb == frame.number % 256).all()
        last = frame.number
    thread.join()


def test_images_of_a_killed_writer_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "c.frames"
    FrameWriter(path, SMALL, depth=False)
    reader = FrameReader(path)
    script = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from pld.twin.frames import FrameWriter\n"
        "from pld.types import Intrinsics\n"
        "i = Intrinsics(64, 48, 50.0, 51.0, 31.5, 23.5)\n"
        "w = FrameWriter(Path(sys.argv[1]), i, depth=False)\n"
        "w.write(5, 50, np.full((48, 64, 3), 5, np.uint8))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    assert reader.next() is None
    assert reader.reopen_if_replaced()
    frame = reader.next()
    assert frame is not None
    assert (frame.number, frame.rgb[0, 0, 0]) == (5, 5)
    assert not reader.reopen_if_replaced()
    assert [p.name for p in tmp_path.iterdir()] == ["c.frames"]


def test_a_missing_ring_names_the_renderer(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"pld\.twin\.renderer"):
        FrameReader(tmp_path / "c.frames")
