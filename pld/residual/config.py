"""Every number of the residual specialist in one place, and the controls it is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pld.errors import ConfigError


@dataclass(frozen=True)
class ResidualConfig:
    """Hyper-parameters of one specialist.

    Sources: PLD (arXiv 2511.00091) for the structure: base action in the observation, bounded
    residual, critics on the combined action with LayerNorm, Cal-QL (arXiv 2303.05479) on base
    successes, half offline and half online batches (RLPD, arXiv 2302.02948), probing starts with
    alpha 0.6. Unlike the paper's, the bound does not rise. The actor is updated once a decision,
    at every `actor_every`-th update of the critics (as RLPD does). SAC (arXiv 1801.01290) through
    stable-baselines3. Sizes, rates and the entropy target were measured on a CPU: 128 units instead
    of 256 and `calql_weight` 0.1 instead of 1.0. `gamma` 0.91 per decision of three control steps
    is 0.97 per step.

    `residual_scale` bounds the residual per dimension, in normalised action units; one entry
    stands for all dimensions. Tilt is left to the base: neither reference task needs more, and a
    dimension that changes nothing only adds noise. The gripper gets 1.25, so that a saturated base
    command can be reversed; where the task starts with a grasp it should get less than 1, because
    exploring drops what is held. The bound rises linearly from `scale_start` of it to all of it
    over `scale_ramp_steps` learned steps; by default it is all there from the start.
    `residual_cost` weighs the squared mean residual (before its bound) in the actor's loss.
    Exploration fills the bound, and the bound is what the base can stand: where noise is much
    narrower than it, critics take the slope of a few millimetres for that of centimetres, and the
    actor follows it to where nothing was seen.
    `decision_steps` control steps pass from one decision to the next (pld.residual.held); `gamma`,
    `online_steps`, `updates_per_step`, `n_step` and `learning_starts` count decisions.
    The actor learns more slowly than its critics: an actor that follows them faster than
    experience corrects them unlearns what the base could do. `entropy_learning_rate` and
    `average_rate` are per update of the actor too.
    `tau` is ten times as fast as usual and targets reach over `n_step` decisions: in states that a
    pushed base gets lost in, values are hopeful at first, which is only unlearned at the pace of
    gamma and tau, and an actor that follows them unlearns the task meanwhile.
    `target_clip` bounds temporal-difference targets; (0, 1) is right for a sparse binary reward.
    `failure_cost` is taken from the reward of an episode that was ended without success: a fault
    of the arm. At 0 a learner that does not know how to succeed has no reason not to hit.
    The actor learns after `actor_starts` learned steps.
    Targets leave the entropy out (as RLPD does for sparse rewards): with it, values of long
    episodes saturate at the clip. `episode_limit` truncates training episodes after that many
    median lengths of the base's successes, so that a stuck specialist wastes few steps; 0 leaves
    the task's own limit.
    `search_fraction` of the training episodes begin at a start where an earlier one failed, and
    search there (pld.residual.search): where neither base nor specialist ever succeeds there is
    nothing to learn from.
    `probing_alpha` samples each training episode's takeover step from U[0, alpha * T] with T the
    median length of the base's successful episodes; these base steps are never stored.
    """

    seed: int = 0
    decision_steps: int = 3
    residual_scale: tuple[float, ...] = (0.3, 0.3, 0.3, 0.02, 0.02, 0.15, 1.25)
    scale_start: float = 1.0
    scale_ramp_steps: int = 0
    hidden: tuple[int, ...] = (128, 128)
    n_critics: int = 2
    log_std_init: float = -0.5
    log_std_max: float = 1.0
    learning_rate: float = 5e-4
    actor_learning_rate: float = 4e-4
    residual_cost: float = 0.0
    batch_size: int = 256
    gamma: float = 0.91
    n_step: int = 3
    tau: float = 0.05
    updates_per_step: float = 3.0
    actor_every: int = 3
    actor_starts: int = 0
    entropy_init: float = 0.02
    entropy_target_per_dim: float = -0.7
    entropy_learning_rate: float = 1.5e-3
    entropy_in_target: bool = False
    target_clip: tuple[float, float] | None = (0.0, 1.0)
    failure_cost: float = 0.0
    average_rate: float = 0.003
    base_episodes: int = 80
    base_episodes_max: int = 240
    calql_updates: int = 600
    calql_weight: float = 0.1
    calql_samples: int = 4
    offline_fraction: float = 0.5
    online_steps: int = 16_000
    learning_starts: int = 256
    search_fraction: float = 0.4
    probing_alpha: float = 0.6
    episode_limit: float = 2.0
    replay_capacity: int = 100_000
    use_base: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work; the message names the field, the value and the range."""
        self._check("gamma", 0.0 < self.gamma < 1.0, "between 0 and 1, both excluded")
        self._check("offline_fraction", 0.0 <= self.offline_fraction < 1.0, "in [0, 1)")
        self._check("search_fraction", 0.0 <= self.search_fraction < 1.0, "in [0, 1)")
        self._check("probing_alpha", 0.0 <= self.probing_alpha <= 1.0, "in [0, 1]")
        self._check("residual_scale", all(s > 0 for s in self.residual_scale), "all positive")
        self._check("scale_start", 0.0 < self.scale_start <= 1.0, "in (0, 1]")
        limit = self.episode_limit
        self._check("episode_limit", limit == 0 or limit >= 1, "0 or at least 1")
        self._check("n_step", self.n_step >= 1, "at least 1")
        self._check("decision_steps", self.decision_steps >= 1, "at least 1")
        self._check("failure_cost", 0.0 <= self.failure_cost <= 1.0, "in [0, 1]")
        self._check("n_critics", self.n_critics >= 1, "at least 1")
        self._check("actor_every", self.actor_every >= 1, "at least 1")
        self._check("updates_per_step", self.updates_per_step > 0, "positive")
        self._check("batch_size", self.batch_size >= 2, "at least 2")
        self._check("learning_starts", self.learning_starts >= 1, "at least 1")

    def _check(self, name: str, ok: bool, valid: str) -> None:
        if not ok:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {valid}")

    def scale_for(self, action_dim: int) -> tuple[float, ...]:
        """`residual_scale` for an action of `action_dim` entries."""
        if len(self.residual_scale) == 1:
            return self.residual_scale * action_dim
        if len(self.residual_scale) != action_dim:
            raise ConfigError(
                f"residual_scale has {len(self.residual_scale)} entries and the action has "
                f"{action_dim}; give one entry for all or one per dimension"
            )
        return self.residual_scale

    def scale_fraction(self, learned_steps: int) -> float:
        """The part of `residual_scale` in force after `learned_steps`; rises to 1."""
        if self.scale_ramp_steps <= 0:
            return 1.0
        rise = min(1.0, learned_steps / self.scale_ramp_steps)
        return self.scale_start + (1.0 - self.scale_start) * rise

    @property
    def target_bounds(self) -> tuple[float, float] | None:
        """`target_clip` with room for `failure_cost`."""
        if self.target_clip is None:
            return None
        low, high = self.target_clip
        return min(low, -self.failure_cost), high

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ResidualConfig:
        """The inverse of `as_dict`; an unknown key is an error that lists the valid ones."""
        valid = [f.name for f in fields(cls)]
        for name in values:
            if name not in valid:
                raise ConfigError.unknown("residual setting", name, valid)
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)


