"""A run whose driver says nothing any more would never end: all else counts in robot time."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType

from pld.robots.step_clock import TimeGuard
from pld_nodes.ros.node import GraphNode

LOOK_S = 1.0
NO_STATE_S = 60.0


def fail_without_states(
    node: GraphNode, newest_step: Callable[[], int], fail: Callable[[str], None]
) -> None:
    """Call `fail` with the reason once `newest_step` stood still for a minute of steady time."""
    guard = TimeGuard(NO_STATE_S)

    def look() -> None:
        if guard.stands_still(newest_step(), time.monotonic()):
            fail(f"no arm state for {NO_STATE_S:g} s; see the log of franka_node")

    node.create_timer(LOOK_S, look, clock=Clock(clock_type=ClockType.STEADY_TIME))
