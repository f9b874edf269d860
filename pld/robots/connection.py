"""The connection to robot and hand: opened, lost, recovered. Faults wait for the operator."""

from __future__ import annotations

import logging
import time

from pld.errors import RobotError
from pld.geometry import normalised
from pld.robots.franka_config import FrankaConfig
from pld.robots.franky_errors import Ended, Lost
from pld.robots.franky_link import FrankyLink
from pld.robots.gripper import Gripper
from pld.robots.reach import unreachable
from pld.robots.recovery import RecoveryRule
from pld.robots.tracking import TrackingArm, Watcher
from pld.types import ArmState, ControlMode

OPEN_ATTEMPTS = 3
OPEN_PAUSE_S = 0.5

logger = logging.getLogger(__name__)


class ConnectedArm(TrackingArm):
    """Opens and closes robot and hand, and recovers them on the operator's word.

    `watcher` is told the robot time [ns] of every reading, and None before the driver looks away
    (while tracking starts or stops, and at the end).
    """

    def __init__(self, config: FrankaConfig, watcher: Watcher | None = None) -> None:
        super().__init__(config, watcher)
        self._recovery = RecoveryRule(config.recoverable, config.recovery_limit)

    @property
    def recoveries(self) -> int:
        """How often the operator has cleared faults."""
        return self._recovery.total

    def connect(self) -> None:
        """Open robot and hand; raises RobotError naming the address and the remedy. No motion.

        Errors that the robot already has are latched: they too wait for `recover`.
        """
        with self._lock:
            link = self._open_patiently()
            self._mode = ControlMode.IDLE
            found = link.errors_in_force()
            if found:
                self._latch(found, "found when connecting")

    def recover(self) -> ArmState:
        """The operator's act: clear latched faults and hold the measured pose; the old target dies.

        Raises RobotError for a fault that must not be cleared from here, after too many
        recoveries without a reset, or when the robot keeps its errors.
        """
        with self._lock:
            if not self.fault:
                return self._state()
            self._check_hand()
            self._recovery.check(self.fault)
            logger.warning("recovering from %s", self._fault_text())
            self._reference = None
            self._watcher(None)
            try:
                link = self._reopen_if_lost()
                link.stop_tracking()
                self._check_may_clear(link)
                link.clear_errors()
            except (Ended, Lost) as error:
                self._latch_from(error)
                raise RobotError(f"recovery failed: {error}; check the robot") from error
            self._start_tracking()
            self._recovery.completed()
            self.fault, self._mode = (), ControlMode.HOLDING
            return self._state()

    def not_recoverable(self) -> str:
        """Why what is latched must not be recovered from here; empty when it may be tried."""
        try:
            self._recovery.check(self.fault)
        except RobotError as error:
            return str(error)
        return ""

    def _check_may_clear(self, link: FrankyLink) -> None:
        """Latch what else the robot has come to have, and ask anew whether it may be cleared."""
        found = link.errors_in_force()
        if not set(found) <= set(self.fault):
            self._latch(found, "found when recovering")
            self._recovery.check(self.fault)

    def close(self) -> None:
        """Hold, stop tracking and let go of robot and hand; safe to call twice."""
        with self._lock:
            self._watcher(None)
            if self._link is not None and "robot_time_stopped" not in self.fault:
                try:
                    self._link.stop_tracking()
                except (Ended, Lost) as error:
                    logger.warning("while closing: %s", error)
            self._drop()
            self._mode = ControlMode.IDLE

    def _open_patiently(self) -> FrankyLink:
        """Open; a robot that answers and is then lost is tried again. No motion."""
        said = ""
        for _ in range(OPEN_ATTEMPTS):
            try:
                return self._open()
            except Lost as error:
                said = str(error)  # the error itself would keep the dead clients
            logger.warning("%s was lost while it was opened: %s", self.config.address, said)
            time.sleep(OPEN_PAUSE_S)
        raise RobotError(unreachable(self.config.address, said))

    def _open(self) -> FrankyLink:
        """Open robot and hand, or neither."""
        link = self._link = FrankyLink.open(self.config)
        try:
            if self.config.gripper:
                self._gripper = Gripper(
                    *link.open_gripper(),
                    open_width_m=self.config.gripper_open_width_m,
                    speed_m_s=self.config.gripper_speed_m_s,
                    force_n=self.config.gripper_force_n,
                )
            self._reading = link.read()
        except (Lost, RobotError):
            self._drop()
            raise
        return link

    def _connected(self) -> FrankyLink:
        if self._link is None:
            raise RobotError(f"not connected to {self.config.address}; connect or recover first")
        return self._link

    def _start_tracking(self) -> None:
        self._watcher(None)
        try:
            link = self._connected()
            link.start_tracking()
            self._reading = link.read()
        except (Ended, Lost) as error:
            self._latch_from(error)
            raise RobotError(f"tracking did not start: {error}; recover first") from error
        self._reference = normalised(self._reading.O_T_EE)
        self._mode = ControlMode.FAULT if self.fault else ControlMode.HOLDING
        self._clock.rebase()

    def _reopen_if_lost(self) -> FrankyLink:
        if self._link is None or not self._link.is_alive or "gripper_lost" in self.fault:
            self._drop()
            return self._open()
        self._link.check_time_runs()
        return self._link

    def _fault_text(self) -> str:
        return ", ".join(self.fault)
