"""Every number of a flywheel run in one frozen place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pld.distill.sft import SftConfig
from pld.errors import ConfigError
from pld.evaluation.seeds import LAST_PART, evaluation_seeds
from pld.probing.horizon import LARGEST_ALPHA
from pld.residual.config import ResidualConfig
from pld.tasks import TASKS, task_facts
from pld.types import ACTION_DIM

# What a specialist does otherwise where the task starts with a grasp: opening the hand drops what
# is held, and episodes are short.
HELD_GRIPPER_SCALE = 0.2
EVERY_UPDATE: dict[str, Any] = {
    "actor_every": 1,
    "entropy_learning_rate": 5e-4,
    "average_rate": 0.001,
}
HELD_DECISIONS: dict[str, Any] = {
    "decision_steps": 2,
    "gamma": 0.94,
    "n_step": 1,
    "actor_learning_rate": 5e-4,
    **EVERY_UPDATE,
}
HELD_STEPS = 10_000
# Over a policy that is already good, an actor as quick as the first round's does harm.
LATER_SPECIALIST: dict[str, Any] = {
    **EVERY_UPDATE,
    "actor_learning_rate": 5e-5,
    "average_rate": 5e-4,
}
LATER_DECISIONS = 1500
LABELS = ("specialist", "whole")


@dataclass(frozen=True)
class TaskSettings:
    """What a task's run is made of; measured, see docs/flywheel_history.md.

    So many `demonstrations` that the base succeeds on 30-60 % of the starts; a round's
    `probing_episodes`, in rounds after the first `later_probing_episodes`, and its steps of
    fine-tuning.
    """

    demonstrations: int = 20
    probing_episodes: int = 100
    later_probing_episodes: int = 100
    distill_steps: int = 1500


TASK_SETTINGS = {
    "cube_pickup": TaskSettings(18, 150, 300, distill_steps=2000),
    "peg_insertion": TaskSettings(8, 150, 150, distill_steps=2000),
}


def settings_of(task: str) -> TaskSettings:
    """The settings of a task, or the usual ones."""
    return TASK_SETTINGS.get(task, TaskSettings())


def steps_for(tasks: Iterable[str]) -> int:
    """Steps of fine-tuning on one round's episodes of so many tasks."""
    return sum(settings_of(task).distill_steps for task in tasks)


