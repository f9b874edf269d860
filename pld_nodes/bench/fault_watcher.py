"""The observer of `pld bench safety`: it also listens to commands and can play the intruder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from pld_interfaces.msg import ArmCommand, ArmState, Choice, HumanAction, SafetyStatus
from rclpy.publisher import Publisher
from std_srvs.srv import Trigger

from pld import types
from pld.safety.failsafe import STOP
from pld_nodes import graph
from pld_nodes.bench.arm_watcher import ArmWatcher
from pld_nodes.ros import messages
from pld_nodes.ros.node import message_class, qos_profile

Answers = Callable[[types.ArmState], list[types.BaseAction]]
COMMANDS_KEPT = 50  # the driver needs the newest alone; who counts them must miss none


class FaultWatcher(ArmWatcher):
    """Keeps arm states, commands, choices and safety statuses.

    `answers` stands in for the base policy, `human` for what a person asks for while the deadman
    is held; `second_hand` says the same as another operator's device. Whoever `attends` speaks at
    every step, as teleop_node does, before the deadman is pressed too.
    """

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.commands: list[ArmCommand] = []
        self.statuses: list[SafetyStatus] = []
        self.choices: list[Choice] = []
        self.answers: Answers | None = None
        self.human: types.Array | None = None
        self.attends = False
        self.second_hand: Publisher[Any] | None = None
        self._intruders: list[Publisher[Any]] = []
        self._base = self._publisher("base/action")
        self._hand = self._publisher("teleop/action")
        self._stop_button = self._node.create_client(Trigger, STOP)
        self._node.create_subscription(
            ArmCommand,
            "arm/command",
            self.commands.append,
            qos_profile(replace(graph.COMMAND, depth=COMMANDS_KEPT)),
        )
        self._node.create_subscription(
            Choice,
            "arbitrator/choice",
            self.choices.append,
            qos_profile(graph.topic("arbitrator/choice").qos),
        )

    def press_stop(self) -> None:
        """Ask for a stop and go on without waiting for the answer."""
        self._stop_button.call_async(Trigger.Request())

    def make_room(self) -> None:
        """Let another operator's node come: it refuses to be the second."""
        self._node.destroy_publisher(self._hand)

    def come_back(self) -> None:
        """Be the operator again."""
        self._hand = self._publisher("teleop/action")

    def stop_buttons(self) -> int:
        """How many may ask safety for a stop now, this one among them."""
        return int(self._node.count_clients(STOP))

    def take_over(self, action: types.Array) -> None:
        """Press the deadman and ask for `action`, at once, as teleop_node does."""
        self.human = action
        self._tell(self.states[-1].step)

    def let_go(self, timeout_s: float = 3.0) -> None:
        """Release the deadman and, once the arbitrator holds, ask it to let the policy go on."""
        self.human = None
        self._tell(self.states[-1].step)
        deadline = time.monotonic() + timeout_s
        while not self.call("arbitrator_node/resume").success and time.monotonic() < deadline:
            time.sleep(0.02)

    def human_steps(self, first_choice: int) -> list[int]:
        """Control steps that the arbitrator gave to the person, of the choices from there on."""
        return [c.step for c in self.choices[first_choice:] if c.source == Choice.HUMAN]

    def _tell(self, step: int) -> None:
        action = np.zeros(7) if self.human is None else self.human
        held = self.human is not None
        said = HumanAction(step=step, deadman=held, human_action=action, device="bench")
        self._hand.publish(said)
        if self.second_hand is not None:
            self.second_hand.publish(said)

    def intrude(self, topic: str) -> Publisher[Any]:
        """A second publisher on a topic of the table, found by its readers before it speaks."""
        publisher = self._publisher(topic)
        self._intruders.append(publisher)
        deadline = time.monotonic() + 3.0
        while not publisher.get_subscription_count() and time.monotonic() < deadline:
            time.sleep(0.0005)
        return publisher

    def leave(self) -> None:
        """Take the intruders away."""
        for publisher in self._intruders:
            self._node.destroy_publisher(publisher)
        self._intruders.clear()

    def _publisher(self, topic: str) -> Publisher[Any]:
        row = graph.topic(topic)
        return self._node.create_publisher(message_class(row.type), topic, qos_profile(row.qos))

    def _on_state(self, msg: ArmState) -> None:
        super()._on_state(msg)
        answers, arm = self.answers, self.states[-1]
        if self.attends or self.human is not None:
            self._tell(arm.step)
        if answers is not None:
            for answer in answers(arm):
                self._base.publish(messages.base_action_to_msg(answer, arm.t_ns))

    def _on_safety(self, msg: SafetyStatus) -> None:
        super()._on_safety(msg)
        self.statuses.append(msg)


def base_action(step: int, action: types.Array) -> types.BaseAction:
    """A chunk of one row."""
    return types.BaseAction(step, np.asarray(action, dtype=float).reshape(1, 7), 0, "bench")


def command_ahead(arm: types.ArmState) -> ArmCommand:
    """A command to the newest step that would pull the arm up by 40 mm."""
    target = types.Pose(arm.O_T_EE.p_m + np.array([0.0, 0.0, 0.04]), arm.O_T_EE.q_xyzw)
    return messages.command_to_msg(types.Command(arm.step, target, 1.0, np.zeros(7)), arm.t_ns)


def choice_up(arm: types.ArmState) -> Choice:
    """A choice that would pull the arm up."""
    action = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    choice = types.Choice(arm.step, types.ActionSource.BASE, action)
    return messages.choice_to_msg(choice, arm.t_ns, "intruder")
