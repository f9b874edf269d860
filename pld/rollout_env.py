"""THE loop seen from the residual learner: its turns as an environment (pld.residual.protocol)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pld.contract import PROPRIO_DIM, WRENCH_DIM, proprio
from pld.errors import RobotError
from pld.geometry import rotation_6d
from pld.residual.protocol import ResidualObservation, StepOutcome
from pld.rollout import ControlLoop
from pld.types import ACTION_DIM, Array, BaseAction, Observation, SceneTruth

Features = Callable[[Observation, BaseAction], Array]
SENSOR_DIM = PROPRIO_DIM + WRENCH_DIM + 1
PRIVILEGED_DIM = SENSOR_DIM + 2 * 9 + 3 * 3
NEAR_M = 0.01
FELT_FORCE_N = 20.0
FELT_TORQUE_NM = 4.0


class RolloutEnv:
    """A control loop as a learner's environment.

    `features` maps what is seen to a vector (F,) of `feature_dim` entries. The combined action
    goes through the arbitrator as base + residual and through the safety filter; what the filter
    let through is what is learned from. A fault of the arm is a failure to learn from; a simulation
    that fails ends the episode and is not.
    """

    action_dim = ACTION_DIM

    def __init__(
        self,
        loop: ControlLoop,
        features: Features,
        *,
        task: str,
        feature_dim: int,
        max_steps: int,
    ) -> None:
        self.loop, self.features = loop, features
        self.task, self.feature_dim, self.max_steps = task, feature_dim, max_steps

    def reset(self, seed: int) -> ResidualObservation:
        """Start the episode of `seed`."""
        return self._seen(*self.loop.begin(seed))

    def step(self, action: Array) -> StepOutcome:
        """Carry out one turn of the loop with the residual that makes `action` of the base."""
        residual = action - self._base.action
        try:
            step, observation, base = self.loop.turn(self._observation, self._base, residual)
        except RobotError:
            broken = np.zeros(ACTION_DIM)
            return StepOutcome(self._last, broken, 0.0, False, True, False, valid=False)
        late = self.loop.episode_step >= self.max_steps
        return StepOutcome(
            self._seen(observation, base),
            step.command.executed_action,
            float(step.success),
            terminated=step.success or step.fault,
            truncated=late and not step.success and not step.fault,
            success=step.success,
        )

    def _seen(self, observation: Observation, base: BaseAction) -> ResidualObservation:
        self._observation, self._base = observation, base
        self._last = ResidualObservation(self.features(observation, base), base.action)
        return self._last


def felt(wrench: Array) -> Array:
    """A wrench (6,) in O, N and Nm, as learners see it: each entry in (-1, 1).

    A contact is felt finely and a blow no more than fully. In newtons, a few hard contacts would
    decide where all that a critic sees of the wrench lies (docs/flywheel_history.md).
    """
    scaled = np.concatenate([wrench[:3] / FELT_FORCE_N, wrench[3:] / FELT_TORQUE_NM])
    seen: Array = np.tanh(scaled)
    return seen


def sensor_features(
    encode: Callable[[Observation], Array] | None = None,
) -> Callable[[Observation, BaseAction], Array]:
    """What the robot itself can see (F,): encoder features, proprioception, `felt` wrench.

    The gripper's last command is the last entry. Without `encode` there are SENSOR_DIM entries.
    """

    def features(observation: Observation, base: BaseAction) -> Array:
        del base
        arm = observation.arm
        parts = [proprio(arm), felt(arm.O_F_ext_hat_K), np.array([arm.gripper_open])]
        if encode is not None:
            parts.insert(0, encode(observation))
        return np.concatenate(parts)

    return features


def privileged_features(
    truth: Callable[[], SceneTruth],
) -> Callable[[Observation, BaseAction], Array]:
    """An ablation: proprioception, wrench and the scene's truth relative to the end effector.

    Position (3,) in axes of O and rotation (6,) of object and goal, then, magnified so that a
    millimetre is a tenth, object and goal from the end effector and goal from object (3, 3);
    PRIVILEGED_DIM entries.
    """
    plain = sensor_features()

    def features(observation: Observation, base: BaseAction) -> Array:
        scene, here = truth(), observation.arm.O_T_EE.p_m
        poses = (scene.O_T_object, scene.O_T_goal)
        seen = [np.concatenate([pose.p_m - here, rotation_6d(pose)]) for pose in poses]
        apart = scene.O_T_goal.p_m - scene.O_T_object.p_m
        near = [np.tanh(v / NEAR_M) for v in (seen[0][:3], seen[1][:3], apart)]
        return np.concatenate([plain(observation, base), *seen, *near])

    return features
