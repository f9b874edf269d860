"""Which seed belongs to what: training and evaluation never see the same initial state.

Every purpose owns a block of the integers, and every run a part of that block, so overlap is
impossible by construction; `refuse_overlap` checks the seeds that were really used.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from pld.errors import ConfigError

BLOCK = 100_000_000
PER_RUN = 100_000
PER_ROUND = 10_000
MAX_RUN_SEED = BLOCK // PER_RUN - 2
LAST_PART = PER_RUN // PER_ROUND - 1


class Purpose(str, Enum):
    """What an episode is for. SPECIALIST is numbered by pld.residual.trainer."""

    SPECIALIST = "specialist"
    DEMONSTRATION = "demonstration"
    EXTRA_DEMONSTRATION = "extra-demonstration"
    PROBING = "probing"
    SPECIALIST_ONLY = "specialist-only"
    EVALUATION = "evaluation"


_BLOCKS = {
    Purpose.SPECIALIST: 0,
    Purpose.DEMONSTRATION: 2,
    Purpose.EXTRA_DEMONSTRATION: 3,
    Purpose.PROBING: 4,
    Purpose.SPECIALIST_ONLY: 5,
    Purpose.EVALUATION: 10,
}


EVALUATION_BLOCK = range(
    _BLOCKS[Purpose.EVALUATION] * BLOCK, (_BLOCKS[Purpose.EVALUATION] + 1) * BLOCK
)
"""Every seed of an evaluation, of whichever run: nothing is learned from these starts."""


def seed_range(purpose: Purpose, run_seed: int, part: int = 0) -> range:
    """The seeds of `purpose` in the run `run_seed`; `part` numbers rounds or sets within it."""
    if not 0 <= run_seed <= MAX_RUN_SEED:
        raise ConfigError(f"run seed {run_seed}; give one from 0 to {MAX_RUN_SEED}")
    if purpose is Purpose.SPECIALIST:
        first = (run_seed + 1) * PER_RUN
        return range(first, first + PER_RUN)
    if not 0 <= part <= LAST_PART:
        raise ConfigError(f"part {part} of {purpose.value}; give one from 0 to {LAST_PART}")
    first = _BLOCKS[purpose] * BLOCK + run_seed * PER_RUN + part * PER_ROUND
    return range(first, first + PER_ROUND)


def purpose_of(seed: int) -> Purpose:
    """The purpose that owns `seed`; raises ConfigError when none does."""
    for purpose, block in _BLOCKS.items():
        width = 2 if purpose is Purpose.SPECIALIST else 1
        if block <= seed // BLOCK < block + width:
            return purpose
    raise ConfigError(f"seed {seed} belongs to no purpose; take seeds from seed_range")


def evaluation_seeds(run_seed: int, n: int) -> list[int]:
    """The first `n` evaluation seeds of a run: the same starts for every policy compared in it."""
    seeds = seed_range(Purpose.EVALUATION, run_seed)
    if not 0 < n <= len(seeds):
        raise ConfigError(f"{n} evaluation episodes; give a number from 1 to {len(seeds)}")
    return list(seeds[:n])


def refuse_overlap(training: Iterable[int], evaluation: Iterable[int]) -> None:
    """Raise ConfigError when a seed was trained on and evaluated on."""
    shared = sorted(set(training) & set(evaluation))
    if shared:
        raise ConfigError(
            f"{len(shared)} evaluation seeds were trained on (the first is {shared[0]}); "
            "take evaluation seeds from evaluation_seeds"
        )
