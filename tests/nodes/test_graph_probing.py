"""Probing through the graph: base first, specialist after the takeover, bag to training data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from domain_coordinator import domain_id

from pld import conversion, parity
from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_checkpoint import save_checkpoint
from pld.contract import ActionSpec
from pld.errors import ContractError
from pld.experience import LearnerView, experience
from pld.probing.horizon import latest_takeover, takeover_of_seed
from pld.recording.labels import Label, append_label
from pld.recording.reader import Episode, read_episode
from pld.residual.actor import ActorCard, ResidualActor
from pld.residual.held import HeldResidual
from pld.rollout_env import SENSOR_DIM, sensor_features
from pld.run_folder import episode_folders
from pld.safety.limits import load_limits
from pld.tasks import task_facts
from pld.types import ActionSource, BaseAction, CameraImage, Observation
from tests.nodes.whole_run import run_whole
from tests.pld.vla_fixtures import dataset, network

ROOT = Path(__file__).resolve().parents[2]
LIMITS = load_limits(ROOT / "launch" / "config" / "limits_fr3.yaml")
TASK, SEED, HORIZON, ALPHA, RATE_HZ = "cube_pickup", 4, 20, 0.6, 10.0
TAKEOVER = takeover_of_seed(SEED, latest_takeover(ALPHA, HORIZON))
SCALE = [0.5, 0.5, 0.5, 0.02, 0.02, 0.2, 1.25]
DECISION_STEPS = 3


def random_base(path: Path, seed: int = 0) -> BuiltinPolicy:
    """Weights that were never trained, for the right task and rate."""
    untrained = network(dataset(), seed)
    save_checkpoint(path, untrained, (TASK,), (task_facts(TASK).instruction,), RATE_HZ)
    return BuiltinPolicy.load(path, TASK)


def random_specialist(path: Path, base: BuiltinPolicy) -> ResidualActor:
    """A residual with random weights over `base`."""
    features = base.feature_dim + SENSOR_DIM
    card = ActorCard(
        TASK,
        features,
        7,
        (16,),
        base_policy_id=base.policy_id,
        decision_steps=DECISION_STEPS,
        horizon_steps=HORIZON,
    )
    draw = torch.Generator().manual_seed(1)
    shapes = {"0.weight": (16, features + 7), "0.bias": (16,), "2.weight": (7, 16), "2.bias": (7,)}
    tensors = {k: 0.3 * torch.randn(*shape, generator=draw) for k, shape in shapes.items()}
    width = features + 7
    tensors |= {"mean": torch.zeros(width), "gain": torch.ones(width)}
    actor = ResidualActor(card, tensors | {"residual_scale": torch.tensor(SCALE)})
    actor.save(path)
    return actor


@dataclass
class Run:
    """A finished probing run and the policies that acted in it."""

    code: int
    output: str
    folder: Path
    base: BuiltinPolicy
    actor: ResidualActor


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="pld-test-") as name, domain_id() as domain:
        folder = Path(name)
        base = random_base(folder / "base.safetensors")
        actor = random_specialist(folder / "actor.safetensors", base)
        arguments = {
            "run": "r",
            "task": TASK,
            "mode": "probe",
            "policy": folder / "base.safetensors",
            "specialist": folder / "actor.safetensors",
            "alpha": ALPHA,
            "rate_hz": RATE_HZ,
            "horizon_s": 2.5,
            "episodes": 1,
            "seed": SEED,
            "robot_ip": "127.0.0.72",
        }
        done = run_whole(folder, int(domain), *(f"{k}:={v}" for k, v in arguments.items()))
        yield Run(done.returncode, done.stdout, folder / "r", base, actor)


@pytest.fixture(scope="module")
def episode(run: Run) -> Episode:
    assert run.code == 0, run.output
    return read_episode(episode_folders(run.folder)[0])


def acted(episode: Episode) -> dict[int, ActionSource]:
    """Who acted at each step of the running episode, counted from its first."""
    first = episode.updates[-1].value.first_step
    choices = [c.value for c in episode.choices if c.value.source is not ActionSource.HOLD]
    return {c.step - first: c.source for c in choices}


def test_the_specialist_takes_over_at_the_step_that_the_seed_draws(episode: Episode) -> None:
    assert 2 < TAKEOVER < 13
    assert episode.updates[-1].value.takeover_step == TAKEOVER
    assert episode.verdict.mode == "probe"
    sources = acted(episode)
    assert len(sources) > 15
    for step, source in sources.items():
        wanted = ActionSource.BASE if step < TAKEOVER else ActionSource.SPECIALIST
        assert source is wanted, step


def test_live_decisions_follow_from_what_the_bag_holds(episode: Episode) -> None:
    assert parity.check(episode, LIMITS, ActionSpec(rate_hz=RATE_HZ)).holds


def seen(episode: Episode, answer: BaseAction) -> Observation:
    """What the policies saw when they answered, made from the bag alone."""
    arms = {a.value.step: a.value for a in episode.arm_states}
    images: dict[str, CameraImage] = {}
    for (camera, stream), t_ns in zip(episode.images.items(), answer.image_ns, strict=True):
        images[camera] = stream.load(int(np.flatnonzero(stream.t_ns == t_ns)[0]))
    return Observation(arms[answer.step], images, task_facts(TASK).instruction)


def test_base_and_residual_are_reproduced_from_the_bag(run: Run, episode: Episode) -> None:
    features = sensor_features(run.base.encode)
    specialist = HeldResidual(run.actor)
    residuals = {r.value.step: r.value.action for r in episode.residual_actions}
    asked = [b.value for b in episode.base_actions if b.value.step in residuals]
    assert len(asked) > 8
    for answer in asked:
        observation = seen(episode, answer)
        np.testing.assert_allclose(run.base.infer(observation), answer.chunk, atol=1e-6)
        made = specialist.residual(
            answer.step, lambda o=observation, a=answer: features(o, a), answer.action
        )
        np.testing.assert_allclose(made, residuals[answer.step], atol=1e-6)


def test_a_bag_becomes_training_data_with_executed_labels(
    run: Run, episode: Episode, tmp_path: Path
) -> None:
    append_label(episode.folder, Label("success", "test", 0))
    rows = conversion.convert_folder(episode.folder, tmp_path, None)
    assert [row.result for row in rows] == ["converted"]
    made = conversion.convert(episode.folder, LIMITS, ActionSpec(rate_hz=RATE_HZ))
    commands = {c.value.step: c.value for c in episode.commands if not c.value.hold}
    first = episode.updates[-1].value.first_step
    steps = [first + step for step in sorted(acted(episode)) if first + step in commands]
    assert len(made.episode) == len(steps)
    np.testing.assert_array_equal(
        made.episode.executed,
        np.array([commands[s].executed_action for s in steps], np.float32).clip(-1, 1),
    )
    assert made.episode.takeover_step == sum(s - first < TAKEOVER for s in steps)
    assert made.episode.specialist_steps == sum(s - first >= TAKEOVER for s in steps)
    live = seen(episode, next(b.value for b in episode.base_actions if b.value.step == steps[3]))
    np.testing.assert_array_equal(made.episode.images[3], run.base.images(live))


def test_another_rate_than_the_runs_is_refused(episode: Episode) -> None:
    with pytest.raises(ContractError, match="do not follow from"):
        conversion.convert(episode.folder, LIMITS, ActionSpec(rate_hz=20.0))


def test_a_bag_becomes_the_decisions_that_the_specialist_made(run: Run, episode: Episode) -> None:
    made = experience(episode.folder, LearnerView(run.base, DECISION_STEPS, 0.9))
    first = episode.updates[-1].value.first_step
    steps = [first + s for s in sorted(acted(episode)) if s >= TAKEOVER]
    decided = [s for s in steps if (s - steps[0]) % DECISION_STEPS == 0]
    bases = {b.value.step: b.value.action for b in episode.base_actions}
    choices = {c.value.step: c.value.action for c in episode.choices}
    assert (made.with_specialist, made.seed) == (True, SEED)
    assert len(made) in (len(decided), len(decided) - 1)
    wanted = decided[: len(made)]
    np.testing.assert_allclose(made.observations[:, -7:], [bases[s] for s in wanted], atol=1e-6)
    np.testing.assert_allclose(made.actions, [choices[s] for s in wanted], atol=1e-6)
    np.testing.assert_array_equal(made.observations[1:], made.next_observations[:-1])
    assert made.rewards.sum() == float(made.success)


def test_a_fault_of_the_arm_is_learned_as_an_end_without_reward(
    run: Run, episode: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    *before, last = episode.updates
    status = replace(last.value, termination_reason="robot_fault")
    faulty = replace(episode, updates=(*before, replace(last, value=status)))
    monkeypatch.setattr("pld.experience.read_episode", lambda folder: faulty)
    monkeypatch.setattr("pld.experience.outcome", lambda folder: "failure")
    made = experience(episode.folder, LearnerView(run.base, DECISION_STEPS, 0.9))
    assert (made.success, made.rewards.sum()) == (False, 0.0)
    assert made.terminated.tolist() == [0.0] * (len(made) - 1) + [1.0]
