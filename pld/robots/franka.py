"""The Franka driver: connect, go home, track, recover. Hardware and simulation run this same code.

Faults latch: nothing moves until the operator calls `recover`. The vendor's client is behind
`franky_link`; what runs at every control step is in `tracking`, opening and recovering in
`connection`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from pld.errors import ConfigError, RobotError
from pld.robots.connection import ConnectedArm
from pld.robots.franka_config import FrankaConfig
from pld.robots.franky_errors import Ended, Lost
from pld.robots.franky_link import FrankyLink
from pld.robots.gripper import CLOSED, OPEN
from pld.types import ArmState, ControlMode, Pose

__all__ = ["AbortedError", "FrankaArm", "FrankaConfig"]

GRIPPER_MODES = ("open", "close", "keep")
NEARLY_OPEN = 0.9
GRIPPER_TIMEOUT_NS = 10_000_000_000
HOME_TIMEOUT_NS = 60_000_000_000
RETREAT_TIMEOUT_NS = 10_000_000_000
QUIET_PAUSE_S = 0.01
BRAKE_NS = 1_000_000_000
BRAKE_GUARD_S = 5.0  # of steady time, where robot time stands still

logger = logging.getLogger(__name__)
OnState = Callable[[ArmState], None]


class AbortedError(RobotError):
    """A reset or grasp was stopped on its way."""


class FrankaArm(ConnectedArm):
    """An FR3 with its hand, hardware or simulated alike. Implements pld.robots.protocol.Robot."""

    def reset(self, gripper: str = "open", on_state: OnState | None = None) -> ArmState:
        """Drive the gripper, rise, go home, start tracking with the reference at the measured pose.

        `gripper`: `open`, `close` or `keep`. `on_state` gets a state per control period meanwhile.
        The arm first rises straight to `retreat_height_m`, clear of what it stands in. Raises
        RobotError when a fault is latched or the motion fails (which latches it), and AbortedError
        when `abort` stopped it; the arm then holds where it is.
        """
        if gripper not in GRIPPER_MODES:
            raise ConfigError.unknown("gripper mode", gripper, GRIPPER_MODES)
        with self._lock:
            self._begin("reset")
            link = self._connected()
            self._watcher(None)
        try:
            self._go_home(link, gripper, on_state)
            with self._lock:
                self._check_aborted("come home")
                self._start_tracking()
                self._recovery.completed_reset()
                return self._state()
        except (Ended, Lost) as error:
            self._latch_from(error)
            raise RobotError(f"reset failed: {error}; remove the cause, then recover") from error
        except RobotError:
            self._rest(link)
            raise

    def _begin(self, what: str) -> None:
        """A reset or grasp begins: no command moves the arm until it has ended."""
        with self._lock:
            if self.fault:
                fault = self._fault_text()
                raise RobotError(f"cannot {what} while {fault} is latched; recover first")
            self._mode, self._aborted = ControlMode.RESETTING, ""
            self._clock.disarm()

    def _go_home(self, link: FrankyLink, gripper: str, on_state: OnState | None) -> None:
        with self._lock:
            self._check_aborted("begin")
            if not link.is_tracking:
                link.start_tracking()
        self._drive_gripper(gripper, on_state)
        self._retreat(on_state)
        with self._lock:
            self._check_aborted("go home")
            link.stop_tracking()
            link.start_home()
        self._pump(link.home_reached, on_state, HOME_TIMEOUT_NS, "reach home")

    def _rest(self, link: FrankyLink) -> None:
        """After a stop or fault: wait until the arm has braked; hold there unless faulty."""
        try:
            if not self._has_braked(link):
                self.latch("motion_ended", "moves on after a stop")
                self._stop_at_once()
            with self._lock:
                if self._link is link and not self.fault:
                    self._start_tracking()
        except (Ended, Lost) as error:
            self._latch_from(error)
        finally:
            self._watcher(None)

    def _has_braked(self, link: FrankyLink) -> bool:
        """Whether the motion ends within the time that braking may take, of robot time.

        Or has none left that could be ended: the connection is gone.
        """
        began_ns: int | None = None
        deadline_s = time.monotonic() + BRAKE_GUARD_S
        while time.monotonic() < deadline_s:
            with self._lock:
                reading = self._observe()
                if self._link is not link or link.is_tracking or link.home_reached():
                    return True
            if reading is not None:
                began_ns = began_ns or reading.t_ns
                if reading.t_ns - began_ns > BRAKE_NS:
                    return False
            time.sleep(QUIET_PAUSE_S)
        return False

    def grasp(self, on_state: OnState | None = None) -> ArmState:
        """Close the hand on what is laid between the fingers, while the arm holds its pose.

        Raises RobotError when a fault is latched or comes meanwhile, AbortedError when stopped.
        """
        self.hold()
        self._begin("grasp")
        try:
            self._drive_gripper("close", on_state)
        finally:
            if self._mode is ControlMode.RESETTING:
                self._mode = ControlMode.HOLDING
        return self._state()

    def _drive_gripper(self, mode: str, on_state: OnState | None) -> None:
        gripper = self._gripper
        if gripper is None or mode == "keep":
            return
        nearly_open_m = NEARLY_OPEN * self.config.gripper_open_width_m
        again = mode == "close" or gripper.width_m < nearly_open_m
        what = f"{mode} the gripper"
        with self._lock:
            self._check_aborted(what)
            gripper.command(OPEN if mode == "open" else CLOSED, again=again)
        self._pump(lambda: gripper.is_done, on_state, GRIPPER_TIMEOUT_NS, what)
        self._check_hand()
        self._check_fault(what)
        if gripper.is_stopped:
            raise AbortedError(f"the hand was stopped while trying to {what}; the arm holds")

    def _retreat(self, on_state: OnState | None) -> None:
        """Rise straight up under impedance control until clear."""
        height_m, lead_m = self.config.retreat_height_m, self.config.translational_clip_m / 2
        if self._reading is None or self._reading.O_T_EE.p_m[2] >= height_m:
            return
        start = self._reading.O_T_EE

        def is_clear() -> bool:
            now = self._reading.O_T_EE.p_m[2] if self._reading else start.p_m[2]
            target = np.array([*start.p_m[:2], min(now, height_m) + lead_m])
            self._set_reference(Pose(target, start.q_xyzw))
            return bool(now >= height_m)

        self._pump(is_clear, on_state, RETREAT_TIMEOUT_NS, "rise from where it stands")

    def _pump(
        self, done: Callable[[], bool], on_state: OnState | None, timeout_ns: int, what: str
    ) -> None:
        """Tell a state per period until `done`, which is asked under the lock.

        Raises RobotError after `timeout_ns`.
        """
        began_ns: int | None = None
        while True:
            with self._lock:
                self._check_aborted(what)
                if done():
                    break
            state = self.wait_step() if on_state else self._quiet_step()
            self._check_fault(what)
            if on_state:
                on_state(state)
            began_ns = began_ns or state.t_ns
            if state.t_ns - began_ns > timeout_ns:
                self.latch("motion_ended", f"could not {what} in time")
                raise RobotError(f"could not {what} within {timeout_ns / 1e9:g} s; recover first")
        self._watcher(None)

    def _check_fault(self, what: str) -> None:
        if self.fault:
            raise RobotError(f"{self._fault_text()} while trying to {what}; recover first")

    def _check_aborted(self, what: str) -> None:
        self._check_fault(what)
        if self._aborted:
            raise AbortedError(f"stopped while trying to {what}: {self._aborted}; the arm holds")

    def _quiet_step(self) -> ArmState:
        with self._lock:
            self._observe()
        time.sleep(QUIET_PAUSE_S)
        return self._state()
