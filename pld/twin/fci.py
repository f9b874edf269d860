"""The simulated FCI: franky-sim's servers with reflexes, recovery, faults and robot time.

What the genuine client sees: state time is the simulation's own; collision thresholds are obeyed;
a reflex aborts the motion and refuses the next until recovery; a second client is turned away; a
client that vanishes leaves the arm holding. Private names of franky-sim 1.0.4 are used in the files
fci*.py, nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterable
from typing import Any

from franky_sim.franka_robot_protocol import (
    BaseCommand,
    MoveStatus,
    RobotCommand,
    RobotMode,
    StateControllerMode,
    StateMotionGeneratorMode,
    UDPCommand,
)
from franky_sim.franka_robot_server import ControlMode, FrankaRobotServer
from franky_sim.franka_robot_state import FrankaRobotState

from pld.errors import ConfigError
from pld.twin.faults import FaultScript
from pld.twin.fci_gripper import FciGripper
from pld.twin.fci_robot import FciRobot
from pld.twin.fci_wire import LoopbackServer, Move, Recover, SetCollisionBehavior
from pld.twin.pacing import ReplyWatch
from pld.twin.reflexes import CollisionBehaviour, collisions, limit_violations
from pld.twin.wire import ERRORS

ROBOT_PORT, GRIPPER_PORT = 1337, 1338
SERVER_VERSION = 10
NS_PER_MS = 1_000_000
SETTLE_MS = 150
FIRST_REPLY_MS = 500
GRIPPER_STATE_EVERY_MS = 5
LOOK_FOR_CLIENTS_MS = 10
COMMAND_BYTES = UDPCommand.STRUCT.size
DEFAULT_THRESHOLDS = CollisionBehaviour.uniform(20.0, 30.0)
_MOTION_MODES = {
    ControlMode.TORQUE: StateMotionGeneratorMode.kNone,
    ControlMode.POSITION: StateMotionGeneratorMode.kJointPosition,
    ControlMode.VELOCITY: StateMotionGeneratorMode.kJointVelocity,
    ControlMode.CARTESIAN_POSITION: StateMotionGeneratorMode.kCartesianPosition,
    ControlMode.CARTESIAN_VELOCITY: StateMotionGeneratorMode.kCartesianVelocity,
    ControlMode.IDLE: StateMotionGeneratorMode.kIdle,
}

logger = logging.getLogger(__name__)


class FciServer(LoopbackServer, FrankaRobotServer):  # type: ignore[misc]
    """The robot's server. `faults` disturbs the wire; `watch` counts the client's replies."""

    def __init__(
        self,
        robot: FciRobot,
        address: str,
        *,
        version: int = SERVER_VERSION,
        faults: FaultScript | None = None,
        watch: ReplyWatch | None = None,
    ) -> None:
        super().__init__(robot, [address])
        self.address = address
        self.faults = faults or FaultScript()
        self.watch = watch or ReplyWatch()
        self.behaviour = DEFAULT_THRESHOLDS
        self.errors: frozenset[str] = frozenset()
        self.last_motion_errors: frozenset[str] = frozenset()
        self.reflexes: dict[str, int] = {}
        self.turned_away = 0
        self.t_ms = 1
        self._settle_until_ms = 0
        self._heard_ms = -1
        self._reply_lost = False
        self._replies_from_ms = 0
        self.harden(
            version,
            kMove=Move,
            kSetCollisionBehavior=SetCollisionBehavior,
            kAutomaticErrorRecovery=Recover,
        )

    def init(self) -> None:
        """Bind both ports; raises ConfigError when one is taken."""
        try:
            super().init()
        except OSError as error:
            raise ConfigError(
                f"port {ROBOT_PORT} or {GRIPPER_PORT} at {self.address} is in use or not ours; "
                "stop the other twin or choose another --address (127.0.0.2, 127.0.0.3, ...)"
            ) from error

    def _bind_children(self, hostname: str) -> None:
        gripper = FciGripper(self.robot, hostname)
        gripper.harden(gripper.library_version)
        gripper.init()
        self._FrankaRobotServer__gripper_server = gripper

    def _reset_state(self) -> None:
        super()._reset_state()
        watch = getattr(self, "watch", None)
        if watch is not None:
            watch.restart()

    def start_motion(
        self, controller_mode: Any, motion_generator_mode: Any, motion_id: int
    ) -> None:
        """Begin a motion with a clean count of replies."""
        self.watch.restart()
        self.last_motion_errors = frozenset()
        self._replies_from_ms = self.t_ms + FIRST_REPLY_MS
        super().start_motion(controller_mode, motion_generator_mode, motion_id)
        start = UDPCommand(q_c=tuple(self.robot.q_desired), O_T_EE_c=tuple(self.robot.state.O_T_EE))
        self._FrankaRobotServer__current_control_command = start

    @property
    def expects_reply(self) -> bool:
        """Whether the client owes a reply now: a motion runs and it has begun to reply.

        The client reads a few states between its Move and its first reply.
        """
        if not self.current_motion_id or not self.udp_connected:
            return False
        return self.t_ms >= self._replies_from_ms

    def still_owes_a_reply(self) -> bool:
        """Serve the connection, which may end the motion, and look again."""
        self.poll_tcp()
        return self.expects_reply

    def hear(self) -> bool:
        """Take in what has arrived over UDP; whether this period's reply was settled.

        Settled: it came, or the fault script lost or delayed it.
        """
        self._process_udp_commands()
        return self._heard_ms >= self.t_ms or self._reply_lost

    def account(self) -> None:
        """Book this period's reply as answered, lost on the way, or never sent."""
        if not self.expects_reply:
            return
        if self._reply_lost:
            self.watch.lost(in_transit=True)
        elif self._heard_ms >= self.t_ms:
            self.watch.answered()
        else:
            self.watch.lost(in_transit=self.faults.is_silent(self.t_ms * NS_PER_MS))
        self._reply_lost = False

    def act(self) -> None:
        """Apply the newest command to the arm and serve connections; once per millisecond."""
        look_for_clients = self.t_ms % LOOK_FOR_CLIENTS_MS == 0
        silent = self.faults.is_silent(self.t_ms * NS_PER_MS)
        if not silent and (self.tcp_connected or look_for_clients):
            self.poll_tcp()
        if self.t_ms < self._settle_until_ms:
            self._FrankaRobotServer__holding_q = tuple(self.robot.q_rad)
        try:
            self._post_process_commands()
        except (ValueError, FloatingPointError):
            logger.exception("a command that cannot be followed")
            self.reflex(frozenset({"controller_torque_discontinuity"}))
        self.gripper_server.step(look_for_clients=look_for_clients)
        if look_for_clients:
            self.turned_away += self.turn_away(self.t_ms)
            self.turned_away += self.gripper_server.turn_away(self.t_ms)

    def observe(self, t_ms: int) -> None:
        """Measure the arm at robot time `t_ms` and set off the reflexes that are due."""
        self.t_ms = t_ms
        self.robot.measure()
        if not self.current_motion_id:
            return
        names = collisions(self.robot.sense.effort, self.behaviour) | limit_violations(
            self.robot.q_rad, self.robot.dq_rad_s, self.robot.lower_rad, self.robot.upper_rad
        )
        if self.watch.violated:
            names |= {"communication_constraints_violation"}
        if names:
            self.reflex(names)

    def reflex(self, names: frozenset[str]) -> None:
        """Stop the arm, abort the motion and refuse others until `recover`."""
        for name in names:
            if name not in ERRORS:
                raise ConfigError.unknown("robot error", name, ERRORS)
            self.reflexes[name] = self.reflexes.get(name, 0) + 1
        self.errors |= names
        self.last_motion_errors = names
        motion = self.current_motion_id
        self.stop_motion(send_preemption_signal=False)
        self.reset_current_motion_id()
        self._settle_until_ms = self.t_ms + SETTLE_MS
        if motion and self._tcp_socket is not None:
            BaseCommand.send_response(
                self._tcp_socket, RobotCommand.kMove, motion, MoveStatus.kReflexAborted
            )

    def recover(self) -> None:
        """Clear the errors, as the client's automatic error recovery does."""
        self.errors = frozenset()

    def broadcast(self) -> None:
        """Send robot and hand state for this millisecond."""
        if self.faults.is_silent(self.t_ms * NS_PER_MS):
            return
        self.send_numbered(self.t_ms)
        if self.t_ms % GRIPPER_STATE_EVERY_MS == 0:
            self.gripper_server.send_numbered(self.t_ms)

    def send_state(self) -> None:
        """Repeat the state of this millisecond; clients take a repeated one for a sign of life."""
        self.send_numbered(self.t_ms)

    def client_sockets(self) -> list[socket.socket]:
        """Where the robot client can be heard."""
        return self.sockets()

    def _post_process_commands(self) -> None:
        if self._FrankaRobotServer__control_mode is ControlMode.IDLE:
            self.robot.hold(self._FrankaRobotServer__holding_q)
        else:
            super()._post_process_commands()

    def _process_udp_commands(self) -> bool:
        udp = self._FrankaServer__udp_socket
        if udp is None:
            return False
        with contextlib.suppress(OSError):
            while True:
                self._take(udp.recv(2048))
        return True

    def _take(self, datagram: bytes) -> None:
        if len(datagram) < COMMAND_BYTES or self.faults.is_silent(self.t_ms * NS_PER_MS):
            return
        if self.expects_reply and (self.faults.late or self.faults.loses_reply()):
            self._reply_lost = True
            return
        self._replies_from_ms = min(self._replies_from_ms, self.t_ms)
        self._heard_ms = max(self._heard_ms, int.from_bytes(datagram[:8], "little"))
        self._handle_udp_command(datagram[:COMMAND_BYTES])

    def _get_state_bytes(self) -> bytes:
        buffer = self.robot.buffer
        mode = self._FrankaRobotServer__control_mode
        controller = StateControllerMode.kOther
        if mode is ControlMode.TORQUE:
            controller = StateControllerMode.kExternalController
        elif mode is not ControlMode.IDLE:
            controller = StateControllerMode(self._FrankaRobotServer__impedance_control_mode)
        robot = RobotMode.kMove if self.current_motion_id else RobotMode.kIdle
        if self.errors:
            robot = RobotMode.kReflex
        buffer.set_modes(_MOTION_MODES[mode], controller, robot)
        buffer.set_errors(self.errors, self.last_motion_errors)
        buffer.set_success_rate(self.watch.success_rate)
        state: bytes = buffer.to_bytes()
        return state

    @property
    def robot_state(self) -> FrankaRobotState:
        """The few fields that franky-sim's own commands ask for."""
        return self.robot.state


def close_all(servers: Iterable[FciServer]) -> None:
    """Let go of every client and port."""
    for server in servers:
        server.reset_state()
        server.gripper_server.reset_state()
        server.cleanup()
