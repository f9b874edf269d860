"""When a camera is reopened, reset or given up; time is an argument."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pld.cameras.capture import CameraState, Capture, Clocks, Recovery, RecoveryPolicy
from pld.cameras.fake import FakeCamera
from pld.errors import CameraError
from pld.types import CameraImage

POLICY = RecoveryPolicy(backoff_s=(0.2, 1.0), resets=1, settle_s=5.0, stable_s=10.0)
SILENT = CameraError("scripted: silent")


def image(sequence: int, t_ns: int = 0) -> CameraImage:
    return CameraImage(t_ns, sequence, np.zeros((3, 4, 3), np.uint8))


class Bench:
    """A capture on a fake camera and a clock that only the test and `wait` advance."""

    def __init__(self, camera: FakeCamera, policy: RecoveryPolicy = POLICY) -> None:
        self.t_s, self.graph_ns = 0.0, 0
        self.delivered: list[int] = []
        self.repeats_from: int | None = None
        clocks = Clocks(lambda: self.graph_ns, lambda: self.t_s, self.wait)
        self.capture = Capture(
            camera,
            Recovery(policy),
            clocks,
            self.deliver,
            max_age_s=1.0,
        )

    def deliver(self, image: CameraImage, _: object) -> bool:
        new = self.repeats_from is None or image.sequence < self.repeats_from
        self.delivered += [image.sequence] if new else []
        return new

    def wait(self, seconds: float) -> None:
        self.t_s += seconds

    @property
    def state(self) -> CameraState:
        return self.capture.recovery.state

    def until(self, *states: CameraState) -> None:
        for _ in range(1000):
            if self.state in states:
                return
            self.capture.step()
        raise AssertionError(f"stuck in {self.state}")


def test_a_camera_that_shows_one_picture_for_ever_is_opened_again_and_then_reset() -> None:
    camera = FakeCamera([image(n) for n in range(100)])
    bench = Bench(camera)
    bench.repeats_from = 3
    for _ in range(4):
        bench.capture.step()
    assert bench.delivered == [0, 1, 2]
    assert bench.state is CameraState.STREAMING
    bench.graph_ns += 1_100_000_000
    bench.capture.step()
    assert bench.state is CameraState.WAITING
    assert bench.capture.recovery.reason == "it shows one picture again and again"


def test_backoff_grows_then_a_reset_then_backoff_again_then_failure() -> None:
    recovery = Recovery(POLICY)
    seen = []
    t_s = 0.0
    for _ in range(20):
        recovery.lost(t_s, "gone")
        if recovery.state == CameraState.RESETTING:
            seen.append("reset")
            recovery.was_reset(t_s)
        if recovery.state == CameraState.FAILED:
            seen.append("failed")
            break
        seen.append(round(recovery.due_s - t_s, 3))
        t_s = recovery.due_s
        assert recovery.tick(t_s - 0.001) == CameraState.WAITING
        assert recovery.tick(t_s) == CameraState.OPENING
    assert seen == [0.2, 1.0, "reset", 5.0, 0.2, 1.0, "failed"]


def test_streaming_long_enough_forgets_earlier_losses() -> None:
    recovery = Recovery(POLICY)
    for t_s in (0.0, 20.0, 40.0, 60.0, 80.0, 100.0):
        recovery.tick(t_s)
        recovery.opened(t_s)
        recovery.lost(t_s + POLICY.stable_s, "stalled")
        assert recovery.state == CameraState.WAITING
        assert recovery.due_s == pytest.approx(t_s + POLICY.stable_s + 0.2)
    assert recovery.losses == 6


def test_a_camera_that_flaps_is_given_up() -> None:
    recovery = Recovery(POLICY)
    for _ in range(20):
        if recovery.state == CameraState.RESETTING:
            recovery.was_reset(0.0)
        if recovery.state == CameraState.FAILED:
            break
        recovery.tick(recovery.due_s)
        recovery.opened(recovery.due_s)
        recovery.lost(recovery.due_s + 1.0, "stalled")
    assert recovery.state == CameraState.FAILED


def test_a_paused_graph_clock_is_no_dead_camera() -> None:
    camera = FakeCamera([image(1), *[SILENT] * 50, image(2)])
    bench = Bench(camera)
    while len(bench.delivered) < 2:
        bench.capture.step()
    assert camera.opened == 1
    assert bench.capture.recovery.losses == 0


def test_a_stall_on_the_graph_clock_reopens_the_camera() -> None:
    camera = FakeCamera([image(1), SILENT, image(1)])
    bench = Bench(camera)
    bench.capture.step()
    bench.capture.step()
    bench.graph_ns = 1_000_000_001
    bench.capture.step()
    assert bench.state == CameraState.WAITING
    assert "silent" in bench.capture.recovery.reason
    bench.until(CameraState.STREAMING)
    bench.capture.step()
    assert camera.opened == 2
    assert bench.capture.health.dropped == 0


def test_a_camera_that_never_opens_is_reset_and_then_fails() -> None:
    camera = FakeCamera([], refusals=100)
    bench = Bench(camera)
    bench.capture.run(threading.Event())
    assert bench.state == CameraState.FAILED
    assert camera.resets == 1
    assert bench.t_s == pytest.approx(0.2 + 1.0 + 5.0 + 0.2 + 1.0, abs=0.35)
    assert "no camera" in bench.capture.recovery.reason


def test_a_camera_that_cannot_be_reset_fails_at_once() -> None:
    class Stuck(FakeCamera):
        def reset(self) -> None:
            raise CameraError("scripted: no reset")

    bench = Bench(Stuck([], refusals=100))
    bench.capture.run(threading.Event())
    assert bench.state == CameraState.FAILED
    assert bench.capture.recovery.reason == "scripted: no reset"
    assert bench.t_s == pytest.approx(0.2 + 1.0, abs=0.2)


def test_lost_images_and_age_are_counted() -> None:
    camera = FakeCamera([image(1, 0), image(2, 10), image(6, 20)])
    bench = Bench(camera)
    bench.graph_ns = 50
    for _ in range(4):
        bench.capture.step()
    assert bench.delivered == [1, 2, 6]
    assert bench.capture.health.images == 3
    assert bench.capture.health.dropped == 3
    assert bench.capture.health.age_ns == 30
    assert bench.capture.health.max_age_ns == 50


def test_the_camera_is_closed_when_capture_stops() -> None:
    camera = FakeCamera([image(1)])
    stop = threading.Event()
    bench = Bench(camera)
    bench.capture._deliver = lambda *_: stop.set()
    bench.capture.run(stop)
    assert not camera.is_open
