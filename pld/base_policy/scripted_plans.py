"""How the scripted policies solve each task: small phase plans over the tracked reference pose.

A plan is a pure function from (memory, reference, scene) to (action, memory), so that a chunk is
planned by applying it repeatedly to the reference it will itself have moved. All poses in O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from pld.contract import ActionSpec
from pld.geometry import pose_delta
from pld.types import ArmState, Array, Pose, SceneTruth

OPEN, CLOSE = 1.0, -1.0
DOWN = Rotation.from_quat([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Memory:
    """Which phase the plan is in, and for how many steps."""

    phase: str
    steps: int = 0

    def stay(self) -> Memory:
        """One more step in this phase."""
        return replace(self, steps=self.steps + 1)


class Plan(Protocol):
    """A task's plan. `first` looks at the scene to choose the phase to begin in."""

    def first(self, arm: ArmState, scene: SceneTruth) -> Memory:
        """Phase for an arm that this plan has not been driving."""

    def revise(self, memory: Memory, arm: ArmState, scene: SceneTruth) -> Memory:
        """Correct the phase by what was measured, before planning from there."""

    def advance(
        self, memory: Memory, reference: Pose, arm: ArmState, scene: SceneTruth
    ) -> tuple[Array, Memory]:
        """The (7,) action from `reference`, and the memory for the step after it."""


SETTLE_S = 0.18
FINE_M, FINE_RAD = 0.001, 0.01
PRESS_M, EASE_M = 0.012, 0.003


def towards(spec: ActionSpec, start: Pose, end: Pose, gripper: float, speed: float = 1.0) -> Array:
    """The (7,) action from `start` towards `end`, straight, at most `speed` of the full speed.

    Near the end it slows down (time constant SETTLE_S), because the tracked arm overshoots a
    reference that stops dead: its impedance is less than critically damped.
    """
    action = spec.action_between(start, end, gripper)
    share = min(1.0, 1.0 / (SETTLE_S * spec.rate_hz))
    fine = (FINE_M / spec.translation_m, FINE_RAD / spec.rotation_rad)
    for part, least in zip((slice(0, 3), slice(3, 6)), fine, strict=True):
        length = float(np.linalg.norm(action[part]))
        wanted = min(length, speed, max(share * length, least))
        action[part] *= wanted / max(length, 1e-9)
    return action


def without_pressing(action: Array, reference: Pose, arm: ArmState) -> Array:
    """`action` that does not go further down once the reference is PRESS_M below the arm."""
    if action[2] < 0 and reference.p_m[2] < arm.O_T_EE.p_m[2] - PRESS_M:
        return np.where(np.arange(7) == 2, 0.0, action)
    return action


def gaps(start: Pose, end: Pose) -> tuple[float, float, float]:
    """Horizontal distance [m], height difference [m] and angle [rad] between two poses."""
    delta_m, delta_rad = pose_delta(start, end)
    return (
        float(np.linalg.norm(delta_m[:2])),
        abs(float(delta_m[2])),
        float(np.linalg.norm(delta_rad)),
    )


def yaw_of(pose: Pose) -> float:
    """Turn [rad] of a pose's x axis about base z."""
    x_axis = Rotation.from_quat(pose.q_xyzw).apply([1.0, 0.0, 0.0])
    return float(np.arctan2(x_axis[1], x_axis[0]))


