"""The twin's tasks, by name; a task owns its objects, its starts and its measure of success."""

from __future__ import annotations

from pld.errors import ConfigError
from pld.twin.tasks.base import InitialState, SuccessMonitor, Task
from pld.twin.tasks.cube_pickup import CubePickup
from pld.twin.tasks.peg_insertion import PegInsertion

__all__ = ["TASKS", "InitialState", "SuccessMonitor", "Task", "task_named"]

TASKS: dict[str, Task] = {task.name: task for task in (CubePickup(), PegInsertion())}


def task_named(name: str) -> Task:
    """The task called `name`; a ConfigError lists the valid names."""
    if name not in TASKS:
        raise ConfigError.unknown("task", name, TASKS)
    return TASKS[name]
