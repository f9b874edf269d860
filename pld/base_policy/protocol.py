"""What every base policy offers: scripted ones, the built-in VLA, a policy of one's own."""

from __future__ import annotations

from typing import Protocol

from pld.types import Array, Observation


class BasePolicy(Protocol):
    """A frozen policy that answers an observation with a chunk of actions."""

    policy_id: str

    def reset(self, seed: int) -> None:
        """Forget the last episode; `seed` fixes whatever is random in the next."""

    def infer(self, observation: Observation) -> Array:
        """Chunk (H, 7) of normalised actions, first row for this step; see pld.contract."""
