"""A device for motion with the terminal's keyboard beside it for the operator's words."""

from __future__ import annotations

import time
from dataclasses import replace

from pld.teleop.keyboard import Keys
from pld.teleop.reading import Reading, TeleopDevice
from pld.teleop.terminal import Terminal


class WithWords:
    """`device`, and the words typed in the terminal, if any; its motion keys are ignored."""

    def __init__(self, device: TeleopDevice, terminal: Terminal | None = None) -> None:
        self._device = device
        self._terminal = terminal or Terminal(required=False)
        self._keys = Keys()

    @property
    def name(self) -> str:
        """The device's name."""
        return self._device.name

    def open(self) -> None:
        """Connect the device, then take the terminal."""
        self._device.open()
        self._terminal.open()

    def read(self, timeout_s: float) -> Reading:
        """The device's reading, with what was typed meanwhile."""
        reading = self._device.read(timeout_s)
        text = self._terminal.read_text(0.0)
        self._keys, typed = self._keys.press(text, time.monotonic_ns())
        return replace(reading, keys=reading.keys + typed.keys)

    def close(self) -> None:
        """Let go of both."""
        self._terminal.close()
        self._device.close()
