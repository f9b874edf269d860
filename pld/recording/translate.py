"""Messages into the vocabulary of the control loop.

The functions read fields by name, so they take live rclpy messages and messages decoded from a
bag alike: one translation for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pld.errors import ContractError
from pld.types import (
    ACTION_DIM,
    ActionSource,
    ArmState,
    Array,
    BaseAction,
    Choice,
    Command,
    ControlMode,
    EpisodeState,
    Outcome,
    Pose,
)


@dataclass(frozen=True)
class EpisodeUpdate:
    """What the arbitrator says of the episode in progress; times and steps as in the message."""

    t_ns: int
    episode_id: str
    index: int
    state: EpisodeState
    task: str
    instruction: str
    mode: str
    seed: int
    first_step: int
    takeover_step: int
    outcome: Outcome
    termination_reason: str
    region: str = ""


@dataclass(frozen=True)
class RewardSignal:
    """What a success detector says of `step`."""

    t_ns: int
    step: int
    reward: float
    success: bool
    detector: str


@dataclass(frozen=True)
class ResidualCorrection:
    """The residual actor's correction (7,) of `step`, already scaled by `scale` (7,)."""

    step: int
    action: Array
    scale: Array
    policy_id: str


@dataclass(frozen=True)
class TeleopAction:
    """A person's action (7,) at `step`; it counts only with the deadman held."""

    t_ns: int
    step: int
    deadman: bool
    action: Array
    device: str


def time_ns(stamp: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_ns(message: Any) -> int:
    """The header stamp [ns]."""
    return time_ns(message.header.stamp)


def pose(message: Any) -> Pose:
    """geometry_msgs/Pose as a Pose."""
    p, q = message.position, message.orientation
    return Pose(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def arm_state(message: Any) -> ArmState:
    """pld_interfaces/ArmState as an ArmState."""
    return ArmState(
        t_ns=stamp_ns(message),
        step=int(message.step),
        q_rad=_vector(message.q_rad),
        dq_rad_s=_vector(message.dq_rad_s),
        O_T_EE=pose(message.o_t_ee),
        O_dP_EE=_six(message.o_dp_ee.linear, message.o_dp_ee.angular),
        reference=pose(message.reference),
        O_F_ext_hat_K=_six(message.o_f_ext_hat_k.force, message.o_f_ext_hat_k.torque),
        gripper_width_m=float(message.gripper_width_m),
        gripper_open=float(message.gripper_open),
        control_mode=ControlMode(message.control_mode),
        errors=tuple(message.errors),
        applied_step=int(message.applied_step),
        applied_ns=_later_time_ns(message, "applied_stamp"),
        held_ns=_later_time_ns(message, "held_stamp"),
    )


def base_action(message: Any) -> BaseAction:
    """pld_interfaces/BaseAction as a BaseAction with a chunk (H, 7); raises ContractError."""
    chunk, horizon = _vector(message.chunk), int(message.chunk_horizon)
    if chunk.size != horizon * ACTION_DIM:
        raise ContractError(
            f"base action of step {message.step}: {chunk.size} numbers are not a chunk of "
            f"{horizon} x {ACTION_DIM}"
        )
    if not 0 <= message.chunk_index < horizon:
        raise ContractError(
            f"base action of step {message.step}: chunk_index {message.chunk_index} is outside "
            f"0..{horizon - 1}"
        )
    rows = chunk.reshape(horizon, ACTION_DIM)
    return BaseAction(
        int(message.step),
        rows,
        int(message.chunk_index),
        str(message.policy_id),
        tuple(time_ns(stamp) for stamp in message.image_stamps),
    )


def choice(message: Any) -> Choice:
    """pld_interfaces/Choice as a Choice; the parts are on their own topics."""
    return Choice(int(message.step), ActionSource(message.source), _vector(message.action))


def command(message: Any) -> Command:
    """pld_interfaces/ArmCommand as a Command."""
    return Command(
        step=int(message.step),
        target=pose(message.target),
        gripper_open=float(message.gripper_open),
        executed_action=_vector(message.executed_action),
        hold=bool(message.hold),
        reasons=tuple(message.reasons),
    )


def reward(message: Any) -> RewardSignal:
    """pld_interfaces/Reward as a RewardSignal."""
    return RewardSignal(
        stamp_ns(message),
        int(message.step),
        float(message.reward),
        bool(message.success),
        str(message.detector),
    )


def residual_action(message: Any) -> ResidualCorrection:
    """pld_interfaces/ResidualAction as a ResidualCorrection."""
    return ResidualCorrection(
        int(message.step),
        _vector(message.residual_action),
        _vector(message.residual_scale),
        str(message.policy_id),
    )


def human_action(message: Any) -> TeleopAction:
    """pld_interfaces/HumanAction as a TeleopAction."""
    return TeleopAction(
        stamp_ns(message),
        int(message.step),
        bool(message.deadman),
        _vector(message.human_action),
        str(message.device),
    )


def episode_update(message: Any) -> EpisodeUpdate:
    """pld_interfaces/EpisodeStatus as an EpisodeUpdate."""
    return EpisodeUpdate(
        t_ns=stamp_ns(message),
        episode_id=str(message.episode_id),
        index=int(message.index),
        state=EpisodeState(message.state),
        task=str(message.task),
        instruction=str(message.instruction),
        mode=str(message.mode),
        seed=int(message.seed),
        first_step=int(message.first_step),
        takeover_step=int(message.takeover_step),
        outcome=Outcome(message.outcome),
        termination_reason=str(message.termination_reason),
        region=str(getattr(message, "region", "")),
    )


def unknown_update(episode_id: str) -> EpisodeUpdate:
    """What is known of an episode whose status was never received."""
    return EpisodeUpdate(
        0, episode_id, 0, EpisodeState.IDLE, "", "", "", 0, 0, -1, Outcome.UNLABELLED, ""
    )


def _later_time_ns(message: Any, field: str) -> int:
    """A time that older bags do not have; 0 there, which means never."""
    return time_ns(getattr(message, field)) if hasattr(message, field) else 0


def _vector(values: Any) -> Array:
    return np.array(values, dtype=np.float64)


def _six(first: Any, second: Any) -> Array:
    return np.array([first.x, first.y, first.z, second.x, second.y, second.z])
