"""The course of training: phases, controls, configuration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pld.errors import ConfigError
from pld.probing.horizon import sample_takeover_step
from pld.residual.config import CONTROLS, ResidualConfig, control
from pld.residual.episode import base_policy_of, collect_episode
from pld.residual.export import exported_actor
from pld.residual.sac import ResidualSac
from pld.residual.trainer import EmptyOfflineBufferError, Phase, SpecialistTrainer
from tests.pld.toy_task import ToyTask, toy_config

FRESH = range(9_000_000, 9_000_060)


class HopelessTask(ToyTask):
    """The base never reaches the target."""

    def reset(self, seed: int):
        super().reset(seed)
        self.error = -2.0 * (self.target - self.at)
        self.proposed = []
        return self._seen()


def successes(policy) -> int:
    return sum(collect_episode(ToyTask(), s, policy, 0, 1.0).success for s in FRESH)


def test_the_specialist_beats_its_base_on_fresh_starts() -> None:
    config = toy_config(
        online_steps=900,
        updates_per_step=2.0,
        batch_size=64,
        actor_every=1,
        average_rate=0.005,
        base_episodes=30,
        entropy_init=0.02,
        log_std_max=1.0,
    )
    trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
    trainer.run()
    base = successes(base_policy_of(2))
    specialist = successes(exported_actor(trainer).combined)
    assert 15 <= base <= 48
    assert specialist >= base + 5


def test_a_base_that_never_succeeds_is_reported_with_what_to_do() -> None:
    config = toy_config(base_episodes=3, base_episodes_max=5)
    trainer = SpecialistTrainer(HopelessTask(), config, sample_takeover_step)
    with pytest.raises(EmptyOfflineBufferError, match=r"succeeded in 0 of 5 .*no-base-data"):
        trainer.run()


def test_the_phases_follow_each_other() -> None:
    trainer = SpecialistTrainer(ToyTask(), toy_config(), sample_takeover_step)
    seen: list[Phase] = []
    trainer.run(lambda t: seen.append(t.progress.phase))
    order = [Phase.WARM_UP, Phase.PRETRAINING, Phase.ONLINE, Phase.FINISHED]
    assert sorted(set(seen), key=order.index) == order
    assert [order.index(p) for p in seen] == sorted(order.index(p) for p in seen)


def test_the_base_alone_acts_during_warm_up() -> None:
    trainer = SpecialistTrainer(ToyTask(), toy_config(), sample_takeover_step)
    for _ in range(5):
        trainer.advance()
        assert trainer.last_episode is not None
        episode = trainer.last_episode
        assert np.allclose(episode.actions, episode.observations[:, -2:])


def test_updates_follow_the_ratio_of_updates_to_steps() -> None:
    config = toy_config(updates_per_step=1.5)
    trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
    now = trainer.run()
    assert trainer.learner._n_updates == int(1.5 * now.learned_steps)


def test_the_averaged_actor_follows_the_actor_slowly() -> None:
    learner = ResidualSac(5, 2, toy_config(average_rate=0.1))
    before = [p.clone() for p in learner.average.parameters()]
    learner.update_actor(torch.rand((32, 7)))
    pairs = zip(before, learner.actor.parameters(), learner.average.parameters(), strict=True)
    for old, actor, average in pairs:
        assert torch.allclose(average, old + 0.1 * (actor - old), atol=1e-7)


def test_updating_the_actor_leaves_the_critics_alone() -> None:
    learner = ResidualSac(5, 2, toy_config())
    before = [p.clone() for p in learner.critic.parameters()]
    learner.update_actor(torch.rand((32, 7)))
    for old, parameter in zip(before, learner.critic.parameters(), strict=True):
        assert torch.equal(old, parameter)
        assert parameter.requires_grad


def test_the_bound_of_the_residual_rises() -> None:
    config = ResidualConfig(scale_start=0.2, scale_ramp_steps=100)
    fractions = [config.scale_fraction(s) for s in (0, 50, 100, 500)]
    assert fractions == pytest.approx([0.2, 0.6, 1.0, 1.0])
    learner = ResidualSac(5, 7, config)
    learner.set_learned_steps(50)
    wanted = [0.18, 0.18, 0.18, 0.012, 0.012, 0.09, 0.75]
    assert learner.actor.residual_scale.tolist() == pytest.approx(wanted)
    assert learner.average.residual_scale.tolist() == pytest.approx(wanted)


def test_features_are_standardised_and_the_base_action_is_not() -> None:
    learner = ResidualSac(5, 2, toy_config())
    episode = collect_episode(ToyTask(), 1, base_policy_of(2), 0, 0.9)
    learner.replay_buffer.add_episode(episode)
    learner.fit_normaliser()
    seen = torch.from_numpy(episode.observations)
    normal = learner.normaliser(seen)
    assert float(normal[:, 4].mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(normal[:, 4].std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    assert torch.equal(normal[:, -2:], seen[:, -2:])


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_trains(name: str) -> None:
    config = control(name, toy_config(online_steps=40))
    trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
    now = trainer.run()
    assert now.phase is Phase.FINISHED
    assert trainer.learner._n_updates > 0
    assert (now.base_episodes == 0) == (name == "no-base-data")
    assert (now.pretrain_updates == 0) == (name in ("rlpd", "no-base-data", "no-calql"))
    assert (now.probing_steps == 0) == (name in ("rlpd", "no-probing-starts", "no-base-data"))


def test_rlpd_from_scratch_knows_nothing_of_the_base_action() -> None:
    learner = ResidualSac(5, 2, control("rlpd", toy_config()))
    episode = collect_episode(ToyTask(), 1, base_policy_of(2), 0, 0.9)
    learner.replay_buffer.add_episode(episode)
    learner.fit_normaliser()
    seen = torch.rand((8, 7))
    other = seen.clone()
    other[:, -2:] = 0.77
    with torch.no_grad():
        learner.actor.mu.weight.normal_()
    one, two = (learner.actor(learner.normaliser(x), deterministic=True) for x in (seen, other))
    assert torch.equal(one, two)


def test_an_unknown_control_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="unknown control 'plain'; valid: pld, rlpd"):
        control("plain", ResidualConfig())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gamma", 1.0),
        ("offline_fraction", 1.0),
        ("probing_alpha", 1.2),
        ("residual_scale", (0.5, -1.0)),
        ("scale_start", 0.0),
        ("n_critics", 0),
        ("actor_every", 0),
        ("updates_per_step", 0.0),
        ("batch_size", 1),
        ("learning_starts", 0),
    ],
)
def test_a_setting_that_cannot_work_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field} is .* it must be"):
        ResidualConfig(**{field: value})  # type: ignore[arg-type]


def test_a_bound_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="residual_scale has 7 entries and the action has 2"):
        ResidualSac(5, 2, ResidualConfig())


def test_a_configuration_survives_being_written_down() -> None:
    config = ResidualConfig(gamma=0.95, target_clip=None)
    assert ResidualConfig.from_dict(config.as_dict()) == config
    with pytest.raises(ConfigError, match="unknown residual setting 'gama'; valid: seed"):
        ResidualConfig.from_dict({"gama": 0.9})


def test_other_users_of_random_numbers_do_not_change_a_run() -> None:
    config = toy_config(online_steps=60, actor_starts=0)

    def weights(learner: ResidualSac) -> torch.Tensor:
        return torch.cat([p.detach().ravel().clone() for p in learner.actor.parameters()])

    def run(*, noisy: bool) -> torch.Tensor:
        trainer = SpecialistTrainer(ToyTask(), config, sample_takeover_step)
        while not trainer.finished:
            if noisy:
                torch.rand(3)
                np.random.random()
            trainer.advance()
        return weights(trainer.learner)

    quiet = run(noisy=False)
    assert torch.equal(quiet, run(noisy=True))
    assert not torch.equal(quiet, weights(ResidualSac(5, 2, config)))
