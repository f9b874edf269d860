"""Who attends to the simulated arm asks for what an operator would, and leaves a stop alone."""

from __future__ import annotations

import pytest

from pld.safety.attendant import PATIENCE_NS, Attendant
from pld.safety.failsafe import CLEAR, RECOVER, TABLE

T_NS = 5_000_000_000


def test_recovery_comes_before_clearing_and_each_is_asked_for_once_a_second() -> None:
    attendant, service = Attendant().asks(T_NS, faulty=True, latched=("robot_fault",))
    assert service == RECOVER
    soon = T_NS + PATIENCE_NS - 1
    assert attendant.asks(soon, faulty=False, latched=("robot_fault",)) == (attendant, "")
    _, service = attendant.asks(soon + 1, faulty=False, latched=("robot_fault",))
    assert service == CLEAR


def test_nothing_is_asked_of_a_sound_arm() -> None:
    assert Attendant().asks(T_NS, faulty=False, latched=()) == (Attendant(), "")


@pytest.mark.parametrize("cause", [c.name for c in TABLE if c.latches])
def test_only_what_a_policy_brings_about_is_cleared(cause: str) -> None:
    mine = cause in ("robot_fault", "left_workspace")
    for latched in ((cause,), ("robot_fault", cause)):
        _, service = Attendant().asks(T_NS, faulty=False, latched=latched)
        assert service == (CLEAR if mine else "")
