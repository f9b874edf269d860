"""What each device says of deadman, deflection, gripper and words; absent ones name the remedy."""

from __future__ import annotations

import os
import pty
import types
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from pld.errors import ConfigError, MissingPackageError, TeleopError
from pld.teleop import gamepad, gamepad_evdev, spacemouse
from pld.teleop.devices import DEVICES, make_device
from pld.teleop.gamepad_evdev import GamepadDevice
from pld.teleop.keyboard import DEADMAN_NS, DIRECTIONS, MOTION_NS, WORDS, Keys
from pld.teleop.reading import OperatorKey, Reading
from pld.teleop.scripted import ScriptedDevice
from pld.teleop.spacemouse import SpaceMouseDevice
from pld.teleop.terminal import KeyboardDevice, Terminal
from pld.teleop.with_words import WithWords

MS = 1_000_000


def deflection(reading: Reading) -> list[float]:
    return [*reading.translation, *reading.rotation]


@pytest.mark.parametrize("key", DIRECTIONS)
def test_a_letter_moves_only_with_shift(key: str) -> None:
    _, plain = Keys().press(key.lower(), 0)
    assert not plain.deadman
    assert not np.any(deflection(plain))
    _, shifted = Keys().press(key, 0)
    assert shifted.deadman
    assert np.count_nonzero(deflection(shifted)) == 1


def test_a_key_moves_for_a_moment_and_the_deadman_ends_soon_after() -> None:
    keys, _ = Keys().press("W", 0)
    assert deflection(keys.reading(MOTION_NS))[0] == 1.0
    between = keys.reading(MOTION_NS + 1)
    assert between.deadman
    assert not np.any(deflection(between))
    assert keys.reading(DEADMAN_NS).deadman
    assert not keys.reading(DEADMAN_NS + 1).deadman


def test_a_repeating_key_moves_without_a_gap() -> None:
    keys = Keys()
    for t_ns in range(0, 2000 * MS, 35 * MS):
        keys, reading = keys.press("R", t_ns)
        assert deflection(keys.reading(t_ns + 34 * MS))[2] == 1.0
        assert reading.deadman


@pytest.mark.parametrize("key", ["w", "x", "\n", *WORDS])
def test_any_other_key_ends_the_deadman_at_once(key: str) -> None:
    keys, _ = Keys().press("W", 0)
    _, reading = keys.press(key, 10 * MS)
    assert not reading.deadman
    assert not np.any(deflection(reading))


@pytest.mark.parametrize(("key", "word"), WORDS.items())
def test_every_word_has_a_key_of_its_own(key: str, word: OperatorKey) -> None:
    assert Keys().press(key, 0)[1].keys == (word,)
    assert Keys().press(key.upper(), 0)[1].keys == (word,), "with Shift or Caps Lock down too"
    assert set(WORDS.values()) == set(OperatorKey)


@pytest.mark.parametrize("escape", ["\x1b[A", "\x1bOA", "\x1b[1;2D", "\x1b[15~", "\x1bW"])
def test_arrow_and_function_keys_are_no_letters(escape: str) -> None:
    _, reading = Keys().press(escape, 0)
    assert not reading.deadman
    assert reading.keys == ()


def test_the_gripper_key_needs_shift_and_counts_its_presses() -> None:
    assert Keys().press("g", 0)[1].gripper_presses == 0
    keys, reading = Keys().press("GG", 0)
    assert (reading.gripper_presses, reading.deadman) == (1, True)
    for t_ms in (500, 533, 566, 1200):  # the key repeats itself while it is held
        keys, reading = keys.press("G", t_ms * 10**6)
        assert (reading.gripper_presses, reading.deadman) == (0, True)
    assert keys.press("G", 2000 * 10**6)[1].gripper_presses == 1


@pytest.mark.parametrize("parts", [("\x1b", "[D"), ("\x1b[", "D"), ("\x1b[1;", "2D")])
def test_an_arrow_key_that_arrives_in_two_reads_is_no_letter(parts: tuple[str, str]) -> None:
    keys, _ = Keys().press(parts[0], 0)
    keys, reading = keys.press(parts[1], 5 * 10**6)
    assert not reading.deadman
    assert keys.press("D", 10**9)[1].deadman


