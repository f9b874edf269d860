"""The teleoperation node alone: what its deadman counts for, the arm played state by state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from pld.teleop.shaping import ShapingConfig
from pld_nodes import graph
from pld_nodes.ros import environment

environment.prepare()

import rclpy  # noqa: E402
from pld_interfaces.msg import ArmState, HumanAction  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from pld_nodes.ros.messages import header  # noqa: E402
from pld_nodes.ros.node import qos_profile  # noqa: E402
from tests.nodes.teleop_rig import start_device  # noqa: E402

PATIENCE_S = 60.0
PERIOD_NS = 50_000_000
PERIOD_S = PERIOD_NS / 1e9
READ_S = 0.3
"""Ample for the node's thread to read a line of its device."""


class Arm:
    """Plays the driver of an arm and hears what the operator's node answers."""

    def __init__(self, domain: int, log: Path) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("arm", namespace="/pld", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        state, action = graph.topic("arm/state"), graph.topic("teleop/action")
        self._tell = self._node.create_publisher(ArmState, state.name, qos_profile(state.qos))
        self._node.create_subscription(
            HumanAction, action.name, self._hear, qos_profile(action.qos)
        )
        self._log, self._step = log, 0
        self._said = HumanAction()
        self._device = start_device(log)

    def _hear(self, msg: HumanAction) -> None:
        self._said = msg

    def deadman(self, *, held: bool) -> None:
        """What the device says from now on: forward, with the deadman or without."""
        assert self._device.stdin is not None
        line = {"deadman": held, "translation": [0.0, 0.0, 1.0]}
        self._device.stdin.write(json.dumps(line) + "\n")
        time.sleep(READ_S)

    def until_heard(self) -> None:
        """States, until the node has seen that nobody else teleoperates and answers."""
        end = time.monotonic() + PATIENCE_S
        while not self._said.step:
            assert time.monotonic() < end, self._log.read_text()
            self._state(ArmState.HOLDING)
            self._executor.spin_once(timeout_sec=0.1)

    def steps(self, count: int, mode: int) -> list[HumanAction]:
        """So many control steps in `mode`: the answer to each."""
        return [self._answer(self._state(mode)) for _ in range(count)]

    def _state(self, mode: int) -> int:
        self._step += 1
        stamp = header(self._step * PERIOD_NS)
        self._tell.publish(ArmState(header=stamp, step=self._step, control_mode=mode))
        return self._step

    def _answer(self, step: int) -> HumanAction:
        end = time.monotonic() + PATIENCE_S
        while self._said.step != step:
            assert time.monotonic() < end, self._log.read_text()
            self._executor.spin_once(timeout_sec=0.01)
        return self._said

    def close(self) -> None:
        self._device.kill()
        self._device.wait()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arm]:
    with domain_id() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
        found = Arm(int(domain), tmp_path / "teleop.log")
        try:
            yield found
        finally:
            found.close()


def test_a_deadman_held_through_a_reset_does_not_count_in_the_next_episode(arm: Arm) -> None:
    arm.until_heard()
    arm.deadman(held=False)
    assert not arm.steps(3, ArmState.TRACKING)[-1].deadman
    arm.deadman(held=True)
    grown = arm.steps(20, ArmState.TRACKING)[-1]
    assert grown.deadman
    assert grown.human_action[2] > 0.3
    assert not any(said.deadman for said in arm.steps(5, ArmState.RESETTING))
    assert not any(said.deadman for said in arm.steps(20, ArmState.TRACKING))
    arm.deadman(held=False)
    arm.steps(3, ArmState.TRACKING)
    arm.deadman(held=True)
    first, *_, last = arm.steps(20, ArmState.TRACKING)
    assert first.deadman
    assert first.human_action[2] <= ShapingConfig().rise_per_s * PERIOD_S + 1e-9, "from rest"
    assert last.human_action[2] > 0.3
