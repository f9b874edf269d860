"""A base policy that asks for nothing: a person moves the arm, or nobody does."""

from __future__ import annotations

import numpy as np

from pld.types import Array, Observation


class StillPolicy:
    """Keeps the reference and the gripper; for demonstrations by hand and for a rig's first run."""

    policy_id = "still"

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def infer(self, observation: Observation) -> Array:
        """Chunk (1, 7) of zeros; the gripper stays near 0, where it keeps the last command."""
        return np.zeros((1, 7))
