"""The identity that every bag must satisfy: executed == filter(choose(base, residual, human)).

The offline code is run on what was recorded and must give the recorded decisions, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pld.contract import ActionSpec
from pld.probing.arbitrator import Offers, choose
from pld.probing.resumption import Resumption
from pld.recording.reader import Episode
from pld.recording.translate import TeleopAction
from pld.safety.failsafe import WITHHOLDING
from pld.safety.filter import filter_choice
from pld.safety.limits import SafetyLimits
from pld.types import ActionSource, ArmState, Choice, Command

UNANSWERED = ("choice_missing",)
# Holds that the failsafe sent in the place of an answer of the filter.
WITHHELD = {UNANSWERED, *((cause,) for cause in WITHHOLDING)}


@dataclass(frozen=True)
class Parity:
    """How many steps were compared, and the steps at which live and offline differ.

    `late_humans`: steps whose human action came when the policy's had been chosen already; the
    next step must be the human's. A press in the middle of a step, which corrects the answer given
    at its beginning, is not late.
    """

    choices: int
    commands: int
    different_choices: tuple[int, ...]
    different_commands: tuple[int, ...]
    unanswered: tuple[int, ...]
    late_humans: tuple[int, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything compared is equal, and there was something to compare."""
        return bool(self.commands) and not self.different_choices + self.different_commands


def check(episode: Episode, limits: SafetyLimits, spec: ActionSpec) -> Parity:
    """Recompute every choice and every command of an episode from its recorded inputs."""
    arms = {a.value.step: a.value for a in episode.arm_states}
    choices = {c.value.step: c.value for c in episode.choices}
    commands = [c.value for c in episode.commands]
    answered = [c for c in commands if c.step in arms and c.step in choices]
    answered = [c for c in answered if not (c.hold and c.reasons in WITHHELD)]
    offers = _offers(episode)
    compared = [c for c in choices.values() if c.source is not ActionSource.HOLD]
    late = _late_humans(compared, episode)
    expected = _rechosen(choices, offers, _takeover(episode), Resumption.of(spec.rate_hz))
    return Parity(
        len(compared),
        len(answered),
        tuple(
            c.step
            for c in compared
            if not _same_choice(c, expected[c.step]) or {c.step - 1, c.step} <= late
        ),
        tuple(
            c.step
            for c in answered
            if not _same_command(c, arms[c.step], choices[c.step], limits, spec)
        ),
        tuple(c.step for c in commands if c.reasons == UNANSWERED),
        tuple(sorted(late)),
    )


def _late_humans(compared: list[Choice], episode: Episode) -> set[int]:
    """Steps of a policy that the human claimed too, from the first word on."""
    first: dict[int, TeleopAction] = {}
    for said in episode.human_actions:
        first.setdefault(said.value.step, said.value)
    policy = {c.step for c in compared if c.source is not ActionSource.HUMAN}
    return {step for step, said in first.items() if said.deadman and step in policy}


def _rechosen(
    choices: Mapping[int, Choice],
    offers: Mapping[int, Offers],
    takeover: tuple[int, int],
    resumption: Resumption,
) -> dict[int, Choice]:
    """What the offline code chooses at every step, in order; who holds is the hand-over's."""
    takeover_step, first = takeover
    made: dict[int, Choice] = {}
    for step in sorted(choices):
        offered = offers.get(step, Offers())
        if choices[step].source is not ActionSource.HUMAN:
            offered = replace(offered, human=None)
        made[step] = resumption.soften(choose(step, step - first, takeover_step, offered))
        resumption = resumption.after(choices[step])
    return made


def _takeover(episode: Episode) -> tuple[int, int]:
    last = episode.last_update
    return last.takeover_step, last.first_step


def _offers(episode: Episode) -> dict[int, Offers]:
    """What was on offer at each step."""
    residuals = {r.value.step: r.value.action for r in episode.residual_actions}
    held = [h.value for h in episode.human_actions if h.value.deadman]
    humans = {h.step: h.action for h in reversed(held)}  # a step is answered with its first
    bases = {b.value.step: b.value.action for b in episode.base_actions}
    steps = {*residuals, *humans, *bases}
    return {s: Offers(bases.get(s), residuals.get(s), humans.get(s)) for s in steps}


def _same_choice(live: Choice, offline: Choice) -> bool:
    return live.source is offline.source and np.array_equal(live.action, offline.action)


def _same_command(
    live: Command, arm: ArmState, choice: Choice, limits: SafetyLimits, spec: ActionSpec
) -> bool:
    offline = filter_choice(choice, arm, limits, spec)
    return (
        live.hold == offline.hold
        and live.reasons == offline.reasons
        and live.gripper_open == offline.gripper_open
        and np.array_equal(live.executed_action, offline.executed_action)
        and np.array_equal(live.target.p_m, offline.target.p_m)
        and np.array_equal(live.target.q_xyzw, offline.target.q_xyzw)
    )
