"""When the specialist takes over from the base: T_base ~ U{0, ..., floor(alpha * T)}."""

from __future__ import annotations

import math

import numpy as np

from pld.errors import ConfigError

LARGEST_ALPHA = 2.0


def latest_takeover(alpha: float, horizon_steps: int) -> int:
    """The last step at which a takeover may happen: floor(alpha * T).

    Beyond 1 the specialist also takes over where a success would have ended: see FlywheelConfig.
    """
    if not 0.0 <= alpha <= LARGEST_ALPHA:
        raise ConfigError(
            f"probing alpha is {alpha}; it must be in [0, {LARGEST_ALPHA:g}], usually 0.6"
        )
    if horizon_steps < 0:
        raise ConfigError(f"the probing horizon is {horizon_steps} steps; it must be 0 or more")
    return math.floor(alpha * horizon_steps + 1e-9)


def takeover_of_seed(seed: int, latest: int, attempt: int = 0) -> int:
    """The takeover step of an attempt at the episode that begins from `seed`: 0, ..., latest."""
    again = (attempt,) if attempt else ()
    return int(np.random.default_rng((seed, 7, *again)).integers(0, latest + 1))


def sample_takeover_step(rng: np.random.Generator, alpha: float, horizon_steps: int) -> int:
    """The number of base steps before the specialist takes over (PLD, arXiv 2511.00091)."""
    return int(rng.integers(0, latest_takeover(alpha, horizon_steps) + 1))
