"""The learner: takes every closed bag into replay, trains, and offers new weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diagnostic_msgs.msg import DiagnosticStatus
from pld_interfaces.msg import ArmState, PolicyWeights, RecorderStatus

from pld.base_policy.registry import trained_policy
from pld.flywheel.config import FlywheelConfig
from pld.learning import Offer, RunLearner
from pld.residual.config import ResidualConfig
from pld.tasks import task_facts
from pld_nodes.ros import messages
from pld_nodes.ros.node import GraphNode, run_node

NICENESS = 10
"""Control comes first: the learner takes what the other processes leave."""


@dataclass(frozen=True)
class LearnerConfig:
    """Parameters of the node; its state lies in `run_dir`/learner."""

    task: str
    policy: str
    run_dir: Path
    seed: int = 0
    rate_hz: float = 10.0
    horizon_s: float = 0.0


def settings_of(task: str, seed: int) -> ResidualConfig:
    """How a flywheel run trains the task's specialist, from any scene's seed."""
    return replace(FlywheelConfig(tasks=(task,)).specialist_of(task), seed=seed)


class LearnerNode(GraphNode):
    """Learns between messages, in its own process: nothing waits for it."""

    hang_limit_s = 1800.0  # a resumed run's bags are all learned from in one callback

    def __init__(self) -> None:
        super().__init__("learner_node")
        config = self.config(LearnerConfig)
        self._rate_hz = config.rate_hz
        os.nice(NICENESS)
        torch.set_num_threads(1)
        base = trained_policy(Path(config.policy), config.task, config.rate_hz)
        settings = settings_of(config.task, config.seed)
        horizon_s = config.horizon_s or task_facts(config.task).horizon_s
        max_steps = round(horizon_s * config.rate_hz)
        self._learner = RunLearner.of_run(config.run_dir, base, settings, config.task, max_steps)
        self._t_ns = 0
        self._publish = self.publisher("learner/weights").publish
        self.subscribe("arm/state", self._on_state)
        self.subscribe("recorder/status", self._on_recorder)
        self._learner.catch_up()
        self._offer(self._learner.offer())

    def _on_recorder(self, _: RecorderStatus) -> None:
        """Learn from what was closed, whatever is told now: a busy learner hears the newest only.

        Weights are offered after each episode, not after all that it is behind by.
        """
        self._learner.catch_up(lambda: self._offer(self._learner.offer()))

    def _offer(self, offer: Offer) -> None:
        successes, episodes = offer.recent
        self._publish(
            PolicyWeights(
                header=messages.header(self._t_ns),
                version=offer.version,
                path=str(offer.path),
                sha256=offer.sha256,
                phase=offer.phase,
                horizon_steps=offer.horizon_steps,
                limit_steps=offer.limit_steps,
                episodes=offer.episodes,
                recent_successes=successes,
                recent_episodes=episodes,
            )
        )
        recent = f", {successes} of the last {episodes} with a takeover" if episodes else ""
        self.get_logger().info(f"weights {offer.version}: {offer.phase}{recent}")

    def _on_state(self, msg: ArmState) -> None:
        self._t_ns = messages.nanoseconds(msg.header.stamp)
        if msg.step % round(self._rate_hz) == 0:
            self._report()

    def _report(self) -> None:
        progress = self._learner.trainer.progress
        skipped = len(self._learner.skipped)
        self.diagnose(
            self._t_ns,
            DiagnosticStatus.WARN if skipped else DiagnosticStatus.OK,
            f"{progress.phase.value}, {skipped} episodes skipped",
            episodes=progress.episodes,
            learned_decisions=progress.learned_steps,
            skipped=skipped,
        )

    def shutdown(self) -> None:
        """Keep what was learned since the last checkpoint."""
        self._learner.save()


def main() -> None:
    """Entry point of the node."""
    run_node(LearnerNode)


if __name__ == "__main__":
    main()
