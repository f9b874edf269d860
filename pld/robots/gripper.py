"""The hand on its own threads: the latest command wins, reading the width never blocks control."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from pld.errors import RobotError
from pld.robots.franky_errors import is_passing

HYSTERESIS = 0.2
WIDTH_EVERY_S = 0.04
PASSING_LOSSES = 2  # in a row: a busy machine keeps the hand's word back for a second
ANY_WIDTH_M = 0.08
OPEN, CLOSED = 1.0, -1.0

logger = logging.getLogger(__name__)


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


class Gripper:
    """Drives `device` from a thread. Commands are +1 open, -1 close, with hysteresis between.

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
        self._done: float | None = None
        self._closing = False
        self.error: str | None = None
        self.width_m = width_m
        self._threads = [
            threading.Thread(target=work, name=f"gripper {name}", daemon=True)
            for name, work in (("motion", self._move), ("width", self._watch_width))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def commanded(self) -> float:
        """The last command, +1 open or -1 closed; open before the first."""
        return OPEN if self._goal is None else self._goal

    def command(self, gripper_open: float) -> None:
        """Ask for open (> 0.2) or closed (< -0.2); between the two nothing changes."""
        if abs(gripper_open) < HYSTERESIS:
            return
        goal = OPEN if gripper_open > 0 else CLOSED
        with self._change:
            if goal != self._goal:
                self._goal = goal
                self._change.notify_all()

    @property
    def is_done(self) -> bool:
        """Whether the last command is carried out, or never will be."""
        return self._done == self._goal or self.error is not None

    def wait(self, timeout_s: float) -> None:
        """Wait until the last command is carried out; raises RobotError after `timeout_s`."""
        with self._change:
            done = self._change.wait_for(
                lambda: self._done == self._goal or self.error is not None, timeout_s
            )
        if self.error is not None:
            raise RobotError(f"the gripper failed: {self.error}; check the hand and reconnect")
        if not done:
            raise RobotError(
                f"the gripper did not finish within {timeout_s:g} s at {self.width_m:.3f} m; "
                "clear the fingers and reset again"
            )

    def forget(self) -> None:
        """Carry the next command out even when it repeats the last one."""
        with self._change:
            self._goal = self._done = None

    def close(self) -> None:
        """End the threads; a motion under way is left to end by itself."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(timeout=2.0)

    def _move(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closing or self._goal != self._done)
                if self._closing:
                    return
                goal = self._goal
            self._carry_out(goal)
            with self._change:
                self._done = goal
                self._change.notify_all()

    def _carry_out(self, goal: float | None) -> None:
        try:
            if goal == OPEN:
                self._device.move(self._open_width_m, self._speed_m_s)
            elif goal == CLOSED:
                self._device.grasp(
                    0.0,
                    self._speed_m_s,
                    self._force_n,
                    epsilon_inner=ANY_WIDTH_M,
                    epsilon_outer=ANY_WIDTH_M,
                )
            self.width_m = float(self._device.width)
        except Exception as error:
            self._fail(error)

    def _watch_width(self) -> None:
        losses = 0
        while not self._closing and self.error is None:
            try:
                self.width_m, losses = float(self._device.width), 0
            except Exception as error:
                losses += 1
                if losses > PASSING_LOSSES or not is_passing(error):
                    self._fail(error)
            with self._change:
                self._change.wait_for(lambda: self._closing, WIDTH_EVERY_S)

    def _fail(self, error: Exception) -> None:
        logger.error("gripper: %s", error)
        self.error = str(error)
        with self._change:
            self._change.notify_all()
