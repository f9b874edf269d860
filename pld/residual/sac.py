"""Soft actor-critic on combined actions: stable-baselines3's SAC with its own update."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.sac import SAC
from torch.nn import functional

from pld.errors import PldError
from pld.residual.config import ResidualConfig
from pld.residual.losses import calql_penalty, td_target
from pld.residual.networks import FrozenNormaliser, ResidualActorNet, ResidualPolicyNet
from pld.residual.protocol import Vector
from pld.residual.replay import EpisodeReplay, ResidualBatch, sample_batch
from pld.types import Array

# Base episodes hardly move some features (an orientation, say) that a residual will move: without
# a floor those would saturate as soon as the specialist acts.
MIN_FEATURE_STD = 0.03


class ResidualSac(SAC):
    """A residual specialist's learner.

    `replay_buffer` holds what was seen online, `offline` the base's successes. `average` is an
    exponential moving average of the actor, for evaluation and export. All randomness comes from
    `rng` (batches) and the actor's own generator (actions), seeded by the configuration.
    """

    replay_buffer: EpisodeReplay
    actor: ResidualActorNet

    def __init__(self, feature_dim: int, action_dim: int, config: ResidualConfig) -> None:
        super().__init__(
            ResidualPolicyNet,
            None,  # type: ignore[arg-type]
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            tau=config.tau,
            gamma=config.gamma,
            ent_coef=f"auto_{config.entropy_init}",
            target_entropy=config.entropy_target_per_dim * action_dim,
            policy_kwargs=_policy_settings(config, action_dim),
            device="cpu",
            _init_setup_model=False,
        )
        self.config = config
        self.feature_dim, self.action_dim = feature_dim, action_dim
        self.observation_space = spaces.Box(-np.inf, np.inf, (feature_dim + action_dim,))
        self.action_space = spaces.Box(-1.0, 1.0, (action_dim,))
        self.n_envs = 1
        self.replay_buffer, self.offline = self._buffer(), self._buffer()
        self.rng = np.random.default_rng(config.seed)
        with th.random.fork_rng(devices=[]):
            th.manual_seed(config.seed)
            self._setup_model()
        assert self.log_ent_coef is not None
        self.ent_coef_optimizer = th.optim.Adam(
            [self.log_ent_coef], lr=config.entropy_learning_rate, fused=True
        )
        for group in self.actor.optimizer.param_groups:
            group["lr"] = config.actor_learning_rate
        self.average = self._new_average()
        self.normaliser = FrozenNormaliser(feature_dim + action_dim)
        self.actor.noise = th.Generator().manual_seed(config.seed + 1)
        self._targets: list[th.Tensor] = list(self.critic_target.parameters())
        self._critics: list[th.Tensor] = list(self.critic.parameters())
        self._actors: list[th.Tensor] = list(self.actor.parameters())
        self._averages: list[th.Tensor] = list(self.average.parameters())
        self.set_learned_steps(0)

    def _buffer(self) -> EpisodeReplay:
        return EpisodeReplay(
            self.config.replay_capacity,
            self.observation_space,  # type: ignore[arg-type]
            self.action_space,  # type: ignore[arg-type]
            self.config.gamma,
            self.config.n_step,
        )

    def _new_average(self) -> ResidualActorNet:
        with th.random.fork_rng(devices=[]):
            average = self.policy.make_actor()
        assert isinstance(average, ResidualActorNet)
        average.load_state_dict(self.actor.state_dict())
        return average.requires_grad_(False)

    def set_learned_steps(self, learned_steps: int) -> None:
        """Put the residual bound of this moment of training in force."""
        config = self.config
        self.actor_learns = learned_steps >= config.actor_starts
        scale = th.tensor(config.scale_for(self.action_dim)) * config.scale_fraction(learned_steps)
        self.actor.residual_scale.copy_(scale)
        self.average.residual_scale.copy_(scale)

    def fit_normaliser(self) -> None:
        """Freeze feature statistics from all that is stored; the base action stays as it is."""
        rows = np.concatenate(
            [b.observations[: b.size(), 0] for b in (self.offline, self.replay_buffer)]
        )
        mean = th.from_numpy(rows.mean(axis=0))
        gain = 1.0 / th.from_numpy(rows.std(axis=0)).clamp_min(MIN_FEATURE_STD)
        mean[-self.action_dim :] = 0.0
        gain[-self.action_dim :] = 1.0 if self.config.use_base else 0.0
        self.normaliser.mean.copy_(mean)
        self.normaliser.gain.copy_(gain)

    def act(self, seen: Vector) -> Array:
        """An exploring combined action (A,) for one observation (F + A,)."""
        with th.no_grad():
            action = self.actor(self.normaliser(th.from_numpy(seen)[None]))
        combined: Array = action[0].double().numpy()
        return combined

    def sample(self) -> ResidualBatch:
        """A batch, standardised, part offline, part online as configured."""
        fraction = self.config.offline_fraction
        size = self.config.batch_size
        batch = sample_batch(self.replay_buffer, self.offline, size, fraction, self.rng)
        return batch._replace(
            observations=self.normaliser(batch.observations),
            next_observations=self.normaliser(batch.next_observations),
        )

    def pretrain(self, updates: int) -> None:
        """Cal-QL updates of the critics on base episodes; the actor stays at the base.

        The data are the base's own, so the target of each action is the Monte Carlo return that
        followed it, for successes and failures alike: a critic that has seen successes only is
        confident everywhere, and bootstrapping unlearns that at the pace of gamma and tau.
        """
        for _ in range(updates):
            batch = self.sample()
            values = self.critic(batch.observations, batch.actions)
            fit = 0.5 * _total(functional.mse_loss(value, batch.returns) for value in values)
            self._descend_critics(fit + self.config.calql_weight * self.penalty(batch, values))

    def train(self, gradient_steps: int, batch_size: int = 0) -> None:
        """Off-policy updates; the batch size is the configuration's."""
        del batch_size
        for _ in range(gradient_steps):
            batch = self.sample()
            values = self.critic(batch.observations, batch.actions)
            self._descend_critics(self.td_loss(batch, values))
            self._n_updates += 1
            if self.actor_learns and self._n_updates % self.config.actor_every == 0:
                self.update_actor(batch.observations)

    def td_loss(self, batch: ResidualBatch, values: tuple[th.Tensor, ...]) -> th.Tensor:
        """Half the squared error to the clipped double-Q target, summed over critics."""
        with th.no_grad():
            action, log_prob = self.actor.action_log_prob(batch.next_observations)
            value = _least(self.critic_target(batch.next_observations, action))
            if self.config.entropy_in_target:
                value = value - self.entropy_coefficient() * log_prob[:, None]
            target = td_target(
                batch.rewards, batch.dones, value, batch.discounts, self.config.target_bounds
            )
        return 0.5 * _total(functional.mse_loss(value, target) for value in values)

    def penalty(self, batch: ResidualBatch, values: tuple[th.Tensor, ...]) -> th.Tensor:
        """Cal-QL's regulariser, summed over critics.

        Every other proposal is a uniform residual, as CQL's random actions are: the data hold no
        action but the base's, so nothing else says that Q must not rise away from it.
        """
        count = self.config.calql_samples
        seen = batch.observations.repeat(count, 1)
        with th.no_grad():
            actions, _ = self.actor.action_log_prob(seen)
            actions[::2] = self.actor.wide_actions(seen[::2])
        shape = (count, *batch.returns.shape)
        proposed = self.critic(seen, actions)
        return _total(
            calql_penalty(q.view(shape), batch.returns, value)
            for q, value in zip(proposed, values, strict=True)
        )

    def entropy_coefficient(self) -> th.Tensor:
        """The temperature (1,), detached."""
        assert self.log_ent_coef is not None
        return self.log_ent_coef.detach().exp()

    def _descend_critics(self, loss: th.Tensor) -> None:
        if not bool(th.isfinite(loss)):
            raise PldError(
                f"the critic loss is {loss.item()} after {self._n_updates} updates; lower "
                f"learning_rate (now {self.config.learning_rate}) or set target_clip"
            )
        _forget_gradients(self._critics)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic.optimizer.step()
        with th.no_grad():
            th._foreach_lerp_(self._targets, self._critics, self.config.tau)

    def update_actor(self, observations: th.Tensor) -> None:
        """One step of the actor and the temperature, and of the averaged actor behind it."""
        action, log_prob, mean = self.actor.action_log_prob_mean(observations)
        for parameter in self._critics:
            parameter.requires_grad_(False)
        value = _least(self.critic(observations, action))
        cost = self.config.residual_cost * mean.tanh().square().sum(dim=1)
        loss = (self.entropy_coefficient() * log_prob + cost - value[:, 0]).mean()
        _forget_gradients(self._actors)
        loss.backward()  # type: ignore[no-untyped-call]
        self.actor.optimizer.step()
        for parameter in self._critics:
            parameter.requires_grad_(True)
        self._update_temperature(log_prob.detach())
        with th.no_grad():
            th._foreach_lerp_(self._averages, self._actors, self.config.average_rate)

    def _update_temperature(self, log_prob: th.Tensor) -> None:
        """Descend -(log alpha) * (log pi + target entropy), whose gradient is written down here."""
        assert self.log_ent_coef is not None
        assert self.ent_coef_optimizer is not None
        self.log_ent_coef.grad = -(log_prob.mean() + float(self.target_entropy)).reshape(1)
        self.ent_coef_optimizer.step()


def _policy_settings(config: ResidualConfig, action_dim: int) -> dict[str, object]:
    return {
        "bound": config.scale_for(action_dim) if config.use_base else (1.0,) * action_dim,
        "net_arch": list(config.hidden),
        "log_std_init": config.log_std_init,
        "log_std_max": config.log_std_max,
        "n_critics": config.n_critics,
        "use_base": config.use_base,
        "optimizer_kwargs": {"fused": True},
    }


def _forget_gradients(parameters: list[th.Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _least(values: tuple[th.Tensor, ...]) -> th.Tensor:
    least = values[0]
    for value in values[1:]:
        least = th.minimum(least, value)
    return least


def _total(parts: Iterable[th.Tensor]) -> th.Tensor:
    total = th.zeros(())
    for part in parts:
        total = total + part
    return total
