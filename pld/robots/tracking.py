"""The part of the Franka driver that runs all the time: steps, watchdog, holding, faults.

Every public method may be called from any thread; `wait_step` from one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pld.errors import RobotError
from pld.geometry import normalised
from pld.robots.franka_config import FrankaConfig
from pld.robots.franky_errors import Ended, Lost
from pld.robots.franky_link import FrankyLink, Reading
from pld.robots.gripper import OPEN, Gripper
from pld.robots.step_clock import StepClock, TimeGuard, clipped_reference, is_usable
from pld.types import ArmState, Command, ControlMode, Pose

SHORTEST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.004

logger = logging.getLogger(__name__)
Watcher = Callable[[int | None], None]
OnTime = Callable[[int], None]


class TrackingArm:
    """Control steps on an open connection. `fault` names what is latched; empty when nothing is.

    `holds` counts the times that the watchdog made the arm hold, `refused` the commands not
    executed; `applied_step` is the last one that was.
    """

    def __init__(self, config: FrankaConfig, watcher: Watcher | None = None) -> None:
        self.config = config
        self.fault: tuple[str, ...] = ()
        self.holds = 0
        self.refused = 0
        self.applied_step = 0
        self.applied_ns = 0
        self.held_ns = 0
        self._watcher: Watcher = watcher or (lambda _: None)
        self._clock = StepClock(config.period_ns, config.watchdog_ns)
        self._guard = TimeGuard(config.clock_guard_s)
        self._mode = ControlMode.IDLE
        self._lock = threading.RLock()
        self._link: FrankyLink | None = None
        self._gripper: Gripper | None = None
        self._reading: Reading | None = None
        self._reference: Pose | None = None
        self._aborted = ""

    @property
    def mode(self) -> ControlMode:
        """What the arm does now."""
        return self._mode

    @property
    def skipped(self) -> int:
        """Control periods that were missed because the caller was late."""
        return self._clock.skipped

    def wait_step(self, on_time: OnTime = lambda _: None) -> ArmState:
        """Block until robot time enters the next control period; returns its state.

        Runs the watchdog meanwhile, and gives `on_time` the graph clock's time [ns] every few
        milliseconds. With a fault latched it goes on, in steady time where robot time stands
        still, so that the fault can be told.
        """
        while True:
            with self._lock:
                reading = self._observe()
                if reading is None or "robot_time_stopped" in self.fault:
                    break
                left_ns = self._clock.until_boundary_ns(reading.t_ns)
                if left_ns <= 0:
                    self._clock.advance(reading.t_ns)
                    return self._state()
                now_ns = self._stamp_ns(reading)
            on_time(now_ns)
            time.sleep(min(max(left_ns * 6e-10, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))
        time.sleep(self.config.period_ns / 1e9)
        self._clock.step += 1
        return self._state()

    def apply(self, command: Command) -> None:
        """Track the command's target from the measured pose, or hold.

        Refused while faulty, and what moves the arm also during a reset or grasp.
        """
        with self._lock:
            if self.fault or self._link is None or not self._link.is_tracking:
                self.refused += 1
                return
            if self._mode is ControlMode.RESETTING and not command.hold:
                self.refused += 1
                return
            if not command.hold and not is_usable(command):
                self.refused += 1
                self._hold()
                return
            reading = self._observe()
            if reading is None or self.fault:
                return
            self._clock.commanded(reading.t_ns)
            self.applied_step = command.step
            self.applied_ns = self._stamp_ns(reading)
            if command.hold:
                self._hold()
            else:
                self._track(reading, command)

    def hold(self) -> None:
        """Keep the measured pose until the next command, and stop fingers that move."""
        with self._lock:
            self._clock.disarm()
            self._hold()
            self.stop_hand()

    def stop_hand(self) -> None:
        """End what the fingers do, without waiting; what they hold at rest stays held.

        A command that only holds lets them end it: stopped in the middle they may lose an object.
        """
        with self._lock:
            if self._gripper is not None:
                self._gripper.stop()

    @property
    def hand_moves(self) -> bool:
        """Whether the fingers carry out a command, or end one."""
        return self._gripper is not None and not self._gripper.is_done

    @property
    def hand_width_m(self) -> float:
        """Distance between the fingers [m] as told last; 0 without a hand."""
        return 0.0 if self._gripper is None else self._gripper.width_m

    def abort(self, reason: str) -> None:
        """End a reset or grasp under way: the arm brakes and holds there, the fingers stop.

        Else nothing happens.
        """
        with self._lock:
            if self._mode is not ControlMode.RESETTING or self._aborted:
                return
            self._aborted = reason
            logger.warning("stopped on the way: %s", reason)
            self.stop_hand()
            self._brake()

    def latch(self, name: str, detail: str) -> None:
        """Latch a fault that was found outside the driver: hold until the operator recovers."""
        with self._lock:
            if name not in self.fault:
                self.abort(name)
                self._latch((name,), detail)

    def _observe(self) -> Reading | None:
        """Read the robot, latch what is wrong, hold when commands are stale."""
        if self._link is None:
            return None
        try:
            reading = self._link.read()
            self._watcher(reading.t_ns)
            self._reading = reading
            self._link.check_tracking()
        except (Ended, Lost) as error:
            self._latch_from(error)
            return self._reading if isinstance(error, Ended) else None
        self._check(reading)
        return reading

    def _check(self, reading: Reading) -> None:
        stopped = self._guard.stands_still(reading.t_ns, time.monotonic())
        if stopped and not self.fault:
            self.latch("robot_time_stopped", f"for {self.config.clock_guard_s:g} s")
        self._check_hand()
        stale_ns = self._clock.until_stale_ns(reading.t_ns)
        if stale_ns is None or stale_ns > 0:
            return
        self._clock.disarm()
        if self._mode is ControlMode.TRACKING:
            self.holds += 1
            self._hold()
        if self._mode is not ControlMode.RESETTING:
            self.stop_hand()

    def _check_hand(self) -> None:
        if self._gripper is not None and self._gripper.error:
            self.latch("gripper_lost", self._gripper.error)

    def _hold(self) -> None:
        if self._mode is not ControlMode.TRACKING or self._reading is None:
            return
        self._mode = ControlMode.HOLDING
        self.held_ns = self._stamp_ns(self._reading)
        self._set_reference(self._reading.O_T_EE)

    def _brake(self) -> None:
        """Brake what a reset has set in motion: the tracked reference, or the motion to home."""
        if self._link is None or self._reading is None:
            return
        if self._link.is_tracking:
            self._set_reference(self._reading.O_T_EE)
            return
        try:
            self._link.brake()
        except (Ended, Lost) as error:
            self._latch_from(error)
            self._stop_at_once()

    def _stop_at_once(self) -> None:
        """Where braking fails: the robot itself ends what moves it."""
        with self._lock:
            try:
                if self._link is not None:
                    self._link.stop()
            except Ended as error:
                logger.warning("%s", error)
            except Lost as error:
                self._latch_from(error)

    def _track(self, reading: Reading, command: Command) -> None:
        self._mode = ControlMode.TRACKING
        lead = (self.config.reference_lead_m, self.config.reference_lead_rad)
        self._set_reference(clipped_reference(reading.O_T_EE, command.target, *lead))
        if self._gripper is not None:
            self._gripper.command(command.gripper_open)

    def _set_reference(self, pose: Pose) -> None:
        self._reference = normalised(pose)
        if self._link is not None:
            self._link.set_target(self._reference)

    def _latch_from(self, error: Ended | Lost) -> None:
        self._latch(error.names, str(error))
        if isinstance(error, Lost):
            self._drop()

    def _latch(self, names: tuple[str, ...], detail: str) -> None:
        logger.error("fault %s: %s", ", ".join(names), detail)
        self._watcher(None)
        self.fault = tuple(dict.fromkeys((*self.fault, *names)))
        self.stop_hand()
        self._hold()
        self._clock.disarm()
        self._mode = ControlMode.FAULT

    def _drop(self) -> None:
        """Let go of robot and hand; with a dead client nothing else is possible."""
        if self._gripper is not None:
            self._gripper.close()
        self._gripper = None
        if self._link is not None:
            self._link.drop()
        self._link = None

    def _state(self) -> ArmState:
        reading = self._reading
        if reading is None:
            raise RobotError(f"nothing was read from {self.config.address}; connect first")
        gripper = self._gripper
        return ArmState(
            t_ns=self._stamp_ns(reading),
            step=self._clock.step,
            q_rad=reading.q_rad,
            dq_rad_s=reading.dq_rad_s,
            O_T_EE=reading.O_T_EE,
            O_dP_EE=reading.O_dP_EE,
            reference=self._reference or reading.O_T_EE,
            O_F_ext_hat_K=reading.O_F_ext_hat_K,
            gripper_width_m=self.hand_width_m,
            gripper_open=gripper.commanded if gripper else OPEN,
            control_mode=self._mode,
            errors=self.fault,
            applied_step=self.applied_step,
            applied_ns=self.applied_ns,
            held_ns=self.held_ns,
        )

    def _stamp_ns(self, reading: Reading) -> int:
        """Graph-clock time of a reading: robot time in the twin, host time on hardware."""
        return reading.t_ns if self.config.clock == "robot" else reading.host_ns
