"""The vocabulary of the control loop: what one control step reads, decides and does.

Units are SI. Poses are `A_T_B` = pose of B in A (O = robot base, EE = end effector);
quaternions are xyzw. Times are integer nanoseconds on the graph clock, which is robot time in
the twin. A `step` is the driver's count of control periods; it never goes back during a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

ACTION_DIM = 7


class ActionSource(IntEnum):
    """Whose action the arbitrator chose."""

    HOLD = 0
    BASE = 1
    SPECIALIST = 2
    HUMAN = 3


class ControlMode(IntEnum):
    """What the driver does with the arm."""

    IDLE = 0
    TRACKING = 1
    HOLDING = 2
    RESETTING = 3
    FAULT = 4


class EpisodeState(IntEnum):
    """Where the current episode stands."""

    IDLE = 0
    RESETTING = 1
    RUNNING = 2
    ENDED = 3


class Outcome(IntEnum):
    """What an episode was worth; kept apart from why it ended."""

    UNLABELLED = 0
    SUCCESS = 1
    FAILURE = 2


@dataclass(frozen=True)
class Pose:
    """A rigid pose: `p_m` (3,) [m] and unit quaternion `q_xyzw` (4,)."""

    p_m: Array
    q_xyzw: Array


@dataclass(frozen=True)
class ArmState:
    """The arm at one control period, all in the robot base O unless the name says otherwise.

    `reference` is the pose that the driver tracks now; the safety filter integrates on it.
    `O_F_ext_hat_K` is the estimated external wrench (6,): force [N], then torque [Nm]. As in
    libfranka's RobotState, what the arm applies to its surroundings is positive.
    `applied_step` and `applied_ns` say which command was executed last, and when; `held_ns` when
    the arm last began to hold.
    """

    t_ns: int
    step: int
    q_rad: Array
    dq_rad_s: Array
    O_T_EE: Pose
    O_dP_EE: Array
    reference: Pose
    O_F_ext_hat_K: Array
    gripper_width_m: float
    gripper_open: float
    control_mode: ControlMode = ControlMode.IDLE
    errors: tuple[str, ...] = ()
    applied_step: int = -1
    applied_ns: int = 0
    held_ns: int = 0


@dataclass(frozen=True)
class SceneTruth:
    """Where the task's object and its goal truly are, in O; only a twin knows."""

    O_T_object: Pose
    O_T_goal: Pose


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics [px] of an image `width_px` x `height_px`, with a distortion model.

    The centre of the top left pixel is (0, 0), as in OpenCV and librealsense. `distortion` is
    (5,) plumb_bob (k1, k2, p1, p2, k3).
    """

    width_px: int
    height_px: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def matrix(self) -> Array:
        """Camera matrix K (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class CameraImage:
    """One colour image (H, W, 3) uint8 RGB, measured at `t_ns`, counted by `sequence`."""

    t_ns: int
    sequence: int
    rgb: Image
    depth_m: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Observation:
    """What a policy sees at one control step: the arm, the images by camera name, the task."""

    arm: ArmState
    images: dict[str, CameraImage]
    instruction: str


@dataclass(frozen=True)
class BaseAction:
    """A base policy's answer to `step`: the chunk (H, 7) and which row of it is for now.

    `image_ns` holds the stamps [ns] of the images that it had, in the contract's camera order.
    """

    step: int
    chunk: Array
    index: int
    policy_id: str
    image_ns: tuple[int, ...] = ()

    @property
    def action(self) -> Array:
        """The (7,) action for this step."""
        row: Array = self.chunk[self.index]
        return row


@dataclass(frozen=True)
class Choice:
    """The arbitrator's choice for `step`: whose action, the chosen action (7,), and its parts."""

    step: int
    source: ActionSource
    action: Array
    base_action: Array | None = None
    residual_action: Array | None = None
    human_action: Array | None = None


@dataclass(frozen=True)
class Command:
    """What safety lets through for `step`: a target pose of EE in O and a gripper command.

    `executed_action` (7,) is the chosen action as changed by the filter; `reasons` names every
    change. `hold` asks the driver to keep the pose instead.
    """

    step: int
    target: Pose
    gripper_open: float
    executed_action: Array
    hold: bool = False
    reasons: tuple[str, ...] = field(default=())
