"""The life of an episode as a pure state machine: reset, run, end, next.

Each handler takes the machine and an event and returns the machine after it; the arbitrator's
shell calls the services that `Episode.wants` names and publishes the status.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from pld.probing.arbitrator import NEVER
from pld.probing.halts import NODE_SILENT, ROBOT_FAULT, Halts
from pld.probing.horizon import takeover_of_seed
from pld.types import EpisodeState, Outcome

OPERATOR_AWAY = "operator_away"
NOTICE_STEPS = 2
"""Steps between the decision to run and the first step, so that everybody has heard of it."""


class Want(Enum):
    """What the state machine waits to have done on its behalf."""

    NOTHING = "nothing"
    RESET_ARM = "reset_arm"
    RESET_SCENE = "reset_scene"
    GRASP = "grasp"
    RECORD = "record"
    CLOSE_RECORD = "close_record"
    FINISH = "finish"


@dataclass(frozen=True)
class EpisodePlan:
    """What a run does: how many episodes, from which seed on, and when it gives up waiting.

    Times are robot time. `success_steps` consecutive steps of success end an episode;
    `grasped_at_start` closes the gripper once the scene is laid. The specialist takes over after a
    number of steps drawn from {0, ..., latest_takeover} by the episode's seed; never with NEVER.
    The first episode is number `first_episode` of the run, where a resumed one goes on; `episodes`
    counts those before it too. `limit_steps` truncates an episode before its horizon; 0 does not.
    An arm that holds because the operator said so, or fell silent, or because of a stop,
    waits `away_s` in all; that time is not the policy's. Then the run ends: an arm that somebody
    stopped does not go home by itself. So it does once safety has withheld the arm from the policy
    for `silent_s` on end, since a node beside it is silent; nor is that time the policy's.
    """

    run: str
    episodes: int
    first_seed: int
    horizon_s: float
    rate_hz: float
    reset_timeout_s: float = 30.0
    scene_timeout_s: float = 30.0
    fault_timeout_s: float = 120.0
    record_timeout_s: float = 20.0
    starvation_s: float = 1.0
    away_s: float = 120.0
    silent_s: float = 10.0
    success_steps: int = 3
    grasped_at_start: bool = False
    latest_takeover: int = NEVER
    first_episode: int = 0
    limit_steps: int = 0

    @property
    def horizon_steps(self) -> int:
        """Control steps after which an episode is truncated."""
        horizon = round(self.horizon_s * self.rate_hz)
        return min(horizon, self.limit_steps) if self.limit_steps else horizon


@dataclass(frozen=True)
class Episode:
    """The current episode and what it waits for.

    `paused`, `withheld`: control steps that count for no horizon, spent waiting for the operator
    and for a silent node; `silent`: the latest of the latter, on end.
    `halted`: for how many control steps a fault or safety has kept it from beginning. Steps and not
    robot time, which stands still while the connection to the robot is lost.
    `is_judged`: a success detector has spoken of it. `last_step`: the horizon ended with this step,
    on which nobody acts any more and the detector has the last word; -1 before.
    """

    plan: EpisodePlan
    index: int = -1
    state: EpisodeState = EpisodeState.IDLE
    want: Want = Want.NOTHING
    since_ns: int = 0
    first_step: int = 0
    starved: int = 0
    starved_total: int = 0
    paused: int = 0
    withheld: int = 0
    silent: int = 0
    halted: int = 0
    successes: int = 0
    is_judged: bool = False
    last_step: int = -1
    outcome: Outcome = Outcome.UNLABELLED
    termination_reason: str = ""
    finished: bool = False
    failed: bool = False

    @property
    def seed(self) -> int:
        """Seed of this episode's scene and policy."""
        return self.plan.first_seed + max(self.index, 0)

    @property
    def takeover_step(self) -> int:
        """Steps of this episode before the specialist takes over, or NEVER."""
        latest = self.plan.latest_takeover
        return NEVER if latest == NEVER else takeover_of_seed(self.seed, latest)

    @property
    def is_over(self) -> bool:
        """Whether the horizon has ended, and only the detector's word on it is awaited."""
        return self.last_step >= 0

    @property
    def episode_id(self) -> str:
        """Name of the episode; sorts in the order of recording."""
        return "" if self.index < 0 else f"{self.plan.run}-{self.index:05d}"


def begin(episode: Episode, t_ns: int) -> Episode:
    """Start the next episode, or finish the run when all are done."""
    index = max(episode.index + 1, episode.plan.first_episode)
    if index >= episode.plan.episodes:
        return replace(episode, want=Want.FINISH, finished=True)
    return Episode(episode.plan, index, EpisodeState.RESETTING, Want.RESET_ARM, t_ns)


def end(episode: Episode, t_ns: int, outcome: Outcome, reason: str) -> Episode:
    """End the running episode; its bag is to be closed next."""
    return replace(
        episode,
        state=EpisodeState.ENDED,
        want=Want.CLOSE_RECORD,
        since_ns=t_ns,
        outcome=outcome,
        termination_reason=reason,
    )


