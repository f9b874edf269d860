"""Who has control: every state and every event, and what an operator relies on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pld.teleop.handover import Control, Handover, Pending

RATE_HZ = 20.0
START = 100
EVENTS: dict[str, Callable[[Handover], Handover]] = {
    "press": lambda h: h.on_human(START + 1, deadman=True),
    "release": lambda h: h.on_human(START + 1, deadman=False),
    "step": lambda h: h.on_step(START + 1),
    "silence": lambda h: h.on_step(START + 10),
    "settled": lambda h: h.on_step(START + 15),
    "quarrel": lambda h: h.on_second_operator(START + 1, deadman=True),
    "idle second": lambda h: h.on_second_operator(START + 1, deadman=False),
    "pause": lambda h: h.pause(START + 1),
    "resume": lambda h: h.resume()[0],
    "episode": lambda h: h.renewed(),
}
P, H, O = Control.POLICY, Control.HUMAN, Control.HOLDING  # noqa: E741
NOTHING, RELEASED = Pending.NOTHING, Pending.RELEASED
PAUSED, LOST, TWO = Pending.PAUSED, Pending.OPERATOR_LOST, Pending.TWO_OPERATORS
# (control, pending) -> what each event makes of it, in the order of EVENTS; the operator chose
# that the policy waits for a word.
TABLE: dict[tuple[Control, Pending], list[tuple[Control, Pending]]] = {
    (P, NOTHING): [
        (H, NOTHING), (P, NOTHING), (P, NOTHING), (P, NOTHING), (P, NOTHING),
        (O, TWO), (P, NOTHING),
        (O, PAUSED), (P, NOTHING), (P, NOTHING),
    ],
    (H, NOTHING): [
        (H, NOTHING), (O, RELEASED), (H, NOTHING), (O, LOST), (O, LOST),
        (O, TWO), (O, TWO),
        (H, PAUSED), (H, NOTHING), (P, NOTHING),
    ],
    (H, RELEASED): [
        (H, RELEASED), (O, RELEASED), (H, RELEASED), (O, LOST), (O, LOST),
        (O, TWO), (O, TWO),
        (H, PAUSED), (H, RELEASED), (P, NOTHING),
    ],
    (H, PAUSED): [
        (H, PAUSED), (O, PAUSED), (H, PAUSED), (O, LOST), (O, LOST),
        (O, TWO), (O, TWO),
        (H, PAUSED), (H, PAUSED), (P, NOTHING),
    ],
    (H, LOST): [
        (H, LOST), (O, LOST), (H, LOST), (O, LOST), (O, LOST),
        (O, TWO), (O, TWO),
        (H, PAUSED), (H, LOST), (P, NOTHING),
    ],
    (O, RELEASED): [
        (H, RELEASED), (O, RELEASED), (O, RELEASED), (O, RELEASED), (O, RELEASED),
        (O, TWO), (O, RELEASED),
        (O, PAUSED), (P, NOTHING), (P, NOTHING),
    ],
    (O, PAUSED): [
        (H, PAUSED), (O, PAUSED), (O, PAUSED), (O, PAUSED), (O, PAUSED),
        (O, TWO), (O, PAUSED),
        (O, PAUSED), (P, NOTHING), (P, NOTHING),
    ],
    (O, LOST): [
        (H, LOST), (O, LOST), (O, LOST), (O, LOST), (O, LOST),
        (O, TWO), (O, LOST),
        (O, PAUSED), (P, NOTHING), (P, NOTHING),
    ],
    (H, TWO): [
        (H, TWO), (O, TWO), (H, TWO), (O, LOST), (O, LOST),
        (O, TWO), (O, TWO),
        (H, PAUSED), (H, TWO), (P, NOTHING),
    ],
    (O, TWO): [
        (H, TWO), (O, TWO), (O, TWO), (O, TWO), (O, TWO),
        (O, TWO), (O, TWO),
        (O, PAUSED), (P, NOTHING), (P, NOTHING),
    ],
}  # fmt: skip
BY_ITSELF = {((O, RELEASED), "settled"): (P, NOTHING)}


@pytest.mark.parametrize("policy_after_release", [False, True])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", TABLE, ids=lambda s: f"{s[0].value}-{s[1].value}")
def test_every_state_and_every_event(state, event: str, policy_after_release: bool) -> None:
    expected = TABLE[state][list(EVENTS).index(event)]
    if policy_after_release:
        expected = BY_ITSELF.get((state, event), expected)
    before = Handover(RATE_HZ, policy_after_release, *state, since_step=START, heard_step=START)
    after = EVENTS[event](before)
    assert (after.control, after.pending) == expected
    assert after.policy_after_release == policy_after_release


def test_a_release_settles_before_the_policy_goes_on_and_only_if_so_chosen() -> None:
    for chosen in (False, True):
        handover = Handover(RATE_HZ, chosen).on_human(10, deadman=True).on_human(20, deadman=False)
        steps = {step: handover.on_step(step).control for step in range(21, 200)}
        held = [step for step, control in steps.items() if control is Control.HOLDING]
        assert held == (list(range(21, 35)) if chosen else list(range(21, 200)))


def test_silence_in_control_holds_after_the_third_step_and_the_policy_stays_out() -> None:
    handover = Handover(RATE_HZ, policy_after_release=True).on_human(10, deadman=True)
    seen = [handover.on_step(step).control for step in (11, 12, 13, 14)]
    assert seen == [Control.HUMAN] * 3 + [Control.HOLDING]
    lost = handover.on_step(14)
    assert lost.on_step(10_000).control is Control.HOLDING
    assert lost.on_human(10_001, deadman=False).on_step(20_000).control is Control.HOLDING


@pytest.mark.parametrize("pending", [LOST, TWO])
def test_a_deadman_held_through_a_silence_or_a_quarrel_must_be_pressed_anew(pending) -> None:
    handover = Handover(RATE_HZ).on_human(10, deadman=True)
    if pending is LOST:
        handover = handover.on_step(20)
    else:
        handover = handover.on_second_operator(20, deadman=True)
    assert (handover.control, handover.pending) == (O, pending)
    held = handover
    for step in range(21, 80):
        held = held.on_step(step).on_human(step, deadman=True)
        assert held.control is O, "nobody has let go in between"
    late = held.on_human(19, deadman=False).on_human(80, deadman=True)
    assert late.control is O, "a release from before says nothing"
    anew = held.on_human(80, deadman=False).on_human(81, deadman=True)
    assert (anew.control, anew.takeovers) == (H, 2)
    assert held.resume()[0].on_human(80, deadman=True).control is H


def test_silence_of_an_operator_without_control_changes_nothing() -> None:
    handover = Handover(RATE_HZ).on_human(10, deadman=False)
    assert handover.on_step(10_000).control is Control.POLICY


def test_a_late_message_neither_releases_nor_counts_as_a_sign_of_life() -> None:
    handover = Handover(RATE_HZ).on_human(10, deadman=True).on_human(12, deadman=True)
    late = handover.on_human(11, deadman=False)
    assert late == handover
    assert late.on_step(16).pending is Pending.OPERATOR_LOST


def test_resuming_is_refused_with_the_reason() -> None:
    human = Handover(RATE_HZ).on_human(1, deadman=True)
    assert "release the deadman" in human.resume()[1]
    assert "already" in Handover(RATE_HZ).resume()[1]
    assert human.pause(2).on_human(3, deadman=False).resume()[1] == ""


def test_takeovers_are_counted_once_each() -> None:
    handover = Handover(RATE_HZ)
    for start in (10, 20, 30):
        for step in range(start, start + 5):
            handover = handover.on_human(step, deadman=True)
        handover = handover.on_human(start + 5, deadman=False)
    assert handover.takeovers == 3
    assert replace(handover).renewed().takeovers == 0
