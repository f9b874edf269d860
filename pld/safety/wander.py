"""Adversarial commands for measuring the filter: held, random and unbounded actions in turn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pld.types import Array

LONGEST_RUN = 40


def wandering_actions(seed: int) -> Iterator[Array]:
    """Actions (7,) without end: constant pushes, corners, jitter, huge numbers, now and then NaN.

    Constant pushes are what leads furthest; jitter excites the tracker; the rest is refused or cut.
    """
    rng = np.random.default_rng(seed)
    while True:
        kind = rng.integers(5)
        steps = int(rng.integers(1, LONGEST_RUN))
        push = rng.uniform(-1.5, 1.5, 7)
        for _ in range(steps):
            if kind == 0:
                yield push
            elif kind == 1:
                yield np.sign(push)
            elif kind == 2:
                yield rng.uniform(-3.0, 3.0, 7)
            elif kind == 3:
                yield push * 10.0 ** rng.choice([0.5, 0.8, 300.0])
            else:
                yield np.where(rng.uniform(size=7) < 0.05, np.nan, np.sign(rng.normal(size=7)))
