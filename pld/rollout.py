"""THE loop: observe -> base -> residual -> arbitrate -> filter -> act -> record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pld.types import ArmState, Array, BaseAction, Choice, Command, ControlMode, Observation


class SteppedRobot(Protocol):
    """An arm whose episode starts from a seed; otherwise as pld.robots.protocol.Robot."""

    def reset(self, seed: int) -> ArmState:
        """Arm and scene at the start that belongs to `seed`."""

    def wait_step(self) -> ArmState:
        """The state at the next control period."""

    def apply(self, command: Command) -> None:
        """Track the command during the coming control period."""


class SteppedBase(Protocol):
    """A base policy that answers every control step (pld.base_policy.chunking.ChunkPlayer)."""

    def reset(self, seed: int) -> None:
        """Forget the last episode."""

    def answer(self, observation: Observation) -> BaseAction:
        """The base action for this step."""


Residual = Callable[[Observation, BaseAction], Array | None]
Arbitrate = Callable[[int, BaseAction, Array | None], Choice]
"""(steps since the episode began, base action, residual or None) -> the choice for the step."""


@dataclass(frozen=True)
class ControlStep:
    """One control step: observation, base action, choice, filtered command (the label), outcome."""

    episode_step: int
    observation: Observation
    base: BaseAction
    choice: Choice
    command: Command
    success: bool
    fault: bool = False


@dataclass
class ControlLoop:
    """The loop; all its parts are handed in. The node graph is a second deployment of them."""

    robot: SteppedRobot
    base: SteppedBase
    observe: Callable[[ArmState], Observation]
    arbitrate: Arbitrate
    filter: Callable[[Choice, ArmState], Command]
    succeeded: Callable[[], bool]
    record: Callable[[ControlStep], None] = lambda step: None
    episode_step: int = 0

    def begin(self, seed: int) -> tuple[Observation, BaseAction]:
        """Start the episode of `seed`: the first observation and the base's answer."""
        self.episode_step = 0
        self.base.reset(seed)
        return self._look(self.robot.reset(seed))

    def turn(
        self, observation: Observation, base: BaseAction, residual: Array | None
    ) -> tuple[ControlStep, Observation, BaseAction]:
        """Carry out one step and look again; RobotError when the arm or simulation fails."""
        choice = self.arbitrate(self.episode_step, base, residual)
        command = self.filter(choice, observation.arm)
        self.robot.apply(command)
        after = self._look(self.robot.wait_step())
        fault = after[0].arm.control_mode is ControlMode.FAULT
        success = self.succeeded() and not fault
        step = ControlStep(self.episode_step, observation, base, choice, command, success, fault)
        self.record(step)
        self.episode_step += 1
        return step, *after

    def run(self, seed: int, residual: Residual, horizon_steps: int) -> bool:
        """One episode, until success, a fault or the horizon; returns whether it succeeded."""
        observation, base = self.begin(seed)
        for _ in range(horizon_steps):
            step, observation, base = self.turn(observation, base, residual(observation, base))
            if step.success or step.fault:
                return step.success
        return False

    def _look(self, arm: ArmState) -> tuple[Observation, BaseAction]:
        observation = self.observe(arm)
        return observation, self.base.answer(observation)
