"""Outcomes of evaluation episodes: what is kept, counted and compared."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pld.errors import ConfigError
from pld.evaluation.intervals import Paired, compare_paired, wilson
from pld.evaluation.seeds import Purpose, purpose_of


@dataclass(frozen=True)
class EpisodeResult:
    """One evaluation episode. `steps` are control steps until it ended."""

    seed: int
    success: bool
    steps: int
    region: str
    reason: str = ""
    task: str = ""


@dataclass(frozen=True)
class Rate:
    """Successes `k` of `n` with their 95 % Wilson interval."""

    k: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high), in [0, 1]."""
        return wilson(self.k, self.n)

    @property
    def value(self) -> float:
        """K / n, 0 when there were no trials."""
        return self.k / self.n if self.n else 0.0

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.k}/{self.n} [{low:.2f}, {high:.2f}]"


def evaluation_name(policy: str, region: str | None) -> str:
    """What an evaluation of `policy` is called: `POLICY@REGION` where every start was in one."""
    return f"{policy}@{region}" if region else policy


def policy_and_region(name: str) -> tuple[str, str]:
    """An evaluation's name taken apart; the region is empty where starts were everywhere."""
    policy, _, region = name.partition("@")
    return policy, region


@dataclass(frozen=True)
class Evaluation:
    """One policy on one set of initial states."""

    name: str
    task: str
    policy_id: str
    run_seed: int
    episodes: tuple[EpisodeResult, ...]
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse seeds that do not belong to evaluation."""
        for episode in self.episodes:
            purpose = purpose_of(episode.seed)
            if purpose is not Purpose.EVALUATION:
                raise ConfigError(f"seed {episode.seed} of {self.name!r} is a {purpose.value} seed")

    @property
    def rate(self) -> Rate:
        """Over all episodes."""
        return rate_of(self.episodes)

    @property
    def regions(self) -> dict[str, Rate]:
        """By region of the start, in name order."""
        names = sorted({e.region for e in self.episodes})
        return {r: rate_of(e for e in self.episodes if e.region == r) for r in names}

    @property
    def median_success_steps(self) -> float:
        """Median length of the successful episodes; 0 when there are none."""
        lengths = [e.steps for e in self.episodes if e.success]
        return float(statistics.median(lengths)) if lengths else 0.0

    def as_json(self) -> dict[str, Any]:
        """Everything, with the derived figures beside it for a reader without this code."""
        low, high = self.rate.interval
        return {
            **asdict(self),
            "successes": self.rate.k,
            "trials": self.rate.n,
            "wilson_95": [low, high],
            "regions": {r: [v.k, v.n] for r, v in self.regions.items()},
            "median_success_steps": self.median_success_steps,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Evaluation:
        """The inverse of `as_json`; derived figures are computed again."""
        return cls(
            name=content["name"],
            task=content["task"],
            policy_id=content["policy_id"],
            run_seed=content["run_seed"],
            episodes=tuple(EpisodeResult(**e) for e in content["episodes"]),
            cpu_s=content["cpu_s"],
        )


def rate_of(episodes: Iterable[EpisodeResult]) -> Rate:
    """Successes of some episodes."""
    outcomes = [e.success for e in episodes]
    return Rate(sum(outcomes), len(outcomes))


def on_common_starts(first: Evaluation, second: Evaluation) -> tuple[Evaluation, Evaluation]:
    """Both evaluations cut to the starts that they share, in the order of their seeds."""
    shared = {e.seed for e in first.episodes} & {e.seed for e in second.episodes}
    ordered = [sorted(x.episodes, key=lambda e: e.seed) for x in (first, second)]
    kept = [tuple(e for e in episodes if e.seed in shared) for episodes in ordered]
    return replace(first, episodes=kept[0]), replace(second, episodes=kept[1])


def paired(first: Evaluation, second: Evaluation, region: str | None = None) -> Paired:
    """Compare two policies start by start; raises ConfigError when the starts differ.

    `region` restricts the comparison to starts of that region.
    """
    if [e.seed for e in first.episodes] != [e.seed for e in second.episodes]:
        raise ConfigError(f"{first.name!r} and {second.name!r} ran on different starts; run again")
    chosen = [
        (a.success, b.success)
        for a, b in zip(first.episodes, second.episodes, strict=True)
        if region is None or a.region == region
    ]
    return compare_paired([a for a, _ in chosen], [b for _, b in chosen])
