"""The robot state as libfranka reads it from the wire, kept in one buffer and written in place.

The order and sizes are those of libfranka's research interface, server version 10 (0.15 to 0.21):
little-endian single precision floats, then modes and error flags, all packed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLOAT_FIELDS = (
    ("O_T_EE", 16),
    ("O_T_EE_d", 16),
    ("F_T_EE", 16),
    ("EE_T_K", 16),
    ("F_T_NE", 16),
    ("NE_T_EE", 16),
    ("m_ee", 1),
    ("I_ee", 9),
    ("F_x_Cee", 3),
    ("m_load", 1),
    ("I_load", 9),
    ("F_x_Cload", 3),
    ("elbow", 2),
    ("elbow_d", 2),
    ("tau_J", 7),
    ("tau_J_d", 7),
    ("dtau_J", 7),
    ("q", 7),
    ("q_d", 7),
    ("dq", 7),
    ("dq_d", 7),
    ("ddq_d", 7),
    ("joint_contact", 7),
    ("cartesian_contact", 6),
    ("joint_collision", 7),
    ("cartesian_collision", 6),
    ("tau_ext_hat_filtered", 7),
    ("O_F_ext_hat_K", 6),
    ("K_F_ext_hat_K", 6),
    ("O_dP_EE_d", 6),
    ("O_ddP_O", 3),
    ("elbow_c", 2),
    ("delbow_c", 2),
    ("ddelbow_c", 2),
    ("O_T_EE_c", 16),
    ("O_dP_EE_c", 6),
    ("O_ddP_EE_c", 6),
    ("theta", 7),
    ("dtheta", 7),
    ("accelerometer_top", 18),
    ("accelerometer_bottom", 18),
)
ERROR_NAMES = (
    "joint_position_limits_violation",
    "cartesian_position_limits_violation",
    "self_collision_avoidance_violation",
    "joint_velocity_violation",
    "cartesian_velocity_violation",
    "force_control_safety_violation",
    "joint_reflex",
    "cartesian_reflex",
    "max_goal_pose_deviation_violation",
    "max_path_pose_deviation_violation",
    "cartesian_velocity_profile_safety_violation",
    "joint_position_motion_generator_start_pose_invalid",
    "joint_motion_generator_position_limits_violation",
    "joint_motion_generator_velocity_limits_violation",
    "joint_motion_generator_velocity_discontinuity",
    "joint_motion_generator_acceleration_discontinuity",
    "cartesian_position_motion_generator_start_pose_invalid",
    "cartesian_motion_generator_elbow_limit_violation",
    "cartesian_motion_generator_velocity_limits_violation",
    "cartesian_motion_generator_velocity_discontinuity",
    "cartesian_motion_generator_acceleration_discontinuity",
    "cartesian_motion_generator_elbow_sign_inconsistent",
    "cartesian_motion_generator_start_elbow_invalid",
    "force_controller_desired_force_tolerance_violation",
    "start_elbow_sign_inconsistent",
    "communication_constraints_violation",
    "power_limit_violation",
    "cartesian_motion_generator_joint_position_limits_violation",
    "cartesian_motion_generator_joint_velocity_limits_violation",
    "cartesian_motion_generator_joint_velocity_discontinuity",
    "cartesian_motion_generator_joint_acceleration_discontinuity",
    "cartesian_position_motion_generator_invalid_frame",
    "controller_torque_discontinuity",
    "joint_p2p_insufficient_torque_for_planning",
    "tau_j_range_violation",
    "instability_detected",
    "joint_move_in_wrong_direction",
    "cartesian_spline_motion_generator_violation",
    "joint_via_motion_generator_planning_joint_limit_violation",
    "base_acceleration_initialization_timeout",
    "base_acceleration_invalid_reading",
)
ERROR_COUNT = len(ERROR_NAMES)
ERRORS = {name: index for index, name in enumerate(ERROR_NAMES)}
_IDENTITY = np.eye(4, dtype=np.float32).ravel()
_POSES = ("O_T_EE", "O_T_EE_d", "F_T_EE", "EE_T_K", "F_T_NE", "NE_T_EE", "O_T_EE_c")


class StateBuffer:
    """One robot state in wire format; `fields[name]` are float32 views to write into."""

    def __init__(self) -> None:
        floats = sum(size for _, size in _FLOAT_FIELDS)
        self._raw = bytearray(floats * 4 + 2 + 2 * ERROR_COUNT + 1 + 4)
        view = np.frombuffer(self._raw, dtype="<f4", count=floats)
        self.fields: dict[str, NDArray[np.float32]] = {}
        start = 0
        for name, size in _FLOAT_FIELDS:
            self.fields[name] = view[start : start + size]
            start += size
        self._modes = floats * 4
        self._errors = self._modes + 2
        self._reflex = self._errors + ERROR_COUNT
        self._robot_mode = self._reflex + ERROR_COUNT
        self._rate = np.frombuffer(self._raw, dtype="<f4", count=1, offset=self._robot_mode + 1)
        for name in _POSES:
            self.fields[name][:] = _IDENTITY

    def set_modes(self, motion_generator: int, controller: int, robot: int) -> None:
        """Write the motion generator, controller and robot mode."""
        self._raw[self._modes] = motion_generator
        self._raw[self._modes + 1] = controller
        self._raw[self._robot_mode] = robot

    def set_errors(self, current: frozenset[str], last_motion: frozenset[str]) -> None:
        """Write the flags of the errors in force and of those that ended the last motion."""
        self._raw[self._errors : self._robot_mode] = bytes(2 * ERROR_COUNT)
        for name in current:
            self._raw[self._errors + ERRORS[name]] = 1
        for name in last_motion:
            self._raw[self._reflex + ERRORS[name]] = 1

    def set_success_rate(self, rate: float) -> None:
        """Write the share of control commands received in time, 0 to 1."""
        self._rate[0] = rate

    def to_bytes(self) -> bytes:
        """The state as it goes on the wire, without its message id."""
        return bytes(self._raw)
