"""Base policies by name, as the launch parameter `policy` gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pld.base_policy.press import PressPolicy
from pld.base_policy.protocol import BasePolicy
from pld.base_policy.scripted import ExpertPolicy, ImperfectPolicy, TruthSource
from pld.base_policy.still import StillPolicy
from pld.base_policy.sweep import SweepPolicy
from pld.contract import ActionSpec
from pld.errors import ConfigError

if TYPE_CHECKING:
    from pld.base_policy.builtin import BuiltinPolicy

MAKERS: dict[str, Callable[[str, TruthSource, ActionSpec], BasePolicy]] = {
    "scripted": ImperfectPolicy,
    "expert": ExpertPolicy,
    "sweep": lambda task, truth, spec: SweepPolicy(spec),
    "press": lambda task, truth, spec: PressPolicy(),
    "still": lambda task, truth, spec: StillPolicy(),
}
TWIN_ONLY = frozenset({"scripted", "expert", "sweep", "press"})
"""Those that ask the simulator where things are, or know its table: no run on a real arm."""


WEIGHTS = "FILE.safetensors"
"""How messages call a file of weights."""


def is_weights(name: str) -> bool:
    """Whether a policy's name is a file of weights of the built-in VLA."""
    return name.endswith(".safetensors")


def make_policy(name: str, task: str, spec: ActionSpec, truth: TruthSource) -> BasePolicy:
    """The base policy called `name` for `task`: a name of the table, or a file of weights.

    `truth` is asked by scripted policies only. Weights that were trained at another control rate
    are refused.
    """
    if is_weights(name):
        return trained_policy(Path(name), task, spec.rate_hz)
    if name not in MAKERS:
        raise ConfigError.unknown("policy", name, (*MAKERS, WEIGHTS))
    return MAKERS[name](task, truth, spec)


def trained_policy(path: Path, task: str, rate_hz: float) -> BuiltinPolicy:
    """The built-in VLA of a file; torch is imported when somebody asks for it."""
    from pld.base_policy.builtin import BuiltinPolicy

    policy = BuiltinPolicy.load(path, task)
    if policy.rate_hz != rate_hz:
        raise ConfigError(
            f"{str(path)!r} was trained at {policy.rate_hz:g} Hz and the run is at {rate_hz:g} Hz; "
            f"give rate_hz:={policy.rate_hz:g}"
        )
    return policy
