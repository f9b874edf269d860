"""Every number of a flywheel run in one frozen place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pld.distill.sft import SftConfig
from pld.errors import ConfigError
from pld.residual.config import ResidualConfig
from pld.tasks import TASKS, task_facts
from pld.types import ACTION_DIM

# What a specialist does otherwise where the task starts with a grasp: opening the hand drops what
# is held, and episodes are short.
HELD_GRIPPER_SCALE = 0.2
HELD_DECISIONS: dict[str, Any] = {
    "decision_steps": 2,
    "gamma": 0.94,
    "n_step": 1,
    "actor_learning_rate": 5e-4,
    "online_steps": 2600,
}
# Over a policy that is already good, an actor as quick as the first round's does harm.
LATER_SPECIALIST: dict[str, Any] = {"actor_learning_rate": 5e-5, "average_rate": 5e-4}
LATER_DECISIONS = 1500
EPISODES = ("probing_episodes", "evaluation_episodes")
LABELS = ("specialist", "whole")
# So many that the base succeeds on 30-60 % of the starts.
DEMONSTRATIONS = {"cube_pickup": 20, "peg_insertion": 8}


@dataclass(frozen=True)
class FlywheelConfig:
    """One run: `tasks` share one language-conditioned base; each gets its own specialist.

    `demonstrations` scripted episodes per task (0: as many as DEMONSTRATIONS says) train the base
    for `base_sft.steps`.
    The first `specialists` rounds train a specialist over the newest policy; later ones keep the
    last. Every round rolls the newest policy with a takeover after U[0, probing_alpha * T] steps,
    keeps `probing_episodes` successes per task and fine-tunes on all rounds' episodes. A start
    that failed is tried again, `probing_tries` times in all: without that, successes come from
    where success is easy. T is the median length of the base's successes, as counted in the
    specialist's warm-up.
    `labels` says which steps of a probing episode are learned from: the `specialist`'s, or the
    `whole` trajectory with the base's prefix, as in the paper.
    `chunk_horizon` steps are predicted and `execute_horizon` of them executed per inference.
    Where a task starts with a grasp, the specialist's bound of the gripper is HELD_GRIPPER_SCALE,
    and it decides as HELD_DECISIONS says.
    """

    tasks: tuple[str, ...] = ("cube_pickup",)
    seed: int = 0
    rounds: int = 2
    demonstrations: int = 0
    probing_episodes: int = 100
    probing_tries: int = 4
    probing_alpha: float = 0.6
    evaluation_episodes: int = 100
    chunk_horizon: int = 4
    execute_horizon: int = 1
    base_sft: SftConfig = field(default_factory=SftConfig)
    distill_sft: SftConfig = field(default_factory=SftConfig)
    specialist: ResidualConfig = field(default_factory=ResidualConfig)
    labels: str = "specialist"
    specialists: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for task in self.tasks:
            task_facts(task)
        if self.demonstrations < 0:
            raise ConfigError(f"demonstrations is {self.demonstrations}; give 0 or more")
        for name in ("rounds", "specialists", "probing_tries", *EPISODES):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.labels not in LABELS:
            raise ConfigError.unknown("labels", self.labels, LABELS)
        if not 1 <= self.execute_horizon <= self.chunk_horizon:
            raise ConfigError(
                f"execute_horizon {self.execute_horizon}; give 1 to {self.chunk_horizon}, the chunk"
            )

    def demonstrations_of(self, task: str) -> int:
        """Number of demonstrations of `task`."""
        return self.demonstrations or DEMONSTRATIONS[task]

    @property
    def specialist_rounds(self) -> int:
        """How many rounds train a specialist of their own."""
        return min(self.rounds, self.specialists)

    def specialist_of(self, task: str, number: int = 1) -> ResidualConfig:
        """The settings of the specialist that round `number` trains for `task`."""
        settings = replace(self.specialist, seed=self.seed)
        if number > 1:
            later = min(LATER_DECISIONS, settings.online_steps)
            settings = replace(settings, online_steps=later, **LATER_SPECIALIST)
        if not task_facts(task).grasped_at_start:
            return settings
        scale = (*settings.scale_for(ACTION_DIM)[:-1], HELD_GRIPPER_SCALE)
        return replace(settings, residual_scale=scale, **HELD_DECISIONS)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be kept with the run."""
        return asdict(self)


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks that a command line names: one of them, or `all`."""
    if name == "all":
        return tuple(task.name for task in TASKS)
    return (task_facts(name).name,)
