"""Teleoperation: a person's action for every control step; started by hand beside a run.

A thread reads the device. Each arm state is answered with a human action; when the deadman is
pressed or released in between, the answer is corrected at once, so that the arbitrator knows before
the next step begins. A lost device ends this node, and silence means release.
Steps that go back are a new run's. There, and after each reset of the arm, the deadman must be seen
released anew: an episode never begins with a hand that moves at the size it had grown to.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, EpisodeStatus, HumanAction

from pld.errors import ConfigError, TeleopError
from pld.teleop.devices import HELP, make_device
from pld.teleop.reading import Reading
from pld.teleop.shaping import Shaper, ShapingConfig
from pld_nodes.operator_words import AFTER_RELEASE, OperatorWords
from pld_nodes.ros import messages
from pld_nodes.ros.node import EXIT_BAD_INPUT, EXIT_FAILED, GraphNode, run_node

READ_TIMEOUT_S = 0.02
STALE_S = 0.1
LONGEST_DT_S = 0.2
LOOK_AROUND_S = 3.0
"""Another operator's node is heard of within this after the arm is; on a busy machine, too."""
REPORT_STEPS = 10


@dataclass(frozen=True)
class TeleopConfig:
    """Parameters of the node; see pld.teleop.shaping for `speed`, `turn` and `look_deg`.

    `after_release`: `hold`, or `policy`, which lets the policy go on by itself once the deadman
    is released.
    """

    device: str = "keyboard"
    path: str = ""
    speed: float = 0.5
    turn: float = 0.5
    look_deg: float = 0.0
    after_release: str = "hold"


class TeleopNode(GraphNode):
    """Publishes what the device says, shaped, one human action per control step."""

    def __init__(self) -> None:
        super().__init__("teleop_node")
        config = self.config(TeleopConfig)
        if config.after_release not in AFTER_RELEASE:
            raise ConfigError.unknown("after_release", config.after_release, AFTER_RELEASE)
        shaping = ShapingConfig(config.speed, config.turn, config.look_deg)
        self._device = make_device(config.device, config.path)
        self._shaper = Shaper(shaping)
        self._reading, self._read_s = Reading(), 0.0
        self._arm: ArmState | None = None
        self._told_step = -1
        self._alone_since_s: float | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._words = OperatorWords(self, config.after_release)
        self._publish = self.publisher("teleop/action").publish
        self.subscribe("arm/state", self._on_state)
        self.subscribe("episode", self._on_episode)
        self._device.open()
        self.get_logger().info(f"{config.device}: {HELP[config.device]}")
        self._thread = threading.Thread(target=self._watch, name="device", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        """Read the device until it is lost."""
        try:
            while not self._stop.is_set():
                self._on_reading(self._device.read(READ_TIMEOUT_S))
        except Exception as error:  # whatever it is: a node whose stop key is dead must not live on
            said = str(error) if isinstance(error, TeleopError) else repr(error)
            self.get_logger().fatal(f"the device cannot be read: {said}")
            self.finish(EXIT_FAILED)

    def _on_reading(self, reading: Reading) -> None:
        with self._lock:
            own = reading.gripper_presses if reading.deadman else 0
            presses = self._reading.gripper_presses + own
            self._reading, self._read_s = replace(reading, gripper_presses=presses), _now_s()
            self._tell_edge()
        for word in reading.keys:
            self._words.say(word)

    def _tell_edge(self) -> None:
        """Correct the newest answer at once when the deadman was pressed or released.

        Not the coming one: an arbitrator that has not heard of this step yet would drop that.
        """
        if self._arm is None or self._told_step < self._arm.step:
            return
        shaped = self._shaper.shape(self._reading, 0.0, self._arm.gripper_open)
        if shaped.held is not self._shaper.held:
            self._tell(int(self._arm.step), shaped)
        else:
            self._shaper = replace(self._shaper, armed=shaped.armed)

    def _on_state(self, msg: ArmState) -> None:
        if self._is_alone():
            with self._lock:
                self._answer(msg)
        if msg.step % REPORT_STEPS == 0:
            self._words.repeat_choice()
            self._report(msg)

    def _answer(self, msg: ArmState) -> None:
        before, self._arm = self._arm, msg
        new_run = before is not None and msg.step < before.step
        if new_run:
            self._told_step = -1
        if new_run or msg.control_mode == ArmState.RESETTING:
            self._shaper = Shaper(self._shaper.config)
        if self._told_step >= msg.step:
            return
        fresh = _now_s() - self._read_s <= STALE_S
        reading = self._reading if fresh else None
        dt_s = 0.0 if before is None else (_stamp_ns(msg) - _stamp_ns(before)) / 1e9
        shaped = self._shaper.shape(reading, min(max(dt_s, 0.0), LONGEST_DT_S), msg.gripper_open)
        self._tell(int(msg.step), shaped)

    def _tell(self, step: int, shaped: Shaper) -> None:
        assert self._arm is not None
        self._shaper, self._told_step = shaped, step
        self._reading = replace(self._reading, gripper_presses=0)
        self._publish(
            HumanAction(
                header=self._arm.header,
                step=step,
                deadman=shaped.held,
                human_action=np.asarray(shaped.action, dtype=float),
                device=self._device.name,
            )
        )

    def _on_episode(self, msg: EpisodeStatus) -> None:
        self._words.on_episode(msg)

    def _is_alone(self) -> bool:
        """Whether nobody else teleoperates; looks around before the first word, then trusts it."""
        if self._told_step >= 0:
            return True
        if self._alone_since_s is None:
            self._alone_since_s = _now_s()
        if self.count_publishers("teleop/action") > 1:
            self.get_logger().fatal(
                "another teleop_node is there already; end it first: one operator at a time"
            )
            self.finish(EXIT_BAD_INPUT)
            return False
        alone = _now_s() - self._alone_since_s > LOOK_AROUND_S and not self.finished
        if alone:
            self.get_logger().info("nobody else teleoperates: the deadman counts")
        return alone

    def _report(self, msg: ArmState) -> None:
        held = "deadman held" if self._shaper.held else "deadman released"
        self.diagnose(_stamp_ns(msg), DiagnosticStatus.OK, held, device=self._device.name)

    def shutdown(self) -> None:
        """Let go of the device, and give the terminal back."""
        self._stop.set()
        self._thread.join(1.0)
        self._device.close()


def _now_s() -> float:
    return time.monotonic()


def _stamp_ns(msg: ArmState) -> int:
    return messages.nanoseconds(msg.header.stamp)


def main() -> None:
    """Entry point of the node."""
    run_node(TeleopNode)


if __name__ == "__main__":
    main()
