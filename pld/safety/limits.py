"""What the arm may do, as one frozen table per robot, checked when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pld.config import from_mapping, read_yaml
from pld.errors import ConfigError
from pld.safety.arm_model import JOINT_TABLES, JOINTS, tool_line
from pld.safety.zone import box_half_spaces, excess_m, half_spaces, nearest_inside
from pld.types import Array

Vector3 = tuple[float, float, float]
Plane = tuple[float, float, float, float]
# Bounds of what any limits file may ask for, from the FR3 data sheet and ISO 10218-1's 250 mm/s
# for reduced speed being the everyday choice; FCI's own Cartesian limits are 3.0 m/s and 9 m/s^2.
SPEED_CEILING_M_S = 1.0
TURN_CEILING_RAD_S = 2.5
ACCELERATION_CEILING_M_S2 = 9.0
# Reach of the flange from the shoulder, height of the shoulder, and a hand of generous length.
REACH_M, SHOULDER_M, HAND_M = 0.855, 0.333, 0.2
# Upper ends of what a file may say; every one must be above zero.
CEILINGS = {
    "max_tilt_rad": np.pi / 2,
    "max_yaw_rad": np.pi,
    "max_speed_m_s": SPEED_CEILING_M_S,
    "max_turn_rad_s": TURN_CEILING_RAD_S,
    "max_lead_m": 0.1,
    "max_lead_rad": 1.0,
    "max_force_n": 200.0,
    "max_step_m": 0.1,
    "max_step_rad": 0.5,
    "max_acceleration_m_s2": ACCELERATION_CEILING_M_S2,
    "joint_margin_rad": 0.5,
    "singularity_stop": 1e4,
    "max_outside_m": 0.05,
}


@dataclass(frozen=True)
class SafetyLimits:
    """Limits of the executed motion in the robot base O; file `launch/config/limits_<robot>.yaml`.

    The workspace box bounds the target position of EE [m]; `zone_planes`, rows (nx, ny, nz,
    offset_m) with n . p <= offset_m, cut it further. `upright_q_xyzw` is the EE orientation of no
    tilt and no yaw (z down); `max_tilt_rad` and `max_yaw_rad` bound the turn from it. Speeds bound
    the target's motion per control step at the declared rate, `max_step_*` whatever the rate.
    `max_acceleration_m_s2` bounds how far the asked velocity may be from the measured one.
    `max_lead_*` bounds how far the target may run ahead of the measured pose, and so how far a
    blocked arm moves on once it is free. It should leave free motion alone: no less than a unit
    action and the tracker's lag. `joint_margin_rad` is kept to the joint limits; between the
    condition numbers `singularity_slow` and `singularity_stop` motion towards a singularity is
    slowed to nothing. An arm that is measured more than `max_outside_m` outside box or zone holds:
    targets are always inside, so something keeps it from following them (a joint at its stop, say).
    What bounds the force of the impedance is the tracker's own error clip (stiffness x clip, see
    `check_force`). A limit that is None is off: only in memory, never in a file.
    """

    robot: str
    workspace_min_m: Vector3
    workspace_max_m: Vector3
    max_tilt_rad: float
    max_yaw_rad: float
    max_speed_m_s: float
    max_turn_rad_s: float
    max_lead_m: float
    max_lead_rad: float
    max_force_n: float
    upright_q_xyzw: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    zone_planes: tuple[Plane, ...] = ()
    max_step_m: float | None = None
    max_step_rad: float | None = None
    max_acceleration_m_s2: float | None = None
    lower_q_rad: tuple[float, ...] | None = None
    upper_q_rad: tuple[float, ...] | None = None
    joint_margin_rad: float | None = None
    singularity_slow: float | None = None
    singularity_stop: float | None = None
    max_outside_m: float | None = None

    def __post_init__(self) -> None:
        """Refuse swapped, non-finite or absurd values with the field named."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "robot" and value is not None:
                _require_finite(field.name, value)
        for name, ceiling in CEILINGS.items():
            value = getattr(self, name)
            if value is not None:
                _require_range(name, value, 0.0, ceiling)
        self._check_box()
        self._check_zone()
        self._check_joints()
        self._check_singularity()
        length = float(np.linalg.norm(self.upright_q_xyzw))
        if abs(length - 1.0) > 1e-6:
            raise ConfigError(f"upright_q_xyzw: length {length:g} is not 1")
        if Rotation.from_quat(self.upright_q_xyzw).apply([0.0, 0.0, 1.0])[2] >= 0.0:
            raise ConfigError(
                f"upright_q_xyzw: {self.upright_q_xyzw} points the hand up; [1, 0, 0, 0] is down"
            )

    def _check_box(self) -> None:
        for axis, low, high in zip("xyz", self.workspace_min_m, self.workspace_max_m, strict=True):
            if low >= high:
                raise ConfigError(
                    f"workspace_min_m: {axis} = {low} is not below workspace_max_m {axis} = {high}"
                )
            middle = SHOULDER_M if axis == "z" else 0.0
            for name, value in (("workspace_min_m", low), ("workspace_max_m", high)):
                if abs(value - middle) > REACH_M + HAND_M:
                    raise ConfigError(f"{name}: {axis} = {value} is beyond the arm's reach")

    def _check_zone(self) -> None:
        for plane in self.zone_planes:
            length = float(np.linalg.norm(plane[:3]))
            if abs(length - 1.0) > 1e-3:
                raise ConfigError(f"zone_planes: normal {plane[:3]} has length {length:g}, not 1")
        if not self.zone_planes:
            return
        low, high = np.array(self.workspace_min_m), np.array(self.workspace_max_m)
        if nearest_inside((low + high) / 2, *self.workspace_half_spaces()) is None:
            raise ConfigError("zone_planes: no point of the workspace box is inside all of them")

    def workspace_half_spaces(self) -> tuple[Array, Array]:
        """Unit normals (N, 3) and offsets (N,) [m] of the zone's planes, then of the box."""
        normals, offsets = half_spaces(self.zone_planes)
        low, high = np.array(self.workspace_min_m), np.array(self.workspace_max_m)
        box_normals, box_offsets = box_half_spaces(low, high)
        return np.concatenate([normals, box_normals]), np.concatenate([offsets, box_offsets])

    def _check_joints(self) -> None:
        lower, upper = self.lower_q_rad, self.upper_q_rad
        if lower is None and upper is None:
            return
        if self.robot not in JOINT_TABLES:
            raise ConfigError.unknown("robot", self.robot, JOINT_TABLES)
        table = JOINT_TABLES[self.robot]
        low = _joints("lower_q_rad", lower)
        high = _joints("upper_q_rad", upper)
        margin = self.joint_margin_rad or 0.0
        _require_joints(
            low < high - 2 * margin,
            f"lower_q_rad: {low} is not below upper_q_rad {high} less twice joint_margin_rad "
            f"{margin}",
        )
        _require_joints(
            low >= np.array(table.lower_rad),
            f"lower_q_rad: {low} is below {table.lower_rad} of {self.robot}",
        )
        _require_joints(
            high <= np.array(table.upper_rad),
            f"upper_q_rad: {high} is above {table.upper_rad} of {self.robot}",
        )

    def _check_singularity(self) -> None:
        slow, stop = self.singularity_slow, self.singularity_stop
        if slow is None and stop is None:
            return
        if slow is None or stop is None:
            raise ConfigError(f"missing field 'singularity_{'slow' if slow is None else 'stop'}'")
        if not 1.0 < slow < stop:
            raise ConfigError(
                f"singularity_slow: {slow} is not above 1 and below singularity_stop {stop}"
            )

    def check_force(self, stiffness_n_m: float, clip_m: float) -> None:
        """Refuse driver settings whose stiffness [N/m] x error clip [m] exceeds `max_force_n`."""
        force_n = stiffness_n_m * clip_m
        if force_n > self.max_force_n:
            raise ConfigError(
                f"translational_stiffness_n_m {stiffness_n_m:g} x translational_clip_m {clip_m:g} "
                f"= {force_n:g} N exceeds max_force_n {self.max_force_n:g}; lower one of the two"
            )

    def check_home(self, home_q_rad: tuple[float, ...]) -> None:
        """Refuse a home at which the arm would hold: outside box or zone with any usual hand.

        The tool's own offset is known to the arm alone, so each length up to HAND_M is tried.
        """
        hands = tool_line(np.array(home_q_rad), np.linspace(0.0, HAND_M, 21))
        excess = [excess_m(p_m, *self.workspace_half_spaces()) for p_m in hands]
        nearest = int(np.argmin(excess))
        if excess[nearest] > (self.max_outside_m or 0.0):
            where = ", ".join(f"{v:.2f}" for v in hands[nearest])
            raise ConfigError(
                f"home_q_rad: the hand would be at ({where}) m, {1e3 * excess[nearest]:.0f} mm "
                "outside of the workspace that the limits give; change one of the two"
            )


