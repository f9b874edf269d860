"""The operator's words from a device: each is a service of the graph, answered on the screen."""

from __future__ import annotations

from pld_interfaces.msg import EpisodeStatus
from rclpy.client import Client
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from pld.teleop.reading import OperatorKey
from pld_nodes.ros.node import GraphNode

AFTER_RELEASE = ("hold", "policy")
ARBITRATOR = "arbitrator_node"
SERVICES = {
    OperatorKey.STOP: ("safety_node/stop", f"{ARBITRATOR}/pause"),
    OperatorKey.SUCCESS: (f"{ARBITRATOR}/success",),
    OperatorKey.FAILURE: (f"{ARBITRATOR}/failure",),
    OperatorKey.DISCARD: (f"{ARBITRATOR}/discard",),
    OperatorKey.PAUSE: (f"{ARBITRATOR}/pause",),
    OperatorKey.RESUME: (f"{ARBITRATOR}/resume",),
}


class OperatorWords:
    """Calls the services, and tells every episode what a release is to be followed by."""

    def __init__(self, node: GraphNode, after_release: str) -> None:
        self._node, self._log = node, node.get_logger()
        self._policy_after_release = after_release == "policy"
        self._episode = ("", -1)
        self._chosen = False
        names = dict.fromkeys(name for row in SERVICES.values() for name in row)
        self._clients = {name: node.create_client(Trigger, name) for name in names}
        self._choice = node.create_client(SetBool, f"{ARBITRATOR}/policy_after_release")

    def say(self, word: OperatorKey) -> None:
        """Carry out a word; a service that is not there is told on the screen."""
        if word is OperatorKey.QUIT:
            self._node.finish()
            return
        for name in SERVICES[word]:
            self._call(self._clients[name], name)

    def on_episode(self, msg: EpisodeStatus) -> None:
        """Show how the episode stands; repeat the operator's choice to whoever runs it."""
        now = (msg.episode_id, int(msg.state))
        if now == self._episode:
            return
        if msg.episode_id != self._episode[0]:
            self._chosen = False
            self.repeat_choice()
        self._episode = now
        reason = f": {msg.termination_reason}" if msg.termination_reason else ""
        running = msg.state == EpisodeStatus.RUNNING
        self._log.info(f"episode {msg.episode_id} {'runs' if running else 'ended' + reason}")

    def repeat_choice(self) -> None:
        """Tell the arbitrator what follows a release, until it has answered; it holds before."""
        if not self._chosen and self._choice.service_is_ready():
            request = SetBool.Request(data=self._policy_after_release)
            future = self._choice.call_async(request)
            future.add_done_callback(self._on_chosen)

    def _on_chosen(self, done: Future) -> None:
        if not self._chosen:
            self._chosen = True
            self._log.info(done.result().message)

    def _call(self, client: Client, name: str) -> None:
        if client.service_is_ready():
            self._answered(client.call_async(Trigger.Request()), name)
        else:
            self._log.error(f"{name} is not there; use the emergency stop if the arm moves")

    def _answered(self, future: Future, name: str) -> None:
        def tell(done: Future) -> None:
            answer = done.result()
            say = self._log.info if answer.success else self._log.warning
            say(f"{name}: {answer.message}")

        future.add_done_callback(tell)
