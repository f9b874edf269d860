"""A base policy that closes the hand and presses straight down, to provoke a genuine reflex."""

from __future__ import annotations

import numpy as np

from pld.types import Array, Observation

DOWN_SPEED = 0.4


class PressPolicy:
    """Moves down at 0.4 of full speed for ever."""

    policy_id = "press"

    def reset(self, seed: int) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation) -> Array:
        """Chunk (1, 7): down, hand closed."""
        return np.array([[0.0, 0.0, -DOWN_SPEED, 0.0, 0.0, 0.0, -1.0]])