@pytest.mark.parametrize("text", ["\x1b ", "\x1b[ ", "\x1b[1; ", "\x1b[D "])
def test_no_escape_swallows_the_stop(text: str) -> None:
    assert Keys().press(text, 0)[1].keys == (OperatorKey.STOP,)
    keys, _ = Keys().press(text[:-1], 0)
    assert keys.press(" ", 10**6)[1].keys == (OperatorKey.STOP,)


def test_a_lone_escape_does_not_swallow_what_is_pressed_later() -> None:
    keys, _ = Keys().press("\x1b", 0)
    assert keys.press("p", 10**9)[1].keys == (OperatorKey.PAUSE,)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_typed_in_a_terminal_arrive_and_the_terminal_is_given_back(terminal) -> None:
    import termios

    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    device = KeyboardDevice(theirs)
    device.open()
    assert not device.read(0.0).deadman
    os.write(ours, b"W")
    reading = device.read(1.0)
    assert reading.deadman
    assert reading.translation[0] == 1.0
    os.write(ours, b"p")
    assert device.read(1.0).keys == (OperatorKey.PAUSE,)
    device.close()
    assert termios.tcgetattr(theirs) == before


def test_a_keyboard_without_a_terminal_is_refused_with_the_remedy() -> None:
    reader, writer = os.pipe()
    with pytest.raises(TeleopError, match="by hand in a terminal"):
        KeyboardDevice(reader).open()
    os.close(reader)
    os.close(writer)


def test_another_device_takes_its_words_from_the_terminal_but_no_motion(terminal) -> None:
    ours, theirs = terminal
    reader, writer = os.pipe()
    device = WithWords(ScriptedDevice(reader), Terminal(theirs, required=False))
    device.open()
    os.write(ours, b"W 1")
    os.write(writer, b'{"deadman": true, "translation": [0, 0, 1]}\n')
    reading = device.read(1.0)
    assert reading.keys == (OperatorKey.STOP, OperatorKey.SUCCESS)
    assert list(reading.translation) == [0, 0, 1]
    device.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("parts", [(b"\x1b", b"[3~"), (b"\x1b[", b"2~"), (b"\x1b[", b"15~")])
def test_a_key_that_arrives_in_two_reads_beside_a_device_is_no_word(terminal, parts) -> None:
    ours, theirs = terminal
    reader, writer = os.pipe()
    device = WithWords(ScriptedDevice(reader), Terminal(theirs, required=False))
    device.open()
    for part in parts:
        os.write(ours, part)
        assert device.read(0.0).keys == ()
    device.close()
    os.close(reader)
    os.close(writer)


def test_a_script_is_read_line_by_line_and_its_end_is_a_loss() -> None:
    reader, writer = os.pipe()
    device = ScriptedDevice(reader)
    assert not device.read(0.0).deadman
    os.write(writer, b'{"deadman": true, "gripper": 1, "keys": ["pause"]}\n{"dead')
    reading = device.read(1.0)
    assert (reading.deadman, reading.gripper_presses) == (True, 1)
    assert reading.keys == (OperatorKey.PAUSE,)
    again = device.read(0.0)
    assert (again.deadman, again.gripper_presses, again.keys) == (True, 0, ())
    os.write(writer, b'man": false}\n')
    assert not device.read(1.0).deadman
    os.close(writer)
    with pytest.raises(TeleopError, match="has ended"):
        device.read(1.0)
    os.close(reader)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "not a line"),
        ("[]", "no object"),
        ('{"dedman": true}', "unknown field 'dedman'"),
        ('{"keys": ["go"]}', "unknown key 'go'; valid: success"),
        ('{"translation": [0, 0]}', "expected 3 values"),
        ('{"translation": [0, 0, NaN]}', "not finite"),
    ],
)
def test_a_bad_line_is_quoted_with_what_is_wrong(line: str, named: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, line.encode() + b"\n")
    with pytest.raises(TeleopError) as caught:
        ScriptedDevice(reader).read(1.0)
    assert named in str(caught.value)
    os.close(reader)
    os.close(writer)


