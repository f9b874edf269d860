"""The twin's control line: one JSON object per line over a Unix socket, answered in order.

Request: {"op": "reset", ...parameters}. Answer: {"ok": true, ...} or {"ok": false, "error": text}.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pld.errors import ConfigError, RobotError

Handler = Callable[..., dict[str, Any]]
LINE_LIMIT = 65536
SOCKET_NAME = "twin.sock"


class ControlServer:
    """Serves `handlers` (operation name to function of keyword parameters); never blocks."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(path))
        except OSError as error:
            raise ConfigError(
                f"cannot open the control socket {str(path)!r}: {error.strerror or error}; "
                "choose a shorter, writable --twin-dir"
            ) from error
        self._listener.listen(8)
        self._listener.setblocking(False)
        self._clients: dict[socket.socket, bytes] = {}

    def poll(self, timeout_s: float = 0.0) -> None:
        """Answer what has arrived; waits at most `timeout_s` for something to arrive."""
        ready, _, _ = select.select([self._listener, *self._clients], [], [], timeout_s)
        for source in ready:
            if source is self._listener:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._clients[client] = b""
            else:
                self._read(source)

    def close(self) -> None:
        """Stop serving and remove the socket file."""
        for client in [*self._clients, self._listener]:
            client.close()
        self._clients.clear()
        self._path.unlink(missing_ok=True)

    def _read(self, client: socket.socket) -> None:
        try:
            received = client.recv(LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received or len(self._clients[client]) > LINE_LIMIT:
            del self._clients[client]
            client.close()
            return
        *lines, self._clients[client] = (self._clients[client] + received).split(b"\n")
        for line in lines:
            answer = json.dumps(self._answer(line)).encode() + b"\n"
            with contextlib.suppress(OSError):
                client.sendall(answer)

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            operation = request.pop("op")
        except (ValueError, AttributeError, KeyError, TypeError):
            valid = ", ".join(self._handlers)
            return _refused(f'not a request: {line[:80]!r}; send {{"op": one of {valid}}}')
        if not isinstance(operation, str) or operation not in self._handlers:
            return _refused(str(ConfigError.unknown("op", str(operation), self._handlers)))
        try:
            return {"ok": True, **self._handlers[operation](**request)}
        except (ConfigError, TypeError, ValueError) as error:
            return _refused(f"{operation}: {error}")


class ControlClient:
    """Asks a twin over its control socket; connects at the first call."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._rest = b""

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises ConfigError with the twin's words when it refuses, RobotError when it is not there.
        """
        try:
            line = self._exchange(json.dumps({"op": operation, **parameters}).encode() + b"\n")
        except OSError as error:
            self.close()
            raise RobotError(
                f"no answer from the twin at {str(self._path)!r} ({error}); is it running?"
            ) from error
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise ConfigError(answer["error"])
        return answer

    def close(self) -> None:
        """Hang up; the next call connects anew."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _exchange(self, request: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(self._timeout_s)
            self._socket.connect(str(self._path))
        self._socket.sendall(request)
        while b"\n" not in self._rest:
            received = self._socket.recv(LINE_LIMIT)
            if not received:
                raise ConnectionError("it hung up")
            self._rest += received
        line, self._rest = self._rest.split(b"\n", 1)
        return line


def _refused(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
