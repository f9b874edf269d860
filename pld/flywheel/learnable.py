"""Which recorded episodes may be learned from, and which of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pld.distill.episodes import SftEpisode, corrected_part, read_episodes
from pld.errors import ConfigError
from pld.evaluation.seeds import EVALUATION_BLOCK


def learnable(
    folders: Sequence[Path], rate_hz: float, labels: str, first: int = 0
) -> list[SftEpisode]:
    """The successes in `folders`, cut to the steps that `labels` says (FlywheelConfig).

    With `first`, no more than so many episodes of each folder. Raises ConfigError for failures,
    starts of evaluations, another rate, and where nothing is left to learn from.
    """
    found = _episodes(folders, first)
    _refuse_other_rates(found, rate_hz)
    kept = found if labels == "whole" else [p for e in found if (p := corrected_part(e))]
    if not kept:
        raise ConfigError(
            f"in none of the {len(found)} episodes did the specialist or a person act; give those "
            "of probing, or learn the base's own steps too (--whole)"
        )
    return kept


def _refuse_other_rates(episodes: Sequence[SftEpisode], rate_hz: float) -> None:
    """An action is a motion per control step: at another rate it would be another motion."""
    if other := sorted({e.rate_hz for e in episodes if e.rate_hz} - {rate_hz}):
        raise ConfigError(
            f"the episodes were recorded at {other[0]:g} Hz and the policy acts at {rate_hz:g} Hz; "
            "give episodes of its rate"
        )


def _episodes(folders: Sequence[Path], first: int = 0) -> list[SftEpisode]:
    found = [read_episodes(folder) for folder in folders]
    kept = [e for episodes in found for e in (episodes[:first] if first else episodes)]
    if failed := [e.seed for e in kept if not e.success]:
        raise ConfigError(f"episode with seed {failed[0]} failed; only successes are distilled")
    if kept_aside := [e.seed for e in kept if e.seed in EVALUATION_BLOCK]:
        raise ConfigError(
            f"the episode with seed {kept_aside[0]} begins at a start that evaluations are counted "
            "on; leave it out, and record what is learned from with seeds below "
            f"{EVALUATION_BLOCK.start}"
        )
    return kept
