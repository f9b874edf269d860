"""Actor and critics of the residual specialist, on stable-baselines3's SAC policy.

An observation is (F + A,): standardised features, then the base action. Actor and critics both
give or take the COMBINED action clip(base_action + residual_scale * tanh(u), -1, 1).
"""

from __future__ import annotations

import math
from typing import Any

import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn

LOG_STD_MIN = -5.0
LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class FrozenNormaliser(nn.Module):
    """Standardises features with statistics that are set once; passes the base action as it is.

    It stands before the networks, which take standardised observations.
    """

    mean: th.Tensor
    gain: th.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(dim))
        self.register_buffer("gain", th.ones(dim))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Standardised observations (N, F + A), within +-10."""
        return ((observations - self.mean) * self.gain).clamp_(-10.0, 10.0)


def tanh_log_prob(noise: th.Tensor, log_std: th.Tensor, u: th.Tensor) -> th.Tensor:
    """Log density (N,) of tanh(u) for u = mean + exp(log_std) * noise, all (N, A)."""
    squash = 2.0 * (math.log(2.0) - u - nn.functional.softplus(-2.0 * u))
    return (-0.5 * noise.square() - log_std - LOG_SQRT_2PI - squash).sum(dim=1)


class ResidualActorNet(Actor):
    """A Gaussian residual, squashed, bounded and added to the base action.

    The mean's last layer starts at zero: the first specialist is the base. Noise comes from
    `noise`, a generator of its own, so that nothing else that draws random numbers changes a run.
    """

    residual_scale: th.Tensor

    def __init__(
        self,
        log_std_init: float = -2.0,
        log_std_max: float = -0.7,
        use_base: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(log_std_init=log_std_init, **kwargs)
        self.log_std_max, self.use_base = log_std_max, use_base
        self.noise: th.Generator | None = None
        action_dim = int(self.action_space.shape[0])
        self.register_buffer("residual_scale", th.ones(action_dim))
        for layer, bias in ((self.mu, 0.0), (self.log_std, log_std_init)):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, bias)

    def mean_and_log_std(self, observations: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and log standard deviation (N, A) of the residual before tanh."""
        latent = self.latent_pi(observations)
        log_std: th.Tensor = self.log_std(latent)  # type: ignore[operator]
        return self.mu(latent), log_std.clamp(LOG_STD_MIN, self.log_std_max)

    def combine(self, observations: th.Tensor, squashed: th.Tensor) -> th.Tensor:
        """The combined action (N, A) for tanh outputs (N, A)."""
        if not self.use_base:
            return squashed
        base = observations[:, -squashed.shape[1] :]
        return th.addcmul(base, self.residual_scale, squashed).clamp(-1.0, 1.0)

    def forward(self, observations: Any, deterministic: bool = False) -> th.Tensor:
        """Combined action (N, A): the mean's when deterministic, else a sample."""
        mean, log_std = self.mean_and_log_std(observations)
        if not deterministic:
            mean = mean + log_std.exp() * self.draw(mean)
        return self.combine(observations, th.tanh(mean))

    def wide_actions(self, observations: th.Tensor) -> th.Tensor:
        """Combined actions (N, A) with residuals uniform within their bound."""
        shape = (len(observations), self.residual_scale.numel())
        return self.combine(observations, th.rand(shape, generator=self.noise) * 2.0 - 1.0)

    def draw(self, like: th.Tensor) -> th.Tensor:
        """Standard normal noise of the same shape."""
        return th.randn(like.shape, generator=self.noise)

    def action_log_prob(self, observations: Any) -> tuple[th.Tensor, th.Tensor]:
        """A sampled combined action (N, A) and the log density (N,) of its squashed residual."""
        return self.action_log_prob_mean(observations)[:2]

    def action_log_prob_mean(
        self, observations: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """As `action_log_prob`, with the mean (N, A) before tanh."""
        mean, log_std = self.mean_and_log_std(observations)
        noise = self.draw(mean)
        u = th.addcmul(mean, log_std.exp(), noise)
        return self.combine(observations, th.tanh(u)), tanh_log_prob(noise, log_std, u), mean


class LayerNormCritic(ContinuousCritic):
    """Q networks with LayerNorm after every hidden linear layer, of (s, base and combined action).

    The combined action enters as what was added to the base action, in units of its bound, by
    weights that start at zero. Base episodes hold nothing but additions of zero: what they teach
    cannot leak into the value of an addition. Fed the plain action, a critic takes from them that
    the gripper should close because the base closes it where success is near, and the actor
    follows it.
    """

    bound: th.Tensor

    def __init__(self, *args: Any, bound: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sizes: list[int] = kwargs["net_arch"]
        self.register_buffer("bound", th.tensor(bound))
        inputs = kwargs["features_dim"] + len(bound)
        self.q_networks = []
        for index in range(self.n_critics):
            layers = create_mlp(inputs, 1, sizes, nn.ReLU, post_linear_modules=[nn.LayerNorm])
            network = nn.Sequential(*layers)
            first = layers[0]
            assert isinstance(first, nn.Linear)
            nn.init.zeros_(first.weight[:, -len(bound) :])
            self.add_module(f"qf{index}", network)
            self.q_networks.append(network)

    def forward(self, obs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """One Q value (N, 1) per critic."""
        added = (actions - obs[:, -actions.shape[1] :]) / self.bound
        inputs = th.cat([obs, added], dim=1)
        return tuple(network(inputs) for network in self.q_networks)


class ResidualPolicyNet(SACPolicy):
    """SAC's policy with the residual actor and the LayerNorm critics."""

    def __init__(
        self,
        *args: Any,
        bound: tuple[float, ...],
        log_std_max: float,
        use_base: bool = True,
        **kwargs: Any,
    ) -> None:
        self.bound, self.log_std_max, self.use_base = bound, log_std_max, use_base
        super().__init__(*args, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """The residual actor."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        actor = ResidualActorNet(log_std_max=self.log_std_max, use_base=self.use_base, **kwargs)
        return actor.to(self.device)

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> ContinuousCritic:
        """The LayerNorm critics."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return LayerNormCritic(bound=self.bound, **kwargs).to(self.device)
