"""A recorded episode made by hand: messages serialized by `rosbags`, not by our own code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pld.recording import bag
from pld.recording.bag import OfferedQos, RawMessage, RecordedTopic, RunDescription
from pld.recording.schemas import schema_text, type_hash
from pld.recording.session import RecordingSession, SessionConfig

NS = 1_000_000_000
WALL_NS = 1_700_000_000 * NS
NAMESPACE = "/pld"
WRIST = "/pld/camera/wrist/color/image_raw"
FRONT = "/pld/camera/third_person/color/image_raw"
ARM = "/pld/arm/state"
EPISODE = "/pld/episode"
STATIC = "/tf_static"
HEIGHT, WIDTH = 12, 16
READY_Q_RAD = np.array([0.0, -0.785, 0.1, -2.356, 0.2, 1.571, 0.785])
TYPES = {
    FRONT: bag.IMAGE,
    WRIST: bag.IMAGE,
    ARM: bag.ARM_STATE,
    "/pld/base/action": bag.BASE_ACTION,
    "/pld/teleop/action": bag.HUMAN_ACTION,
    "/pld/arbitrator/choice": bag.CHOICE,
    "/pld/arm/command": bag.ARM_COMMAND,
    "/pld/task/reward": bag.REWARD,
    EPISODE: bag.EPISODE_STATUS,
    STATIC: "tf2_msgs/msg/TFMessage",
}
RUN = RunDescription(NAMESPACE, "sim", "kilted", {"task": "cube_pickup"}, {"python": "3"})


def topics() -> dict[str, RecordedTopic]:
    """The topics of a small graph, by absolute name."""
    return {
        name: RecordedTopic(
            name,
            kind,
            schema_text(kind),
            type_hash(kind),
            OfferedQos(depth=1, latched=name in (EPISODE, STATIC)),
            single_producer=name != STATIC,
        )
        for name, kind in TYPES.items()
    }


@cache
def store() -> Any:
    found = get_typestore(Stores.EMPTY)
    for kind in TYPES.values():
        found.register(get_types_from_msg(schema_text(kind), kind))
    return found


def build(kind: str, **fields: Any) -> Any:
    """A message with zeros wherever nothing is given."""
    types = store()
    values: dict[str, Any] = {}
    for name, (shape, detail) in types.fielddefs[kind][1]:
        values[name] = fields[name] if name in fields else _zero(int(shape), detail)
    return types.types[kind](**values)


def _zero(shape: int, detail: Any) -> Any:
    if shape == 1:
        return {"string": "", "bool": False}.get(detail[0], 0)
    if shape == 2:
        return build(detail)
    element, count = detail[0], detail[1] if shape == 3 else 0
    if int(element[0]) == 1 and element[1][0] != "string":
        return np.zeros(count, dtype={"byte": "u1"}.get(element[1][0], element[1][0]))
    return []


def header(t_ns: int, frame_id: str = "base") -> Any:
    stamp = build("builtin_interfaces/msg/Time", sec=t_ns // NS, nanosec=t_ns % NS)
    return build("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def cdr(kind: str, **fields: Any) -> bytes:
    return bytes(store().serialize_cdr(build(kind, **fields), kind))


def image_cdr(t_ns: int, rgb: np.ndarray, encoding: str = "rgb8") -> bytes:
    return cdr(
        bag.IMAGE,
        header=header(t_ns, "camera"),
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding=encoding,
        step=rgb.strides[0],
        data=np.frombuffer(rgb.tobytes(), np.uint8),
    )


def arm_cdr(
    t_ns: int, step: int, x_m: float = 0.0, *, at_work: bool = False, applied_step: int = 0
) -> bytes:
    """An arm state somewhere, or `at_work`: over the table, the hand pointing down."""
    x, y, z = (0.5, 0.0, 0.2) if at_work else (0.3 + x_m, 0.1, 0.4)
    point = build("geometry_msgs/msg/Point", x=x, y=y, z=z)
    turn = {"x": 1.0, "w": 0.0} if at_work else {"w": 1.0}
    quaternion = build("geometry_msgs/msg/Quaternion", **turn)
    pose = build("geometry_msgs/msg/Pose", position=point, orientation=quaternion)
    return cdr(
        bag.ARM_STATE,
        header=header(t_ns),
        step=step,
        q_rad=READY_Q_RAD,
        o_t_ee=pose,
        reference=pose,
        gripper_width_m=0.08,
        gripper_open=1.0,
        control_mode=1,
        applied_step=applied_step,
        applied_stamp=header(t_ns if applied_step else 0).stamp,
    )


def status_cdr(
    t_ns: int, episode_id: str, state: int, first_step: int = 0, outcome: int = 0, reason: str = ""
) -> bytes:
    return cdr(
        bag.EPISODE_STATUS,
        header=header(t_ns),
        episode_id=episode_id,
        state=state,
        task="cube_pickup",
        instruction="pick up the cube",
        mode="collect",
        seed=7,
        region="corner",
        first_step=first_step,
        takeover_step=-1,
        outcome=outcome,
        termination_reason=reason,
    )


def picture(index: int) -> np.ndarray:
    """An RGB image (HEIGHT, WIDTH, 3) that tells its index."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


