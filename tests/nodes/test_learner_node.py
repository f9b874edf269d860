"""The learner's node: its settings for any scene, and weights after each episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pld_nodes.ros import environment

environment.prepare()

from pld_interfaces.msg import RecorderStatus  # noqa: E402

from pld.flywheel.config import FlywheelConfig  # noqa: E402
from pld_nodes.learner_node import LearnerNode, settings_of  # noqa: E402


@pytest.mark.parametrize("seed", [0, 1000, 999_999_000])
def test_it_learns_in_scenes_of_any_seed_as_a_flywheel_run_does(seed: int) -> None:
    found, usual = settings_of("peg_insertion", seed), FlywheelConfig(tasks=("peg_insertion",))
    assert found == replace(usual.specialist_of("peg_insertion"), seed=seed)


class Backlog:
    """Three closed episodes that nobody has learned from."""

    def __init__(self) -> None:
        self.left, self.offered = 3, 0

    def catch_up(self, on_episode: Callable[[], None]) -> None:
        while self.left:
            self.left -= 1
            on_episode()

    def offer(self) -> int:
        return self.left


def test_a_learner_that_is_behind_offers_weights_after_each_episode() -> None:
    node = LearnerNode.__new__(LearnerNode)
    node._learner = Backlog()
    offers: list[int] = []
    node._offer = offers.append
    node._on_recorder(RecorderStatus(state=RecorderStatus.RECORDING))
    assert offers == [2, 1, 0]
