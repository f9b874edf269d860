"""Playing a chunk of actions step by step, and asking for the next one in time."""

from __future__ import annotations

from pld.base_policy.protocol import BasePolicy
from pld.errors import ContractError
from pld.types import ACTION_DIM, Array, BaseAction, Observation


class ChunkPlayer:
    """Answers every control step from the current chunk; infers anew after `execute_horizon`.

    A row belongs to a step: when steps were skipped, rows are skipped with them, so that an
    action is never executed late.
    """

    def __init__(self, policy: BasePolicy, execute_horizon: int) -> None:
        if execute_horizon < 1:
            raise ContractError(f"execute_horizon {execute_horizon} must be at least 1")
        self._policy = policy
        self._execute_horizon = execute_horizon
        self._chunk: Array | None = None
        self._first_step = 0

    def reset(self, seed: int) -> None:
        """Forget the chunk and the policy's episode."""
        self._chunk = None
        self._policy.reset(seed)

    def answer(self, observation: Observation) -> BaseAction:
        """The base action for the observation's step; raises ContractError on a malformed chunk."""
        step = observation.arm.step
        index = step - self._first_step
        if self._chunk is None or not 0 <= index < min(self._execute_horizon, len(self._chunk)):
            self._chunk = checked_chunk(self._policy.infer(observation))
            self._first_step, index = step, 0
        return BaseAction(step, self._chunk, index, self._policy.policy_id)


def checked_chunk(chunk: Array) -> Array:
    """`chunk` if it is (H, 7) and H > 0, else ContractError (numbers are safety's business)."""
    if chunk.ndim != 2 or chunk.shape[0] == 0 or chunk.shape[1] != ACTION_DIM:
        raise ContractError(f"chunk of shape {chunk.shape}; expected (H, {ACTION_DIM}) with H >= 1")
    return chunk
