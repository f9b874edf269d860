"""Keeping a camera alive: when to reopen it, when to reset it, and when to give it up.

`Recovery` is the state machine, over explicit times. `Capture` drives one camera with it and counts
what an operator asks about. The graph clock decides what a stall is: a camera is silent when the
graph clock (robot time in the twin) has moved on by `max_age_s` since its last image, so a paused
twin is no dead camera.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from pld.cameras.protocol import Camera, Intrinsics
from pld.errors import CameraError
from pld.types import CameraImage


class CameraState(str, Enum):
    """Where the capture of one camera stands."""

    OPENING = "opening"
    STREAMING = "streaming"
    WAITING = "waiting"
    RESETTING = "resetting"
    FAILED = "failed"


@dataclass(frozen=True)
class RecoveryPolicy:
    """Wait `backoff_s` before each reopening; when they are used up, reset and begin again.

    After `resets` resets without success the camera has failed. `settle_s` is how long a camera
    takes to come back to the bus; `stable_s` of streaming forgets earlier losses.
    """

    backoff_s: tuple[float, ...] = (0.2, 1.0, 3.0)
    resets: int = 1
    settle_s: float = 5.0
    stable_s: float = 10.0


class Recovery:
    """The state machine of one camera; times are seconds of a steady clock."""

    def __init__(self, policy: RecoveryPolicy) -> None:
        self._policy = policy
        self.state = CameraState.OPENING
        self.due_s = 0.0
        self.reason = ""
        self.losses = 0
        self._tries = 0
        self._resets = 0
        self._streaming_since_s = 0.0

    def opened(self, t_s: float) -> None:
        """The camera streams."""
        self.state, self._streaming_since_s = CameraState.STREAMING, t_s

    def lost(self, t_s: float, reason: str) -> None:
        """Opening or reading failed."""
        streamed = self.state == CameraState.STREAMING
        self.losses += int(streamed)
        self.reason = reason
        if streamed and t_s - self._streaming_since_s >= self._policy.stable_s:
            self._tries = self._resets = 0
        if self._tries < len(self._policy.backoff_s):
            self.state, self.due_s = CameraState.WAITING, t_s + self._policy.backoff_s[self._tries]
            self._tries += 1
        elif self._resets < self._policy.resets:
            self.state = CameraState.RESETTING
            self._resets += 1
            self._tries = 0
        else:
            self.state = CameraState.FAILED

    def was_reset(self, t_s: float) -> None:
        """The reset was carried out; reopen once the camera has settled."""
        self.state, self.due_s = CameraState.WAITING, t_s + self._policy.settle_s

    def refused_reset(self, reason: str) -> None:
        """The camera is absent or cannot be reset: nothing is left to try."""
        self.state, self.reason = CameraState.FAILED, reason

    def tick(self, t_s: float) -> CameraState:
        """The state at `t_s`: waiting ends when it is due."""
        if self.state == CameraState.WAITING and t_s >= self.due_s:
            self.state = CameraState.OPENING
        return self.state


class ResettableCamera(Camera, Protocol):
    """A camera whose electronics can be power-cycled."""

    def reset(self) -> None:
        """Power-cycle it; raises CameraError when that is not possible."""


@dataclass(frozen=True)
class Clocks:
    """`graph_ns` stamps and ages; `steady_s` paces recovery; `wait` sleeps that long at most."""

    graph_ns: Callable[[], int]
    steady_s: Callable[[], float]
    wait: Callable[[float], object]


@dataclass
class CaptureHealth:
    """Counts since the start; `age_ns` is the graph time from measurement to delivery."""

    images: int = 0
    dropped: int = 0
    last_t_ns: int = 0
    age_ns: int = 0
    max_age_ns: int = 0
    _last_sequence: int | None = field(default=None, repr=False)

    def reopened(self) -> None:
        """Frame numbers may begin anew."""
        self._last_sequence = None

    def delivered(self, image: CameraImage, now_ns: int) -> None:
        """Count one image that was delivered at `now_ns`."""
        if self._last_sequence is not None:
            self.dropped += max(image.sequence - self._last_sequence - 1, 0)
        self._last_sequence = image.sequence
        self.images += 1
        self.last_t_ns = image.t_ns
        self.age_ns = now_ns - image.t_ns
        self.max_age_ns = max(self.max_age_ns, self.age_ns)


class Capture:
    """Reads one camera for ever and hands each image to `deliver`; recovers as the policy says.

    `deliver` says whether the image was new: a camera that shows one picture for ever is lost.
    """

    def __init__(
        self,
        camera: ResettableCamera,
        recovery: Recovery,
        clocks: Clocks,
        deliver: Callable[[CameraImage, Intrinsics], bool],
        *,
        max_age_s: float = 1.0,
        read_timeout_s: float = 0.5,
    ) -> None:
        self._camera, self.recovery, self._clocks = camera, recovery, clocks
        self._deliver = deliver
        self._max_age_ns = round(max_age_s * 1e9)
        self._read_timeout_s = read_timeout_s
        self._intrinsics: Intrinsics | None = None
        self._heard_ns = 0
        self.health = CaptureHealth()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set or the camera has failed; closes the camera at the end."""
        try:
            while not stop.is_set() and self.recovery.state != CameraState.FAILED:
                self.step()
        finally:
            self._camera.close()

    def step(self) -> None:
        """One action: open, read one image, reset, or wait a little."""
        state = self.recovery.tick(self._clocks.steady_s())
        if state == CameraState.OPENING:
            self._open()
        elif state == CameraState.STREAMING and self._intrinsics is not None:
            self._read(self._intrinsics)
        elif state == CameraState.RESETTING:
            self._reset()
        elif state == CameraState.WAITING:
            self._clocks.wait(0.05)

    def _open(self) -> None:
        try:
            self._intrinsics = self._camera.open()
        except CameraError as error:
            self.recovery.lost(self._clocks.steady_s(), str(error))
            return
        self.health.reopened()
        self._heard_ns = self._clocks.graph_ns()
        self.recovery.opened(self._clocks.steady_s())

    def _read(self, intrinsics: Intrinsics) -> None:
        try:
            image = self._camera.read(self._read_timeout_s)
        except CameraError as error:
            self._give_up_if_late(str(error))
            return
        if self._deliver(image, intrinsics):
            self._heard_ns = self._clocks.graph_ns()
        else:
            self._give_up_if_late("it shows one picture again and again")
        self.health.delivered(image, self._clocks.graph_ns())

    def _give_up_if_late(self, reason: str) -> None:
        if self._clocks.graph_ns() - self._heard_ns > self._max_age_ns:
            self._camera.close()
            self.recovery.lost(self._clocks.steady_s(), reason)

    def _reset(self) -> None:
        try:
            self._camera.reset()
        except CameraError as error:
            self.recovery.refused_reset(str(error))
            return
        self.recovery.was_reset(self._clocks.steady_s())
