"""THE loop: its order, its identity, and the loop as a learner's environment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pld.base_policy.chunking import ChunkPlayer
from pld.contract import PROPRIO_DIM, ActionSpec
from pld.errors import RobotError
from pld.probing.arbitrator import Offers, choose
from pld.residual.episode import collect_episode
from pld.rollout import ControlLoop, ControlStep
from pld.rollout_env import (
    PRIVILEGED_DIM,
    SENSOR_DIM,
    RolloutEnv,
    privileged_features,
    sensor_features,
)
from pld.types import (
    ActionSource,
    ArmState,
    Array,
    BaseAction,
    Choice,
    Command,
    ControlMode,
    Observation,
    Pose,
    SceneTruth,
)

SPEC = ActionSpec()
LIMIT = 0.4
HOME = Pose(np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))


class FakeArm:
    """Goes exactly where it is told; breaks at step `breaks_at`, collides at step `hits_at`."""

    def __init__(self, log: list[str], breaks_at: int, hits_at: int) -> None:
        self.log, self.breaks_at, self.hits_at = log, breaks_at, hits_at

    def reset(self, seed: int) -> ArmState:
        self.log.append(f"reset {seed}")
        zeros = np.zeros(6)
        self.arm = ArmState(0, 100, np.zeros(7), np.zeros(7), HOME, zeros, HOME, zeros, 0.08, 1.0)
        return self.arm

    def wait_step(self) -> ArmState:
        self.log.append("wait")
        if self.arm.step + 1 >= self.breaks_at:
            raise RobotError("the object flies")
        target = self.command.target
        self.arm = replace(self.arm, step=self.arm.step + 1, O_T_EE=target, reference=target)
        if self.arm.step >= self.hits_at:
            self.arm = replace(self.arm, control_mode=ControlMode.FAULT)
        return self.arm

    def apply(self, command: Command) -> None:
        self.log.append("act")
        self.command = command


class Forward:
    """Always forward, chunks of three."""

    policy_id = "forward"

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def reset(self, seed: int) -> None:
        self.log.append(f"base reset {seed}")

    def infer(self, observation: Observation) -> Array:
        self.log.append("infer")
        return np.tile([0.3, 0, 0, 0, 0, 0, 1.0], (3, 1))


def make(
    log: list[str] | None = None,
    takeover: int = 2,
    breaks_at: int = 10**9,
    hits_at: int = 10**9,
) -> tuple[ControlLoop, list[ControlStep]]:
    log = [] if log is None else log
    arm, steps = FakeArm(log, breaks_at, hits_at), []

    def note(name: str, value: object) -> object:
        log.append(name)
        return value

    def limited(choice: Choice, state: ArmState) -> Command:
        log.append("filter")
        executed = np.clip(choice.action, -LIMIT, LIMIT)
        return Command(state.step, SPEC.advance(state.reference, executed), 1.0, executed)

    def arbitrate(k: int, base: BaseAction, residual: Array | None) -> Choice:
        log.append("arbitrate")
        return choose(base.step, k, takeover, Offers(base.action, residual))

    def record(step: ControlStep) -> None:
        log.append("record")
        steps.append(step)

    loop = ControlLoop(
        arm,
        ChunkPlayer(Forward(log), 3),
        lambda state: note("observe", Observation(state, {}, "go")),  # type: ignore[arg-type,return-value]
        arbitrate,
        limited,
        lambda: bool(arm.arm.O_T_EE.p_m[0] > 0.55),
        record,
    )
    return loop, steps


def sideways(observation: Observation, base: BaseAction) -> Array:
    return np.array([0.5, 0.2, 0, 0, 0, 0, 0])


def test_a_turn_observes_infers_arbitrates_filters_acts_and_records_in_this_order() -> None:
    log: list[str] = []
    loop, _ = make(log)
    loop.run(7, sideways, 1)
    begun = ["base reset 7", "reset 7", "observe", "infer"]
    assert log == [*begun, "arbitrate", "filter", "act", "wait", "observe", "record"]


def test_what_is_executed_is_the_filtered_choice_of_base_and_residual_at_every_step() -> None:
    loop, steps = make()
    loop.run(7, sideways, 6)
    for k, step in enumerate(steps):
        specialist = k >= 2
        asked = step.base.action + (sideways(step.observation, step.base) if specialist else 0.0)
        expected = np.clip(np.clip(asked, -1, 1), -LIMIT, LIMIT)
        assert np.array_equal(step.command.executed_action, expected)
        assert step.choice.source is (ActionSource.SPECIALIST if specialist else ActionSource.BASE)
        assert step.episode_step == k
        assert step.observation.arm.step == step.base.step == step.choice.step


def test_an_episode_ends_at_success_or_at_the_horizon() -> None:
    loop, steps = make()
    assert not loop.run(7, sideways, 5)
    assert [s.success for s in steps] == [False] * 5
    loop, steps = make()
    assert loop.run(7, sideways, 50)
    assert [s.success for s in steps] == [False] * (len(steps) - 1) + [True]
    assert len(steps) < 50


def test_a_robot_that_fails_stops_the_run() -> None:
    loop, steps = make(breaks_at=104)
    with pytest.raises(RobotError, match="the object flies"):
        loop.run(7, sideways, 50)
    assert len(steps) == 3


def env_of(loop: ControlLoop, max_steps: int = 50) -> RolloutEnv:
    return RolloutEnv(
        loop, sensor_features(), task="forward", feature_dim=SENSOR_DIM, max_steps=max_steps
    )


def test_the_learner_sees_the_executed_action_not_the_asked_one() -> None:
    loop, _ = make(takeover=0)
    episode = collect_episode(env_of(loop), 7, lambda seen: np.full(7, 0.9), 0, 0.9)
    assert episode.success
    assert np.allclose(episode.actions, LIMIT)
    assert episode.observations.shape[1] == SENSOR_DIM + 7


def test_the_learner_asks_for_combined_actions() -> None:
    loop, steps = make(takeover=0)
    env = env_of(loop)
    env.reset(7)
    env.step(np.array([0.1, -0.2, 0, 0, 0, 0, -1.0]))
    assert np.allclose(steps[0].choice.action, [0.1, -0.2, 0, 0, 0, 0, -1.0])
    assert np.allclose(steps[0].choice.residual_action, [-0.2, -0.2, 0, 0, 0, 0, -2.0])


def test_a_broken_simulation_is_a_truncated_episode_without_the_broken_step() -> None:
    loop, _ = make(takeover=0, breaks_at=104)
    episode = collect_episode(env_of(loop), 7, lambda seen: np.zeros(7), 0, 0.9)
    assert episode.diverged
    assert len(episode) == 3
    assert episode.terminated.sum() == 0


def test_a_fault_of_the_arm_ends_the_episode_as_a_failure_even_at_the_goal() -> None:
    loop, steps = make(hits_at=103)
    assert not loop.run(7, sideways, 50)
    assert [s.fault for s in steps] == [False, False, True]
    loop, steps = make(hits_at=100)
    loop.succeeded = lambda: True
    assert not loop.run(7, sideways, 50)
    assert [(s.success, s.fault) for s in steps] == [(False, True)]


def test_the_learner_learns_from_a_fault_as_from_an_end_without_reward() -> None:
    loop, _ = make(takeover=0, hits_at=103)
    episode = collect_episode(env_of(loop), 7, lambda seen: np.zeros(7), 0, 0.9)
    assert not episode.diverged
    assert not episode.success
    assert episode.terminated.tolist() == [0, 0, 1]
    assert episode.rewards.tolist() == [0, 0, 0]


def test_success_terminates_and_the_step_limit_truncates() -> None:
    loop, _ = make(takeover=0)
    env = env_of(loop, max_steps=3)
    env.reset(7)
    outcomes = [env.step(np.zeros(7)) for _ in range(3)]
    assert [(o.terminated, o.truncated) for o in outcomes] == [(False, False)] * 2 + [(False, True)]


def test_features_have_the_promised_size_and_end_in_the_encoder_first() -> None:
    loop, _ = make()
    observation, base = loop.begin(7)
    encoded = sensor_features(lambda seen: np.array([5.0, 6.0]))(observation, base)
    assert encoded[:2].tolist() == [5.0, 6.0]
    assert encoded.size == SENSOR_DIM + 2
    pressed = replace(observation.arm, O_F_ext_hat_K=np.array([0.2, -20.0, 0, 0, 0.04, 1e6]))
    seen = sensor_features()(replace(observation, arm=pressed), base)
    assert seen[PROPRIO_DIM:-1] == pytest.approx([0.01, -np.tanh(1), 0, 0, 0.01, 1], rel=1e-3)
    moved = Pose(HOME.p_m + 0.1, HOME.q_xyzw)
    privileged = privileged_features(lambda: SceneTruth(moved, HOME))(observation, base)
    assert privileged.size == PRIVILEGED_DIM
    assert privileged[SENSOR_DIM : SENSOR_DIM + 3] == pytest.approx([0.1] * 3)
