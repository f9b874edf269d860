"""From a recorded bag to what a residual learner stores: the road from the graph to its replay.

The counterpart of `pld.conversion` for reinforcement learning: a transition per decision, with the
features that the residual saw, instead of frames with images. The actions are the chosen ones; the
safety filter is a part of the environment (see pld.flywheel.rolling.ChosenActionEnv).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pld.base_policy.builtin import BuiltinPolicy
from pld.contract import CAMERAS
from pld.conversion import PolicyStep, choices_acted_on, policy_steps, step_images
from pld.errors import ContractError
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.probing.arbitrator import NEVER
from pld.probing.halts import ROBOT_FAULT
from pld.recording.labels import outcome
from pld.recording.reader import Episode as Recorded
from pld.recording.reader import read_episode
from pld.residual.episode import Episode, discounted_returns
from pld.residual.protocol import Vector
from pld.rollout_env import SENSOR_DIM, sensor_features
from pld.types import ACTION_DIM, ActionSource, CameraImage, Observation


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
    it. Where a person took over, what follows is not a policy's: the episode is cut there, with
    neither success nor end. Raises ContractError for an episode in which no policy acted, another
    base did, a person helped the base, whose outcome nobody knows, whose end is missing, or of a
    start of evaluations.
    """
    recorded = read_episode(folder)
    last, counted = recorded.last_update, outcome(folder)
    if recorded.ended_ns is None:
        raise ContractError(f"{folder.name} was recovered without its end, which is learned from")
    with_specialist = last.takeover_step != NEVER
    own, helped = _policys_own(recorded, last.first_step)
    _check(folder, own, counted, view, helped=helped and not with_specialist)
    if last.seed in EVALUATION_BLOCK:
        raise ContractError(f"{folder.name} begins at a start of evaluations (seed {last.seed})")
    takeover = last.takeover_step if with_specialist else 0
    learned = [s for s in own if s.arm.step >= last.first_step + takeover]
    images = step_images(recorded, [s.base for s in learned])
    asked = [r.value.step for r in recorded.residual_actions]
    decided = _decided(asked if with_specialist else [s.arm.step for s in own], view.decision_steps)
    rows = [row for row, step in enumerate(learned) if step.arm.step in decided]
    seen = [_seen(learned[i], images[i], last.instruction, view) for i in rows]
    if not np.isfinite(seen).all():
        raise ContractError(f"{folder.name} holds numbers that are not finite; discard it")
    return _episode(
        seen,
        [learned[i].choice.action for i in rows],
        view,
        success=counted == "success" and not helped,
        fault=last.termination_reason == ROBOT_FAULT and not helped,
        steps=-(-len(own) // view.decision_steps),
        takeover=takeover // view.decision_steps,
        seed=last.seed,
        with_specialist=with_specialist,
        helped=helped,
    )


def _policys_own(recorded: Recorded, first_step: int) -> tuple[list[PolicyStep], bool]:
    """The policy's steps until a person took over, and whether one did.

    A person's steps count whole or not: the base may have been silent at them.
    """
    acted = choices_acted_on(recorded, first_step)
    by_hand = [step for step, choice in acted.items() if choice.source is ActionSource.HUMAN]
    steps, _ = policy_steps(recorded, first_step)
    return [s for s in steps if not by_hand or s.arm.step < min(by_hand)], bool(by_hand)


def _check(
    folder: Path, own: list[PolicyStep], counted: str, view: LearnerView, *, helped: bool
) -> None:
    """Raise ContractError unless a learner over `view` can learn from the base's `own` steps."""
    if counted == "unlabelled":
        raise ContractError(f"{folder.name} is unlabelled: what became of it nobody knows")
    if helped:
        raise ContractError(f"{folder.name} is of the base, and a person acted in it")
    if not own:
        raise ContractError(f"{folder.name} has no step at which a policy acted")
    if (policy_id := own[0].base.policy_id) != view.base.policy_id:
        raise ContractError(
            f"{folder.name} is of base {policy_id}; the learner's is {view.base.policy_id}"
        )


def _decided(asked: list[int], decision_steps: int) -> set[int]:
    """Those of the steps `asked` at which the specialist decided, as pld.residual.held counts."""
    decided: list[int] = []
    for step in asked:
        if not decided or not 0 <= step - decided[-1] < decision_steps:
            decided.append(step)
    return set(decided)


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
    helped: bool,
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
        helped=helped,
    )