def _joints(name: str, values: tuple[float, ...] | None) -> Array:
    if values is None:
        raise ConfigError(f"missing field {name!r}")
    if len(values) != JOINTS:
        raise ConfigError(f"{name}: {values!r} is not {JOINTS} angles [rad]")
    return np.array(values)


def _require_joints(fine: NDArray[np.bool_], words: str) -> None:
    """Raise with the number of the first joint (from 1) that is not fine."""
    if not np.all(fine):
        field, _, rest = words.partition(": ")
        raise ConfigError(f"{field}: joint {int(np.argmin(fine)) + 1}: {rest}")


def _require_finite(name: str, value: object) -> None:
    if not np.all(np.isfinite(np.asarray(value, dtype=float))):
        raise ConfigError(f"{name}: {value!r} is not finite")


def _require_range(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ConfigError(f"{name}: {value} is outside ({low:g}, {high:g}]")


def load_limits(path: Path) -> SafetyLimits:
    """Read a limits file; raises ConfigError that names file and field.

    A file holds every limit, for a robot whose joint table is known.
    """
    content = read_yaml(path)
    absent = [field.name for field in fields(SafetyLimits) if content.get(field.name) is None]
    if absent:
        raise ConfigError(f"{path}: missing field {', '.join(map(repr, absent))}")
    try:
        return from_mapping(content, SafetyLimits, where=str(path))
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if str(path) in text else f"{path}: {text}") from error