@dataclass(frozen=True)
class FlywheelConfig:
    """One run: `tasks` share one language-conditioned base; each gets its own specialist.

    `demonstrations` and `probing_episodes` of 0 and `distill_sft` None are as TASK_SETTINGS says.
    Scripted demonstrations train the base for `base_sft.steps` a task. All of them, the controls'
    too, begin in the region `demonstrated_in`; with None where the task says.
    The first `specialists` rounds train a specialist over the newest policy; later ones keep the
    last. The first round rolls the base with a takeover after U[0, probing_alpha * T] steps, later
    ones the newest policy after U[0, later_probing_alpha * T]: a distilled policy goes wrong late,
    at a grasp that it misses, and what its rounds do not show it does not learn to make good. T is
    the median length of the base's successes, as counted in the specialist's warm-up.
    A round keeps so many successes per task (`probing_episodes` in every one) and fine-tunes on
    all rounds' episodes. A start that failed is tried again by a specialist that searches,
    `probing_tries` times in all: without that, successes come from where success is easy.
    `labels` says which steps of a probing episode are learned from: the `specialist`'s, or the
    `whole` trajectory with the base's prefix as in the paper.
    `chunk_horizon` steps are predicted and `execute_horizon` of them executed per inference.
    Where a task starts with a grasp, the specialist's bound of the gripper is HELD_GRIPPER_SCALE,
    and it decides as HELD_DECISIONS says, HELD_STEPS times.
    """

    tasks: tuple[str, ...] = ("cube_pickup",)
    seed: int = 0
    rounds: int = 2
    demonstrations: int = 0
    demonstrated_in: str | None = None
    probing_episodes: int = 0
    probing_tries: int = 8
    probing_alpha: float = 0.6
    later_probing_alpha: float = 1.3
    evaluation_episodes: int = 100
    chunk_horizon: int = 4
    execute_horizon: int = 1
    base_sft: SftConfig = field(default_factory=SftConfig)
    distill_sft: SftConfig | None = None
    specialist: ResidualConfig = field(default_factory=ResidualConfig)
    labels: str = "specialist"
    specialists: int = 1
    rate_hz: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for task in self.tasks:
            task_facts(task)
        for name in ("demonstrations", "probing_episodes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        for name in ("rounds", "specialists", "probing_tries", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.rounds > LAST_PART:
            raise ConfigError(f"rounds is {self.rounds}; give 1 to {LAST_PART}")
        evaluation_seeds(self.seed, self.evaluation_episodes)
        self._check_alphas()
        if self.labels not in LABELS:
            raise ConfigError.unknown("labels", self.labels, LABELS)
        if not 0 < self.rate_hz < math.inf:
            raise ConfigError(f"rate_hz is {self.rate_hz:g}; give a rate above 0, such as 10")
        if not 1 <= self.execute_horizon <= self.chunk_horizon:
            raise ConfigError(
                f"execute_horizon {self.execute_horizon}; give 1 to {self.chunk_horizon}, the chunk"
            )

    def _check_alphas(self) -> None:
        for name in ("probing_alpha", "later_probing_alpha"):
            if not 0 <= getattr(self, name) <= LARGEST_ALPHA:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; give one from 0 to {LARGEST_ALPHA:g}"
                )

    def demonstrations_of(self, task: str) -> int:
        """Number of demonstrations of `task`."""
        return self.demonstrations or settings_of(task).demonstrations

    def probing_episodes_of(self, task: str, number: int = 1) -> int:
        """Number of successes of `task` that round `number` keeps."""
        settings = settings_of(task)
        first = number == 1
        usual = settings.probing_episodes if first else settings.later_probing_episodes
        return self.probing_episodes or usual

    def all_episodes_of(self, task: str, rounds: int) -> int:
        """Number of successes of `task` that so many rounds keep together."""
        return sum(self.probing_episodes_of(task, number) for number in range(1, rounds + 1))

    def base_sft_of(self) -> SftConfig:
        """The base's training: as many steps for each of its tasks as for one alone."""
        steps = self.base_sft.steps * len(self.tasks)
        return replace(self.base_sft, seed=self.seed, steps=steps)

    def distill_sft_of(self, seed: int, rounds: int = 1) -> SftConfig:
        """The fine-tuning of so many rounds at once."""
        settings = self.distill_sft or SftConfig(steps=steps_for(self.tasks))
        return replace(settings, seed=seed, steps=settings.steps * rounds)

    def probing_alpha_of(self, number: int) -> float:
        """Alpha of round `number`."""
        return self.probing_alpha if number == 1 else self.later_probing_alpha

    def check_round(self, number: int) -> None:
        """Refuse a round that the run does not have."""
        if not 1 <= number <= self.rounds:
            raise ConfigError(
                f"round {number}: this run has rounds 1 to {self.rounds}; "
                "`pld flywheel --rounds N` gives it more"
            )

    def check_specialist_round(self, number: int) -> None:
        """Refuse a round that trains no specialist of its own."""
        self.check_round(number)
        if number > self.specialist_rounds:
            valid = ", ".join(str(i + 1) for i in range(self.specialist_rounds))
            raise ConfigError(
                f"round {number} trains no specialist, it keeps the last one; rounds that train "
                f"one: {valid}; `pld flywheel --specialists {number}` gives the run more"
            )

    @property
    def specialist_rounds(self) -> int:
        """How many rounds train a specialist of their own."""
        return min(self.rounds, self.specialists)

    def specialist_of(self, task: str, number: int = 1) -> ResidualConfig:
        """The settings of the specialist that round `number` trains for `task`."""
        settings = replace(self.specialist, seed=self.seed)
        if task_facts(task).grasped_at_start:
            scale = (*settings.scale_for(ACTION_DIM)[:-1], HELD_GRIPPER_SCALE)
            steps = min(settings.online_steps, HELD_STEPS)
            held = {**HELD_DECISIONS, "residual_scale": scale, "online_steps": steps}
            settings = replace(settings, **held)
        if number == 1:
            return settings
        later = min(LATER_DECISIONS, settings.online_steps)
        return replace(settings, online_steps=later, **LATER_SPECIALIST)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be kept with the run."""
        return asdict(self)


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks that a command line names: one of them, or `all`."""
    names = tuple(task.name for task in TASKS)
    if name not in (*names, "all"):
        raise ConfigError.unknown("task", name, (*names, "all"))
    return names if name == "all" else (name,)
