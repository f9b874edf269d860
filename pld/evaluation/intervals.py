"""Honest statistics of successes: Wilson's interval and McNemar's exact test for paired trials.

Sources: E. B. Wilson (1927), J. Am. Stat. Assoc. 22; Q. McNemar (1947), Psychometrika 12, in its
exact binomial form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pld.errors import ConfigError


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval (low, high) of a success rate after `k` successes in `n` trials, in [0, 1].

    No trials say nothing: (0, 1).
    """
    if n < 0 or not 0 <= k <= max(n, 0):
        raise ConfigError(f"{k} successes of {n} trials; give 0 <= successes <= trials")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = k / n
    scale = 1 + z * z / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else (centre - spread) / scale
    high = 1.0 if k == n else (centre + spread) / scale
    return low, high


@dataclass(frozen=True)
class Paired:
    """Two policies on the same starts: who won where the other failed, and the exact p-value."""

    only_first: int
    only_second: int
    both: int
    neither: int
    p_value: float

    @property
    def difference(self) -> float:
        """Success rate of the second minus that of the first."""
        return (self.only_second - self.only_first) / max(self.n, 1)

    @property
    def n(self) -> int:
        """Number of paired trials."""
        return self.only_first + self.only_second + self.both + self.neither


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that discordant pairs fall as unevenly as this by chance."""
    n = only_first + only_second
    tail = sum(math.comb(n, i) for i in range(min(only_first, only_second) + 1))
    p_value: float = 2 * tail / 2**n  # whole numbers until here: both may be huge
    return min(1.0, p_value)


def compare_paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare two sequences of outcomes on the same initial states, in the same order."""
    if len(first) != len(second):
        raise ConfigError(f"{len(first)} and {len(second)} outcomes cannot be paired")
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    both = sum(a and b for a, b in pairs)
    return Paired(
        only_first,
        only_second,
        both,
        len(pairs) - only_first - only_second - both,
        mcnemar_exact(only_first, only_second),
    )
