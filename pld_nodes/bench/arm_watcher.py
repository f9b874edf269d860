"""An observer beside the graph: what the arm's states and the episode said, while nodes die."""

from __future__ import annotations

import threading

import rclpy
from pld_interfaces.msg import ArmState, EpisodeStatus, SafetyStatus
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from pld import types
from pld.errors import RobotError
from pld_nodes import graph
from pld_nodes.ros import environment, messages
from pld_nodes.ros.node import qos_profile

CLOSE_S, FAST_M_S = 10.0, 0.05


class ArmWatcher:
    """Subscribes to `arm/state` and `episode` in a context and a thread of its own.

    The middleware may hang when its writers are destroyed after many nodes were killed: what was
    seen by then is worth more than an orderly end. rclpy holds the interpreter's lock meanwhile, so
    that no thread of this process goes on: who kills many, listens in a process that just ends.
    """

    def __init__(self, namespace: str) -> None:
        environment.prepare()
        self.namespace = namespace
        self.states: list[types.ArmState] = []
        self.running = False
        self.ended_for = ""
        self.latched: tuple[str, ...] = ()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("arm_watcher", context=self._context, namespace=namespace)
        self._stop = threading.Event()
        for name, kind, callback in (
            ("arm/state", ArmState, self._on_state),
            ("episode", EpisodeStatus, self._on_episode),
            ("safety/status", SafetyStatus, self._on_safety),
        ):
            self._node.create_subscription(kind, name, callback, qos_profile(graph.topic(name).qos))
        self._thread = threading.Thread(target=self._spin, daemon=True, name="watcher")

    def listen(self) -> None:
        """Begin to keep what is said."""
        self._thread.start()

    def __enter__(self) -> ArmWatcher:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        closing = threading.Thread(target=self._close, daemon=True, name="watcher-close")
        closing.start()
        closing.join(CLOSE_S)

    def _close(self) -> None:
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def moving(self) -> bool:
        """Whether the arm tracks commands of a running episode at more than 5 cm/s."""
        return self.running and self._is_fast(types.ControlMode.TRACKING)

    def going_home(self) -> bool:
        """Whether the driver takes the arm home at more than 5 cm/s."""
        return self._is_fast(types.ControlMode.RESETTING)

    def _is_fast(self, mode: types.ControlMode) -> bool:
        if not self.states or self.states[-1].control_mode is not mode:
            return False
        return float((self.states[-1].O_dP_EE[:3] ** 2).sum() ** 0.5) > FAST_M_S

    def call(self, service: str, timeout_s: float = 20.0) -> Trigger.Response:
        """Ask a `std_srvs/Trigger` service of the graph; raises RobotError when it is silent."""
        client = self._node.create_client(Trigger, service)
        try:
            if not client.wait_for_service(timeout_s):
                raise RobotError(f"service {service!r} is not there")
            done = threading.Event()
            future = client.call_async(Trigger.Request())
            future.add_done_callback(lambda _: done.set())
            if not done.wait(timeout_s):
                raise RobotError(f"service {service!r} did not answer within {timeout_s:g} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        while not self._stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    def _on_state(self, msg: ArmState) -> None:
        self.states.append(messages.arm_state_from_msg(msg))

    def _on_episode(self, msg: EpisodeStatus) -> None:
        self.running = msg.state == EpisodeStatus.RUNNING
        self.ended_for = str(msg.termination_reason)

    def _on_safety(self, msg: SafetyStatus) -> None:
        self.latched = tuple(msg.latched)
