"""A picture that is the one before, to the last bit, is no new one, whatever its stamp says."""

from __future__ import annotations

import numpy as np

from pld.cameras.repeated import Repetitions
from pld.types import CameraImage


def told(*shades: int) -> tuple[list[bool], int]:
    """What is said of pictures of these shades, each with a stamp of its own; and the count."""
    repetitions = Repetitions()
    said = [
        repetitions.is_one(CameraImage(t_ns, t_ns, np.full((4, 6, 3), shade, np.uint8)))
        for t_ns, shade in enumerate(shades)
    ]
    return said, repetitions.count


def test_new_stamps_do_not_hide_an_old_picture() -> None:
    assert told(7, 7, 7) == ([False, True, True], 2)


def test_a_picture_that_changes_again_is_alive_again() -> None:
    assert told(7, 7, 8, 9) == ([False, True, False, False], 1)


def test_only_the_picture_just_before_counts() -> None:
    assert told(7, 8, 7, 8) == ([False] * 4, 0)
