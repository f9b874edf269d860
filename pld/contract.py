"""The contract between robot, policies and data: shapes, units, order and rates, in one place.

The live nodes, the bag converter and training all translate through this file.

Policy action, (7,), each entry in [-1, 1]:
  0-2  translation of the end effector per control step along the base axes x, y, z
  3-5  rotation vector per control step in base axes, premultiplied (LIBERO / OpenVLA / SERL)
  6    gripper: +1 open, -1 close
One unit of translation or rotation is a velocity, so that a policy means the same at any rate:
  delta_m = action * max_speed_m_s / rate_hz, delta_rad = action * max_turn_rad_s / rate_hz
Proprioception, (PROPRIO_DIM,): see `proprio`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pld.geometry import apply_delta, pose_delta, rotation_6d
from pld.types import ArmState, Array, Pose

CAMERAS = ("third_person", "wrist")
IMAGE_WIDTH_PX = 424
IMAGE_HEIGHT_PX = 240
POLICY_IMAGE_PX = 84
GRIPPER_MAX_WIDTH_M = 0.08
PROPRIO_DIM = 3 + 6 + 1 + 6 + 3
PROPRIO_NAMES = (
    *(f"O_T_EE.p_m.{a}" for a in "xyz"),
    *(f"O_T_EE.rotation_6d.{i}" for i in range(6)),
    "gripper_width_m / 0.08",
    *(f"O_dP_EE.{i}" for i in range(6)),
    *(f"reference - O_T_EE [m].{a}" for a in "xyz"),
)
WRENCH_DIM = 6
# An action is meant to be within 1; ten times that is a defect (units, a blown-up network).
ABSURD = 10.0


def is_sensible(action: Array) -> bool:
    """Whether every entry is finite and no more than ABSURD; within 1 or not is another matter."""
    return bool(np.all(np.abs(action) <= ABSURD))


@dataclass(frozen=True)
class ActionSpec:
    """How a normalised action becomes a motion of the end effector in one control period."""

    rate_hz: float = 20.0
    max_speed_m_s: float = 0.25
    max_turn_rad_s: float = 1.0

    @property
    def translation_m(self) -> float:
        """Metres per control step for a unit action."""
        return self.max_speed_m_s / self.rate_hz

    @property
    def rotation_rad(self) -> float:
        """Radians per control step for a unit action."""
        return self.max_turn_rad_s / self.rate_hz

    def advance(self, reference: Pose, action: Array) -> Pose:
        """The pose that `action` (7,) asks for, seen from `reference`, both in O."""
        return apply_delta(
            reference, action[:3] * self.translation_m, action[3:6] * self.rotation_rad
        )

    def action_between(self, start: Pose, end: Pose, gripper: float) -> Array:
        """The (7,) action that moves `start` to `end` in one step; the inverse of `advance`."""
        delta_m, delta_rad = pose_delta(start, end)
        return np.concatenate(
            [delta_m / self.translation_m, delta_rad / self.rotation_rad, [gripper]]
        )


def proprio(arm: ArmState) -> Array:
    """Proprioception (PROPRIO_DIM,) in O; order and units in PROPRIO_NAMES."""
    return np.concatenate(
        [
            arm.O_T_EE.p_m,
            rotation_6d(arm.O_T_EE),
            [arm.gripper_width_m / GRIPPER_MAX_WIDTH_M],
            arm.O_dP_EE,
            arm.reference.p_m - arm.O_T_EE.p_m,
        ]
    )
