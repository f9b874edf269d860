"""The policy comes back gently after a human, and by the same rule live and offline."""

from __future__ import annotations

import numpy as np
import pytest

from pld.contract import is_sensible
from pld.probing.arbitrator import Offers, choose
from pld.probing.resumption import Resumption
from pld.types import ActionSource, Choice

POLICY = np.array([1.0, -1.0, 0.5, 0.2, 0.0, -0.4, -1.0])


def run(sources: list[ActionSource], steps: int = 4) -> list[Choice]:
    resumption, made = Resumption(steps, steps), []
    for step, source in enumerate(sources):
        offers = {
            ActionSource.BASE: Offers(base=POLICY),
            ActionSource.SPECIALIST: Offers(base=POLICY, residual=np.zeros(7)),
            ActionSource.HUMAN: Offers(base=POLICY, human=np.ones(7)),
            ActionSource.HOLD: Offers(),
        }[source]
        takeover = 0 if source is ActionSource.SPECIALIST else -1
        choice = resumption.soften(choose(step, step, takeover, offers))
        resumption = resumption.after(choice)
        assert choice.source is source
        made.append(choice)
    return made


def test_without_a_human_nothing_is_softened() -> None:
    for choice in run([ActionSource.BASE] * 3 + [ActionSource.HOLD] + [ActionSource.BASE] * 3):
        if choice.source is ActionSource.BASE:
            np.testing.assert_array_equal(choice.action, POLICY)


@pytest.mark.parametrize("source", [ActionSource.BASE, ActionSource.SPECIALIST])
def test_after_a_human_the_motion_grows_and_the_gripper_is_the_policys(source) -> None:
    made = run([ActionSource.HUMAN, ActionSource.HOLD, *[source] * 6])[2:]
    parts = [choice.action[0] for choice in made]
    np.testing.assert_allclose(parts, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    for choice, part in zip(made, parts, strict=True):
        np.testing.assert_allclose(choice.action[:6], part * POLICY[:6])
        assert choice.action[6] == -1.0


def test_a_human_is_never_softened_and_a_hold_lets_nothing_grow() -> None:
    made = run([ActionSource.HUMAN] * 2 + [ActionSource.BASE] + [ActionSource.HOLD] * 9)
    np.testing.assert_array_equal(made[1].action, np.ones(7))
    again = run(
        [ActionSource.HUMAN, ActionSource.BASE, *[ActionSource.HOLD] * 9, ActionSource.BASE]
    )
    assert again[-1].action[0] == pytest.approx(0.4)


def test_the_ramp_lasts_half_a_second_at_any_rate() -> None:
    assert Resumption.of(20.0).steps == 10
    assert Resumption.of(10.0).steps == 5


def test_an_absurd_action_is_not_scaled_into_one_that_looks_meant() -> None:
    after_human = Resumption(4, 0)
    absurd = Choice(0, ActionSource.BASE, np.full(7, 12.0))
    assert not is_sensible(after_human.soften(absurd).action)
