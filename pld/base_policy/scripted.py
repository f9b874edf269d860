"""Scripted base policies: an expert that sees the scene's truth, and one that half knows it.

They stand where a VLA would, in the lockstep twin and in the graph alike. The truth comes in
through a callable (the lockstep twin's `truth`, or the twin's shared page), never from images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pld.base_policy.scripted_plans import CubePlan, Memory, PegPlan, Plan, yaw_of
from pld.contract import ActionSpec
from pld.errors import ConfigError
from pld.types import Array, Observation, Pose, SceneTruth

TruthSource = Callable[[], SceneTruth]
PLANS: dict[str, type[CubePlan] | type[PegPlan]] = {
    "cube_pickup": CubePlan,
    "peg_insertion": PegPlan,
}


def plan_for(task: str, spec: ActionSpec, *, retries: bool) -> Plan:
    """The plan of the task called `task`; a ConfigError lists the valid names."""
    if task not in PLANS:
        raise ConfigError.unknown("scripted task", task, PLANS)
    return PLANS[task](spec, retries=retries)


class ExpertPolicy:
    """Solves its task from the true scene; a BasePolicy with chunks (H, 7).

    It may be asked at any step, whoever moved the arm meanwhile: the steps that went by since the
    last chunk are taken as executed, and a gap longer than the chunk starts the plan anew.
    """

    def __init__(
        self, task: str, truth: TruthSource, spec: ActionSpec, chunk_horizon: int = 1
    ) -> None:
        self.policy_id = f"scripted-expert/{task}"
        self._plan = plan_for(task, spec, retries=True)
        self._truth = truth
        self._spec = spec
        self._horizon = chunk_horizon
        self._asked_at = 0
        self._memories: list[Memory] = []

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._memories = []

    def infer(self, observation: Observation) -> Array:
        """Chunk (H, 7) of normalised actions, first row for this step."""
        arm, scene = observation.arm, self._perceived()
        memory = self._recall(arm.step)
        if memory is None:
            memory = self._plan.first(arm, scene)
        memory = self._plan.revise(memory, arm, scene)
        reference, actions, self._memories = arm.reference, [], [memory]
        for _ in range(self._horizon):
            action, memory = self._plan.advance(memory, reference, arm, scene)
            reference = self._spec.advance(reference, action)
            actions.append(action)
            self._memories.append(memory)
        self._asked_at = arm.step
        return np.clip(np.array(actions), -1.0, 1.0)

    def _recall(self, step: int) -> Memory | None:
        """Where the last chunk had got to by `step`; None when it says nothing about it."""
        elapsed = step - self._asked_at
        return self._memories[elapsed] if 0 <= elapsed < len(self._memories) else None

    def _perceived(self) -> SceneTruth:
        return self._truth()


@dataclass(frozen=True)
class Misperception:
    """How wrongly a half-knowing policy sees the scene; all its errors are drawn once an episode.

    `noise_m` is the standard deviation of a position error that grows to `far_noise_m` at the
    working area's edge; `pull` is how much of the object's distance from the area's centre is
    missed there (0.1 = a tenth). Beyond `yaw_until` of the way to the edge the object's yaw is
    ignored. `tremor` is the standard deviation of a wandering error of the hand, in action units:
    as with a person's demonstrations, the data then hold states beside the ideal path and the way
    back from them. A policy trained without it is lost after a deviation of some millimetres.
    """

    reach_m: float
    noise_m: float
    far_noise_m: float
    pull: float
    yaw_until: float
    centre_m: tuple[float, float]
    tremor: float = 0.0


CUBE_MISPERCEPTION = Misperception(0.155, 0.015, 0.023, 0.13, 0.6, (0.44, 0.0))
PEG_MISPERCEPTION = Misperception(0.08, 0.004, 0.010, 0.05, 1.0, (0.48, 0.0))
TREMOR_MEMORY = 0.7
# A trembling hand leaves a narrow aim again; the open fingers forgive this much.
FORGIVING_M, FORGIVING_RAD = 0.012, 0.2
MISPERCEPTIONS = {"cube_pickup": CUBE_MISPERCEPTION, "peg_insertion": PEG_MISPERCEPTION}


class ImperfectPolicy(ExpertPolicy):
    """The expert's plan on a misperceived scene, by default without second tries."""

    def __init__(
        self,
        task: str,
        truth: TruthSource,
        spec: ActionSpec,
        chunk_horizon: int = 1,
        misperception: Misperception | None = None,
        *,
        retries: bool = False,
    ) -> None:
        super().__init__(task, truth, spec, chunk_horizon)
        self.policy_id = f"scripted-imperfect/{task}"
        self._plan = plan_for(task, spec, retries=retries)
        self._sees_goal_wrongly = task == "peg_insertion"
        self._wrong = misperception or MISPERCEPTIONS[task]
        if self._wrong.tremor and isinstance(self._plan, CubePlan):
            self._plan = replace(self._plan, aim_m=FORGIVING_M, aim_rad=FORGIVING_RAD)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the last episode and draw this one's error from `seed`."""
        super().reset(seed)
        self._rng = np.random.default_rng([seed, 0xBAD])
        self._error = self._rng.standard_normal(2)
        self._tremor = np.zeros(6)

    def infer(self, observation: Observation) -> Array:
        """Chunk (H, 7) of normalised actions, first row for this step; the hand trembles."""
        actions = super().infer(observation)
        if not self._wrong.tremor:
            return actions
        for action in actions:
            action[:6] += self._shaken()
        return np.clip(actions, -1.0, 1.0)

    def _shaken(self) -> Array:
        """The next value (6,) of a first-order process with `tremor` as standard deviation."""
        fresh = np.sqrt(1 - TREMOR_MEMORY**2) * self._wrong.tremor * self._rng.standard_normal(6)
        self._tremor = TREMOR_MEMORY * self._tremor + fresh
        return self._tremor

    def _perceived(self) -> SceneTruth:
        truth = self._truth()
        if self._sees_goal_wrongly:
            return replace(truth, O_T_goal=self._blurred(truth.O_T_goal))
        return replace(truth, O_T_object=self._blurred(truth.O_T_object))

    def _blurred(self, pose: Pose) -> Pose:
        wrong = self._wrong
        offset = pose.p_m[:2] - np.array(wrong.centre_m)
        edge = min(1.0, float(np.linalg.norm(offset)) / wrong.reach_m)
        sigma = wrong.noise_m + (wrong.far_noise_m - wrong.noise_m) * edge**2
        shift = self._error * sigma - wrong.pull * edge * offset
        quaternion = pose.q_xyzw
        if edge > wrong.yaw_until:
            unturn = Rotation.from_euler("z", -yaw_of(pose))
            quaternion = (unturn * Rotation.from_quat(quaternion)).as_quat(canonical=True)
        return Pose(pose.p_m + np.array([*shift, 0.0]), quaternion)
