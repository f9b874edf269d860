"""What every node shell shares: table-checked topics, parameters from a dataclass, diagnostics."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import UInt64

from pld.config import from_mapping
from pld.errors import ConfigError, PldError
from pld_nodes import graph
from pld_nodes.ros import environment, messages
from pld_nodes.ros.hanging import ends_when_hanging

T = TypeVar("T")
EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
SHUTDOWN_LIMIT_S = 30
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
HALT_SIGNAL = signal.SIGUSR1
UNCOUNTED = 2**63


def qos_profile(qos: graph.Qos) -> QoSProfile:
    """The table's quality of service as rclpy's."""
    profile = QoSProfile(
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE,
    )
    if qos.deadline_s is not None:
        profile.deadline = profile.liveliness_lease_duration = Duration(seconds=qos.deadline_s)
        profile.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    return profile


def message_class(type_name: str) -> type:
    """The class of a message type such as `sensor_msgs/msg/Image`."""
    package, _, name = type_name.split("/")
    found: type = getattr(importlib.import_module(f"{package}.msg"), name)
    return found


class GraphNode(Node):
    """A node whose publishers and subscriptions are rows of the graph table.

    `hang_limit_s`: a callback that takes longer ends the process (pld_nodes.ros.hanging).
    """

    hang_limit_s = 60.0

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", qos_profile(graph.topic("/diagnostics").qos)
        )
        self.exit_code = 0
        self.finished = False

    def config(self, kind: type[T]) -> T:
        """Read ROS parameters named after the fields of the dataclass `kind`, strictly."""
        given: dict[str, Any] = {}
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING:
                value = self._declared(field.name, None)
                if value is None:
                    raise ConfigError(f"{self.get_name()}: parameter {field.name!r} is not set")
            else:
                value = self._declared(field.name, field.default)
            given[field.name] = value
        return from_mapping(given, kind, where=self.get_name())

    def _declared(self, name: str, default: Any) -> Any:
        from rcl_interfaces.msg import ParameterDescriptor

        descriptor = ParameterDescriptor(dynamic_typing=True, read_only=True)
        value = self.declare_parameter(name, default, descriptor).value
        return default if value is None else value

    def publisher(self, name: str) -> Publisher[Any]:
        """A publisher on a topic whose producer in the table is this node."""
        row = graph.topic(name)
        if row.producer != self.get_name():
            raise ConfigError(f"{self.get_name()} may not publish {name!r}: {row.producer} does")
        return self.create_publisher(message_class(row.type), name, qos_profile(row.qos))

    def subscribe(
        self,
        name: str,
        callback: Callable[..., None],
        *,
        raw: bool = False,
        depth: int | None = None,
        on_silence: Callable[[], None] | None = None,
    ) -> Subscription[Any]:
        """A subscription to a topic that the table lets this node read.

        `depth` of the messages that wait for a busy node are kept, with 1 only the newest; the
        table's number unless said.
        `on_silence` is called when the middleware misses a message or the writer's sign of life.
        """
        row = graph.topic(name)
        if name not in graph.read_by(self.get_name()):
            raise ConfigError(f"{self.get_name()} may not read {name!r}: it is not in its row")
        qos = row.qos if depth is None else dataclasses.replace(row.qos, depth=depth)
        return self.create_subscription(
            message_class(row.type),
            name,
            callback,
            qos_profile(qos),
            raw=raw,
            event_callbacks=None if on_silence is None else _silence_events(on_silence),
        )

    def heartbeat(self) -> Callable[[int], None]:
        """What tells the safety node that this node has done its work of a control step."""
        publisher = self.publisher(graph.heartbeat_topic(self.get_name()))
        return lambda step: publisher.publish(UInt64(data=step))

    def diagnose(self, t_ns: int, level: bytes, message: str, **values: object) -> None:
        """Publish this node's diagnostics, stamped on the graph clock.

        `level` is one of DiagnosticStatus' constants.
        """
        status = DiagnosticStatus(
            level=level,
            name=self.get_name(),
            message=message,
            values=[KeyValue(key=k, value=str(v)) for k, v in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = messages.stamp(t_ns)
        self._diagnostics.publish(array)

    def finish(self, exit_code: int = 0) -> None:
        """Ask the spin loop to end this process."""
        self.exit_code = exit_code
        self.finished = True

    def halt(self) -> None:
        """Stop moving at once, whatever else goes on: another process of the run has died."""

    def shutdown(self) -> None:
        """Let go of devices; called once before the process ends."""


def _silence_events(on_silence: Callable[[], None]) -> SubscriptionEventCallbacks:
    """The middleware's own signs of a writer that stopped: deadline missed, liveliness lost."""

    def on_liveliness(status: Any) -> None:
        if status.not_alive_count_change > 0:
            on_silence()

    return SubscriptionEventCallbacks(
        deadline=lambda status: on_silence(), liveliness=on_liveliness
    )


def sequence_of(info: dict[str, Any]) -> int | None:
    """The publisher's own count of a message; None where the middleware keeps none."""
    number = info.get("publication_sequence_number")
    return int(number) if number and number < UNCOUNTED else None


def publisher_of(info: dict[str, Any]) -> Hashable:
    """What tells publishers of one topic apart; nothing on distributions that do not say."""
    gid = info.get("publisher_gid")
    return gid and bytes(gid["data"])


def _finish_on_signal(node: GraphNode, executor: SingleThreadedExecutor) -> None:
    """Finish on SIGINT or SIGTERM, halt on SIGUSR1, even while the main thread waits for a message.

    The signal's byte on a pipe wakes a thread of its own, which wakes the executor.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)

    def wait() -> None:
        while True:
            received = set(os.read(reader, 64))
            if HALT_SIGNAL in received:
                node.halt()
            if received & STOP_SIGNALS:
                break
        node.finish(node.exit_code)
        executor.wake()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _keep_out_of_collection() -> None:
    """Let the collector leave alone what was imported and built so far.

    A full collection beside torch takes about 0.1 s of CPU, two control periods at 20 Hz.
    """
    gc.collect()
    gc.freeze()


def run_node(kind: Callable[[], GraphNode]) -> None:
    """Run one node until it finishes, fails or is told to stop; the process's exit code says which.

    Exit codes: 0 finished or told to stop, 1 failed or hung, 2 refused its parameters or what it
    found around it.
    """
    environment.prepare()
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    node: GraphNode | None = None
    code = 0
    try:
        node = kind()
        _keep_out_of_collection()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        _finish_on_signal(node, executor)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: node.finish(node.exit_code))
        signal.signal(HALT_SIGNAL, lambda *_: None)
        with ends_when_hanging(node.hang_limit_s) as guard:
            while not node.finished:
                guard.alive()
                executor.spin_once(timeout_sec=0.2)
        code = node.exit_code
    except PldError as error:
        sys.stderr.write(f"error: {error}\n")
        code = EXIT_BAD_INPUT if node is None else EXIT_FAILED
    finally:
        signal.alarm(SHUTDOWN_LIMIT_S)
        if node is not None:
            node.shutdown()
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