CONTROLS: dict[str, dict[str, Any]] = {
    "pld": {},
    "rlpd": {
        "use_base": False,
        "probing_alpha": 0.0,
        "calql_updates": 0,
        "search_fraction": 0.0,
    },
    "no-base-data": {"base_episodes": 0, "calql_updates": 0, "offline_fraction": 0.0},
    "xi-one": {"residual_scale": (1.0,)},
    "no-calql": {"calql_updates": 0},
    "no-probing-starts": {"probing_alpha": 0.0},
    "no-search": {"search_fraction": 0.0},
    "failure-cost": {"failure_cost": 0.5},
}


def control(name: str, config: ResidualConfig) -> ResidualConfig:
    """`config` changed into a named control.

    rlpd: SAC from scratch with the base's successes as prior data, no base action anywhere; they
    are collected at its decisions, so an action of the base is held between them, too;
    no-base-data: residual learning that starts with empty buffers, without a horizon T and what
    follows from one (probing starts, shorter time limits); xi-one: residuals as large as
    the action range; no-calql: critics not pre-trained; no-probing-starts: the specialist acts
    from the first step of every training episode; no-search: every training episode begins at a
    new start; failure-cost: a fault of the arm costs half of what a success is worth. Without a
    base action there is nothing to search about: rlpd does not.
    """
    if name not in CONTROLS:
        raise ConfigError.unknown("control", name, CONTROLS)
    return replace(config, **CONTROLS[name])
