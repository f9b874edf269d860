"""The losses of the critics as plain functions of tensors."""

from __future__ import annotations

import torch as th


def td_target(
    rewards: th.Tensor,
    terminated: th.Tensor,
    next_value: th.Tensor,
    discounts: th.Tensor | float,
    clip: tuple[float, float] | None,
) -> th.Tensor:
    """Reward + discount * V(s') where the task has not ended, bounded to `clip`; all (N, 1)."""
    target = rewards + (1.0 - terminated) * discounts * next_value
    return target if clip is None else target.clamp(*clip)


def calql_penalty(q_policy: th.Tensor, returns: th.Tensor, q_data: th.Tensor) -> th.Tensor:
    """Cal-QL's regulariser E_pi[max(Q(s, a), V_mu(s))] - E_D[Q(s, a)], a scalar.

    `q_policy` (K, N, 1) are Q values of K actions drawn from the policy, `returns` (N, 1) the Monte
    Carlo returns V_mu of the behaviour that left the data, `q_data` (N, 1) the Q values of its
    actions. Without the max this would be CQL, which pushes Q below what the base is known to
    reach (Nakamoto et al., arXiv 2303.05479).
    """
    return th.maximum(q_policy, returns).mean() - q_data.mean()
