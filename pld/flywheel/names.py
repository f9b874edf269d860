"""Names of a run's stages and policies, and the command that makes each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pld.errors import ConfigError

ALPHAS = (0.0, 0.3, 0.6, 0.9)
FEWER = (25, 50, 100)
RESIDUAL_CONTROLS = ("rlpd", "no-base-data", "xi-one", "no-search", "failure-cost")
SFT_CONTROLS = (
    "extra-demonstrations",
    "fewer-episodes",
    "specialist-only",
    "whole-trajectories",
    "alpha-sweep",
)
CONTROLS = (*SFT_CONTROLS, *RESIDUAL_CONTROLS)
WEIGHTS = "weights-"
APART = ("evaluation/", "control-", WEIGHTS)


def newest_before(number: int) -> str:
    """The newest policy when round `number` begins."""
    return "base" if number == 1 else f"distilled-{number - 1}"


def specialist_name(number: int) -> str:
    """Folder and evaluation of the specialist that round `number` trains."""
    return "specialist" if number == 1 else f"specialist-{number}"


def specialist_number(name: str) -> int:
    """The round whose specialist is called `name`; 0 when `name` is none."""
    found = re.fullmatch(r"specialist(?:-(\d+))?", name)
    return 0 if found is None else int(found[1] or 1)


def controls_named(names: str) -> tuple[str, ...]:
    """The controls that a command line asks for: `none`, `all`, or names by comma."""
    if names in ("none", "all"):
        return CONTROLS if names == "all" else ()
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in CONTROLS:
            raise ConfigError.unknown("control", name, ("none", "all", *CONTROLS))
    return chosen


def control_policies() -> dict[str, str]:
    """The policies that controls train, each with the control that makes it."""
    several = ("alpha-sweep", "fewer-episodes")
    made = {f"control-{name}": name for name in CONTROLS if name not in several}
    made |= {f"control-alpha-{alpha:g}": "alpha-sweep" for alpha in ALPHAS}
    made |= {
        f"control-{what}-{count}": "fewer-episodes"
        for what in ("probing", "demonstrations")
        for count in FEWER
    }
    return made


def command_for(stage: str) -> str:
    """The command that does the stage which lies in the run's folder `stage`."""
    first = stage.split("/", maxsplit=1)[0]
    if number := specialist_number(first):
        return f"pld train specialist --round {number}"
    if found := re.fullmatch(r"(probing|distilled)-(\d+)", first):
        verb = {"probing": "probe", "distilled": "distill"}[found[1]]
        return f"pld {verb} --round {found[2]}"
    for policy, control in control_policies().items():
        if first in (policy, f"{policy}-specialist", f"{policy}-episodes"):
            return f"pld flywheel --controls {control}"
    return "pld train base"


def zero_to_distilled(stages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of a summary's stages that the last distilled policy depends on."""
    return [stage for stage in stages if not stage["name"].startswith(APART)]