class Stream:
    """Numbers messages as publishers do, and gives them wall times of a slow machine."""

    def __init__(self, start_ns: int = WALL_NS, latency_ns: int = 2_000_000) -> None:
        self.now_ns = start_ns
        self._latency_ns = latency_ns
        self._sequence: dict[str, int] = {}

    def message(self, topic: str, data: bytes) -> RawMessage:
        self.now_ns += 100_000
        self._sequence[topic] = self._sequence.get(topic, 0) + 1
        return RawMessage(
            topic, data, self.now_ns, self.now_ns - self._latency_ns, self._sequence[topic]
        )

    def lose(self, topic: str, count: int) -> None:
        """The publisher sent `count` messages that never arrive."""
        self._sequence[topic] = self._sequence.get(topic, 0) + count

    def episode(
        self, episode_id: str, steps: int = 20, first_step: int = 100, outcome: int = 1
    ) -> Iterator[RawMessage]:
        """A whole episode at 20 Hz with one image per camera and step, from reset to end."""
        yield self.message(EPISODE, status_cdr(first_step * NS // 20, episode_id, 1))
        yield self.message(EPISODE, status_cdr(first_step * NS // 20, episode_id, 2, first_step))
        for step in range(first_step, first_step + steps):
            yield from self.step(step)
        end_ns = (first_step + steps) * NS // 20
        yield self.message(ARM, arm_cdr(end_ns, first_step + steps))
        yield self.message(
            EPISODE, status_cdr(end_ns, episode_id, 3, first_step, outcome, "task_succeeded")
        )

    def step(self, step: int, image: int | None = None) -> Iterator[RawMessage]:
        """One control step of 50 ms: images, state, base action, choice, command and reward."""
        t_ns = step * NS // 20
        self.now_ns += 50_000_000
        for camera in (FRONT, WRIST):
            rgb = picture(step if image is None else image)
            yield self.message(camera, image_cdr(t_ns - 10_000_000, rgb))
        yield self.message(ARM, arm_cdr(t_ns, step, x_m=0.001 * step))
        common = {"header": header(t_ns), "step": step}
        action = np.full(7, 0.5)
        yield self.message(
            "/pld/base/action",
            cdr(
                bag.BASE_ACTION, **common, chunk_horizon=2, chunk=np.arange(14.0), policy_id="base"
            ),
        )
        yield self.message(
            "/pld/arbitrator/choice", cdr(bag.CHOICE, **common, source=1, action=action)
        )
        yield self.message(
            "/pld/arm/command",
            cdr(bag.ARM_COMMAND, **common, executed_action=action, reasons=["speed"]),
        )
        yield self.message("/pld/task/reward", cdr(bag.REWARD, **common, detector="twin"))


def session(run_dir: Path, **changes: Any) -> RecordingSession:
    """A recording session that needs little room; `changes` go to its constructor."""
    config = changes.pop("config", SessionConfig(run_dir, min_free_bytes=1_000_000))
    return RecordingSession(config, topics(), lambda: RUN, **changes)


def settle(recorder: RecordingSession) -> None:
    """Let the time pass that an ended episode waits for late messages."""
    recorder.poll(0)
    recorder.poll(NS)


def record(run_dir: Path, episode_id: str = "e0", steps: int = 20, **changes: Any) -> Path:
    """Record one whole episode; returns its folder."""
    recorder, stream = session(run_dir, **changes), Stream()
    for message in stream.episode(episode_id, steps):
        recorder.on_message(message)
    settle(recorder)
    return run_dir / "episodes" / episode_id
