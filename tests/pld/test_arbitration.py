"""Whose action is chosen, and how an episode lives and ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pld.contract import is_sensible
from pld.probing.arbitrator import NEVER, Offers, choose
from pld.probing.episode import (
    Episode,
    EpisodePlan,
    Want,
    begin,
    end,
    gave_up,
    on_done,
    on_reward,
    on_step,
)
from pld.probing.halts import Halts
from pld.safety.watchdog import EarlyAnswer, Freshness, Heartbeats, StepGuard
from pld.types import ActionSource, ControlMode, EpisodeState, Outcome

PLAN = EpisodePlan("run", 2, 100, horizon_s=1.0, rate_hz=20.0)
BASE, RESIDUAL, HUMAN = np.full(7, 0.9), np.full(7, 0.3), np.full(7, -0.5)


@pytest.mark.parametrize("base", [None, BASE])
@pytest.mark.parametrize("residual", [None, RESIDUAL])
@pytest.mark.parametrize("human", [None, HUMAN])
@pytest.mark.parametrize("takeover_step", [NEVER, 0, 5, 6])
def test_all_offers_at_all_takeovers(base, residual, human, takeover_step) -> None:
    choice = choose(42, 5, takeover_step, Offers(base, residual, human))
    taken_over = takeover_step in (0, 5)
    if human is not None:
        expected = ActionSource.HUMAN
    elif base is None or (taken_over and residual is None):
        expected = ActionSource.HOLD
    else:
        expected = ActionSource.SPECIALIST if taken_over else ActionSource.BASE
    assert choice.source is expected
    assert choice.step == 42


def test_the_specialist_is_base_plus_residual_within_the_unit_range() -> None:
    choice = choose(0, 3, 3, Offers(base=BASE, residual=RESIDUAL))
    np.testing.assert_array_equal(choice.action, np.ones(7))


@pytest.mark.parametrize("bad", [50.0, -1e300, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("part", ["base", "residual"])
def test_an_absurd_part_of_the_specialists_action_reaches_the_safety_filter(part, bad) -> None:
    offers = {"base": BASE.copy(), "residual": RESIDUAL.copy()}
    offers[part][2] = bad
    choice = choose(0, 3, 3, Offers(**offers))
    assert choice.source is ActionSource.SPECIALIST
    assert not is_sensible(choice.action)


def stepped(
    episode: Episode, t_ns: int, step: int, mode: ControlMode, *, answered: bool, **halts: Any
) -> Episode:
    return on_step(episode, t_ns, step, Halts(mode, **halts), answered=answered)


def running(plan: EpisodePlan = PLAN) -> Episode:
    episode = begin(Episode(plan), 0)
    for want in (Want.RESET_ARM, Want.RESET_SCENE, Want.RECORD):
        assert episode.want is want
        episode = on_done(episode, want, 10, step=98)
    return episode


def test_an_episode_resets_arm_then_scene_then_recorder_then_runs() -> None:
    episode = running()
    assert episode.state is EpisodeState.RUNNING
    assert episode.first_step == 100
    assert episode.episode_id == "run-00000"
    assert episode.seed == 100


@pytest.mark.parametrize("want", [want for want in Want if want is not Want.RESET_ARM])
def test_an_answer_to_something_else_changes_nothing(want: Want) -> None:
    episode = begin(Episode(PLAN), 0)
    assert episode.want is Want.RESET_ARM
    assert on_done(episode, want, 1, 1) is episode


def test_three_successes_in_a_row_end_it_and_old_ones_do_not_count() -> None:
    episode = running()
    for step, success in [(98, True), (99, True), (100, True), (101, False), (102, True)]:
        episode = on_reward(episode, 1, step, success=success)
        assert episode.state is EpisodeState.RUNNING
    episode = on_reward(on_reward(episode, 1, 103, success=True), 2, 104, success=True)
    assert (episode.state, episode.outcome) == (EpisodeState.ENDED, Outcome.SUCCESS)
    assert episode.want is Want.CLOSE_RECORD


def test_the_horizon_truncates() -> None:
    episode = running()
    for step in range(100, 120):
        episode = stepped(episode, 1, step, ControlMode.TRACKING, answered=True)
        assert episode.state is EpisodeState.RUNNING
    episode = stepped(episode, 1, 120, ControlMode.TRACKING, answered=True)
    assert episode.termination_reason == "horizon"
    assert episode.outcome is Outcome.FAILURE


@pytest.mark.parametrize(("limit_steps", "lasts"), [(0, 20), (7, 7), (20, 20), (500, 20)])
def test_a_limit_truncates_before_the_horizon_and_never_after(limit_steps, lasts) -> None:
    episode, steps = running(replace(PLAN, limit_steps=limit_steps)), 0
    while episode.state is EpisodeState.RUNNING:
        steps += 1
        episode = stepped(
            episode, 0, episode.first_step + steps, ControlMode.TRACKING, answered=True
        )
    assert (steps, episode.termination_reason) == (lasts, "horizon")


def at_its_horizon(successes: int) -> tuple[Episode, int]:
    """An episode of 20 steps on which a detector has spoken, `successes` of its last words good."""
    episode = running()
    last = episode.first_step + PLAN.horizon_steps
    for step in range(episode.first_step + 1, last + 1):
        episode = stepped(episode, step, step, ControlMode.TRACKING, answered=True)
        if step < last:
            episode = on_reward(episode, step, step, success=step >= last - successes)
    assert (episode.state, episode.is_over) == (EpisodeState.RUNNING, True)
    return episode, last


@pytest.mark.parametrize(
    ("successes", "word", "reason"),
    [(2, True, "success"), (2, False, "horizon"), (1, True, "horizon")],
)
def test_the_detector_has_the_last_word_on_the_last_action(successes, word, reason) -> None:
    episode, last = at_its_horizon(successes)
    late = on_reward(episode, last, last - 1, success=False)
    assert late.state is EpisodeState.RUNNING, "a word on an earlier step is not the last"
    judged = on_reward(episode, last, last, success=word)
    assert (judged.state, judged.termination_reason) == (EpisodeState.ENDED, reason)
    assert (judged.outcome is Outcome.SUCCESS) is (reason == "success")


def test_a_detector_that_says_nothing_to_the_last_action_is_not_waited_for() -> None:
    episode, last = at_its_horizon(2)
    ended = stepped(episode, last + 1, last + 1, ControlMode.HOLDING, answered=True)
    assert (ended.outcome, ended.termination_reason) == (Outcome.FAILURE, "horizon")


def test_a_second_without_base_actions_ends_it_but_one_answer_restarts_the_count() -> None:
    plan = replace(PLAN, horizon_s=100.0)
    episode = running(plan)
    for step in range(101, 121):
        episode = stepped(episode, 1, step, ControlMode.HOLDING, answered=False)
    episode = stepped(episode, 1, 121, ControlMode.TRACKING, answered=True)
    for step in range(122, 142):
        episode = stepped(episode, 1, step, ControlMode.HOLDING, answered=False)
        assert episode.state is EpisodeState.RUNNING
    episode = stepped(episode, 1, 142, ControlMode.HOLDING, answered=False)
    assert episode.termination_reason == "base_policy_silent"
    assert episode.outcome is Outcome.UNLABELLED, "a hung camera or machine is not the policy"


def test_waiting_for_the_operator_counts_for_no_horizon_and_starves_nobody() -> None:
    episode = running()
    for step in range(101, 161):
        episode = stepped(episode, 1, step, ControlMode.HOLDING, answered=False, paused=True)
        assert episode.state is EpisodeState.RUNNING
    for step in range(161, 180):
        episode = stepped(episode, 1, step, ControlMode.TRACKING, answered=True)
        assert episode.state is EpisodeState.RUNNING
    episode = stepped(episode, 1, 180, ControlMode.TRACKING, answered=True)
    assert episode.termination_reason == "horizon"


def test_an_operator_who_stays_away_ends_the_episode_unlabelled() -> None:
    episode = running(replace(PLAN, away_s=2.0))
    for step in range(101, 141):
        episode = stepped(episode, 1, step, ControlMode.HOLDING, answered=True, paused=True)
        assert episode.state is EpisodeState.RUNNING
    episode = stepped(episode, 1, 141, ControlMode.HOLDING, answered=True, paused=True)
    assert (episode.termination_reason, episode.outcome) == ("operator_away", Outcome.UNLABELLED)
    assert episode.want is Want.CLOSE_RECORD
    closed = on_done(episode, Want.CLOSE_RECORD, 2, step=142)
    assert (closed.want, closed.failed) == (Want.FINISH, True)
    assert closed.termination_reason == "operator_away"
    assert gave_up(closed, ()).startswith("the run ends: operator_away; mend the cause")
    assert "operator_away, while not_finite, robot_fault latched;" in gave_up(
        closed, ("robot_fault", "not_finite")
    )


@pytest.mark.parametrize("halts", [{"paused": True}, {"withheld": True}, {"latched": True}])
def test_a_fault_while_the_arm_was_kept_from_the_policy_is_not_the_policys(halts) -> None:
    reflex = {"errors": ("cartesian_reflex",), **halts}
    episode = stepped(running(), 5, 101, ControlMode.FAULT, answered=True, **reflex)
    held_back = (
        "latched" not in halts
    )  # a latch by itself says nothing: a policy can bring it about
    outcome = Outcome.UNLABELLED if held_back else Outcome.FAILURE
    assert (episode.termination_reason, episode.outcome) == ("robot_fault", outcome)


def withheld(episode: Episode, first: int, steps: int) -> Episode:
    """After steps on which safety held the arm for a silent node, though the base answered."""
    for step in range(first, first + steps):
        episode = stepped(episode, 1, step, ControlMode.HOLDING, answered=True, withheld=True)
    return episode


def test_what_safety_withholds_for_a_silent_node_counts_for_no_horizon() -> None:
    episode = withheld(running(), 101, 150)
    assert episode.state is EpisodeState.RUNNING
    for step in range(251, 270):
        episode = stepped(episode, 1, step, ControlMode.TRACKING, answered=True)
        assert episode.state is EpisodeState.RUNNING
    episode = stepped(episode, 1, 270, ControlMode.TRACKING, answered=True)
    assert (episode.termination_reason, episode.outcome) == ("horizon", Outcome.FAILURE)


def test_a_node_that_stays_silent_ends_the_episode_unlabelled_and_the_run() -> None:
    episode = withheld(running(), 101, 199)
    episode = stepped(episode, 1, 300, ControlMode.TRACKING, answered=True)
    episode = withheld(episode, 301, 200)
    assert episode.state is EpisodeState.RUNNING, "ten seconds are counted anew"
    episode = withheld(episode, 501, 1)
    assert (episode.termination_reason, episode.outcome) == ("node_silent", Outcome.UNLABELLED)
    closed = on_done(episode, Want.CLOSE_RECORD, 2, step=502)
    assert (closed.want, closed.failed) == (Want.FINISH, True)
    assert gave_up(closed, ()).startswith("the run ends: node_silent;")


def test_no_episode_begins_while_a_node_is_silent() -> None:
    silent = halted(begin(Episode(PLAN), 0), 120, ControlMode.HOLDING, withheld=True)
    assert (silent.want, silent.finished) == (Want.RESET_ARM, False)
    late = halted(silent, 1, ControlMode.HOLDING, withheld=True)
    assert (late.failed, late.termination_reason) == (True, "node_silent")


@pytest.mark.parametrize(
    ("step", "errors", "outcome"),
    [
        (101, (), Outcome.FAILURE),
        (101, ("cartesian_reflex",), Outcome.FAILURE),
        (101, ("network_lost", "cartesian_reflex"), Outcome.FAILURE),
        (101, ("network_lost",), Outcome.UNLABELLED),
        (101, ("foreign_command", "robot_time_stopped"), Outcome.UNLABELLED),
        (100, ("cartesian_reflex",), Outcome.UNLABELLED),
    ],
)
def test_a_robot_fault_ends_the_running_episode_and_blames_who_acted(
    step: int, errors: tuple[str, ...], outcome: Outcome
) -> None:
    episode = stepped(running(), 5, step, ControlMode.FAULT, answered=True, errors=errors)
    assert (episode.termination_reason, episode.outcome) == ("robot_fault", outcome)


@pytest.mark.parametrize("done", [1, 2, 3])
def test_after_a_fault_between_episodes_the_arm_goes_home_anew(done: int) -> None:
    episode = begin(Episode(replace(PLAN, grasped_at_start=True)), 0)
    for want in (Want.RESET_ARM, Want.RESET_SCENE, Want.GRASP)[:done]:
        episode = on_done(episode, want, 1, 1)
    assert episode.want is not Want.RESET_ARM
    held = stepped(episode, 2, 2, ControlMode.HOLDING, answered=True, latched=True)
    assert held.want is episode.want
    faulty = stepped(episode, 2, 2, ControlMode.FAULT, answered=True)
    assert (faulty.want, faulty.state) == (Want.RESET_ARM, EpisodeState.RESETTING)


def halted(episode: Episode, seconds: float, mode: ControlMode, **halts: bool) -> Episode:
    """After control steps in which robot time stood still, as with a lost connection."""
    for step in range(round(seconds * PLAN.rate_hz)):
        episode = stepped(episode, 0, step, mode, answered=True, **halts)
    return episode


def test_a_robot_fault_while_resetting_waits_for_the_operator_but_not_for_ever() -> None:
    waiting = halted(begin(Episode(PLAN), 0), 120, ControlMode.FAULT)
    assert (waiting.want, waiting.finished) == (Want.RESET_ARM, False)
    episode = halted(waiting, 1, ControlMode.FAULT)
    assert episode.finished
    assert episode.failed
    assert episode.termination_reason == "robot_fault"


def test_a_latched_stop_keeps_the_next_episode_waiting_and_says_so_in_the_end() -> None:
    waiting = halted(begin(Episode(PLAN), 0), 120, ControlMode.HOLDING, latched=True)
    assert not waiting.finished
    late = halted(waiting, 1, ControlMode.HOLDING, latched=True)
    assert (late.failed, late.termination_reason) == (True, "safety_latched")


def test_after_a_recovery_the_time_to_reset_begins_anew() -> None:
    waiting = stepped(begin(Episode(PLAN), 0), 0, 1, ControlMode.FAULT, answered=True)
    waiting = halted(waiting, 100, ControlMode.FAULT)
    recovered = stepped(waiting, int(101e9), 3, ControlMode.HOLDING, answered=True)
    assert (recovered.finished, recovered.since_ns) == (False, int(101e9))
    assert not halted(recovered, 119, ControlMode.FAULT).finished
    assert not stepped(recovered, int(130e9), 4, ControlMode.HOLDING, answered=True).finished
    assert stepped(recovered, int(132e9), 5, ControlMode.HOLDING, answered=True).failed


def test_a_task_that_starts_with_a_grasp_closes_the_hand_on_the_laid_scene() -> None:
    episode = begin(Episode(replace(PLAN, grasped_at_start=True)), 0)
    seen = []
    while episode.state is not EpisodeState.RUNNING:
        seen.append(episode.want)
        episode = on_done(episode, episode.want, 1, 1)
    assert seen == [Want.RESET_ARM, Want.RESET_SCENE, Want.GRASP, Want.RECORD]


@pytest.mark.parametrize("want", [Want.RESET_ARM, Want.RESET_SCENE, Want.RECORD])
def test_waiting_for_ever_ends_the_run_with_its_reason(want: Want) -> None:
    episode = begin(Episode(PLAN), 0)
    while episode.want is not want:
        episode = on_done(episode, episode.want, 0, 0)
    late = int(31e9)
    episode = stepped(episode, late, 1, ControlMode.IDLE, answered=True)
    assert episode.finished
    assert episode.termination_reason == f"{want.value}_timed_out"


def test_the_run_finishes_after_its_last_episode() -> None:
    episode = running()
    for _ in range(PLAN.episodes - 1):
        episode = on_done(end(episode, 1, Outcome.FAILURE, "x"), Want.CLOSE_RECORD, 1, 1)
        assert episode.want is Want.RESET_ARM
    episode = on_done(replace(episode, want=Want.CLOSE_RECORD), Want.CLOSE_RECORD, 1, 1)
    assert episode.finished
    assert episode.want is Want.FINISH


def test_late_early_and_second_answers_are_refused_and_counted() -> None:
    guard = StepGuard().on_state(5)
    assert guard.missed_previous()
    guard, late = guard.on_answer(4)
    guard, early = guard.on_answer(6)
    guard, right = guard.on_answer(5)
    guard, second = guard.on_answer(5)
    assert (late, early, right, second) == (False, False, True, False)
    assert guard.refused == 3
    assert not guard.missed_previous()


def test_an_unanswered_step_is_counted_once() -> None:
    guard = StepGuard().on_state(1).on_state(2).on_state(3)
    assert guard.unanswered == 2


def test_a_step_that_is_told_twice_has_not_gone_by() -> None:
    guard = StepGuard().on_state(1).on_state(1)
    assert not guard.missed_before(1)
    assert guard.missed_before(2)
    assert guard.unanswered == 0
    assert guard.on_state(2).unanswered == 1
    guard, right = guard.on_answer(1)
    assert right
    assert not guard.on_state(1).missed_before(2)


def test_a_sign_for_every_step_is_owed_within_a_time() -> None:
    assert Heartbeats(45).on_state(1, 0).silent(10**9) == ()
    beats = Heartbeats(45).on_state(1, 0).on_beat("b", 1).on_beat("a", 1).on_state(2, 50)
    assert beats.silent(95) == ()
    assert beats.silent(96) == ("a", "b")
    assert beats.on_beat("a", 2).silent(96) == ("b",)
    later = beats.on_beat("a", 2).on_beat("c", 2).on_state(3, 100)
    assert later.silent(145) == ("b",)
    assert later.silent(146) == ("a", "b", "c")


def test_the_slowest_of_those_who_spoke_says_which_step_is_attended() -> None:
    beats = Heartbeats(45)
    assert beats.attended == -1
    beats = beats.on_beat("a", 7)
    assert beats.attended == 7
    beats = beats.on_beat("b", 6).on_beat("a", 8)
    assert beats.attended == 6
    assert beats.on_beat("b", 9).attended == 8


@pytest.mark.parametrize("within_ns", [45, 90, 1000])
def test_nothing_is_owed_for_steps_that_did_not_begin(within_ns: int) -> None:
    beats = Heartbeats(within_ns).on_state(1, 0).on_beat("a", 1)
    assert beats.silent(10**12) == ()
    beats = beats.on_state(400, 10**12)
    assert beats.silent(10**12 + within_ns) == ()
    assert beats.silent(10**12 + within_ns + 1) == ("a",)


def test_a_long_run_keeps_few_steps() -> None:
    beats = Heartbeats(45).on_beat("a", 0)
    for step in range(1, 1000):
        beats = beats.on_state(step, step * 50)
    assert len(beats.begun) < 20
    assert beats.silent(999 * 50) == ("a",)
    assert beats.on_beat("a", 998).silent(999 * 50) == ()


def test_a_stream_is_stale_when_its_newest_word_is_older_than_its_own_limit() -> None:
    streams = Freshness({"a": 100, "b": 50}, gap_ns=1000).on_stamp("a", 1_000, 1_010)
    assert streams.stale(1_100) == ()
    assert streams.stale(1_101) == ("a",)
    both = streams.on_stamp("b", 1_040, 1_050)
    assert both.stale(1_095) == ("b",)
    assert both.stale(10**9) == ("a", "b")
    assert both.on_stamp("b", 1_060, 1_070).stale(1_095) == ()


def test_a_stream_is_stale_when_nothing_new_came_for_too_long() -> None:
    streams = Freshness({"a": 100}, gap_ns=40).on_stamp("a", 1_000, 1_010)
    assert streams.stale(1_050) == ()
    assert streams.stale(1_051) == ("a",)
    assert streams.on_stamp("a", 1_000, 1_045).stale(1_051) == ("a",)
    assert streams.on_stamp("a", 1_033, 1_045).stale(1_051) == ()


def test_what_came_while_time_was_not_told_is_not_missed() -> None:
    streams = (
        Freshness({"a": 100}, gap_ns=40).on_stamp("a", 1_000, 1_010).on_stamp("a", 2_000, 1_010)
    )
    assert streams.stale(2_040) == ()
    assert streams.stale(2_041) == ("a",)


def test_a_clock_that_is_set_back_hides_no_silence() -> None:
    s = 1_000_000_000
    streams = Freshness({"a": s}, gap_ns=s // 10).on_stamp("a", 100 * s, 100 * s).on_time(100 * s)
    behind = streams.on_time(100 * s - s // 3)
    assert behind is streams, "a busy safety node judges what was a moment ago"
    back = streams.on_time(90 * s)
    assert back.stale(90 * s + s // 10) == ()
    assert back.stale(90 * s + s // 10 + 1) == ("a",)
    late = back.on_stamp("a", 99 * s, 90 * s).on_time(90 * s)  # taken before, comes after
    assert late.stale(90 * s + s // 10 + 1) == ("a",)
    assert late.on_stamp("a", 91 * s, 91 * s).on_time(91 * s).stale(91 * s) == ()


def test_an_answer_that_overtook_its_state_waits_for_it_and_for_no_other() -> None:
    early = EarlyAnswer(7, "answer")
    assert early.due(7) == "answer"
    assert early.due(6) is None
    assert early.due(8) is None
    assert EarlyAnswer().due(-2) is None
