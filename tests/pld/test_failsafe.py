"""The failsafe state machine: all states x all events, then retries and words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from pld.errors import ConfigError
from pld.safety import failsafe
from pld.safety.failsafe import (
    TABLE,
    Action,
    Cause,
    Failsafe,
    clear,
    ended,
    is_stopped,
    raised,
    reset_withheld_by,
    stop,
)
from pld.types import ActionSource

# The specification, written down a second time: action, latches, a person may act, clearable.
SPECIFICATION = {
    "robot_fault": (Action.DISENGAGE, True, False, True),
    "arm_not_finite": (Action.STOP, True, False, False),
    "foreign_command": (Action.STOP, True, False, True),
    "foreign_choice": (Action.STOP, True, False, True),
    "operator_stop": (Action.STOP, True, False, True),
    "arm_state_lost": (Action.STOP, True, False, True),
    "not_finite": (Action.HOLD, True, True, True),
    "absurd": (Action.HOLD, True, True, True),
    "left_workspace": (Action.HOLD, True, False, True),
    "force_ceiling": (Action.HOLD, False, False, True),
    "recording_failed": (Action.HOLD, False, True, True),
    "node_silent": (Action.HOLD, False, True, True),
    "choice_missing": (Action.HOLD, False, True, True),
}
T_NS = 1_000_000_000
POLICIES = (ActionSource.BASE, ActionSource.SPECIALIST)


def every_state() -> Iterator[Failsafe]:
    """Every combination of absent, latched only, and active (latched too where it latches)."""
    names = list(SPECIFICATION)
    choices = [("no", "latched", "active") if SPECIFICATION[n][1] else ("no", "active")
               for n in names]  # fmt: skip
    for chosen in itertools.product(*choices):
        pairs = list(zip(names, chosen, strict=True))
        active = frozenset(n for n, c in pairs if c == "active")
        latched = frozenset(n for n, c in pairs if c != "no" and SPECIFICATION[n][1])
        yield Failsafe(active, latched)


STATES = list(every_state())


@pytest.mark.parametrize("cause", [c for c in TABLE if c.latches], ids=lambda c: c.name)
def test_a_latched_stop_is_told_apart_from_what_a_policy_may_bring_about(cause: Cause) -> None:
    assert is_stopped(("left_workspace", cause.name)) is (
        SPECIFICATION[cause.name][0] is Action.STOP
    )
    assert not is_stopped(())


def test_the_table_is_the_specification_ordered_by_severity() -> None:
    assert {c.name: (c.action, c.latches, c.takeover, c.clearable) for c in failsafe.TABLE} == (
        SPECIFICATION
    )
    severities = [cause.action for cause in failsafe.TABLE]
    assert severities == sorted(severities, reverse=True)
    assert len(STATES) == 3**9 * 2**4


def test_in_every_state_the_most_severe_cause_decides_and_only_it_names_the_command() -> None:
    for state in STATES:
        acting = state.active | state.latched
        assert state.action == max((SPECIFICATION[n][0] for n in acting), default=Action.NONE)
        assert set(state.in_force) == acting
        if acting:
            assert SPECIFICATION[state.in_force[0]][0] == state.action


def test_in_every_state_policies_need_silence_and_a_person_needs_permission_of_all() -> None:
    for state in STATES:
        acting = state.active | state.latched
        for source in POLICIES:
            assert state.permits(source) == (not acting)
        assert state.permits(ActionSource.HUMAN) == all(SPECIFICATION[n][2] for n in acting)


def test_what_the_filter_judges_anew_or_nobody_answered_withholds_no_command() -> None:
    for name in SPECIFICATION:
        state = raised(Failsafe(), name, T_NS)
        judged_anew = name in ("force_ceiling", "choice_missing")
        assert state.withheld_by(ActionSource.BASE) == ("" if judged_anew else name)
        may_act = judged_anew or SPECIFICATION[name][2]
        assert state.withheld_by(ActionSource.HUMAN) == ("" if may_act else name)


@pytest.mark.parametrize("name", SPECIFICATION)
def test_in_every_state_a_cause_that_comes_is_active_and_latches_as_specified(name: str) -> None:
    for state in STATES:
        after = raised(state, name, T_NS)
        assert after.active == state.active | {name}
        assert after.latched == state.latched | ({name} if SPECIFICATION[name][1] else set())
        assert after.action >= state.action
        assert after.cleared == state.cleared
        assert raised(after, name, T_NS) == after


@pytest.mark.parametrize("name", SPECIFICATION)
def test_in_every_state_a_cause_that_ends_leaves_what_it_latched(name: str) -> None:
    for state in STATES:
        after = ended(state, name)
        assert after.active == state.active - {name}
        assert after.latched == state.latched
        if SPECIFICATION[name][1]:
            assert (name in after.in_force) == (name in state.in_force)


def test_in_every_state_stop_stops_at_once_and_says_what_is_allowed() -> None:
    for state in STATES:
        after, reply = stop(state, T_NS)
        assert reply.success
        assert "allowed now: safety_node/stop" in reply.message
        assert after.latched == state.latched | {"operator_stop"}
        assert after.action >= Action.STOP
        assert not any(after.permits(s) for s in (*POLICIES, ActionSource.HUMAN))


def test_in_every_state_clear_takes_all_or_nothing_and_gives_the_reason() -> None:
    """All but what going home ends, where that is not all."""
    for state in STATES:
        after, reply = clear(state, T_NS)
        away = state.latched & state.active & {"left_workspace"}
        kept = away if state.latched - away else frozenset()
        present = (state.latched & state.active) - kept
        blocked = {n for n in state.latched if not SPECIFICATION[n][3]}
        may = bool(state.latched) and not present and not blocked
        assert reply.success == may
        assert after.active == state.active
        if may:
            assert (after.latched, after.cleared) == (kept, state.cleared + 1)
            assert all(name in reply.message for name in state.latched)
            assert reset_withheld_by(after.latched) == ""
            continue
        assert after == state
        assert "allowed now: safety_node/stop" in reply.message
        assert ("franka_node/recover" in reply.message.split("allowed now")[1]) == (
            "robot_fault" in state.active
        )
        reason = reply.message.split("; allowed now")[0]
        assert all(name in reason for name in (present or blocked)) or not state.latched


def test_a_cause_that_is_gone_acts_until_the_operator_clears_it() -> None:
    state = ended(raised(Failsafe(), "robot_fault", 0), "robot_fault")
    assert (state.active, state.action) == (frozenset(), Action.DISENGAGE)
    state, reply = clear(state, 1)
    assert reply.success
    assert state.action is Action.NONE


def come_and_clear(state: Failsafe, name: str, t_ns: int) -> tuple[Failsafe, bool]:
    state, reply = clear(ended(raised(state, name, t_ns), name), t_ns)
    return state, reply.success


@pytest.mark.parametrize(
    "name", [n for n, (_, latches, _, may) in SPECIFICATION.items() if latches and may]
)
def test_a_cause_that_keeps_coming_back_is_cleared_three_times_unless_it_is_the_button(
    name: str,
) -> None:
    state, answers = Failsafe(), []
    for turn in range(5):
        state, cleared = come_and_clear(state, name, turn * T_NS)
        answers.append(cleared)
    assert answers == ([True] * 5 if name == "operator_stop" else [True] * 3 + [False] * 2)
    if name != "operator_stop":
        assert "restart the run" in clear(state, 9 * T_NS)[1].message


def test_a_quiet_minute_forgives() -> None:
    state = Failsafe()
    for turn in range(6):
        state, cleared = come_and_clear(state, "not_finite", turn * 61 * T_NS)
        assert cleared
    assert state.cleared == 6


def test_waiting_while_latched_forgives_nothing() -> None:
    state = Failsafe()
    for turn in range(3):
        state, _ = come_and_clear(state, "not_finite", turn)
    state = ended(raised(state, "not_finite", 10), "not_finite")
    state = raised(state, "not_finite", 100 * T_NS)
    assert not clear(ended(state, "not_finite"), 101 * T_NS)[1].success


def test_an_arm_outside_its_box_gets_home_after_a_stop() -> None:
    state = raised(Failsafe(), "left_workspace", 0)
    alone, reply = clear(state, 1)
    assert (alone, reply.success) == (state, False)
    stopped, _ = stop(state, 2)
    assert reset_withheld_by(stopped.latched) == "operator_stop"
    after, reply = clear(stopped, 3)
    assert reply.message == (
        "cleared: operator_stop; clears so far: 1; left_workspace stays: "
        "end the episode: the reset brings the arm home"
    )
    assert not after.permits(ActionSource.BASE)
    assert reset_withheld_by(after.latched) == ""
    home, reply = clear(ended(after, "left_workspace"), 4)
    assert (home.latched, reply.success) == (frozenset(), True)


def test_an_unknown_cause_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'robot_falt'; valid: robot_fault, "):
        raised(Failsafe(), "robot_falt", 0)


def test_an_arm_goes_home_under_no_latched_cause_but_the_one_that_going_home_ends() -> None:
    for cause in TABLE:
        if cause.latches and cause.name != "left_workspace":
            assert reset_withheld_by(["left_workspace", cause.name]) == cause.name
    assert reset_withheld_by(["left_workspace"]) == ""
    assert reset_withheld_by([]) == ""
