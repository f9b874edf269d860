"""The residual actor: after the takeover it answers every base action with a bounded correction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import (
    ArmState,
    BaseAction,
    EpisodeStatus,
    PolicyWeights,
    ResidualAction,
)
from sensor_msgs.msg import Image

from pld.base_policy.registry import trained_policy
from pld.contract import CAMERAS
from pld.errors import ContractError, PldError
from pld.probing.arbitrator import specialist_acts
from pld.residual.actor import ResidualActor, load_actor_over
from pld.residual.held import HeldResidual
from pld.rollout_env import SENSOR_DIM, sensor_features
from pld.types import CameraImage, Observation
from pld_nodes.graph import image_topic
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node

KEPT = 8
"""Images and arm states that are kept, for a base action that was made of slightly older ones."""


@dataclass(frozen=True)
class ResidualNodeConfig:
    """Parameters of the node: the specialist's weights and those of the base under it.

    Without a `specialist` the node waits for a learner's weights and explores with them.
    """

    task: str
    policy: str
    specialist: str = ""
    rate_hz: float = 10.0


class ResidualNode(GraphNode):
    """Sees what the base saw for each of its actions, and corrects that action."""

    def __init__(self) -> None:
        super().__init__("residual_node")
        config = self.config(ResidualNodeConfig)
        self._rate_hz = config.rate_hz
        self._task = config.task
        base = trained_policy(Path(config.policy), config.task, config.rate_hz)
        self._base_id = base.policy_id
        self._feature_dim = base.feature_dim + SENSOR_DIM
        self._features = sensor_features(base.encode)
        self._specialist: HeldResidual | None = None
        if config.specialist:
            self._specialist = HeldResidual(self._load(config.specialist))
        self._offered: ResidualActor | None = None
        self._refused_weights = 0
        self._images: dict[tuple[str, int], CameraImage] = {}
        self._arms: dict[int, ArmState] = {}
        self._waiting: BaseAction | None = None
        self._episode = EpisodeStatus()
        self._answered = self._unanswered = 0
        self._publish = self.publisher("residual/action").publish
        self.subscribe("episode", self._on_episode)
        for camera in CAMERAS:
            self.subscribe(
                image_topic(camera),
                lambda msg, camera=camera: self._on_image(camera, msg),
            )
        self._beat = self.heartbeat()
        self.subscribe("arm/state", self._on_state)
        self.subscribe("base/action", self._on_base_action)
        self._learning = not config.specialist
        self.subscribe("learner/weights", self._on_weights)

    def _load(self, path: str) -> ResidualActor:
        """The actor in a file; raises ConfigError unless it fits task, base and this code."""
        return load_actor_over(Path(path), self._task, self._base_id, self._feature_dim)

    def _on_weights(self, msg: PolicyWeights) -> None:
        """Keep a learner's weights for the next episode; bad ones leave the old ones in use."""
        if not self._learning:
            return
        try:
            self._offered = self._load(msg.path)
        except PldError as error:
            self._refused_weights += 1
            self.get_logger().error(f"weights {msg.version} refused: {error}")

    def _on_episode(self, msg: EpisodeStatus) -> None:
        if msg.episode_id != self._episode.episode_id:
            self._begin(msg.seed)
        self._episode = msg

    def _begin(self, seed: int) -> None:
        """An episode begins: the newest weights act in it, exploring if a learner sent them."""
        if self._offered is not None:
            rng = np.random.default_rng((seed, 11))
            self._specialist = HeldResidual(self._offered, rng)
        elif self._specialist is not None:
            self._specialist.reset()

    def _on_image(self, camera: str, msg: Image) -> None:
        image = messages.image_from_msg(msg)
        self._images[camera, image.t_ns] = image
        while len(self._images) > KEPT * len(CAMERAS):
            del self._images[next(iter(self._images))]
        self._answer()

    def _on_state(self, msg: ArmState) -> None:
        self._arms[msg.step] = msg
        while len(self._arms) > KEPT:
            del self._arms[next(iter(self._arms))]
        self._answer()
        self._beat(msg.step)
        if msg.step % round(self._rate_hz) == 0:
            self._report(messages.nanoseconds(msg.header.stamp))

    def _on_base_action(self, msg: BaseAction) -> None:
        self._unanswered += self._waiting is not None
        self._waiting = msg if self._acts_at(msg.step) else None
        self._answer()

    def _acts_at(self, step: int) -> bool:
        """Whether the specialist has control at `step`."""
        episode = self._episode
        if episode.state != EpisodeStatus.RUNNING or self._specialist is None:
            return False
        return specialist_acts(step - int(episode.first_step), int(episode.takeover_step))

    def _answer(self) -> None:
        """Correct the waiting base action, once the arm state and the images it saw are here."""
        msg, specialist = self._waiting, self._specialist
        if msg is None or specialist is None or msg.step not in self._arms:
            return
        base = messages.base_action_from_msg(msg)
        seen = dict(zip(CAMERAS, base.image_ns, strict=True))
        if not all(item in self._images for item in seen.items()):
            return
        self._waiting = None
        if base.policy_id != self._base_id:
            raise ContractError(
                f"base actions come from {base.policy_id}; the specialist works over "
                f"{self._base_id}: start vla_node with the same weights"
            )
        arm = messages.arm_state_from_msg(self._arms[msg.step])
        images = {camera: self._images[camera, t_ns] for camera, t_ns in seen.items()}
        observation = Observation(arm, images, self._episode.instruction)
        residual = specialist.residual(
            base.step, lambda: self._features(observation, base), base.action
        )
        if not np.isfinite(residual).all():
            words = f"the residual of step {base.step} is not finite and is not sent: {residual}"
            self.get_logger().error(words, throttle_duration_sec=1.0)
            self._unanswered += 1
            return
        self._publish(
            ResidualAction(
                header=msg.header,
                step=msg.step,
                residual_action=residual,
                residual_scale=specialist.actor.residual_scale,
                policy_id=specialist.policy_id,
            )
        )
        self._answered += 1

    def _report(self, t_ns: int) -> None:
        late = self._waiting is not None
        self.diagnose(
            t_ns,
            DiagnosticStatus.WARN if late else DiagnosticStatus.OK,
            "waiting for what the base saw" if late else "answering",
            answered=self._answered,
            unanswered=self._unanswered,
            refused_weights=self._refused_weights,
        )


def main() -> None:
    """Entry point of the node."""
    run_node(ResidualNode)


if __name__ == "__main__":
    main()
