"""Success detection: says at every control step whether the task is solved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pld_interfaces.msg import ArmState, Reward
from std_srvs.srv import Trigger

from pld.errors import ConfigError
from pld.twin.link import TwinLink
from pld_nodes.ros.node import GraphNode, run_node

DETECTORS = ("twin", "operator")
PRESSED_STEPS = 10


@dataclass(frozen=True)
class RewardConfig:
    """Parameters of the node; `twin_dir` is read by the `twin` detector only."""

    detector: str = "twin"
    twin_dir: str = ""


class RewardNode(GraphNode):
    """`twin` reads the simulator's predicate; `operator` waits for the service `~/success`."""

    def __init__(self) -> None:
        super().__init__("reward_node")
        self._config = self.config(RewardConfig)
        if self._config.detector not in DETECTORS:
            raise ConfigError.unknown("detector", self._config.detector, DETECTORS)
        self._link: TwinLink | None = None
        if self._config.detector == "twin":
            self._link = TwinLink(Path(self._config.twin_dir) / "twin.link")
        self._pressed_steps = 0
        self._publish = self.publisher("task/reward").publish
        self.subscribe("arm/state", self._on_state)
        self.create_service(Trigger, "~/success", self._on_success)

    def _on_state(self, msg: ArmState) -> None:
        success = self._read_success()
        self._publish(
            Reward(
                header=msg.header,
                step=msg.step,
                reward=float(success),
                success=success,
                detector=self._config.detector,
            )
        )

    def _read_success(self) -> bool:
        if self._link is not None:
            truth = self._link.read()
            return truth is not None and truth.success
        self._pressed_steps = max(self._pressed_steps - 1, 0)
        return self._pressed_steps > 0

    def _on_success(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._config.detector == "operator"
        self._pressed_steps = PRESSED_STEPS if response.success else 0
        response.message = "success noted" if response.success else "the detector is not `operator`"
        return response


def main() -> None:
    """Entry point of the node."""
    run_node(RewardNode)


if __name__ == "__main__":
    main()
