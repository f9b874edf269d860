"""Whether a robot answers at all, found out before the vendor's client waits for it."""

from __future__ import annotations

import socket

from pld.errors import RobotError

ROBOT_PORT = 1337
PROBE_TIMEOUT_S = 3.0


def probe(address: str) -> None:
    """Find an address that nobody answers within seconds; the client itself would wait minutes."""
    try:
        socket.create_connection((address, ROBOT_PORT), PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise RobotError(unreachable(address, error)) from error


def unreachable(address: str, error: object) -> str:
    """What to tell when `address` does not answer."""
    return (
        f"no robot answers at {address}:{ROBOT_PORT} ({error}); check the address and the cable, "
        "unlock the joints, activate FCI in Desk, and make sure that no other client is connected"
    )
