"""The moments of an episode that its contact sheet shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pld.contact_sheet import moments
from pld.errors import RecordingError
from pld.types import EpisodeState


def episode(opened: list[bool], heights_m: list[float]) -> SimpleNamespace:
    """One arm state per step, from the step at which the episode begins to run."""
    states = [
        SimpleNamespace(
            t_ns=10 * step,
            value=SimpleNamespace(
                step=step,
                gripper_open=1.0 if is_open else -1.0,
                O_T_EE=SimpleNamespace(p_m=(0.5, 0.0, height_m)),
            ),
        )
        for step, (is_open, height_m) in enumerate(zip(opened, heights_m, strict=True))
    ]
    begun = SimpleNamespace(value=SimpleNamespace(state=EpisodeState.RUNNING, first_step=0))
    return SimpleNamespace(updates=[begun], arm_states=states, folder=Path("e0"))


def test_the_first_closing_is_the_grasp() -> None:
    found = moments(episode([True, True, False, True], [0.3, 0.1, 0.2, 0.4]))
    assert found == {"start": 0, "grasp": 20, "end": 30}


@pytest.mark.parametrize("is_open", [True, False], ids=["never grasps", "grasps all along"])
def test_without_a_grasp_the_lowest_point_is_shown_and_called_so(is_open: bool) -> None:
    found = moments(episode([is_open] * 4, [0.3, 0.1, 0.2, 0.4]))
    assert found == {"start": 0, "lowest point": 10, "end": 30}


def test_an_episode_that_never_ran_has_no_moments() -> None:
    never = episode([True], [0.3])
    never.updates = []
    with pytest.raises(RecordingError, match="e0: the episode never ran"):
        moments(never)
