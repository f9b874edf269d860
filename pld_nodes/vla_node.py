"""Base policy inference: answers every control step of a running episode with a base action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, EpisodeStatus
from sensor_msgs.msg import Image

from pld.base_policy.chunking import ChunkPlayer
from pld.base_policy.registry import make_policy
from pld.contract import CAMERAS, ActionSpec
from pld.errors import ConfigError, ContractError
from pld.twin.link import LINK_NAME, TwinLink
from pld.types import CameraImage, Observation, SceneTruth
from pld_nodes.graph import image_topic, stale_ns
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node


@dataclass(frozen=True)
class VlaConfig:
    """Parameters of the node; `twin_dir` is only read by scripted policies."""

    task: str
    policy: str = "scripted"
    rate_hz: float = 20.0
    twin_dir: str = ""
    execute_horizon: int = 1


def truth_source(task: str, twin_dir: str) -> Callable[[], SceneTruth]:
    """Where scripted policies learn the scene's truth: the twin's page, opened at first use."""

    def truth() -> SceneTruth:
        from pld.twin.tasks import task_named

        if not twin_dir:
            raise ConfigError("a scripted policy needs a twin; on a robot choose another policy")
        reading = TwinLink(Path(twin_dir) / LINK_NAME).read()
        if reading is None:
            raise ConfigError("the twin has not begun to simulate")
        return task_named(task).truth(reading.qpos)

    return truth


class VlaNode(GraphNode):
    """Keeps the newest image of each camera and answers each arm state of a running episode."""

    def __init__(self) -> None:
        super().__init__("vla_node")
        config = self.config(VlaConfig)
        self._rate_hz = config.rate_hz
        spec = ActionSpec(rate_hz=config.rate_hz)
        truth = truth_source(config.task, config.twin_dir)
        policy = make_policy(config.policy, config.task, spec, truth)
        self._player = ChunkPlayer(policy, config.execute_horizon)
        self._images: dict[str, CameraImage] = {}
        self._episode: EpisodeStatus | None = None
        self._answered = self._starved = 0
        self._publish = self.publisher("base/action").publish
        self.subscribe("episode", self._on_episode)
        for camera in CAMERAS:
            self.subscribe(
                image_topic(camera),
                lambda msg, camera=camera: self._on_image(camera, msg),
                depth=1,
            )
        self.subscribe("arm/state", self._on_state, depth=1)  # answers to older steps are refused

    def _on_episode(self, msg: EpisodeStatus) -> None:
        if self._episode is None or msg.episode_id != self._episode.episode_id:
            self._player.reset(msg.seed)
        self._episode = msg

    def _on_image(self, camera: str, msg: Image) -> None:
        self._images[camera] = messages.image_from_msg(msg)

    def _on_state(self, msg: ArmState) -> None:
        if msg.step % round(self._rate_hz) == 0:
            self._report(messages.nanoseconds(msg.header.stamp))
        episode = self._episode
        if episode is None or episode.state != EpisodeStatus.RUNNING:
            return
        if msg.step < episode.first_step:
            return
        arm = messages.arm_state_from_msg(msg)
        if stale := self._stale_cameras(arm.t_ns):
            words = f"step {msg.step} is not answered: no fresh image of {', '.join(stale)}"
            self.get_logger().warning(words, throttle_duration_sec=1.0)
            self._starved += 1
            return
        observation = Observation(arm, dict(self._images), episode.instruction)
        try:
            answer = self._player.answer(observation)
        except ContractError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            self._starved += 1
            return
        stamps = tuple(self._images[camera].t_ns for camera in CAMERAS)
        self._publish(messages.base_action_to_msg(replace(answer, image_ns=stamps), arm.t_ns))
        self._answered += 1

    def _stale_cameras(self, t_ns: int) -> list[str]:
        """Cameras without an image, or with one that is too old for this step."""
        return [
            camera
            for camera in CAMERAS
            if camera not in self._images or t_ns - self._images[camera].t_ns > stale_ns(camera)
        ]

    def _report(self, t_ns: int) -> None:
        stale = self._stale_cameras(t_ns)
        self.diagnose(
            t_ns,
            DiagnosticStatus.WARN if stale else DiagnosticStatus.OK,
            f"stale cameras: {', '.join(stale)}" if stale else "answering",
            answered=self._answered,
            starved=self._starved,
        )


def main() -> None:
    """Entry point of the node."""
    run_node(VlaNode)


if __name__ == "__main__":
    main()
