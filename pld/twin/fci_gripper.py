"""The simulated hand's server: franky-sim's, with commands that never stay unanswered."""

from __future__ import annotations

import socket
from typing import Any

from franky_sim.franka_gripper_protocol import GripperCommandStatus
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_robot_protocol import BaseCommand

from pld.twin.fci_wire import LoopbackServer


class FciGripper(LoopbackServer, FrankaGripperServer):  # type: ignore[misc]
    """The hand's server; a new command aborts the running one instead of leaving it unanswered."""

    command_width = "H"
    status_width = "H"

    def _start_motion(self, *arguments: Any) -> None:
        self._abort_pending()
        super()._start_motion(*arguments)

    def stop(self, command_id: int, tcp_socket: socket.socket) -> None:
        """Stop the fingers where they are; the running command is answered as aborted."""
        self._abort_pending()
        super().stop(command_id, tcp_socket)

    def _reset_state(self) -> None:
        self._pending_command_id: int | None = None

    def _abort_pending(self) -> None:
        pending: int | None = self._pending_command_id
        if pending is None:
            return
        BaseCommand.send_response(
            self._pending_tcp_socket,
            self._pending_command_type,
            pending,
            GripperCommandStatus.kAborted,
            command_type_struct=self.command_width,
            status_type_struct=self.status_width,
        )
        self._pending_command_id = None

    def step(self, *, look_for_clients: bool) -> None:
        """Hear commands and watch the running one; once per millisecond."""
        if self.tcp_connected or look_for_clients:
            self.poll_tcp()
        self._post_process_commands()