def nearest_quarter(yaw_rad: float) -> float:
    """The same square's yaw within [-45, 45] degrees [rad]."""
    return float((yaw_rad + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def gripping(yaw_rad: float) -> Array:
    """Quaternion xyzw of an end effector that points down, turned by `yaw_rad` about base z."""
    return np.asarray((Rotation.from_euler("z", yaw_rad) * DOWN).as_quat(canonical=True))


@dataclass(frozen=True)
class CubePlan:
    """Above the cube, down, close, up; a cube that stayed behind is tried again.

    Heights are of EE above the table [m]. The cube is taken near its top: at the tray's walls the
    fingers reach over them. An upward push of `touch_n` [N] on the way down ends the descent where
    it is. The hand closes within `aim_m` and `aim_rad` of the grasp.
    """

    spec: ActionSpec
    hover_m: float = 0.10
    grasp_m: float = 0.034
    lift_m: float = 0.16
    held_m: float = 0.043
    aim_m: float = 0.006
    aim_rad: float = 0.08
    close_s: float = 0.6
    retry_after_s: float = 0.7
    touch_n: float = 8.0
    retries: bool = True

    def first(self, arm: ArmState, scene: SceneTruth) -> Memory:
        """Lift when the cube is already between closed fingers, else approach."""
        apart = float(np.linalg.norm(arm.O_T_EE.p_m - scene.O_T_object.p_m))
        held = arm.gripper_open < 0 and 0.03 < arm.gripper_width_m < 0.06 and apart < 0.03
        return Memory("lift" if held else "approach")

    def revise(self, memory: Memory, arm: ArmState, scene: SceneTruth) -> Memory:
        """Try again when the hand went up without the cube."""
        late = memory.phase == "lift" and memory.steps > self.retry_after_s * self.spec.rate_hz
        below = float(arm.O_T_EE.p_m[2] - scene.O_T_object.p_m[2])
        return Memory("approach") if self.retries and late and below > 0.04 else memory

    def advance(
        self, memory: Memory, reference: Pose, arm: ArmState, scene: SceneTruth
    ) -> tuple[Array, Memory]:
        """See Plan."""
        grasp = self._grasp(scene)
        if memory.phase == "approach":
            above = Pose(np.array([*grasp.p_m[:2], self.hover_m]), grasp.q_xyzw)
            across, up, turn = gaps(reference, above)
            ready = across < 0.012 and up < 0.03 and turn < 0.15
            action = towards(self.spec, reference, above, OPEN)
            return action, Memory("descend") if ready else memory.stay()
        if memory.phase == "descend":
            across, up, turn = gaps(reference, grasp)
            near = across < self.aim_m and up < self.aim_m and turn < self.aim_rad
            arrived = near and self._settled(arm, grasp)
            landed = memory.steps > 0 and float(arm.O_F_ext_hat_K[2]) < -self.touch_n
            action = towards(self.spec, reference, grasp, OPEN, 0.6)
            action = without_pressing(action, reference, arm)
            return action, Memory("close") if arrived or landed else memory.stay()
        if memory.phase == "close":
            done = arm.gripper_width_m < self.held_m or (
                memory.steps >= self.close_s * self.spec.rate_hz
            )
            height = max(reference.p_m[2], arm.O_T_EE.p_m[2] - EASE_M)
            eased = Pose(np.array([*reference.p_m[:2], height]), reference.q_xyzw)
            action = towards(self.spec, reference, eased, CLOSE)
            return action, Memory("lift") if done else memory.stay()
        top = Pose(np.array([*reference.p_m[:2], self.lift_m]), reference.q_xyzw)
        return towards(self.spec, reference, top, CLOSE), memory.stay()

    def _settled(self, arm: ArmState, grasp: Pose) -> bool:
        """Whether the arm rests, at the height of the grasp or on something that is in the way."""
        above = float(arm.O_T_EE.p_m[2] - grasp.p_m[2])
        return above > -0.004 and float(np.linalg.norm(arm.O_dP_EE[:3])) < 0.08

    def _grasp(self, scene: SceneTruth) -> Pose:
        centre = scene.O_T_object.p_m
        yaw = nearest_quarter(yaw_of(scene.O_T_object))
        return Pose(np.array([centre[0], centre[1], self.grasp_m]), gripping(yaw))


@dataclass(frozen=True)
class PegPlan:
    """Bring the peg's tip above the hole, upright; then push it in, backing off when it jams."""

    spec: ActionSpec
    half_length_m: float = 0.045
    clear_m: float = 0.015
    depth_m: float = 0.033
    insert_speed: float = 0.35
    jam_after_s: float = 1.4
    retries: bool = True

    def first(self, arm: ArmState, scene: SceneTruth) -> Memory:
        """Go on inserting when the tip is already in the hole, else align."""
        across, depth = self._tip(scene)
        return Memory("insert" if depth > 0.002 and across < 0.003 else "align")

    def revise(self, memory: Memory, arm: ArmState, scene: SceneTruth) -> Memory:
        """Back off when the tip did not enter the hole in time."""
        late = memory.phase == "insert" and memory.steps > self.jam_after_s * self.spec.rate_hz
        jammed = late and self._tip(scene)[1] < self.depth_m - 0.01
        return Memory("align") if self.retries and jammed else memory

    def advance(
        self, memory: Memory, reference: Pose, arm: ArmState, scene: SceneTruth
    ) -> tuple[Array, Memory]:
        """See Plan; the grasp's offset is measured from the arm and the scene."""
        above = self._end_effector(arm, scene, -self.clear_m)
        if memory.phase == "align":
            across, up, turn = gaps(reference, above)
            action = towards(self.spec, reference, above, CLOSE, 0.8)
            if reference.p_m[2] < above.p_m[2] - 0.004:
                action[:2] = 0.0
            behind = float(np.linalg.norm(reference.p_m[:2] - arm.O_T_EE.p_m[:2]))
            ready = across < 0.003 and up < 0.008 and turn < 0.05 and behind < 0.004
            return action, Memory("insert") if ready else memory.stay()
        inside = self._end_effector(arm, scene, self.depth_m)
        action = towards(self.spec, reference, inside, CLOSE, self.insert_speed)
        return without_pressing(action, reference, arm), memory.stay()

    def _tip(self, scene: SceneTruth) -> tuple[float, float]:
        """Distance of the tip from the hole's axis and its depth below the mouth [m]."""
        peg = scene.O_T_object
        axis = Rotation.from_quat(peg.q_xyzw).apply([0.0, 0.0, self.half_length_m])
        tip = peg.p_m + axis - scene.O_T_goal.p_m
        return float(np.linalg.norm(tip[:2])), -float(tip[2])

    def _end_effector(self, arm: ArmState, scene: SceneTruth, depth_m: float) -> Pose:
        """EE pose that puts the tip `depth_m` below the mouth, the peg upright."""
        hand = Rotation.from_quat(arm.O_T_EE.q_xyzw)
        peg = Rotation.from_quat(scene.O_T_object.q_xyzw)
        EE_R_peg = hand.inv() * peg
        tip = scene.O_T_object.p_m + peg.apply([0.0, 0.0, self.half_length_m])
        EE_p_tip = hand.inv().apply(tip - arm.O_T_EE.p_m)
        yaw = nearest_quarter(yaw_of(scene.O_T_goal))
        upright = Rotation.from_quat(gripping(yaw)) * EE_R_peg.inv()
        goal = scene.O_T_goal.p_m - np.array([0.0, 0.0, depth_m])
        return Pose(goal - upright.apply(EE_p_tip), upright.as_quat(canonical=True))
