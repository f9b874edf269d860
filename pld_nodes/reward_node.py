"""Success detection: says at every control step whether the task is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, Reward
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from pld.base_policy.registry import is_weights
from pld.contract import CAMERAS
from pld.errors import ConfigError
from pld.twin.link import LINK_NAME, TwinLink
from pld_nodes.graph import image_topic, stale_ns
from pld_nodes.parameters import DETECTORS
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node

PRESSED_STEPS = 10


@dataclass(frozen=True)
class RewardConfig:
    """Parameters of the node; `twin_dir` is read by the `twin` detector only."""

    task: str
    detector: str = "twin"
    twin_dir: str = ""
    rate_hz: float = 20.0


class RewardNode(GraphNode):
    """Answers every control step by one of three detectors.

    `twin` reads the simulator's predicate; `operator` waits for the service `~/success`; a file of
    weights is a classifier that looks at the newest images and asks the arm's senses too.
    """

    def __init__(self) -> None:
        super().__init__("reward_node")
        self._config = config = self.config(RewardConfig)
        self._detector = "classifier" if is_weights(config.detector) else config.detector
        self._read: Callable[[ArmState], bool] = self._pressed
        if config.detector == "twin":
            self._link = TwinLink(Path(config.twin_dir) / LINK_NAME)
            self._read = self._twin_says
        elif is_weights(config.detector):
            self._watch(Path(config.detector))
        elif config.detector != "operator":
            raise ConfigError.unknown("detector", config.detector, DETECTORS)
        self._pressed_steps = 0
        self._publish = self.publisher("task/reward").publish
        self._newest: dict[str, bytes] = {}
        for camera in CAMERAS:
            self.subscribe(
                image_topic(camera),
                lambda cdr, info, camera=camera: self._on_image(camera, cdr),
                raw=True,
                depth=1,
            )
        self._beat = self.heartbeat()
        self.subscribe("arm/state", self._on_state)
        self.create_service(Trigger, "~/success", self._on_success)

    def _watch(self, weights: Path) -> None:
        """Judge by a classifier from now on."""
        import torch

        from pld.reward.classifier import SuccessClassifier

        torch.set_num_threads(1)
        self._classifier = SuccessClassifier.load(weights, self._config.task)
        self._read = self._images_say

    def _on_image(self, camera: str, cdr: bytes) -> None:
        self._newest[camera] = cdr

    def _on_state(self, msg: ArmState) -> None:
        success = self._read(msg)
        self._publish(
            Reward(
                header=msg.header,
                step=msg.step,
                reward=float(success),
                success=success,
                detector=self._detector,
            )
        )
        self._beat(msg.step)
        if msg.step % round(self._config.rate_hz) == 0:
            self._report(messages.nanoseconds(msg.header.stamp))

    def _twin_says(self, _: ArmState) -> bool:
        truth = self._link.read()
        return truth is not None and truth.success

    def _pressed(self, _: ArmState) -> bool:
        self._pressed_steps = max(self._pressed_steps - 1, 0)
        return self._pressed_steps > 0

    def _images_say(self, msg: ArmState) -> bool:
        """Images are decoded only where the arm's senses agree; nearly always they do not."""
        arm = messages.arm_state_from_msg(msg)
        if not self._classifier.senses.agree(arm):
            return False
        decoded = {
            camera: messages.image_from_msg(deserialize_message(cdr, Image))
            for camera, cdr in self._newest.items()
        }
        fresh = {c: i for c, i in decoded.items() if arm.t_ns - i.t_ns <= stale_ns(c)}
        return self._classifier.succeeded(fresh, arm)

    def _report(self, t_ns: int) -> None:
        self.diagnose(t_ns, DiagnosticStatus.OK, f"judged by {self._detector}")

    def _on_success(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._config.detector == "operator"
        self._pressed_steps = PRESSED_STEPS if response.success else 0
        response.message = (
            f"said for {PRESSED_STEPS} control steps; a running episode takes it, nothing else"
            if response.success
            else "the detector is not `operator`"
        )
        return response


def main() -> None:
    """Entry point of the node."""
    run_node(RewardNode)


if __name__ == "__main__":
    main()
