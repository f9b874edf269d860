"""The arbitrator's choice: whose action is executed at a control step.

Pure: events in, decisions out, time and steps as arguments. BASE acts first; after
`takeover_step` steps the SPECIALIST (base + residual) has control; a HUMAN with the deadman
pressed always has it; everything else is HOLD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pld.contract import is_sensible
from pld.types import ActionSource, Array, Choice

NEVER = -1


@dataclass(frozen=True)
class Offers:
    """The actions on offer for one step; None where nobody answered."""

    base: Array | None = None
    residual: Array | None = None
    human: Array | None = None


def specialist_acts(episode_step: int, takeover_step: int) -> bool:
    """Whether the specialist has control `episode_step` steps after the episode began."""
    return takeover_step != NEVER and episode_step >= takeover_step


def choose(step: int, episode_step: int, takeover_step: int, offers: Offers) -> Choice:
    """The choice for `step`, `episode_step` steps after the episode began.

    `takeover_step` NEVER means that the base acts throughout. Missing answers end in HOLD.
    """
    source, action = ActionSource.HOLD, np.zeros(7)
    if offers.human is not None:
        source, action = ActionSource.HUMAN, offers.human
    elif offers.base is None:
        pass
    elif not specialist_acts(episode_step, takeover_step):
        source, action = ActionSource.BASE, offers.base
    elif offers.residual is not None:
        source, action = ActionSource.SPECIALIST, combined(offers.base, offers.residual)
    return Choice(step, source, action, offers.base, offers.residual, offers.human)


def combined(base: Array, residual: Array) -> Array:
    """The specialist's action (A,): base + residual, within the unit range.

    An absurd part is passed on as it is, for the safety filter to find: within the range it would
    look like an action that somebody meant.
    """
    for part in (base, residual):
        if not is_sensible(part):
            return part
    action: Array = np.clip(base + residual, -1.0, 1.0)
    return action
