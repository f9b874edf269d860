"""The settings of the Franka driver; the defaults are those to begin with on hardware.

`clock` apart, which the run sets: `host` there, `robot` in the twin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pld.errors import ConfigError

JOINTS = 7
REALTIME = ("enforce", "ignore")
CLOCKS = ("robot", "host")
FR3_LOWER_RAD = (-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508)
FR3_UPPER_RAD = (2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508)
HOME_RAD = (0.0, -0.0980919615, 0.0, -2.40052903, 0.0, 2.30243707, 0.7853981634)
RECOVERABLE = (
    "cartesian_reflex",
    "joint_reflex",
    "joint_velocity_violation",
    "controller_torque_discontinuity",
    "communication_constraints_violation",
    "network_lost",
    "gripper_lost",
    "robot_time_stopped",
    "motion_ended",
    "foreign_command",
    "safety_silent",
)


@dataclass(frozen=True)
class FrankaConfig:
    """Settings of one FR3 with its hand. SI units; validated at construction (ConfigError).

    `realtime`: `enforce` needs a PREEMPT_RT kernel; `ignore` is for simulation. `clock`: stamps are
    `robot` time (twin) or `host` time (hardware). The clips [m], [rad] bound the error that the
    1 kHz tracker acts on, and so the force near stiffness x clip. The leads bound how far the
    tracked pose may run ahead of the measured one, a second line behind the safety filter's.
    `retreat_height_m`: a reset first rises to this height of EE in O. `watchdog_ms` of robot time
    without a command makes the arm hold, at most two periods or 100; None: see `watchdog_ns`.
    `clock_guard_s` of steady time without robot time latches `robot_time_stopped`.
    """

    address: str = "172.16.0.2"
    rate_hz: float = 20.0
    realtime: str = "enforce"
    clock: str = "robot"
    translational_stiffness_n_m: float = 600.0
    rotational_stiffness_nm_rad: float = 40.0
    posture_stiffness_nm_rad: float = 5.0
    translational_clip_m: float = 0.010
    rotational_clip_rad: float = 0.10
    reference_lead_m: float = 0.05
    reference_lead_rad: float = 0.3
    max_delta_tau_nm: float = 0.5
    collision_torque_nm: float = 40.0
    collision_force_n: float = 40.0
    home_q_rad: tuple[float, ...] = HOME_RAD
    lower_q_rad: tuple[float, ...] = FR3_LOWER_RAD
    upper_q_rad: tuple[float, ...] = FR3_UPPER_RAD
    dynamics_factor: float = 0.1
    retreat_height_m: float = 0.15
    gripper: bool = True
    gripper_speed_m_s: float = 0.05
    gripper_force_n: float = 40.0
    gripper_open_width_m: float = 0.08
    watchdog_ms: float | None = None
    clock_guard_s: float = 2.0
    recoverable: tuple[str, ...] = RECOVERABLE
    recovery_limit: int = 3

    def __post_init__(self) -> None:
        if not self.address:
            raise ConfigError("address is empty; give the robot's IP address or host name")
        if self.realtime not in REALTIME:
            raise ConfigError.unknown("realtime", self.realtime, REALTIME)
        if self.clock not in CLOCKS:
            raise ConfigError.unknown("clock", self.clock, CLOCKS)
        for name, (low, high) in _RANGES.items():
            _within(name, getattr(self, name), low, high)
        if self.watchdog_ms is not None:
            _within("watchdog_ms", self.watchdog_ms, 10.0, max(100.0, 2000.0 / self.rate_hz))
        self._check_joints()

    def _check_joints(self) -> None:
        for name in ("home_q_rad", "lower_q_rad", "upper_q_rad"):
            values = getattr(self, name)
            if len(values) != JOINTS or not all(math.isfinite(v) for v in values):
                raise ConfigError(f"{name} is {values!r}; give {JOINTS} finite angles [rad]")
        bounds = zip(self.lower_q_rad, self.home_q_rad, self.upper_q_rad, strict=True)
        for joint, (low, home, high) in enumerate(bounds, start=1):
            if not low < home < high:
                raise ConfigError(
                    f"joint {joint}: home {home} rad is not between lower_q_rad {low} "
                    f"and upper_q_rad {high}"
                )

    @property
    def period_ns(self) -> int:
        """Control period [ns]."""
        return round(1e9 / self.rate_hz)

    @property
    def watchdog_ns(self) -> int:
        """Robot time [ns] without a command after which the arm holds.

        By default 1.5 control periods and at most 100 ms, but never less than 1.3 periods, or a
        healthy stream of commands would trip it.
        """
        if self.watchdog_ms is not None:
            return round(self.watchdog_ms * 1e6)
        return max(min(100_000_000, self.period_ns * 3 // 2), self.period_ns * 13 // 10)


_RANGES = {
    "rate_hz": (1.0, 100.0),
    "translational_stiffness_n_m": (10.0, 3000.0),
    "rotational_stiffness_nm_rad": (1.0, 300.0),
    "posture_stiffness_nm_rad": (0.0, 100.0),
    "translational_clip_m": (0.0005, 0.05),
    "rotational_clip_rad": (0.005, 0.5),
    "reference_lead_m": (0.001, 0.1),
    "reference_lead_rad": (0.01, 1.0),
    "max_delta_tau_nm": (0.01, 1.0),
    "collision_torque_nm": (1.0, 100.0),
    "collision_force_n": (1.0, 200.0),
    "dynamics_factor": (0.01, 1.0),
    "retreat_height_m": (-1.0, 0.8),
    "gripper_speed_m_s": (0.005, 0.2),
    "gripper_force_n": (1.0, 140.0),
    "gripper_open_width_m": (0.005, 0.08),
    "clock_guard_s": (0.05, 60.0),
    "recovery_limit": (1, 100),
}


def _within(name: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name} is {value!r}; valid: {low:g} to {high:g}")
