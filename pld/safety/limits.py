"""What the arm may do, as one frozen table per robot, checked when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pld.config import load_yaml
from pld.errors import ConfigError

Vector3 = tuple[float, float, float]
# Bounds of what any limits file may ask for, from the FR3 data sheet and ISO 10218-1's 250 mm/s
# for reduced speed being the everyday choice; FCI's own Cartesian limit is 3.0 m/s.
SPEED_CEILING_M_S = 1.0
TURN_CEILING_RAD_S = 2.5
REACH_M = 0.855


@dataclass(frozen=True)
class SafetyLimits:
    """Limits of the executed motion in the robot base O; file `launch/config/limits_<robot>.yaml`.

    The workspace box bounds the target position of EE [m]. `upright_q_xyzw` is the EE
    orientation of no tilt and no yaw (z down); `max_tilt_rad` and `max_yaw_rad` bound the turn
    from it. Speeds bound the
    target's motion per control step; `max_lead_*` bounds how far the target may run ahead of the
    measured pose, and so how far a blocked arm moves on once it is free. It should leave free
    motion alone: no less than a unit action and the tracker's lag. What bounds the force of the
    impedance is the tracker's own error clip (stiffness x clip, pld.robots.franka_config).
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

    def __post_init__(self) -> None:
        """Refuse swapped, non-finite or absurd values with the field named."""
        for field in fields(self):
            if field.name != "robot":
                _require_finite(field.name, getattr(self, field.name))
        for axis, low, high in zip("xyz", self.workspace_min_m, self.workspace_max_m, strict=True):
            if low >= high:
                raise ConfigError(
                    f"workspace_min_m: {axis} = {low} is not below workspace_max_m {axis} = {high}"
                )
            if max(abs(low), abs(high)) > REACH_M + 0.2:
                raise ConfigError(f"workspace {axis} [{low}, {high}] is beyond the arm's reach")
        _require_range("max_tilt_rad", self.max_tilt_rad, 0.0, np.pi / 2)
        _require_range("max_yaw_rad", self.max_yaw_rad, 0.0, np.pi)
        _require_range("max_speed_m_s", self.max_speed_m_s, 0.0, SPEED_CEILING_M_S)
        _require_range("max_turn_rad_s", self.max_turn_rad_s, 0.0, TURN_CEILING_RAD_S)
        _require_range("max_lead_m", self.max_lead_m, 0.0, 0.1)
        _require_range("max_lead_rad", self.max_lead_rad, 0.0, 1.0)
        _require_range("max_force_n", self.max_force_n, 0.0, 200.0)
        length = float(np.linalg.norm(self.upright_q_xyzw))
        if abs(length - 1.0) > 1e-6:
            raise ConfigError(f"upright_q_xyzw: length {length:g} is not 1")


def _require_finite(name: str, value: float | tuple[float, ...]) -> None:
    if not np.all(np.isfinite(value)):
        raise ConfigError(f"{name}: {value!r} is not finite")


def _require_range(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ConfigError(f"{name}: {value} is outside ({low:g}, {high:g}]")


def load_limits(path: Path) -> SafetyLimits:
    """Read a limits file; raises ConfigError that names file and field."""
    try:
        return load_yaml(path, SafetyLimits)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if str(path) in text else f"{path}: {text}") from error