def test_a_gamepads_sticks_mean_operator_axes() -> None:
    axes = {"ABS_Y": -1.0, "ABS_X": -0.5, "ABS_RY": -0.25, "ABS_RX": -1.0, "ABS_HAT0X": 1.0}
    reading = gamepad.reading({"BTN_TL"}, axes, ["BTN_SOUTH", "BTN_START"])
    assert deflection(reading) == [1.0, 0.5, 0.25, 1.0, 0.0, 1.0]
    assert reading.deadman
    assert reading.gripper_presses == 1
    assert reading.keys == (OperatorKey.PAUSE,)
    assert not gamepad.reading({"BTN_TR"}, axes).deadman


@pytest.mark.parametrize(
    ("value", "expected"), [(0, -1.0), (255, 1.0), (127.5, 0.0), (999, 1.0), (-9, -1.0)]
)
def test_raw_axes_are_centred_and_bounded(value: float, expected: float) -> None:
    assert gamepad.centred(value, 0, 255) == expected
    assert gamepad.centred(1, 0, 0) == 0.0


@dataclass
class FakePad:
    """What of evdev.InputDevice is used, with a pipe for its descriptor."""

    path: str
    name: str = "pad"
    buttons: tuple[int, ...] = (310, 304, 305)
    axes: tuple[int, ...] = (0, 1, 3, 4)
    held: list[int] = field(default_factory=list)
    events: list[types.SimpleNamespace] = field(default_factory=list)
    values: dict[int, int] = field(default_factory=dict)
    gone: bool = False

    def __post_init__(self) -> None:
        self.fd, self.writer = os.pipe()
        os.write(self.writer, b"x")

    def capabilities(self, absinfo: bool) -> dict[int, tuple[int, ...]]:
        assert not absinfo
        return {1: self.buttons, 3: self.axes}

    def active_keys(self) -> list[int]:
        if self.gone:
            raise OSError(19, "No such device")
        return self.held

    def absinfo(self, code: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(value=self.values.get(code, 128), min=0, max=256)

    def read(self) -> list[types.SimpleNamespace]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.writer)


CODES = {
    "EV_KEY": 1, "EV_ABS": 3, "ABS_X": 0, "ABS_Y": 1, "ABS_RX": 3, "ABS_RY": 4, "ABS_HAT0X": 16,
    "ABS_HAT0Y": 17, "BTN_SOUTH": 304, "BTN_EAST": 305, "BTN_NORTH": 307, "BTN_WEST": 308,
    "BTN_TL": 310, "BTN_SELECT": 314, "BTN_START": 315,
}  # fmt: skip


def fake_evdev(*pads: FakePad) -> types.SimpleNamespace:
    by_path = {pad.path: pad for pad in pads}
    return types.SimpleNamespace(
        ecodes=types.SimpleNamespace(ecodes=CODES),
        list_devices=lambda: list(by_path),
        InputDevice=lambda path: by_path[path],
    )


def test_a_gamepad_is_found_read_and_missed() -> None:
    mouse = FakePad("/dev/input/event0", "mouse", buttons=(272,), axes=())
    pad = FakePad("/dev/input/event1")
    device = GamepadDevice(evdev=fake_evdev(mouse, pad))
    device.open()
    pad.held, pad.values = [310], {1: 0}
    pad.events = [types.SimpleNamespace(type=1, value=v, code=305) for v in (1, 2, 0)]
    reading = device.read(0.0)
    assert reading.deadman
    assert reading.translation[0] == 1.0
    assert reading.keys == (OperatorKey.STOP,)
    pad.gone = True
    with pytest.raises(TeleopError, match=r"event1 is gone \(No such device\)"):
        device.read(0.0)
    device.close()


@pytest.mark.parametrize(
    ("pads", "named"),
    [
        ([], "no gamepad found.*group `input`"),
        ([FakePad("/dev/a"), FakePad("/dev/b")], r"several gamepads: /dev/a \(pad\), /dev/b"),
    ],
)
def test_no_or_several_gamepads_are_refused(pads: list[FakePad], named: str) -> None:
    with pytest.raises(TeleopError, match=named):
        GamepadDevice(evdev=fake_evdev(*pads)).open()


