"""Base policies by name, as the launch parameter `policy` gives it."""

from __future__ import annotations

from collections.abc import Callable

from pld.base_policy.press import PressPolicy
from pld.base_policy.protocol import BasePolicy
from pld.base_policy.scripted import ExpertPolicy, ImperfectPolicy, TruthSource
from pld.base_policy.sweep import SweepPolicy
from pld.contract import ActionSpec
from pld.errors import ConfigError

MAKERS: dict[str, Callable[[str, TruthSource, ActionSpec], BasePolicy]] = {
    "scripted": ImperfectPolicy,
    "expert": ExpertPolicy,
    "sweep": lambda task, truth, spec: SweepPolicy(spec),
    "press": lambda task, truth, spec: PressPolicy(),
}


def make_policy(name: str, task: str, spec: ActionSpec, truth: TruthSource) -> BasePolicy:
    """The base policy called `name` for `task`; `truth` is asked by scripted policies only."""
    if name not in MAKERS:
        raise ConfigError.unknown("policy", name, MAKERS)
    return MAKERS[name](task, truth, spec)
