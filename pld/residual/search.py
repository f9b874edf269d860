"""Searching: what a specialist does differently at a start where it failed.

Its corrections alone fail there again and again. A push that is drawn anew every few decisions
moves the hand about the place where the base believes its goal to be, and some attempts find it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pld.types import Array

# Long enough to move the hand by centimetres, short enough for several in one episode.
DECISIONS_PER_PUSH = 4
PUSHED = slice(0, 3)
Policy = Callable[[NDArray[np.float32]], Array]


class Search:
    """The pushes of one attempt: the same for the same seed and attempt."""

    def __init__(self, seed: int, attempt: int) -> None:
        self._rng = np.random.default_rng((seed, 11, attempt))
        self._decisions = 0
        self._push = np.zeros(0)

    def pushed(self, residual: Array, scale: Array) -> Array:
        """`residual` (A,) with this decision's push in x, y and z, within its bound `scale` (A,).

        Both in normalised action units.
        """
        if self._decisions % DECISIONS_PER_PUSH == 0:
            self._push = self._rng.uniform(-1.0, 1.0, len(scale[PUSHED]))
        self._decisions += 1
        moved = residual.copy()
        moved[PUSHED] += self._push * scale[PUSHED]
        return np.asarray(np.clip(moved, -scale, scale))

    def over(self, policy: Policy, scale: Array) -> Policy:
        """`policy` that is pushed about: from (F + A,), ending in the base's action, to (A,)."""

        def pushed(seen: NDArray[np.float32]) -> Array:
            base = seen[-len(scale) :].astype(np.float64)
            return np.asarray(np.clip(base + self.pushed(policy(seen) - base, scale), -1.0, 1.0))

        return pushed
