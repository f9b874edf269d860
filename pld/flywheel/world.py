"""The world that the flywheel turns in: one task that starts from a seed and is stepped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pld.base_policy.protocol import BasePolicy
from pld.rollout import SteppedRobot
from pld.types import ArmState, Choice, Command, Observation


class World(Protocol):
    """The parts of THE loop that belong to one task; an episode follows from its seed.

    `robot` raises RobotError when the arm or the simulation fails: the step is not kept.
    """

    task: str
    instruction: str
    rate_hz: float
    max_steps: int

    @property
    def robot(self) -> SteppedRobot:
        """Arm and scene."""

    def observe(self, arm: ArmState) -> Observation:
        """What a policy sees at `arm`."""

    def filter(self, choice: Choice, arm: ArmState) -> Command:
        """The safety filter."""

    def succeeded(self) -> bool:
        """Whether the task was achieved since the last reset."""

    def region(self) -> str:
        """Name of the region in which this episode started."""

    def demonstrated(self, region: str | None = None) -> World:
        """The same task with the starts that it is demonstrated from: in `region`, or its own.

        Raises ConfigError that lists the regions.
        """

    def starting_in(self, region: str) -> World:
        """The same task with every start in `region`; raises ConfigError that lists the regions."""

    def demonstrator(self) -> BasePolicy:
        """A scripted, imperfect demonstrator that may look at the simulator's truth."""


WorldMaker = Callable[[str], World]
