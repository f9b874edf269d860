"""What the twin's cameras show is the scene at the instant that the image is stamped with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np
import pytest

from pld.contract import CAMERAS
from pld.errors import ConfigError, RobotError
from pld.geometry import matrix_from_pose
from pld.twin.calibrations import twin_calibrations
from pld.twin.drawing import Drawing
from pld.twin.frames import Frame, FrameReader, frames_path
from pld.twin.link import Instant, Truth, TwinLink
from pld.twin.renderer import MAX_BEHIND, Backlog, Renderer
from pld.twin.scene import HOME_Q_RAD, build_model
from pld.twin.tasks import task_named
from pld.types import Array

MS = 1_000_000
TASK = "cube_pickup"


def truth(t_ns: int, qpos: Array) -> Truth:
    return Truth(t_ns, qpos, np.zeros(qpos.size - 1), 0, False, 0.0, 0.0)


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(task_named(TASK))


@pytest.fixture(scope="module")
def home(model: mujoco.MjModel) -> Array:
    """Generalised positions (nq,) with the arm at home and the objects of seed 1."""
    data, task = mujoco.MjData(model), task_named(TASK)
    data.qpos[:9] = (*HOME_Q_RAD, 0.04, 0.04)
    mujoco.mj_forward(model, data)
    task.lay(model, data, task.initial_state(1))
    return data.qpos.copy()


@pytest.fixture(scope="module")
def drawing(model: mujoco.MjModel) -> Iterator[Drawing]:
    made = Drawing(model, 424, 240)
    yield made
    made.close()


def test_an_image_changes_with_the_arm_and_with_the_object(drawing: Drawing, home: Array) -> None:
    def pictures(qpos: Array) -> dict[str, Array]:
        drawing.place(qpos)
        return {camera: drawing.draw(camera, depth=False)[0].copy() for camera in CAMERAS}

    before, again = pictures(home), pictures(home)
    turned, lifted = home.copy(), home.copy()
    turned[0] += 0.2
    lifted[11] += 0.05
    for camera in CAMERAS:
        np.testing.assert_array_equal(before[camera], again[camera])
        assert (before[camera] != pictures(turned)[camera]).mean() > 0.01
    assert (before["third_person"] != pictures(lifted)["third_person"]).any()


@pytest.mark.parametrize("camera", CAMERAS)
def test_pixel_and_depth_of_the_cube_agree_with_the_calibration(
    camera: str, drawing: Drawing, model: mujoco.MjModel, home: Array
) -> None:
    qpos = home.copy()
    qpos[9:12] = (0.52, 0.03, 0.02)
    qpos[12:16] = (1.0, 0.0, 0.0, 0.0)
    drawing.place(qpos)
    rgb, depth = drawing.draw(camera, depth=True)
    assert depth is not None

    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    calibration = twin_calibrations(TASK, "2025-01-31")[camera]
    O_T_parent = np.eye(4)
    if calibration.pose.parent == "EE":
        O_T_parent[:3, :3] = data.site("ee").xmat.reshape(3, 3)
        O_T_parent[:3, 3] = data.site("ee").xpos
    O_T_camera = O_T_parent @ matrix_from_pose(calibration.pose.pose)
    top = np.linalg.inv(O_T_camera) @ [0.52, 0.03, 0.04, 1.0]
    u, v, _ = calibration.intrinsics.matrix() @ top[:3] / top[2]
    assert 0 <= u < 424
    assert 0 <= v < 240
    red, green, blue = map(int, rgb[round(v), round(u)])
    assert red > 120
    assert max(green, blue) < 60
    assert depth[round(v), round(u)] / 1000 == pytest.approx(top[2], abs=0.004)


def test_positions_of_another_scene_are_refused(drawing: Drawing) -> None:
    with pytest.raises(ConfigError, match="same task"):
        drawing.place(np.zeros(5))


def run_to(link: TwinLink, home: Array, first_ms: int, last_ms: int) -> None:
    """A simulator whose first joint turns at 1 rad/s of robot time."""
    for t_ms in range(first_ms, last_ms + 1):
        qpos = home.copy()
        qpos[0] += t_ms / 1000
        link.publish(truth(t_ms * MS, qpos))


def test_camera_instants_are_the_first_milliseconds_of_each_thirtieth(
    tmp_path: Path, home: Array
) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    run_to(link, home, 1, 200)
    instants = [link.instant(n) for n in range(1, link.instants + 1)]
    assert [i.t_ns // MS for i in instants if i] == [34, 67, 100, 134, 167, 200]
    for instant in instants:
        assert instant is not None
        assert instant.qpos[0] == home[0] + instant.t_ns / MS / 1000
    assert link.instant(link.instants + 1) is None


def test_instants_that_were_overwritten_are_gone(tmp_path: Path, home: Array) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    run_to(link, home, 1, 1000)
    assert link.instants == 30
    assert link.instant(30 - 8) is None
    kept = link.instant(30 - 6)
    assert kept is not None
    assert kept.t_ns == 800 * MS


def test_an_instant_that_is_written_while_it_is_asked_for_is_never_an_old_one(
    tmp_path: Path, home: Array
) -> None:
    class Racing(TwinLink):
        """Its simulator goes on just when the reader looks how far it has come."""

        t_ms = 0

        @property
        def instants(self) -> int:
            run_to(self, home, self.t_ms + 1, self.t_ms + 20)
            self.t_ms += 20
            return super().instants

    link = Racing(tmp_path / "twin.link", create=True)
    seen, number = [], 1
    while number < 30:
        instant = link.instant(number)
        if instant is not None:
            seen.append(instant.t_ns)
            number += 1
    assert seen == [-(-n * 1000 // 30) * MS for n in range(1, 30)]


def test_a_late_renderer_draws_the_same_images_as_a_punctual_one(
    tmp_path: Path, home: Array
) -> None:
    def film(name: str, chunks_ms: list[int]) -> list[Frame]:
        folder = tmp_path / name
        folder.mkdir()
        link = TwinLink(folder / "twin.link", create=True)
        renderer = Renderer(TASK, folder, depth=False)
        reader, backlog = FrameReader(frames_path(folder, "wrist")), Backlog(1)
        frames: list[Frame] = []
        t_ms = 0
        for chunk_ms in chunks_ms:
            run_to(link, home, t_ms + 1, t_ms + chunk_ms)
            t_ms += chunk_ms
            while (instant := backlog.take(link)) is not None:
                renderer.draw(instant)
                frame = reader.next()
                assert frame is not None
                frames.append(frame)
        renderer.close()
        assert backlog.skipped == 0
        return frames

    punctual, late = film("punctual", [10] * 20), film("late", [95, 105])
    assert [f.t_ns // MS for f in punctual] == [34, 67, 100, 134, 167, 200]
    assert [(f.number, f.t_ns) for f in punctual] == [(f.number, f.t_ns) for f in late]
    for one, other in zip(punctual, late, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)


def test_pictures_of_a_scene_at_rest_differ_unless_the_camera_is_to_repeat_itself(
    tmp_path: Path, home: Array
) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    renderer = Renderer(TASK, tmp_path, depth=True)
    readers = {camera: FrameReader(frames_path(tmp_path, camera)) for camera in CAMERAS}
    shown: dict[str, list[Frame]] = {camera: [] for camera in CAMERAS}
    for number in range(1, 9):
        link.repeat(("wrist",) if 3 < number < 7 else ())
        renderer.draw(Instant(number, number * 33 * MS, home), link.repeats)
        for camera, reader in readers.items():
            frame = reader.next()
            assert frame is not None
            shown[camera].append(frame)
    renderer.close()
    for camera, frames in shown.items():
        assert [f.number for f in frames] == list(range(1, 9))
        same = [bool((a.rgb == b.rgb).all()) for a, b in pairwise(frames)]
        assert same == [3 < f.number < 7 and camera == "wrist" for f in frames[1:]]
        assert all((frames[0].rgb != f.rgb).sum() <= 3 for f in frames)


def test_a_renderer_far_behind_skips_and_says_so(tmp_path: Path, home: Array) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    backlog = Backlog(1)
    run_to(link, home, 1, 1000)
    instant = backlog.take(link)
    assert instant is not None
    assert instant.number == link.instants == 30
    assert backlog.skipped == 29 > MAX_BEHIND


def test_the_program_renders_what_the_simulator_publishes(tmp_path: Path, home: Array) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    program = subprocess.Popen(
        [sys.executable, "-m", "pld.twin.renderer", "--task", TASK, "--twin-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert "renderer ready" in program.stdout.readline()
        readers = {camera: FrameReader(frames_path(tmp_path, camera)) for camera in CAMERAS}
        run_to(link, home, 1, 40)
        for reader in readers.values():
            deadline = time.monotonic() + 20
            while (frame := reader.next()) is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert frame.t_ns == 34 * MS
            assert frame.rgb.std() > 10
    finally:
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=20)
    assert program.returncode == 0
    assert "0 camera instants skipped" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "cubes"], "cube_pickup, peg_insertion"),
        (["--task", TASK, "--wait-s", "0.1"], "no twin at"),
    ],
)
def test_bad_options_end_the_program_with_the_remedy(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pld.twin.renderer", *arguments, "--twin-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr


def test_a_twin_that_was_ended_while_it_wrote_is_an_error_and_no_endless_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    run_to(link, np.zeros(9), 1, 2)
    assert link.read() is not None
    link._page["sequence"][0] += 1
    monkeypatch.setattr("pld.twin.link.LOOKS", 3)
    with pytest.raises(RobotError, match="start it again"):
        TwinLink(tmp_path / "twin.link").read()
