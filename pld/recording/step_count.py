"""What happened in the control steps of an episode: sources, holds, starvation, the filter."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pld.recording import bag
from pld.recording.translate import EpisodeUpdate
from pld.types import ActionSource, ArmState, EpisodeState


@dataclass(frozen=True)
class StepFigures:
    """Figures of the running part of an episode, in control steps and robot time.

    `first_step` and `last_step` are the driver's step counts of the first and the last arm state
    while the episode ran; `steps` counts those arm states, the one at which it ended left out.
    `sources` counts choices by source. `starved_steps` had no base action of their own.
    `filtered_steps` had an action changed by the safety filter, `filter_reasons` says why.
    `held_steps` were commanded to keep the pose.
    """

    steps: int = 0
    first_step: int = 0
    last_step: int = 0
    robot_time_s: float = 0.0
    commands: int = 0
    held_steps: int = 0
    starved_steps: int = 0
    interventions: int = 0
    filtered_steps: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    filter_reasons: Mapping[str, int] = field(default_factory=dict)
    arm_errors: tuple[str, ...] = ()
    takeover_reached: bool = False
    reward_total: float = 0.0


class StepCount:
    """Collects per step figures; only steps from the episode's first to its end count."""

    TYPES: ClassVar = (bag.BASE_ACTION, bag.CHOICE, bag.ARM_COMMAND, bag.REWARD)

    def __init__(self) -> None:
        self._stamps: dict[int, int] = {}
        self._answered: set[int] = set()
        self._sources: dict[int, int] = {}
        self._commands: dict[int, tuple[bool, tuple[str, ...]]] = {}
        self._rewards: dict[int, float] = {}
        self._errors: dict[str, None] = {}
        self._first_step: int | None = None
        self._end_ns: int | None = None

    def add_arm_state(self, arm: ArmState) -> None:
        """Count a control period."""
        self._stamps[arm.step] = arm.t_ns
        self._errors.update(dict.fromkeys(arm.errors))

    def add_update(self, update: EpisodeUpdate) -> None:
        """Learn when the episode began to run and when it ended."""
        is_over = update.state is EpisodeState.ENDED
        has_run = update.first_step > 0  # one that ends before it ran says no first step
        if update.state is EpisodeState.RUNNING or (is_over and has_run):
            self._first_step = update.first_step
        if is_over and self._end_ns is None:
            self._end_ns = update.t_ns

    def add(self, type_name: str, message: Any) -> None:
        """Count a message of one of TYPES."""
        step = int(message.step)
        if type_name == bag.BASE_ACTION:
            self._answered.add(step)
        elif type_name == bag.CHOICE:
            self._sources[step] = int(message.source)
        elif type_name == bag.ARM_COMMAND:
            self._commands[step] = (bool(message.hold), tuple(map(sys.intern, message.reasons)))
        else:
            self._rewards[step] = float(message.reward)

    def figures(self, takeover_step: int) -> StepFigures:
        """The figures so far."""
        steps = self._running_steps()
        if not steps:
            return StepFigures(arm_errors=tuple(self._errors))
        sources = [ActionSource(self._sources[s]).name for s in steps if s in self._sources]
        commands = [self._commands[s] for s in steps if s in self._commands]
        return StepFigures(
            steps=len(steps),
            first_step=steps[0],
            last_step=steps[-1],
            robot_time_s=round((self._last_ns(steps) - self._stamps[steps[0]]) / 1e9, 6),
            commands=len(commands),
            held_steps=sum(hold for hold, _ in commands),
            starved_steps=sum(step not in self._answered for step in steps),
            interventions=sources.count(ActionSource.HUMAN.name),
            filtered_steps=sum(bool(reasons) for _, reasons in commands),
            sources=dict(Counter(sources)),
            filter_reasons=dict(Counter(r for _, reasons in commands for r in reasons)),
            arm_errors=tuple(self._errors),
            takeover_reached=0 <= takeover_step <= steps[-1] - steps[0],
            reward_total=round(sum(self._rewards.get(s, 0.0) for s in steps), 6),
        )

    def _last_ns(self, steps: list[int]) -> int:
        return self._stamps[steps[-1]] if self._end_ns is None else self._end_ns

    def _running_steps(self) -> list[int]:
        """Steps with an arm state, from the first running one to the last before the end.

        The state at which the episode ended is an observation without an action.
        """
        if self._first_step is None:
            return []
        end_ns = self._end_ns
        return sorted(
            step
            for step, stamp in self._stamps.items()
            if step >= self._first_step and (end_ns is None or stamp < end_ns)
        )
