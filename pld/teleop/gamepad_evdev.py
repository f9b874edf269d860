"""Gamepads through the kernel's input devices, on `evdev`.

The whole device is read after every change, so that an overrun of its queue leaves nothing wrong.
"""

from __future__ import annotations

import importlib
import select
from typing import Any

from pld.errors import MissingPackageError, TeleopError
from pld.teleop import gamepad
from pld.teleop.reading import Reading

INSTALL = "pip install -r requirements/teleop.txt"


def load_evdev() -> Any:
    """The package; MissingPackageError with its install line."""
    try:
        return importlib.import_module("evdev")
    except ImportError as error:
        raise MissingPackageError(
            f"the package evdev is missing ({error}); install it with: {INSTALL}"
        ) from error


class GamepadDevice:
    """TeleopDevice on the gamepad at `path`, or on the only one there is."""

    name = "gamepad"

    def __init__(self, path: str = "", evdev: Any = None) -> None:
        self._path, self._evdev = path, evdev
        self._device: Any = None
        self._codes: dict[str, int] = {}

    def open(self) -> None:
        """Find the gamepad; raises TeleopError when there is none, several, or no permission."""
        self._evdev = self._evdev or load_evdev()
        self._codes = {str(n): int(c) for n, c in self._evdev.ecodes.ecodes.items()}
        self._device = self._opened(self._path or self._only_gamepad())
        missing = [name for name in gamepad.NEEDED if not self._has(self._device, name)]
        if missing:
            raise TeleopError(
                f"{self._device.path} ({self._device.name}) has no {', '.join(missing)}; "
                "choose a gamepad with two sticks and shoulder buttons by --path"
            )

    def _opened(self, path: str) -> Any:
        try:
            return self._evdev.InputDevice(path)
        except OSError as error:
            raise TeleopError(
                f"the gamepad {path} cannot be opened ({error.strerror}); check --path, and be a "
                "member of the group `input`"
            ) from error

    def read(self, timeout_s: float) -> Reading:
        """The gamepad now; TeleopError when it was unplugged."""
        try:
            ready, _, _ = select.select([self._device.fd], [], [], timeout_s)
            pressed = self._presses() if ready else []
            held = set(self._device.active_keys())
            axes = {name: self._axis(name) for name in gamepad.AXES}
        except OSError as error:
            raise TeleopError(
                f"the gamepad {self._device.path} is gone ({error.strerror}); plug it in and start "
                "teleoperation again"
            ) from error
        names = [name for name, code in self._codes.items() if code in held and _is_button(name)]
        return gamepad.reading(names, axes, pressed)

    def close(self) -> None:
        """Let go of the device."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def _presses(self) -> list[str]:
        codes = {self._codes[n]: n for n in (gamepad.GRIPPER, *gamepad.WORDS) if n in self._codes}
        key = self._codes["EV_KEY"]
        return [
            codes[event.code]
            for event in self._device.read()
            if event.type == key and event.value == 1 and event.code in codes
        ]

    def _axis(self, name: str) -> float:
        if not self._has(self._device, name):
            return 0.0
        info = self._device.absinfo(self._codes[name])
        return gamepad.centred(info.value, info.min, info.max)

    def _has(self, device: Any, name: str) -> bool:
        kind = self._codes["EV_ABS" if name.startswith("ABS") else "EV_KEY"]
        return self._codes[name] in device.capabilities(absinfo=False).get(kind, ())

    def _only_gamepad(self) -> str:
        found = [self._opened(path) for path in self._evdev.list_devices()]
        pads = [d for d in found if all(self._has(d, name) for name in gamepad.NEEDED)]
        if len(pads) == 1:
            return str(pads[0].path)
        if pads:
            listing = ", ".join(f"{d.path} ({d.name})" for d in pads)
            raise TeleopError(f"several gamepads: {listing}; choose one with --path")
        raise TeleopError(
            "no gamepad found; plug one in, and be a member of the group `input` to read it "
            "(sudo usermod -aG input $USER, then log in again)"
        )


def _is_button(name: str) -> bool:
    return name.startswith("BTN_")
