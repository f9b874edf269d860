"""No deadman, no motion; and what a deflection becomes with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pld.errors import ConfigError
from pld.teleop.reading import Reading
from pld.teleop.shaping import Shaper, ShapingConfig

DT_S = 0.05
AWAY = np.array([1.0, 0.0, 0.0])


def held(shaper: Shaper, gripper_open: float = 1.0) -> Shaper:
    """After the deadman was seen released and then pressed, at rest."""
    return shaper.shape(Reading(), DT_S, gripper_open).shape(
        Reading(deadman=True), DT_S, gripper_open
    )


def push(shaper: Shaper, deflection: np.ndarray, steps: int = 40) -> Shaper:
    for _ in range(steps):
        shaper = shaper.shape(Reading(True, deflection[:3], deflection[3:]), DT_S, 1.0)
    return shaper


def test_without_the_deadman_nothing_moves_whatever_the_device_says() -> None:
    rng = np.random.default_rng(0)
    shaper = push(held(Shaper()), np.ones(6))
    assert np.any(shaper.action[:6])
    for _ in range(500):
        told = Reading(False, rng.uniform(-9, 9, 3), rng.uniform(-9, 9, 3), int(rng.integers(3)))
        shaper = shaper.shape(told, float(rng.uniform(0, 9)), 1.0)
        assert not shaper.held
        np.testing.assert_array_equal(shaper.action, [0, 0, 0, 0, 0, 0, 1.0])


def test_a_deadman_that_is_down_from_the_start_counts_only_after_a_release() -> None:
    shaper = push(Shaper(), np.ones(6))
    assert not shaper.held
    np.testing.assert_array_equal(shaper.action[:6], np.zeros(6))
    assert push(held(shaper), np.ones(6)).held


def test_a_device_that_says_nothing_does_not_show_its_deadman_released() -> None:
    silent = push(Shaper(), np.ones(6)).shape(None, DT_S, 1.0)
    assert not push(silent, np.ones(6)).held
    lost = push(held(Shaper()), np.ones(6)).shape(None, DT_S, -1.0)
    assert not lost.held
    np.testing.assert_array_equal(lost.action, [0, 0, 0, 0, 0, 0, -1.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_release(bad: float) -> None:
    shaper = push(held(Shaper()), np.ones(6))
    shaper = shaper.shape(Reading(True, np.array([bad, 0, 0])), DT_S, 1.0)
    assert not shaper.held
    np.testing.assert_array_equal(shaper.action[:6], np.zeros(6))


def test_whoever_takes_over_starts_from_rest_and_grows_at_the_stated_rate() -> None:
    shaper = Shaper(ShapingConfig(speed=1.0, rise_per_s=4.0)).shape(Reading(), DT_S, 1.0)
    shaper = shaper.shape(Reading(True, AWAY), DT_S, 1.0)
    seen = [shaper.action[0]]
    for _ in range(6):
        shaper = shaper.shape(Reading(True, AWAY), DT_S, 1.0)
        seen.append(shaper.action[0])
    np.testing.assert_allclose(seen, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_letting_go_is_immediate_and_a_reversal_passes_through_rest() -> None:
    shaper = push(held(Shaper(ShapingConfig(speed=1.0))), np.array([1.0, 0, 0, 0, 0, 0]))
    assert shaper.action[0] == 1.0
    slower = shaper.shape(Reading(True, 0.5 * AWAY), DT_S, 1.0)
    assert slower.action[0] == 0.5
    assert shaper.shape(Reading(True), DT_S, 1.0).action[0] == 0.0
    assert shaper.shape(Reading(True, -AWAY), DT_S, 1.0).action[0] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("look_deg", "expected"),
    [(0.0, [1, 0, 0]), (90.0, [0, 1, 0]), (180.0, [-1, 0, 0]), (270.0, [0, -1, 0])],
)
def test_away_from_the_operator_is_turned_into_base_axes(look_deg, expected) -> None:
    shaper = held(Shaper(ShapingConfig(speed=1.0, turn=1.0, look_deg=look_deg)))
    moved = push(shaper, np.array([1.0, 0, 0, 1.0, 0, 0])).action
    np.testing.assert_allclose(moved[:3], expected, atol=1e-12)
    np.testing.assert_allclose(moved[3:6], expected, atol=1e-12)


def test_up_is_up_wherever_the_operator_stands() -> None:
    for look_deg in (0.0, 37.0, 180.0, -90.0):
        shaper = held(Shaper(ShapingConfig(speed=1.0, look_deg=look_deg)))
        moved = push(shaper, np.array([0, 0, 1.0, 0, 0, 0])).action
        np.testing.assert_allclose(moved[:3], [0, 0, 1], atol=1e-12)


def test_an_axis_wakes_late_and_sleeps_later() -> None:
    shaper = held(Shaper(ShapingConfig(speed=1.0, wake=0.12, sleep=0.08)))
    assert push(shaper, np.array([0.10, 0, 0, 0, 0, 0])).action[0] == 0.0
    awake = push(shaper, np.array([0.13, 0, 0, 0, 0, 0]))
    assert awake.action[0] == pytest.approx(0.13)
    assert push(awake, np.array([0.10, 0, 0, 0, 0, 0])).action[0] == pytest.approx(0.10)
    assert push(awake, np.array([0.07, 0, 0, 0, 0, 0])).action[0] == 0.0


def test_the_parts_never_exceed_their_scale() -> None:
    rng = np.random.default_rng(1)
    shaper = held(Shaper(ShapingConfig(speed=0.4, turn=0.2)))
    for _ in range(2000):
        shaper = shaper.shape(
            Reading(True, rng.uniform(-2, 2, 3), rng.uniform(-2, 2, 3)), DT_S, 1.0
        )
        assert np.all(np.abs(shaper.action[:3]) <= 0.4 + 1e-12)
        assert np.all(np.abs(shaper.action[3:6]) <= 0.2 + 1e-12)


@pytest.mark.parametrize("gripper_open", [1.0, -1.0])
def test_the_gripper_starts_as_the_arm_left_it_and_a_press_turns_it_over(gripper_open) -> None:
    shaper = held(Shaper(), gripper_open)
    assert shaper.action[6] == gripper_open
    shaper = shaper.shape(Reading(True, gripper_presses=1), DT_S, gripper_open)
    assert shaper.action[6] == -gripper_open
    shaper = shaper.shape(Reading(True, gripper_presses=2), DT_S, gripper_open)
    assert shaper.action[6] == -gripper_open
    assert shaper.shape(Reading(False, gripper_presses=1), DT_S, gripper_open).action[6] == (
        gripper_open
    )


@pytest.mark.parametrize("gripper_open", [1.0, -1.0])
def test_a_press_that_raises_the_deadman_turns_the_gripper_over(gripper_open: float) -> None:
    armed = Shaper().shape(Reading(), DT_S, gripper_open)
    shaper = armed.shape(Reading(True, gripper_presses=1), DT_S, gripper_open)
    assert shaper.held
    assert shaper.action.tolist() == [0.0] * 6 + [-gripper_open]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speed", 0.0),
        ("speed", 1.1),
        ("turn", -0.1),
        ("look_deg", 400.0),
        ("rise_per_s", 0.0),
        ("wake", 1.0),
        ("sleep", 0.5),
        ("speed", float("nan")),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(ShapingConfig(), **{field: value})