def test_a_gamepad_that_cannot_be_opened_is_named() -> None:
    def gone(path: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", path)

    evdev = fake_evdev()
    evdev.InputDevice = gone
    with pytest.raises(TeleopError, match=r"event99 cannot be opened \(No such file or directory"):
        GamepadDevice("/dev/input/event99", evdev).open()


def test_a_device_without_shoulder_buttons_is_refused_by_name() -> None:
    mouse = FakePad("/dev/input/event0", "mouse", buttons=(272,), axes=(0, 1))
    with pytest.raises(TeleopError, match=r"event0 \(mouse\) has no BTN_TL"):
        GamepadDevice("/dev/input/event0", fake_evdev(mouse)).open()


class FakeMouse:
    """A SpaceMouse with a queue of reports, of which each read takes one."""

    def __init__(self) -> None:
        self.reports: list[dict[str, object]] = []
        self.state = types.SimpleNamespace(
            t=0.0, x=0.0, y=0.0, z=0.0, roll=0.0, pitch=0.0, yaw=0.0, buttons=[0, 0]
        )
        self.gone = False

    def read(self) -> types.SimpleNamespace:
        if self.gone:
            raise RuntimeError("Failed to read")
        if self.reports:
            self.state.__dict__.update(self.reports.pop(0), t=self.state.t + 1.0)
        return self.state

    def close(self) -> None:
        self.gone = True


def fake_pyspacemouse(mouse: FakeMouse | None) -> types.SimpleNamespace:
    def open_device(axis_convention: str) -> FakeMouse:
        assert axis_convention == "ros"
        if mouse is None:
            raise RuntimeError("No device found")
        return mouse

    return types.SimpleNamespace(AxisConvention=types.SimpleNamespace(ROS="ros"), open=open_device)


def test_a_spacemouse_is_read_to_its_newest_report_and_missed() -> None:
    mouse = FakeMouse()
    device = SpaceMouseDevice(vendor=fake_pyspacemouse(mouse))
    device.open()
    mouse.reports = [{"x": 0.1}, {"x": 0.9, "buttons": [1, 1]}, {"yaw": -0.4}]
    reading = device.read(0.0)
    assert deflection(reading) == [0.9, 0.0, 0.0, 0.0, 0.0, -0.4]
    assert (reading.deadman, reading.gripper_presses) == (True, 1)
    assert device.read(0.0).gripper_presses == 0
    mouse.gone = True
    with pytest.raises(TeleopError, match="is gone"):
        device.read(0.0)


def test_a_deflected_spacemouse_that_reports_no_more_releases_the_deadman(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
    monkeypatch.setattr(spacemouse, "time", clock)
    mouse = FakeMouse()
    device = SpaceMouseDevice(vendor=fake_pyspacemouse(mouse))
    device.open()
    mouse.reports = [{"x": 0.9, "buttons": [1, 0]}]
    assert device.read(0.0).deadman
    now[0] += 0.14
    assert device.read(0.0).deadman
    now[0] += 0.02
    assert not device.read(0.0).deadman
    mouse.reports = [{"x": 0.0, "buttons": [1, 0]}]
    assert device.read(0.0).deadman
    now[0] += 60.0
    assert device.read(0.0).deadman, "a cap at rest sends nothing"


def test_an_absent_spacemouse_names_the_remedy() -> None:
    with pytest.raises(TeleopError, match=r"No device found.*udev"):
        SpaceMouseDevice(vendor=fake_pyspacemouse(None)).open()


@pytest.mark.parametrize(
    ("module", "load"),
    [("evdev", gamepad_evdev.load_evdev), ("pyspacemouse", spacemouse.load_pyspacemouse)],
)
def test_a_missing_package_names_its_install_line(monkeypatch, module: str, load) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingPackageError, match=r"pip install -r requirements/teleop\.txt"):
        load()


def test_an_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="keyboard, gamepad, spacemouse, scripted"):
        make_device("joystick")
    assert [make_device(name).name for name in DEVICES] == list(DEVICES)
