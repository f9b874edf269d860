"""A Gymnasium environment with a frozen base policy inside, as the residual learner wants it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pld.errors import ConfigError
from pld.residual.protocol import ResidualObservation, StepOutcome
from pld.types import Array

TOLD = {"is_success", "success"}
BasePolicyCallable = Callable[[Any], Any]


def info_success(info: dict[str, Any]) -> bool:
    """Whether a step's `info` reports success under one of the usual names."""
    return any(bool(info[name]) for name in TOLD if name in info)


def flat(seen: Any) -> Array:
    """A Gymnasium observation (array, tuple, or dict in key order) as one vector (F,)."""
    if isinstance(seen, dict):
        return np.concatenate([flat(seen[key]) for key in sorted(seen)])
    if isinstance(seen, tuple):
        return np.concatenate([flat(part) for part in seen])
    return np.asarray(seen, dtype=np.float64).ravel()


class GymnasiumTask:
    """A Gymnasium environment with a frozen base policy inside, as the learner wants it.

    `features` maps an observation to a vector (F,); for images pass the frozen encoder's output.
    Actions are normalised to [-1, 1] over the bounds of the action space. An environment that
    raises FloatingPointError or returns numbers that are not finite ends its episode; the broken
    step is not learned from. `seen` are the raw observations of the episode so far, `executed` the
    actions (A,) that led from one to the next, in the environment's units, to the nearest where
    these are integers. Environment, base policy and `features` get copies of both.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        base_policy: BasePolicyCallable,
        *,
        name: str,
        max_steps: int | None = None,
        features: Callable[[Any], Array] = flat,
        success: Callable[[dict[str, Any]], bool] = info_success,
    ) -> None:
        self.env, self.task = env, name
        self._base, self._features, self._success = base_policy, features, success
        self._low, self._high = _bounds(env.action_space)
        self.max_steps = _horizon(env, max_steps)
        self.action_dim = self._low.size
        self.tells_success = False
        first = self._begin(0)
        self.feature_dim = first.size
        self._last = self._observe(self.seen[0], first)

    def _begin(self, seed: int) -> Array:
        """Reset the base policy, if it can be, and the environment; returns the features (F,)."""
        self._steps = 0
        self.seen, self.executed = list[Any](), list[NDArray[Any]]()
        forget = getattr(self._base, "reset", None)
        if forget is not None:
            forget(seed)
        seen, _ = self.env.reset(seed=seed)
        self.seen.append(deepcopy(seen))
        return self._features_of(self.seen[0])

    def reset(self, seed: int) -> ResidualObservation:
        """Start the episode of `seed`; a base policy with a method `reset(seed)` is reset, too."""
        try:
            features = self._begin(seed)
        except FloatingPointError:
            features = np.full(self.feature_dim, np.nan)
        if not np.isfinite(features).all():  # the base policy is not asked about it
            return ResidualObservation(features, np.zeros(self.action_dim))
        self._last = self._observe(self.seen[0], features)
        return self._last

    def step(self, action: Array) -> StepOutcome:
        """Execute a normalised action (A,)."""
        executed = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        try:
            self.executed.append(self._denormalised(executed))
            own = self.executed[-1].copy()  # it may be written to
            seen, _, terminated, truncated, info = self.env.step(own)
        except FloatingPointError:
            return self._broken(executed)
        seen = deepcopy(seen)
        self.seen.append(seen)
        self.tells_success |= not TOLD.isdisjoint(info) or self._success is not info_success
        features = self._features_of(seen)
        if not np.isfinite(features).all():
            return self._broken(executed)  # before the base policy is asked about it
        self._steps += 1
        success = self._success(info)
        self._last = self._observe(seen, features)
        ended = bool(terminated) or success
        late = bool(truncated) or self._steps >= self.max_steps
        return StepOutcome(self._last, executed, float(success), ended, late and not ended, success)

    def _features_of(self, seen: Any) -> Array:
        features = np.asarray(self._features(deepcopy(seen)), dtype=np.float64)
        if features.ndim != 1:
            raise ConfigError(
                f"features= of {self.task!r} gave shape {features.shape}; give a vector (F,)"
            )
        return features

    def _broken(self, executed: Array) -> StepOutcome:
        return StepOutcome(self._last, executed, 0.0, False, True, False, valid=False)

    def _observe(self, seen: Any, features: Array) -> ResidualObservation:
        base = np.asarray(self._base(deepcopy(seen)), dtype=np.float64).ravel()
        if base.shape != self._low.shape:
            raise ConfigError(
                f"the base policy of {self.task!r} gave an action of shape {base.shape}; the "
                f"environment takes {self._low.shape}"
            )
        scaled = 2.0 * (base - self._low) / (self._high - self._low) - 1.0
        return ResidualObservation(features, np.clip(scaled, -1.0, 1.0))

    def _denormalised(self, action: Array) -> NDArray[Any]:
        values = self._low + (action + 1.0) * (self._high - self._low) / 2.0
        values = np.clip(values, self._low, self._high)  # rounding must not lead out of the space
        if np.issubdtype(self.env.action_space.dtype, np.integer):
            values = np.rint(values)
        return values.reshape(self.env.action_space.shape).astype(self.env.action_space.dtype)


def _bounds(space: spaces.Space[Any]) -> tuple[Array, Array]:
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        raise ConfigError(f"action space {space} is not usable; give a Box with finite bounds")
    low, high = (b.astype(np.float64).ravel() for b in (space.low, space.high))
    if still := np.flatnonzero(low >= high).tolist():
        raise ConfigError(
            f"action space {space}: entries {still} have no range; give each a low below its high"
        )
    return low, high


def _horizon(env: gymnasium.Env[Any, Any], max_steps: int | None) -> int:
    steps = max_steps or (env.spec.max_episode_steps if env.spec else None)
    if not steps:
        raise ConfigError("the environment has no step limit; pass max_steps=")
    if steps < 1:
        raise ConfigError(f"max_steps is {steps}; give at least 1")
    return steps
