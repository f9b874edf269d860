"""What the simulated robot and gripper servers share: hardened connections and commands.

Private names of franky-sim 1.0.4 are used in the files fci*.py, nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
from typing import Any

import numpy as np
from franky_sim.franka_robot_protocol import (
    AutomaticErrorRecoveryCommand,
    BaseCommand,
    MoveCommand,
    MoveStatus,
    SetCollisionBehaviorCommand,
)
from franky_sim.franka_server import Command, ConnectCommand, ConnectStatus, MessageHeader

from pld.twin.reflexes import CollisionBehaviour

REFUSED = 1
CONNECT_ANSWER_BYTES = 8
PATIENCE_MS = 200

logger = logging.getLogger(__name__)


class _Unoffered:
    """Stands for a command id that the simulation does not offer."""

    def __init__(self, number: int) -> None:
        self.value, self.name = number, f"command {number}"


class _CommandNames(dict[int, Any]):
    """Command ids to names; an unknown id is answered instead of raising KeyError."""

    def __missing__(self, number: int) -> Any:
        return _Unoffered(number)


class _CommandClasses(dict[Any, Any]):
    """Commands to their classes; one that is not offered is refused."""

    def get(self, command: Any, default: Any = None) -> Any:
        """The class that handles `command`."""
        return super().get(command) or _Refusal(command)


class _Refusal:
    """Answers a command with `not possible`."""

    def __init__(self, command: Any) -> None:
        self._command = command

    def from_bytes(self, _: bytes, command_id: int, client: socket.socket) -> _Refusal:
        """Keep what the answer needs."""
        self._command_id, self._client = command_id, client
        return self

    def handle(self, server: Any) -> None:
        """Refuse."""
        logger.warning("refused %s: the simulated robot does not offer it", self._command.name)
        BaseCommand.send_response(
            self._client,
            self._command,
            self._command_id,
            REFUSED,
            command_type_struct=server.command_width,
            status_type_struct=server.status_width,
        )


class Connect(ConnectCommand):  # type: ignore[misc]
    """Connects a client of the right version and turns any other away, as the robot does."""

    def handle(self, server: Any, command_type_struct: str = "I") -> None:
        """Answer with the server's version; refuse a client of another one."""
        fits = self.version == server.library_version
        status = ConnectStatus.kSuccess if fits else ConnectStatus.kIncompatibleLibraryVersion
        header = MessageHeader(self.command_type, self.command_id, CONNECT_ANSWER_BYTES)
        answer = struct.pack(f"<{server.status_width}H", status.value, server.library_version)
        message = header.to_bytes(command_type_struct) + answer.ljust(CONNECT_ANSWER_BYTES, b"\0")
        self.client_socket.sendall(message)
        if fits:
            server._setup_udp_connection(self.network_udp_port)
        else:
            server.reset_state()


class Move(MoveCommand):  # type: ignore[misc]
    """Starts a motion, unless an error is in force."""

    def handle(self, server: Any) -> None:
        """Start, or refuse until recovery."""
        if server.errors:
            self.reply(MoveStatus.kCommandNotPossibleRejected)
            return
        super().handle(server)


class SetCollisionBehavior(SetCollisionBehaviorCommand):  # type: ignore[misc]
    """Takes the collision thresholds over; the nominal ones are used throughout."""

    def handle(self, server: Any) -> None:
        """Obey from now on."""
        server.behaviour = CollisionBehaviour(
            np.array(self.lower_torque_thresholds_nominal),
            np.array(self.upper_torque_thresholds_nominal),
            np.array(self.lower_force_thresholds_nominal),
            np.array(self.upper_force_thresholds_nominal),
        )
        self.reply(0)


class Recover(AutomaticErrorRecoveryCommand):  # type: ignore[misc]
    """Clears the errors."""

    def handle(self, server: Any) -> None:
        """Back to idle."""
        server.recover()
        super().handle(server)


class LoopbackServer:
    """Mixin of both servers: one client at a time, one address, unknown commands refused."""

    command_width = "I"
    status_width = "B"
    _knocked_ms: int | None = None

    def harden(self, version: int, **classes: Any) -> None:
        """Set the server version and replace command classes by the command's name."""
        self._FrankaServer__library_version = version
        known = self._FrankaServer__command_class_map  # type: ignore[has-type]
        replaced = {c: classes.get(c.name, known[c]) for c in known}
        replaced[Command.kConnect] = Connect
        self._FrankaServer__command_class_map = _CommandClasses(replaced)
        self._FrankaServer__command_type_map = _CommandNames({c.value: c for c in replaced})

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        self._FrankaServer__client_udp_port = network_udp_port
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((self._FrankaServer__hostname, 0))  # type: ignore[attr-defined]
        udp.setblocking(False)
        self._FrankaServer__udp_socket: socket.socket | None = udp

    def turn_away(self, t_ms: int) -> int:
        """Close the connections of further clients while one is served; returns how many.

        They are left waiting for PATIENCE_MS first: the client that is served may be leaving.
        """
        listener = self._FrankaServer__server_socket  # type: ignore[attr-defined]
        if self._FrankaServer__udp_socket is None or not select.select([listener], [], [], 0)[0]:
            self._knocked_ms = None
            return 0
        if self._knocked_ms is None:
            self._knocked_ms = t_ms
        if t_ms - self._knocked_ms < PATIENCE_MS:
            return 0
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                extra, _ = listener.accept()
                extra.close()
                count += 1
        return count

    def poll_tcp(self) -> None:
        """Accept a client or hear one command; a client that breaks the protocol is dropped."""
        try:
            self._FrankaServer__process_tcp_commands()  # type: ignore[attr-defined]
        except Exception:
            logger.exception("dropping a client that broke the protocol")
            self.reset_state()  # type: ignore[attr-defined]

    def send_numbered(self, message_id: int) -> None:
        """Send the state under `message_id`; a client that is gone is no error."""
        udp = self._FrankaServer__udp_socket
        if udp is None:
            return
        client = (self._FrankaServer__client_address, self._FrankaServer__client_udp_port)  # type: ignore[attr-defined]
        width = 4 if self.command_width == "H" else 8
        payload = message_id.to_bytes(width, "little") + self._get_state_bytes()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            udp.sendto(payload, client)

    def sockets(self) -> list[socket.socket]:
        """The sockets on which the client can be heard."""
        found = (self._FrankaServer__tcp_socket, self._FrankaServer__udp_socket)  # type: ignore[attr-defined]
        return [s for s in found if s is not None]
