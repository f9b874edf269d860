"""The terminal's keyboard: raw key presses from standard input, restored at the end."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from typing import Any

from pld.errors import TeleopError
from pld.teleop.keyboard import Keys
from pld.teleop.reading import Reading

STANDARD_INPUT = 0


class Terminal:
    """Key presses of a terminal; without one it is silent, or refuses if it is `required`."""

    def __init__(self, descriptor: int = STANDARD_INPUT, *, required: bool = True) -> None:
        self._descriptor = descriptor
        self._required = required
        self._saved: list[Any] | None = None

    def open(self) -> None:
        """Take keys as they are pressed, without echo; TeleopError when there is no terminal."""
        if os.isatty(self._descriptor):
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        elif self._required:
            raise TeleopError(
                "standard input is no terminal; start `pld teleop keyboard` by hand in a terminal "
                "window, not in the background or from a launch file"
            )

    def read_text(self, timeout_s: float) -> str:
        """Keys pressed since the last call; waits up to `timeout_s` for one."""
        if self._saved is None:
            if timeout_s:
                time.sleep(timeout_s)
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        if not ready:
            return ""
        try:
            text = os.read(self._descriptor, 1024).decode("ascii", errors="ignore")
        except OSError as error:
            raise TeleopError(f"the terminal is gone ({error.strerror}); open another") from error
        if not text:
            raise TeleopError("the terminal was closed; start teleoperation in another")
        return text

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
            self._saved = None


class KeyboardDevice:
    """TeleopDevice on a terminal's keyboard."""

    name = "keyboard"

    def __init__(self, descriptor: int = STANDARD_INPUT) -> None:
        self._terminal = Terminal(descriptor)
        self._keys = Keys()

    def open(self) -> None:
        """Take the terminal; raises TeleopError when there is none."""
        self._terminal.open()

    def read(self, timeout_s: float) -> Reading:
        """The keys as they are now."""
        text = self._terminal.read_text(timeout_s)
        self._keys, reading = self._keys.press(text, time.monotonic_ns())
        return reading

    def close(self) -> None:
        """Give the terminal back."""
        self._terminal.close()
