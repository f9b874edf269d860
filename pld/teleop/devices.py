"""The teleoperation devices by name."""

from __future__ import annotations

from pld.errors import ConfigError
from pld.teleop import gamepad, keyboard, scripted, spacemouse
from pld.teleop.gamepad_evdev import GamepadDevice
from pld.teleop.reading import TeleopDevice
from pld.teleop.scripted import ScriptedDevice
from pld.teleop.spacemouse import SpaceMouseDevice
from pld.teleop.terminal import KeyboardDevice
from pld.teleop.with_words import WithWords

HELP = {
    "keyboard": f"{keyboard.MOTION_HELP}; {keyboard.WORDS_HELP}",
    "gamepad": f"{gamepad.HELP}. In this terminal: {keyboard.WORDS_HELP}",
    "spacemouse": f"{spacemouse.HELP}. In this terminal: {keyboard.WORDS_HELP}",
    "scripted": scripted.HELP,
}
DEVICES = tuple(HELP)


def make_device(name: str, path: str = "") -> TeleopDevice:
    """The device `name`, not yet open; `path` chooses among several of a kind."""
    if name == "keyboard":
        return KeyboardDevice()
    if name == "gamepad":
        return WithWords(GamepadDevice(path))
    if name == "spacemouse":
        return WithWords(SpaceMouseDevice(path))
    if name == "scripted":
        return ScriptedDevice()
    raise ConfigError.unknown("teleoperation device", name, DEVICES)
