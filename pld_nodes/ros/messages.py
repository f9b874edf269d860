"""Messages to and from the vocabulary of `pld.types`; the only place that knows both."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion, TransformStamped, Twist, Vector3, Wrench
from geometry_msgs.msg import Pose as PoseMsg
from pld_interfaces.msg import ArmCommand, ArmState, BaseAction, Choice, EpisodeStatus
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header

from pld import types
from pld.probing.episode import Episode
from pld.recording.translate import arm_state as arm_state_from_msg
from pld.recording.translate import base_action as base_action_from_msg
from pld.recording.translate import choice as choice_from_msg
from pld.recording.translate import command as command_from_msg
from pld.recording.translate import residual_action as residual_action_from_msg
from pld.recording.translate import time_ns as nanoseconds
from pld.tasks import task_facts

NS = 1_000_000_000
__all__ = [
    "arm_state_from_msg",
    "arm_state_to_msg",
    "base_action_from_msg",
    "base_action_to_msg",
    "choice_from_msg",
    "choice_to_msg",
    "command_from_msg",
    "command_to_msg",
    "episode_to_msg",
    "header",
    "image_from_msg",
    "joint_state",
    "nanoseconds",
    "pose_to_msg",
    "residual_action_from_msg",
    "stamp",
    "transform",
]
JOINT_NAMES = [f"fr3_joint{i}" for i in range(1, 8)]
FINGER_NAMES = ["fr3_finger_joint1", "fr3_finger_joint2"]
BASE_FRAME = "base"
EE_FRAME = "fr3_hand_tcp"


def stamp(t_ns: int) -> Time:
    """Graph-clock nanoseconds as a ROS time."""
    return Time(sec=t_ns // NS, nanosec=t_ns % NS)


def header(t_ns: int, frame_id: str = BASE_FRAME) -> Header:
    """A header stamped at `t_ns`."""
    return Header(stamp=stamp(t_ns), frame_id=frame_id)


def pose_to_msg(pose: types.Pose) -> PoseMsg:
    """Pose to geometry_msgs/Pose."""
    x, y, z = (float(v) for v in pose.p_m)
    qx, qy, qz, qw = (float(v) for v in pose.q_xyzw)
    return PoseMsg(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def _vector3(values: types.Array) -> Vector3:
    x, y, z = (float(v) for v in values)
    return Vector3(x=x, y=y, z=z)


def arm_state_to_msg(arm: types.ArmState) -> ArmState:
    """ArmState to its message."""
    return ArmState(
        header=header(arm.t_ns),
        step=arm.step,
        q_rad=np.asarray(arm.q_rad, dtype=float),
        dq_rad_s=np.asarray(arm.dq_rad_s, dtype=float),
        o_t_ee=pose_to_msg(arm.O_T_EE),
        o_dp_ee=Twist(linear=_vector3(arm.O_dP_EE[:3]), angular=_vector3(arm.O_dP_EE[3:])),
        reference=pose_to_msg(arm.reference),
        o_f_ext_hat_k=Wrench(
            force=_vector3(arm.O_F_ext_hat_K[:3]), torque=_vector3(arm.O_F_ext_hat_K[3:])
        ),
        gripper_width_m=float(arm.gripper_width_m),
        gripper_open=float(arm.gripper_open),
        control_mode=int(arm.control_mode),
        errors=list(arm.errors),
        applied_step=max(arm.applied_step, 0),
        applied_stamp=stamp(max(arm.applied_ns, 0)),
        held_stamp=stamp(max(arm.held_ns, 0)),
    )


def base_action_to_msg(answer: types.BaseAction, t_ns: int) -> BaseAction:
    """BaseAction to its message; `t_ns` is the stamp of the arm state that it answers."""
    return BaseAction(
        header=header(t_ns),
        step=answer.step,
        image_stamps=[stamp(t) for t in answer.image_ns],
        chunk_horizon=answer.chunk.shape[0],
        chunk_index=answer.index,
        chunk=array.array("d", np.ascontiguousarray(answer.chunk, dtype=float).ravel()),
        policy_id=answer.policy_id,
    )


def choice_to_msg(choice: types.Choice, t_ns: int, episode_id: str) -> Choice:
    """Choice to its message."""
    return Choice(
        header=header(t_ns),
        step=choice.step,
        episode_id=episode_id,
        source=int(choice.source),
        action=np.asarray(choice.action, dtype=float),
        is_intervention=choice.source == types.ActionSource.HUMAN,
    )


def command_to_msg(command: types.Command, t_ns: int) -> ArmCommand:
    """Command to its message; `t_ns` is the stamp of the arm state that it answers."""
    return ArmCommand(
        header=header(t_ns),
        step=command.step,
        target=pose_to_msg(command.target),
        gripper_open=float(command.gripper_open),
        hold=command.hold,
        executed_action=np.asarray(command.executed_action, dtype=float),
        reasons=list(command.reasons),
    )


def episode_to_msg(
    episode: Episode, t_ns: int, *, task: str, mode: str, region: str
) -> EpisodeStatus:
    """An episode of `task` and the run's `mode`, whose scene was laid in `region`."""
    return EpisodeStatus(
        header=header(t_ns),
        episode_id=episode.episode_id,
        index=episode.index,
        state=int(episode.state),
        task=task,
        instruction=task_facts(task).instruction,
        mode=mode,
        seed=episode.seed,
        region=region,
        first_step=episode.first_step,
        takeover_step=episode.takeover_step,
        outcome=int(episode.outcome),
        termination_reason=episode.termination_reason,
    )


def image_from_msg(msg: Image) -> types.CameraImage:
    """An rgb8 message to CameraImage; another encoding raises ValueError."""
    if msg.encoding != "rgb8":
        raise ValueError(f"image encoding {msg.encoding!r}; valid: rgb8")
    pixels = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)
    return types.CameraImage(nanoseconds(msg.header.stamp), -1, pixels)


def joint_state(arm: types.ArmState) -> JointState:
    """sensor_msgs/JointState with the arm's joints and both fingers."""
    fingers = [arm.gripper_width_m / 2] * 2
    return JointState(
        header=header(arm.t_ns, ""),
        name=JOINT_NAMES + FINGER_NAMES,
        position=[*map(float, arm.q_rad), *fingers],
        velocity=[*map(float, arm.dq_rad_s), 0.0, 0.0],
    )


def transform(t_ns: int, parent: str, child: str, parent_T_child: types.Pose) -> TransformStamped:
    """A TF transform: pose of `child` in `parent`."""
    msg = TransformStamped(header=header(t_ns, parent), child_frame_id=child)
    msg.transform.translation = _vector3(parent_T_child.p_m)
    msg.transform.rotation = pose_to_msg(parent_T_child).orientation
    return msg
