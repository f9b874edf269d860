"""What every arm offers: hardware through franky, the lockstep twin, a fake for tests."""

from __future__ import annotations

from typing import Protocol

from pld.types import ArmState, Command


class Robot(Protocol):
    """An arm that is moved by one command per control step.

    Constructors connect nothing and move nothing.
    """

    def connect(self) -> None:
        """Open the connection; raises RobotError that names the address and the remedy."""

    def reset(self) -> ArmState:
        """Open the gripper, move to the home configuration, start tracking; returns the state."""

    def wait_step(self) -> ArmState:
        """Block until the next control period begins, in robot time; returns its state."""

    def apply(self, command: Command) -> None:
        """Track `command.target` and drive the gripper, or hold; never raises on bad numbers."""

    def close(self) -> None:
        """Hold, stop tracking and let go of the connection."""
