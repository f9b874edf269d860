"""`pld bench hand` in small: the hand really moves, is really stopped, and the figures say so."""

from __future__ import annotations

import pytest

from pld.robots.gripper import Gripper
from pld_nodes.bench.box_fci import FciArm, fci_arm
from pld_nodes.bench.hand_bench import measure


@pytest.fixture(scope="module")
def robot() -> FciArm:
    with fci_arm("127.0.0.41", 20.0, 0) as robot:
        yield robot


def test_a_stopped_hand_goes_on_by_little(robot: FciArm) -> None:
    stops = measure(robot, range(2), seed=0)
    assert len(stops.ended_ms) == len(stops.travel_mm) == 2
    assert all(travel_mm < 10.0 for travel_mm in stops.travel_mm)
    assert all(figure.met is not False for figure in stops.figures() if figure.unit == "mm")


def test_a_hand_that_is_not_stopped_misses_the_bar(
    robot: FciArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gripper, "stop", lambda _: None)
    missed = [f.name for f in measure(robot, range(1), seed=0).figures() if f.met is False]
    assert len(missed) == 2
