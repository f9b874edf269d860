"""3Dconnexion SpaceMouse, on `pyspacemouse`. Left button held is the deadman, right the gripper."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np

from pld.errors import MissingPackageError, TeleopError
from pld.teleop.reading import Reading

INSTALL = "pip install -r requirements/teleop.txt"
HELP = "hold the left button and move the cap; right button gripper"
POLL_S = 0.004
REPORTS_AT_ONCE = 32
DEADMAN, GRIPPER = 0, 1
SILENT_S = 0.15


def load_pyspacemouse() -> Any:
    """The package; MissingPackageError with its install line."""
    try:
        return importlib.import_module("pyspacemouse")
    except ImportError as error:
        raise MissingPackageError(
            f"the package pyspacemouse is missing ({error}); install it with: {INSTALL}"
        ) from error


class SpaceMouseDevice:
    """TeleopDevice on the SpaceMouse at `path`, or on the first one found."""

    name = "spacemouse"

    def __init__(self, path: str = "", vendor: Any = None) -> None:
        self._path, self._vendor = path, vendor
        self._device: Any = None
        self._gripper_down = False
        self._report, self._reported_s = -1.0, 0.0

    def open(self) -> None:
        """Find the device; TeleopError when it is absent or may not be read."""
        vendor = self._vendor = self._vendor or load_pyspacemouse()
        convention = vendor.AxisConvention.ROS
        try:
            if self._path:
                self._device = vendor.open_by_path(self._path, axis_convention=convention)
            else:
                self._device = vendor.open(axis_convention=convention)
        except Exception as error:
            raise TeleopError(
                f"no SpaceMouse can be opened ({error}); plug it in, install the system package "
                "libhidapi-hidraw0, and give yourself the right to read it with a udev rule for "
                "hidraw (docs/teleop.md)"
            ) from error

    def read(self, timeout_s: float) -> Reading:
        """The cap and buttons now; TeleopError when the device was unplugged."""
        try:
            found = self._drained(timeout_s)
        except Exception as error:
            raise TeleopError(
                f"the SpaceMouse is gone ({error}); plug it in and start teleoperation again"
            ) from error
        down = bool(found.buttons[GRIPPER])
        presses, self._gripper_down = int(down and not self._gripper_down), down
        return Reading(
            bool(found.buttons[DEADMAN]) and not self._is_silent(found),
            np.clip([found.x, found.y, found.z], -1.0, 1.0),
            np.clip([found.roll, found.pitch, found.yaw], -1.0, 1.0),
            presses,
        )

    def close(self) -> None:
        """Let go of the device."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def _is_silent(self, found: Any) -> bool:
        """Whether a deflected cap has reported nothing for too long, as when its radio is lost.

        It reports all the time while deflected, and nothing at rest.
        """
        now = time.monotonic()
        if found.t != self._report:
            self._report, self._reported_s = found.t, now
        axes = (found.x, found.y, found.z, found.roll, found.pitch, found.yaw)
        return any(axes) and now - self._reported_s > SILENT_S

    def _drained(self, timeout_s: float) -> Any:
        """The newest state: the vendor's `read` takes one report from a queue of several."""
        time.sleep(min(timeout_s, POLL_S))
        state = self._device.read()
        for _ in range(REPORTS_AT_ONCE):
            last, state = state.t, self._device.read()
            if state.t == last:
                break
        return state
