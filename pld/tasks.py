"""The reference tasks as every part knows them: name, instruction, how long an episode may last."""

from __future__ import annotations

from dataclasses import dataclass

from pld.errors import ConfigError


@dataclass(frozen=True)
class TaskFacts:
    """What is true of a task on hardware and in the twin alike."""

    name: str
    instruction: str
    horizon_s: float
    grasped_at_start: bool = False


TASKS = (
    TaskFacts("cube_pickup", "pick up the red cube", 8.0),
    TaskFacts("peg_insertion", "insert the peg into the socket", 8.0, grasped_at_start=True),
)


def task_facts(name: str) -> TaskFacts:
    """The task called `name`; raises ConfigError that lists the tasks."""
    for task in TASKS:
        if task.name == name:
            return task
    raise ConfigError.unknown("task", name, (task.name for task in TASKS))
