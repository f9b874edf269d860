"""How the policy comes back after a human acted: its motion grows over a few steps; pure.

The rule looks at choices alone, so that it gives the same when a bag is checked offline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pld.contract import is_sensible
from pld.types import ActionSource, Choice

RAMP_S = 0.5
POLICY_SOURCES = (ActionSource.BASE, ActionSource.SPECIALIST)


def ramp_steps(rate_hz: float) -> int:
    """Control steps over which the policy's motion grows to its whole size."""
    return max(1, round(RAMP_S * rate_hz))


@dataclass(frozen=True)
class Resumption:
    """`policy_steps`: those since a human last acted, at most `steps`, which is all of them."""

    steps: int
    policy_steps: int

    @classmethod
    def of(cls, rate_hz: float) -> Resumption:
        """At the start of an episode: nobody acted yet, so nothing is softened."""
        return cls(ramp_steps(rate_hz), ramp_steps(rate_hz))

    def soften(self, choice: Choice) -> Choice:
        """A policy's choice with its motion scaled; its gripper, and others' choices, as made.

        An absurd action stays as it is: scaled, the safety filter would not know it for one.
        """
        if choice.source not in POLICY_SOURCES or self.policy_steps >= self.steps:
            return choice
        if not is_sensible(choice.action):
            return choice
        action = choice.action.copy()
        action[:6] *= (self.policy_steps + 1) / (self.steps + 1)
        return replace(choice, action=action)

    def after(self, choice: Choice) -> Resumption:
        """After `choice` was made; steps on which the arm held count for nothing."""
        if choice.source is ActionSource.HUMAN:
            return replace(self, policy_steps=0)
        if choice.source in POLICY_SOURCES:
            return replace(self, policy_steps=min(self.policy_steps + 1, self.steps))
        return self
