"""The Franka driver on the graph: a state per control period, the only consumer of commands.

One thread drives the arm and publishes; the executor takes commands and operator's requests.
Resets and recoveries, asked for by service, happen in the driving thread; `arm/state` shows them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmCommand, SafetyStatus
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from pld.calibration.files import load_calibration
from pld.config import load_yaml
from pld.errors import RobotError
from pld.robots.franka import FrankaArm, FrankaConfig
from pld.safety.failsafe import CLEAR, RECOVER, reset_withheld_by
from pld.safety.sources import CommandOrder, Order, SingleSource
from pld.twin.link import LINK_NAME
from pld.twin.observer import TwinObserver
from pld.types import ArmState, ControlMode
from pld_nodes.ros import messages
from pld_nodes.ros.images import color_frame
from pld_nodes.ros.node import EXIT_FAILED, GraphNode, run_node, sequence_of

COMMANDS = "arm/command"
FOREIGN, SAFETY_SILENT = "foreign_command", "safety_silent"
SAFETY_SILENT_S = 1.0  # of control steps that were told: safety answers each of them
NOT_HEARD_YET = float("inf")
TIME_EVERY_NS = 8_000_000
FRAMES = {"O": messages.BASE_FRAME, "EE": messages.EE_FRAME}


@dataclass(frozen=True)
class FrankaNodeConfig:
    """Parameters of the node; `arm_config` is the driver's file, `twin_dir` empty on hardware.

    `calibrations` are files of the cameras' poses, published as static transforms.
    """

    robot_ip: str
    arm_config: str
    rate_hz: float = 20.0
    realtime: str = "enforce"
    clock: str = "host"
    twin_dir: str = ""
    calibrations: str = ""


class FrankaNode(GraphNode):
    """Shell around FrankaArm."""

    def __init__(self) -> None:
        super().__init__("franka_node")
        config = self.config(FrankaNodeConfig)
        driver = replace(
            load_yaml(Path(config.arm_config), FrankaConfig),
            address=config.robot_ip,
            rate_hz=config.rate_hz,
            realtime=config.realtime,
            clock=config.clock,
        )
        folder = Path(config.twin_dir)
        self._twin = TwinObserver(folder / LINK_NAME) if config.twin_dir else None
        self._arm = FrankaArm(driver, self._twin.reading if self._twin else None)
        self._request: Callable[[], None] | None = None
        self._halted, self._withheld = False, ""
        self._source, self._order = SingleSource(), CommandOrder()
        self._newest_step = self._silences = 0
        self._unanswered = NOT_HEARD_YET  # control steps since safety's last answer
        self._stop = threading.Event()
        self._publish_state = self.publisher("arm/state").publish
        self._publish_time = self.publisher("arm/time").publish
        self._time_ns = 0
        self._publish_joints = self.publisher("joint_states").publish
        self._publish_tf = self.publisher("/tf").publish
        self._static = self.publisher("/tf_static")
        self._arm.connect()
        self._publish_calibrations(config.calibrations)
        self.subscribe(COMMANDS, self._on_command, on_silence=self._on_silence)
        self.subscribe("safety/status", self._on_safety)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/grasp", self._on_grasp)
        self.create_service(Trigger, "~/recover", self._on_recover)
        self._thread = threading.Thread(target=self._drive, name="drive", daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        """Publish a state per control period; carry out what the operator asked for."""
        try:
            while not self._stop.is_set():
                request, self._request = self._request, None
                if request is not None:
                    self._carry_out(request)
                self._tell(self._arm.wait_step(self._tell_time))
        except Exception as error:
            self._arm.latch("driver_failed", repr(error))
            self.get_logger().fatal(str(error))
            self.finish(EXIT_FAILED)

    def _carry_out(self, request: Callable[[], None]) -> None:
        if self._twin is not None:
            self._twin.applied(None)
        try:
            request()
        except RobotError as error:
            self.get_logger().error(str(error))

    def _tell_time(self, t_ns: int) -> None:
        """Tell the safety node that time goes on, every few milliseconds."""
        if not 0 <= t_ns - self._time_ns < TIME_EVERY_NS:
            self._time_ns = t_ns
            self._publish_time(messages.stamp(t_ns))

    def _tell(self, arm: ArmState) -> None:
        self._newest_step = arm.step
        self._unanswered += 1
        if self.count_publishers(COMMANDS) > 1:
            self._arm.latch(FOREIGN, f"{COMMANDS} has more than one publisher")
        self._publish_state(messages.arm_state_to_msg(arm))
        self._tell_time(arm.t_ns)
        if self._twin is not None:
            self._twin.began(arm.t_ns)
        self._publish_joints(messages.joint_state(arm))
        pose = messages.transform(arm.t_ns, messages.BASE_FRAME, messages.EE_FRAME, arm.O_T_EE)
        self._publish_tf(TFMessage(transforms=[pose]))
        if arm.step % round(self._arm.config.rate_hz) == 0:
            self._report(arm)

    def _on_command(self, msg: ArmCommand, info: dict[str, Any]) -> None:
        if not self._is_safetys(msg, info):
            return
        if not self._halted:
            self._arm.apply(messages.command_from_msg(msg))
            if self._halted:  # meanwhile, by the signals' thread
                self._arm.hold()
        if self._twin is not None:
            self._twin.applied(messages.nanoseconds(msg.header.stamp))

    def _on_silence(self) -> None:
        """A second line behind the driver's watchdogs; `safety_silent` ends a reset or grasp."""
        self._silences += 1
        if self._arm.mode is not ControlMode.RESETTING:
            self._arm.hold()

    def _is_safetys(self, msg: ArmCommand, info: dict[str, Any]) -> bool:
        """Whether a command is the safety node's answer to a recent step; latches when not."""
        self._source, known = self._source.on_message(sequence_of(info))
        step, order = int(msg.step), Order.FOREIGN
        if known:
            self._order, order = self._order.on_command(step, self._newest_step, hold=msg.hold)
        if order is Order.FOREIGN:
            self._arm.latch(FOREIGN, f"a command to step {step} is not the safety node's")
        if order is not Order.FINE:
            self._arm.refused += 1
        return order is Order.FINE

    def _on_safety(self, msg: SafetyStatus) -> None:
        """A latched stop ends a reset on its way, and keeps the next one from beginning.

        Whatever is more than a hold stops the fingers too.
        """
        self._unanswered = 0
        if msg.action >= SafetyStatus.STOP:
            self._arm.stop_hand()
        self._withheld = reset_withheld_by(msg.latched)
        if self._withheld:
            self._arm.abort(self._withheld)

    def _reset(self) -> None:
        self._tell_busy(self._arm.wait_step())
        self._check_allowed()
        self._tell(self._arm.reset("open", on_state=self._tell_busy))

    def _grasp(self) -> None:
        self._tell_busy(self._arm.wait_step())
        self._check_allowed()
        self._tell(self._arm.grasp(on_state=self._tell_busy))

    def _check_allowed(self) -> None:
        """Refuse to begin what was asked for before a stop."""
        if refusal := self._refusal():
            raise RobotError(f"not begun: {refusal}")

    def _tell_busy(self, arm: ArmState) -> None:
        """Tell of a reset or grasp under way, and end it where it might not begin any more."""
        self._tell(replace(arm, control_mode=ControlMode.RESETTING))
        if self._safety_is_silent():
            self._arm.latch(SAFETY_SILENT, "no stop would be heard")
        elif refusal := self._refusal():
            self._arm.abort(refusal)

    def _recover(self) -> None:
        self._source, self._order = SingleSource(), CommandOrder()
        self._tell(self._arm.recover())
        self.get_logger().warning("recovered by the operator")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._accept(self._reset, response, self._refusal() or self._busy(), "accepted")

    def _on_grasp(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._accept(self._grasp, response, self._refusal() or self._busy(), "accepted")

    def _on_recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        words = f"recovering from {', '.join(self._arm.fault)}; see arm/state"
        return self._accept(self._recover, response, self._not_recoverable(), words)

    def _not_recoverable(self) -> str:
        if not self._arm.fault:
            return "no fault is latched"
        if FOREIGN in self._arm.fault and self.count_publishers(COMMANDS) > 1:
            names = [i.node_name for i in self.get_publishers_info_by_topic(COMMANDS)]
            return f"{COMMANDS} is still published by {', '.join(names)}; end all but safety_node"
        return self._arm.not_recoverable()

    def _accept(
        self, request: Callable[[], None], response: Trigger.Response, refusal: str, words: str
    ) -> Trigger.Response:
        """Leave a request to the driving thread, unless there is a reason to refuse it."""
        response.success, response.message = not refusal, refusal or words
        if response.success:
            self._request = request
        return response

    def _refusal(self) -> str:
        """Why the arm must not be moved by the driver itself; empty when it may."""
        if self._arm.fault:
            return f"latched: {', '.join(self._arm.fault)}; call {RECOVER}"
        if self._withheld:
            return f"safety holds the arm: {self._withheld}; call {CLEAR}"
        if self._unanswered == NOT_HEARD_YET:
            return "nothing was heard of safety_node yet; it may still be starting"
        if self._safety_is_silent():
            return "safety_node does not answer; start the run anew"
        return "the run ends" if self._halted else ""

    def _safety_is_silent(self) -> bool:
        return self._unanswered > SAFETY_SILENT_S * self._arm.config.rate_hz

    def _busy(self) -> str:
        """Why a reset or grasp would come in between; empty when it would not."""
        mode = self._arm.mode
        if mode is ControlMode.TRACKING:
            return "the arm follows commands; end the episode first: arbitrator_node/abort"
        if mode is ControlMode.RESETTING or self._request is not None:
            return "another reset or grasp is under way"
        return ""

    def _publish_calibrations(self, calibrations: str) -> None:
        poses = [load_calibration(Path(path)) for path in calibrations.split(",") if path]
        transforms = [
            messages.transform(0, FRAMES[c.pose.parent], color_frame(c.camera), c.pose.pose)
            for c in poses
        ]
        if transforms:
            self._static.publish(TFMessage(transforms=transforms))

    def _report(self, arm: ArmState) -> None:
        faulty = bool(arm.errors)
        self.diagnose(
            arm.t_ns,
            DiagnosticStatus.ERROR if faulty else DiagnosticStatus.OK,
            ", ".join(arm.errors) if faulty else arm.control_mode.name.lower(),
            holds=self._arm.holds,
            refused_commands=self._arm.refused,
            recoveries=self._arm.recoveries,
            silences=self._silences,
        )

    def halt(self) -> None:
        """Hold, and take no more commands in this run; a reset under way ends where it is."""
        self._halted = True
        self._arm.abort("the run ends")
        self._arm.hold()

    def shutdown(self) -> None:
        """Hold, stop tracking, let go; a reset that was accepted does not begin any more."""
        self.halt()
        self._stop.set()
        self._thread.join(5.0)
        self._arm.close()


def main() -> None:
    """Entry point of the node."""
    run_node(FrankaNode)


if __name__ == "__main__":
    main()
