"""The hand on its own threads: the latest command wins, and a stop ends what the fingers do.

Neither a motion nor reading the width ever blocks control.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Protocol

from pld.errors import RobotError
from pld.robots.franky_errors import is_passing

HYSTERESIS = 0.2
WIDTH_EVERY_S = 0.04
PASSING_LOSSES = 2  # in a row: a busy machine keeps the hand's word back for a second
ANY_WIDTH_M = 0.08
STOP_AGAIN_S = 0.1
STOP_ATTEMPTS = 3  # a hand that has just come to rest may refuse one
END_S = 2.0
OPEN, CLOSED = 1.0, -1.0

logger = logging.getLogger(__name__)


def share_core() -> None:
    """Run this thread on the core of the others that call this.

    libfranka's waiting call gives up its lock only to take it again: on another core a stop gets
    it by chance (half a second later at times: `pld bench hand` without this), on the same one at
    its next look, 10 ms later.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class GripperDevice(Protocol):
    """What the vendor's gripper offers; every call may block."""

    @property
    def width(self) -> float:
        """Distance between the fingers [m]."""

    def move(self, width: float, speed: float) -> bool:
        """Move the fingers; returns when they are there."""

    def grasp(
        self,
        width: float,
        speed: float,
        force: float,
        epsilon_inner: float = ...,
        epsilon_outer: float = ...,
    ) -> bool:
        """Close on an object; returns when the fingers rest."""

    def stop(self) -> bool:
        """End the motion under way, whose call then raises; comes from another thread."""


class Gripper:
    """Drives `device` from a thread. Commands are +1 open, -1 close, with hysteresis between.

    What is asked for has a number, and a motion that is not the newest is stopped. A hand that
    rests is never stopped: franka::Gripper::stop would let go of what it holds.
    `width_m` is what the device has told last.
    """

    def __init__(
        self,
        device: GripperDevice,
        width_m: float,
        *,
        open_width_m: float,
        speed_m_s: float,
        force_n: float,
    ) -> None:
        self._device = device
        self._open_width_m, self._speed_m_s, self._force_n = open_width_m, speed_m_s, force_n
        self._change = threading.Condition()
        self._goal: float | None = None
        self._wish: float | None = None  # of the newest number: the goal, or None for resting
        self._asked = self._done = 0
        self._running = 0  # the number of the motion under way; 0: none
        self._stopping = self._closing = False
        self._losses = 0  # words of the width that were missed in a row
        self.error: str | None = None
        self.width_m = width_m
        self._threads = [
            threading.Thread(target=work, name=f"gripper {name}", daemon=True)
            for name, work in (
                ("motion", self._move),
                ("stop", self._stop_overtaken),
                ("width", self._watch_width),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def commanded(self) -> float:
        """The last command, +1 open or -1 closed; open before the first."""
        return OPEN if self._goal is None else self._goal

    def command(self, gripper_open: float, *, again: bool = False) -> None:
        """Ask for open (> 0.2) or closed (< -0.2); between the two nothing changes.

        Nor does what was asked for last, unless it was stopped or is wanted `again`.
        """
        if abs(gripper_open) < HYSTERESIS:
            return
        goal = OPEN if gripper_open > 0 else CLOSED
        with self._change:
            if goal != self._wish or again:
                self._goal = goal
                self._ask(goal)

    def stop(self) -> None:
        """End a motion under way, without waiting; the next command begins anew."""
        with self._change:
            if self._asked != self._done and self._wish is not None:
                self._ask(None)

    def _ask(self, wish: float | None) -> None:
        self._wish = wish
        self._asked += 1
        self._change.notify_all()

    @property
    def is_done(self) -> bool:
        """Whether the last command is carried out, or never will be."""
        return self._done == self._asked or self.error is not None

    @property
    def is_stopped(self) -> bool:
        """Whether the last command was stopped before it was carried out."""
        return self._goal is not None and self._wish is None

    def wait(self, timeout_s: float) -> None:
        """Wait until the last command is carried out; raises RobotError after `timeout_s`."""
        with self._change:
            done = self._change.wait_for(lambda: self.is_done, timeout_s)
        if self.error is not None:
            raise RobotError(f"the gripper failed: {self.error}; check the hand and reconnect")
        if not done:
            raise RobotError(
                f"the gripper did not finish within {timeout_s:g} s at {self.width_m:.3f} m; "
                "clear the fingers and reset again"
            )

    def close(self) -> None:
        """Stop a motion under way and end the threads; with a dead client within END_S."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        deadline = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _move(self) -> None:
        share_core()
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closing or self._may_begin)
                if self._closing:
                    return
                number, goal = self._asked, self._wish
                self._running = number if goal is not None else 0
            self._carry_out(goal, number)
            with self._change:
                self._done = number
                self._change.notify_all()

    @property
    def _may_begin(self) -> bool:
        """Whether something new is asked for; not during a stop, which would end that too."""
        return self._asked != self._done and not self._stopping

    @property
    def _is_overtaken(self) -> bool:
        """Whether the motion under way is not wanted any more."""
        return self._running != 0 and (self._closing or self._running != self._asked)

    def _stop_overtaken(self) -> None:
        """Stop what is not wanted any more, until it has ended: a stop may come before it."""
        share_core()
        failures = 0
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closing or self._is_overtaken)
                if not self._is_overtaken:
                    return
                self._stopping = True
            try:
                self._device.stop()
            except Exception as error:
                failures += 1
                if failures >= STOP_ATTEMPTS:
                    self._fail(error)
            with self._change:
                self._stopping = False
                self._change.notify_all()
                if self._change.wait_for(lambda: not self._is_overtaken, STOP_AGAIN_S):
                    failures = 0

    def _carry_out(self, goal: float | None, number: int) -> None:
        try:
            if goal is not None:
                self._act(goal)
                self._read_width()
        except Exception as error:
            if self._closing or number != self._asked:
                logger.info("gripper: a motion was ended: %s", error)
            else:
                self._fail(error)

    def _act(self, goal: float) -> None:
        try:
            if goal == OPEN:
                self._device.move(self._open_width_m, self._speed_m_s)
            else:
                self._device.grasp(
                    0.0,
                    self._speed_m_s,
                    self._force_n,
                    epsilon_inner=ANY_WIDTH_M,
                    epsilon_outer=ANY_WIDTH_M,
                )
        finally:  # at once: from now on the hand rests, and a stop would open it
            with self._change:
                self._running = 0
                self._change.notify_all()

    def _watch_width(self) -> None:
        while not self._closing and self.error is None:
            self._read_width()
            with self._change:
                self._change.wait_for(lambda: self._closing, WIDTH_EVERY_S)

    def _read_width(self) -> None:
        try:
            self.width_m, self._losses = float(self._device.width), 0
        except Exception as error:
            self._losses += 1
            if self._losses > PASSING_LOSSES or not is_passing(error):
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            logger.error("gripper: %s", error)
        self.error = self.error or str(error)
        with self._change:
            self._change.notify_all()
