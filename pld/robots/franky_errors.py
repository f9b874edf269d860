"""How a motion of the Franka arm can fail: the robot ended it, or the connection is gone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

PASSING = ("UDP receive", "connection got interrupted")


class Ended(Exception):  # noqa: N818
    """The robot ended the motion; `names` are its errors."""

    def __init__(self, names: tuple[str, ...], detail: str) -> None:
        super().__init__(detail)
        self.names = names or ("motion_ended",)


class Lost(Exception):  # noqa: N818
    """The connection is gone; the client object is dead."""

    names = ("network_lost",)


def error_names(errors: Any) -> tuple[str, ...]:
    """Names of the errors that a franky Errors object says are there."""
    names = [name for name in dir(type(errors)) if not name.startswith("_")]
    return tuple(name for name in names if getattr(errors, name) is True)


def failures(franky: ModuleType) -> tuple[type[BaseException], ...]:
    """What the client raises when the robot refuses, ends a motion or is gone."""
    return (
        franky.ControlException,
        franky.CommandException,
        franky.NetworkException,
        franky.InvalidOperationException,
        franky.InvalidMotionTypeException,
        franky.ProtocolException,
        franky.TorqueSignalTimeoutException,
        RuntimeError,
    )


def is_passing(error: BaseException) -> bool:
    """Whether libfranka lost a robot that had answered: silent for a second, or still served."""
    return any(words in str(error) for words in PASSING)
