"""From a recorded bag to what a residual learner stores: the road from the graph to its replay.

The counterpart of `pld.conversion` for reinforcement: decisions, with the features that the
residual saw, instead of frames with images. The actions are the chosen ones; the safety filter is a
part of the environment (see pld.flywheel.rolling.ChosenActionEnv).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.base_policy.builtin import BuiltinPolicy
from pld.contract import CAMERAS
from pld.conversion import PolicyStep, policy_steps, step_images
from pld.errors import ContractError
from pld.probing.arbitrator import NEVER
from pld.probing.episode import ROBOT_FAULT
from pld.recording.labels import outcome
from pld.recording.reader import read_episode
from pld.residual.episode import Episode, discounted_returns
from pld.residual.protocol import Vector
from pld.rollout_env import SENSOR_DIM, sensor_features
from pld.types import ACTION_DIM, CameraImage, Observation


@dataclass(frozen=True)
class LearnerView:
    """How the learner sees an episode: through `base`'s features, every `decision_steps` steps."""

    base: BuiltinPolicy
    decision_steps: int
    gamma: float


def experience(folder: Path, view: LearnerView) -> Episode:
    """The learnable part of the episode in `folder`: its decisions from the takeover on.

    An episode without a specialist is learned from whole, as the base's. It ends with its last
    decision that has a successor; a success, and a fault of the arm, with the decision that led to
    it. Raises ContractError for an episode in which no policy acted or another base did.
    """
    recorded = read_episode(folder)
    last = recorded.last_update
    steps, _ = policy_steps(recorded, last.first_step)
    if not steps:
        raise ContractError(f"{folder.name} has no step at which a policy acted")
    if steps[0].base.policy_id != view.base.policy_id:
        raise ContractError(
            f"{folder.name} is of base {steps[0].base.policy_id}; the learner's is "
            f"{view.base.policy_id}"
        )
    takeover = 0 if last.takeover_step == NEVER else last.takeover_step
    learned = [s for s in steps if s.arm.step >= last.first_step + takeover]
    images = step_images(recorded, [s.base for s in learned])
    rows = _decisions(learned, view.decision_steps)
    seen = [_seen(learned[i], images[i], last.instruction, view) for i in rows]
    success = outcome(folder) == "success"
    if not np.isfinite(seen).all():
        raise ContractError(f"{folder.name} holds numbers that are not finite; discard it")
    return _episode(
        seen,
        [learned[i].choice.action for i in rows],
        view,
        success=success,
        fault=last.termination_reason == ROBOT_FAULT,
        steps=-(-len(steps) // view.decision_steps),
        takeover=takeover // view.decision_steps,
        seed=last.seed,
        with_specialist=last.takeover_step != NEVER,
    )


def _decisions(steps: list[PolicyStep], decision_steps: int) -> list[int]:
    """Rows of `steps` at which the specialist decided, as pld.residual.held counts them."""
    rows: list[int] = []
    for row, step in enumerate(steps):
        if not rows or step.arm.step - steps[rows[-1]].arm.step >= decision_steps:
            rows.append(row)
    return rows


def _seen(step: PolicyStep, images: np.ndarray, instruction: str, view: LearnerView) -> Vector:
    """The learner's observation (F + A,) at one step."""
    small = {
        camera: CameraImage(t_ns, -1, image)
        for camera, t_ns, image in zip(CAMERAS, step.base.image_ns, images, strict=True)
    }
    observation = Observation(step.arm, small, instruction)
    features = sensor_features(view.base.encode)(observation, step.base)
    return np.concatenate([features, step.base.action]).astype(np.float32)


def _episode(
    seen: list[Vector],
    actions: list[np.ndarray],
    view: LearnerView,
    *,
    success: bool,
    fault: bool,
    steps: int,
    takeover: int,
    seed: int,
    with_specialist: bool,
) -> Episode:
    """Transitions of consecutive decisions; the last one of a truncated episode is not known."""
    ended = success or fault
    count = max(len(seen) if ended else len(seen) - 1, 0)
    following = [*seen[1:], *seen[-1:]][:count]
    rewards, terminated = np.zeros(count, np.float32), np.zeros(count, np.float32)
    rewards[-1:], terminated[-1:] = float(success), float(ended)
    shape = (count, view.base.feature_dim + SENSOR_DIM + ACTION_DIM)
    return Episode(
        observations=np.array(seen[: shape[0]], np.float32).reshape(shape),
        actions=np.array(actions[: shape[0]], np.float32).reshape(shape[0], ACTION_DIM),
        rewards=rewards,
        next_observations=np.array(following, np.float32).reshape(shape),
        terminated=terminated,
        returns=discounted_returns(rewards, view.gamma),
        success=success,
        steps=steps,
        takeover_step=takeover,
        seed=seed,
        with_specialist=with_specialist,
    )
