"""A second publisher shows by its sequence numbers or its steps; old commands move nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld.safety.sources import LARGEST_GAP, CommandOrder, Order, SingleSource, SoleSpeaker


def verdicts(*sequences: int | None) -> list[bool]:
    guard, seen = SingleSource(), []
    for sequence in sequences:
        guard, fine = guard.on_message(sequence)
        seen.append(fine)
    return seen


def test_one_publisher_with_losses_is_fine_from_wherever_it_counts() -> None:
    assert verdicts(40, 41, 45, 46, 46 + LARGEST_GAP) == [True] * 5


@pytest.mark.parametrize("stranger", [1, 40, 41, 41 + LARGEST_GAP + 1, 10**15])
def test_a_stranger_is_noticed_at_its_first_message(stranger: int) -> None:
    assert verdicts(40, 41, stranger, 42) == [True, True, False, True]


def test_a_middleware_without_counts_is_not_judged() -> None:
    assert verdicts(None, None) == [True, True]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(start=st.integers(1, 10**6), other=st.integers(1, 10**6), pattern=st.lists(st.booleans()))
def test_two_interleaved_publishers_never_pass_for_long(start, other, pattern) -> None:
    counts = {True: start, False: other}
    sequences = []
    for who in [True, False, *pattern, True, False]:
        sequences.append(counts[who])
        counts[who] += 1
    if start != other + 1 and other != start + 1:
        assert not all(verdicts(*sequences))


def orders(*commands: tuple[int, int, bool]) -> list[Order]:
    guard, seen = CommandOrder(), []
    for step, newest, hold in commands:
        guard, order = guard.on_command(step, newest, hold=hold)
        seen.append(order)
    return seen


def test_one_answer_a_step_for_the_newest_two_steps_is_fine() -> None:
    assert orders((1, 1, False), (2, 3, False), (3, 3, False)) == [Order.FINE] * 3


def test_a_second_motion_for_a_step_and_one_ahead_of_the_state_are_somebody_elses() -> None:
    assert orders((5, 5, False), (5, 5, False)) == [Order.FINE, Order.FOREIGN]
    assert orders((6, 5, False)) == [Order.FOREIGN]


def test_old_and_reordered_motions_are_late() -> None:
    assert orders((3, 5, False)) == [Order.LATE]
    assert orders((5, 5, False), (4, 5, False)) == [Order.FINE, Order.LATE]


def test_a_hold_is_taken_at_any_time() -> None:
    assert orders((5, 5, False), (5, 5, True), (1, 5, True), (9, 5, True)) == [Order.FINE] * 4


def test_two_who_speak_within_the_window_are_two_and_a_replaced_one_is_forgotten() -> None:
    speaker = SoleSpeaker(20).on_message("a", 100).on_message("a", 101)
    assert speaker.is_alone
    assert not speaker.on_message("b", 102).is_alone
    assert not speaker.on_message("b", 121).is_alone
    assert speaker.on_message("b", 122).is_alone
    assert speaker.on_message("b", 122).on_message("b", 123).is_alone
