"""Lockstep twins shared by this folder's tests: compiling a scene is the slow part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pld.robots.twin import LockstepTwin, TwinConfig
from pld.twin.tasks import task_named


@pytest.fixture(scope="session")
def cube_twin() -> Iterator[LockstepTwin]:
    twin = LockstepTwin(task_named("cube_pickup"), TwinConfig(image_px=(424, 240)))
    twin.connect()
    yield twin
    twin.close()


@pytest.fixture(scope="session")
def peg_twin() -> Iterator[LockstepTwin]:
    twin = LockstepTwin(task_named("peg_insertion"), TwinConfig(image_px=None))
    twin.connect()
    yield twin
    twin.close()