def on_done(episode: Episode, want: Want, t_ns: int, step: int) -> Episode:
    """What was wanted is done; go on to the next stage. Answers to another want are ignored."""
    if want is not episode.want:
        return episode
    if want is Want.RESET_ARM:
        return replace(episode, want=Want.RESET_SCENE, since_ns=t_ns)
    if want is Want.RESET_SCENE:
        grasp = episode.plan.grasped_at_start
        return replace(episode, want=Want.GRASP if grasp else Want.RECORD, since_ns=t_ns)
    if want is Want.GRASP:
        return replace(episode, want=Want.RECORD, since_ns=t_ns)
    if want is Want.RECORD:
        return replace(
            episode,
            state=EpisodeState.RUNNING,
            want=Want.NOTHING,
            since_ns=t_ns,
            first_step=step + NOTICE_STEPS,
        )
    if want is Want.CLOSE_RECORD:
        reason = episode.termination_reason
        is_last = reason in (OPERATOR_AWAY, NODE_SILENT)
        return _give_up(episode, reason) if is_last else begin(episode, t_ns)
    return episode


def on_step(episode: Episode, t_ns: int, step: int, halts: Halts, *, answered: bool) -> Episode:
    """One control step passed; `answered` says whether the step before it had a base action."""
    if episode.state is EpisodeState.RUNNING:
        if halts.is_fault:
            innocent = halts.is_innocent or step <= episode.first_step
            outcome = Outcome.UNLABELLED if innocent else Outcome.FAILURE
            return end(episode, t_ns, outcome, ROBOT_FAULT)
        if halts.paused:
            return _paused_step(episode, t_ns)
        if halts.withheld:
            return _withheld_step(episode, t_ns)
        return _running_step(episode, t_ns, step, answered=answered)
    return episode if episode.finished else _waiting_step(episode, t_ns, halts)


def _waiting_step(episode: Episode, t_ns: int, halts: Halts) -> Episode:
    """A step between two episodes: what is wanted takes its time, but not for ever."""
    if episode.state is EpisodeState.RESETTING:
        if halts.is_fault:  # wherever the arm will be then, it is not at home
            episode = replace(episode, want=Want.RESET_ARM)
        if halts.reason:
            return _await_recovery(episode, halts.reason)
        if episode.halted:
            episode = replace(episode, since_ns=t_ns, halted=0)
    if episode.want is Want.NOTHING or t_ns - episode.since_ns <= _patience_s(episode) * 1e9:
        return episode
    return _give_up(episode, f"{episode.want.value}_timed_out")


def _await_recovery(episode: Episode, reason: str) -> Episode:
    """Between episodes the run waits for the operator, but not for ever."""
    if episode.halted >= episode.plan.fault_timeout_s * episode.plan.rate_hz:
        return _give_up(episode, reason)
    return replace(episode, halted=episode.halted + 1)


def _patience_s(episode: Episode) -> float:
    """How long the machine waits for what it wants [s]."""
    if episode.want in (Want.RECORD, Want.CLOSE_RECORD):
        return episode.plan.record_timeout_s
    if episode.want is Want.RESET_SCENE:
        return episode.plan.scene_timeout_s
    return episode.plan.reset_timeout_s


def _give_up(episode: Episode, reason: str) -> Episode:
    """End the run: it cannot go on without the operator."""
    return replace(
        episode,
        want=Want.FINISH,
        state=EpisodeState.ENDED,
        termination_reason=reason,
        finished=True,
        failed=True,
    )


def gave_up(episode: Episode, latched: Collection[str]) -> str:
    """What to tell the operator whose run could not go on."""
    causes = f", while {', '.join(sorted(latched))} latched" if latched else ""
    return (
        f"the run ends: {episode.termination_reason}{causes}; mend the cause (docs/safety.md, "
        f"What stops the arm), then go on with resume:={episode.plan.run}"
    )


def _running_step(episode: Episode, t_ns: int, step: int, *, answered: bool) -> Episode:
    if step <= episode.first_step:
        return episode
    starved = 0 if answered else episode.starved + 1
    starved_total = episode.starved_total + int(not answered)
    episode = replace(episode, starved=starved, starved_total=starved_total, silent=0)
    if starved > episode.plan.starvation_s * episode.plan.rate_hz:
        return end(episode, t_ns, Outcome.UNLABELLED, "base_policy_silent")
    acted = step - episode.first_step - episode.paused - episode.withheld
    if acted < episode.plan.horizon_steps:
        return episode
    if episode.is_judged and not episode.is_over:
        return replace(episode, last_step=step)
    return end(episode, t_ns, Outcome.FAILURE, "horizon")


def _paused_step(episode: Episode, t_ns: int) -> Episode:
    """A step on which the arm waited for the operator; it counts for no horizon."""
    episode = replace(episode, paused=episode.paused + 1, starved=0, silent=0)
    if episode.paused > episode.plan.away_s * episode.plan.rate_hz:
        return end(episode, t_ns, Outcome.UNLABELLED, OPERATOR_AWAY)
    return episode


def _withheld_step(episode: Episode, t_ns: int) -> Episode:
    """A step on which safety held the arm because a node was silent; it counts for no horizon."""
    withheld, silent = episode.withheld + 1, episode.silent + 1
    episode = replace(episode, withheld=withheld, silent=silent, starved=0)
    if silent > episode.plan.silent_s * episode.plan.rate_hz:
        return end(episode, t_ns, Outcome.UNLABELLED, NODE_SILENT)
    return episode


def on_reward(episode: Episode, t_ns: int, step: int, *, success: bool) -> Episode:
    """A success detector spoke of `step`; enough successes in a row end the episode."""
    if episode.state is not EpisodeState.RUNNING or step < episode.first_step:
        return episode
    successes = episode.successes + 1 if success else 0
    episode = replace(episode, successes=successes, is_judged=True)
    if successes >= episode.plan.success_steps:
        return end(episode, t_ns, Outcome.SUCCESS, "success")
    if episode.is_over and step >= episode.last_step:
        return end(episode, t_ns, Outcome.FAILURE, "horizon")
    return episode
