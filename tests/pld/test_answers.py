"""Gathering answers to the newest control step: who is waited for, who is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pld.probing.answers import Answers
from pld.probing.arbitrator import NEVER
from pld.probing.episode import Episode, EpisodePlan
from pld.probing.horizon import takeover_of_seed

BASE, RESIDUAL, HUMAN = (np.full(7, value) for value in (0.1, 0.2, 0.3))


def test_before_the_takeover_the_base_is_enough() -> None:
    answers = Answers().on_state(5).on_answer(5, base=BASE)
    assert answers.complete(2, NEVER) is not None
    assert answers.complete(2, 3) is not None


def test_from_the_takeover_on_the_residual_is_waited_for() -> None:
    answers = Answers().on_state(5).on_answer(5, base=BASE)
    assert answers.complete(3, 3) is None
    offers = answers.on_answer(5, residual=RESIDUAL).complete(3, 3)
    assert offers is not None
    assert (offers.base is BASE, offers.residual is RESIDUAL) == (True, True)


@pytest.mark.parametrize("first", ["base", "residual"])
def test_an_answer_that_overtook_its_state_counts_when_the_state_comes(first: str) -> None:
    second = {"base": "residual", "residual": "base"}[first]
    answers = Answers().on_state(4).on_answer(5, **{first: BASE})
    assert answers.complete(9, 0) is None
    answers = answers.on_state(5).on_answer(5, **{second: RESIDUAL})
    assert answers.complete(9, 0) is not None


def test_a_late_answer_is_refused_and_counted_and_the_first_one_counts() -> None:
    answers = Answers().on_state(5).on_answer(4, base=HUMAN)
    assert (answers.refused, answers.complete(0, NEVER)) == (1, None)
    answers = answers.on_answer(5, base=BASE).on_answer(5, base=HUMAN)
    offers = answers.complete(0, NEVER)
    assert offers is not None
    assert offers.base is BASE


def test_an_answer_further_ahead_than_the_next_step_is_refused_and_never_executed() -> None:
    answers = Answers().on_state(5)
    for step in (7, 100):
        answers = answers.on_answer(step, base=HUMAN)
    assert (answers.refused, answers.offers) == (2, {})
    for step in range(6, 101):
        answers = answers.on_state(step)
        assert answers.complete(0, NEVER) is None


def test_a_new_step_forgets_the_older_answers() -> None:
    answers = Answers().on_state(5).on_answer(5, base=BASE).on_state(6)
    assert answers.offers == {}


def test_every_episode_draws_its_takeover_from_its_seed() -> None:
    plan = EpisodePlan("r", 40, 100, 8.0, 10.0, latest_takeover=12)
    drawn = [Episode(plan, index=i).takeover_step for i in range(40)]
    assert drawn == [takeover_of_seed(100 + i, 12) for i in range(40)]
    assert set(drawn) <= set(range(13))
    assert len(set(drawn)) > 8
    assert Episode(EpisodePlan("r", 1, 0, 8.0, 10.0), index=0).takeover_step == NEVER
