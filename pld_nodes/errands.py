"""What the episode machine wants done by others: resets and grasps, asked for once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pld_interfaces.srv import ResetScene
from rclpy.task import Future
from std_srvs.srv import Trigger

from pld.probing.episode import Want
from pld.types import ControlMode
from pld_nodes.ros.node import GraphNode

READY_MODES = (ControlMode.HOLDING, ControlMode.TRACKING)
PREPARING = (Want.RESET_ARM, Want.RESET_SCENE, Want.GRASP)


@dataclass(frozen=True)
class Replies:
    """What the errands report: a want is done (with the region for a scene), or cannot be."""

    done: Callable[[Want], None]
    failed: Callable[[str], None]


class Errands:
    """Asks the driver and the scene for what is wanted.

    A faulty arm is asked for nothing, and one that safety withholds neither for a reset nor for a
    grasp; what was under way is asked for anew afterwards. A request to the arm is done once the
    arm was seen at it and is ready again. `scene` is `service` (the twin lays the scene) or
    `operator` (a person does, and says so).
    """

    def __init__(self, node: GraphNode, task: str, scene: str, replies: Replies) -> None:
        self._log = node.get_logger()
        self._task, self._scene, self._replies = task, scene, replies
        self._arm = {
            Want.RESET_ARM: node.create_client(Trigger, "franka_node/reset"),
            Want.GRASP: node.create_client(Trigger, "franka_node/grasp"),
        }
        self._reset_scene = node.create_client(ResetScene, "scene/reset")
        self._asked = Want.NOTHING
        self._arm_busy = False
        self.region = ""

    def pursue(self, want: Want, mode: ControlMode, seed: int, *, withheld: bool) -> None:
        """Called at every control step with what is wanted now and what the arm does."""
        if mode is ControlMode.FAULT or (withheld and want in self._arm):
            self._asked = Want.NOTHING
        elif want is self._asked:
            self._watch_arm(mode)
        elif want in self._arm:
            self._ask_arm(want)
        elif want is Want.RESET_SCENE:
            self._ask_scene(seed)
        else:
            self._asked = want

    def _ask_arm(self, want: Want) -> None:
        client = self._arm[want]
        if client.service_is_ready():
            self._asked, self._arm_busy = want, False
            client.call_async(Trigger.Request()).add_done_callback(self._on_arm_asked)

    def _ask_scene(self, seed: int) -> None:
        if self._scene == "operator":
            self._log.warning("lay the scene, then call arbitrator_node/scene_ready")
        elif self._reset_scene.service_is_ready():
            request = ResetScene.Request(task=self._task, seed=seed)
            self._reset_scene.call_async(request).add_done_callback(self._on_scene_reset)
        else:
            return
        self._asked = Want.RESET_SCENE

    def _watch_arm(self, mode: ControlMode) -> None:
        if self._asked not in self._arm:
            return
        if mode is ControlMode.RESETTING:
            self._arm_busy = True
        elif self._arm_busy and mode in READY_MODES:
            self._replies.done(self._asked)

    def _on_arm_asked(self, future: Future[Trigger.Response]) -> None:
        answer = future.result()
        if not answer.success:
            words = f"{self._asked.value} refused: {answer.message}"
            self._log.warning(words, throttle_duration_sec=1.0)
            self._asked = Want.NOTHING

    def _on_scene_reset(self, future: Future[ResetScene.Response]) -> None:
        answer = future.result()
        if answer.success:
            self.region = answer.region
            self._replies.done(Want.RESET_SCENE)
        else:
            self._replies.failed(f"the scene was not reset: {answer.message}")
