"""The twin's side of the graph: lays the scene, and attends to the arm, where a lab has people.

It also tells the twin how far the nodes beside the arm have come, as the safety node knows it:
robot time waits for them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, SafetyStatus
from pld_interfaces.srv import ResetScene
from rclpy.task import Future
from std_msgs.msg import UInt64
from std_srvs.srv import Trigger

from pld.errors import PldError
from pld.safety.attendant import Attendant
from pld.safety.failsafe import CLEAR, RECOVER
from pld.twin.attendance import Attendance
from pld.twin.control import SOCKET_NAME, ControlClient
from pld.twin.link import LINK_NAME
from pld.twin.observer import TwinObserver
from pld.types import ControlMode
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node

REPORT_NS = 1_000_000_000


@dataclass(frozen=True)
class TwinConfig:
    """Parameters of the node: the folder in which the twin keeps its page and its socket.

    `unattended`: nobody watches this run, and the node recovers the arm after a reflex.
    """

    twin_dir: str
    unattended: bool = False


class TwinNode(GraphNode):
    """Offers `scene/reset`; in an unattended run calls the operator's services too."""

    def __init__(self) -> None:
        super().__init__("twin_node")
        config = self.config(TwinConfig)
        self._twin = ControlClient(Path(config.twin_dir) / SOCKET_NAME)
        self._observer = TwinObserver(Path(config.twin_dir) / LINK_NAME)
        self._attendance = Attendance()
        self.create_service(ResetScene, "scene/reset", self._on_reset)
        self._attendant = Attendant()
        self._latched: tuple[str, ...] = ()
        self._reported_ns = -REPORT_NS
        self._operators = {name: self.create_client(Trigger, name) for name in (RECOVER, CLEAR)}
        self._unattended = config.unattended
        self.subscribe("safety/status", self._on_status)
        self._beat = self.heartbeat()
        self.subscribe("safety/attended", self._on_attended, depth=1)
        self.subscribe("arm/state", self._on_state)

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            answer = self._twin.call("reset", task=request.task, seed=int(request.seed))
        except PldError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.region = True, str(answer["region"])
        return response

    def _on_status(self, msg: SafetyStatus) -> None:
        self._latched = tuple(msg.latched)

    def _on_attended(self, msg: UInt64) -> None:
        self._attendance = self._attendance.on_attended(int(msg.data))
        self._confirm()

    def _confirm(self) -> None:
        """Let robot time go on as far as everybody beside the arm has come."""
        if (done_ns := self._attendance.done_ns) is not None:
            self._observer.worked(done_ns)

    def _on_state(self, msg: ArmState) -> None:
        self._beat(msg.step)
        t_ns = messages.nanoseconds(msg.header.stamp)
        self._attendance = self._attendance.on_state(msg.step, t_ns)
        self._confirm()
        if t_ns - self._reported_ns >= REPORT_NS:
            self._reported_ns = t_ns
            self.diagnose(t_ns, DiagnosticStatus.OK, "lays the scene")
        if not self._unattended:
            return
        faulty = ControlMode(msg.control_mode) is ControlMode.FAULT
        self._attendant, service = self._attendant.asks(
            time.monotonic_ns(), faulty=faulty, latched=self._latched
        )
        if service and self._operators[service].service_is_ready():
            asked = self._operators[service].call_async(Trigger.Request())
            asked.add_done_callback(self._on_answer)

    def shutdown(self) -> None:
        """Let robot time go on without the nodes beside the arm."""
        self._observer.worked(None)

    def _on_answer(self, future: Future[Trigger.Response]) -> None:
        self.get_logger().warning(f"unattended: {future.result().message}")


def main() -> None:
    """Entry point of the node."""
    run_node(TwinNode)


if __name__ == "__main__":
    main()
