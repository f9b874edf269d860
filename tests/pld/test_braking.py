"""Where a moving arm can rest: every joint within its limits, all at once, nobody turns back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pld.robots.braking import MARGIN, resting_place

ACCELERATION = np.array([7.5, 3.75, 5.0, 6.25, 7.5, 10.0, 10.0])
JERK = np.array([3750.0, 1875.0, 2500.0, 3125.0, 3750.0, 5000.0, 5000.0])
Q = np.array([0.0, -0.8, 0.0, -2.4, 0.0, 1.6, 0.8])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(arrays(np.float64, 7, elements=st.floats(-2.0, 2.0)))
def test_slowing_down_evenly_to_that_place_asks_no_joint_for_more_than_it_may(speed) -> None:
    way = resting_place(Q, speed, ACCELERATION, JERK) - Q
    moving = np.abs(speed) > 1e-6
    assert np.all(np.sign(way[moving]) == np.sign(speed[moving]))
    needed = speed[moving] ** 2 / (2.0 * np.abs(way[moving]))
    assert np.all(needed <= ACCELERATION[moving])
    times = 2.0 * way[moving] / speed[moving]
    assert np.ptp(times) < 1e-9 if moving.any() else True


def test_the_joint_that_needs_longest_sets_the_time() -> None:
    speed = np.array([0.1, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    way = resting_place(Q, speed, ACCELERATION, JERK) - Q
    slowest_s = 0.5 / 3.75
    assert 2.0 * way[1] / speed[1] == pytest.approx(MARGIN * slowest_s + 0.004, abs=0.003)


def test_an_arm_at_rest_stays() -> None:
    np.testing.assert_array_equal(resting_place(Q, np.zeros(7), ACCELERATION, JERK), Q)
