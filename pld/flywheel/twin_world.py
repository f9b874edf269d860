"""The lockstep twin as the flywheel's world."""

from __future__ import annotations

from pld.base_policy.protocol import BasePolicy
from pld.base_policy.scripted import ImperfectPolicy, Misperception
from pld.contract import ActionSpec
from pld.errors import ConfigError
from pld.robots.twin import LockstepTwin, TwinConfig
from pld.safety.filter import filter_choice
from pld.safety.limits import SafetyLimits, load_limits
from pld.share import share_path
from pld.twin.tasks import task_named
from pld.types import ArmState, Choice, Command, Observation

# Demonstrators see the scene a little wrongly and tremble; their failures are dropped.
DEMONSTRATORS = {
    "cube_pickup": Misperception(0.155, 0.003, 0.003, 0.0, 1.0, (0.44, 0.0), 0.12),
    "peg_insertion": Misperception(0.08, 0.002, 0.01, 0.05, 1.0, (0.48, 0.0), 0.08),
}
LIMITS_FILE = share_path("launch/config/limits_fr3.yaml")


class TwinWorld:
    """One task of the twin at `rate_hz`, with the arm's own safety filter in the path.

    Every episode starts in the region `starts_in`; with None its seed chooses.
    """

    def __init__(
        self,
        task: str,
        rate_hz: float = 10.0,
        limits: SafetyLimits | None = None,
        starts_in: str | None = None,
    ) -> None:
        described = task_named(task)
        self.task, self.instruction, self.rate_hz = task, described.instruction, rate_hz
        self.max_steps = round(described.horizon_s * rate_hz)
        self.spec = ActionSpec(rate_hz=rate_hz)
        self.robot = LockstepTwin(described, TwinConfig(spec=self.spec, starts_in=starts_in))
        self._limits = limits or load_limits(LIMITS_FILE)

    def observe(self, arm: ArmState) -> Observation:
        """State, both images and the instruction."""
        return self.robot.observe(arm)

    def filter(self, choice: Choice, arm: ArmState) -> Command:
        """The arm's own limits."""
        return filter_choice(choice, arm, self._limits, self.spec)

    def succeeded(self) -> bool:
        """The task's own measure."""
        return self.robot.success

    def region(self) -> str:
        """Region of the current start."""
        return self.robot.region

    def demonstrated(self, region: str | None = None) -> TwinWorld:
        """The same task with the starts that it is demonstrated from: in `region`, or its own."""
        if region is not None:
            return self.starting_in(region)
        own = task_named(self.task).demonstrated
        return TwinWorld(self.task, self.rate_hz, self._limits, own)

    def starting_in(self, region: str) -> TwinWorld:
        """The same task with every start in `region`."""
        task = task_named(self.task)
        valid = (*task.regions, *task.laid_when_asked)
        if region not in valid:
            raise ConfigError.unknown(f"region of {self.task}", region, valid)
        return TwinWorld(self.task, self.rate_hz, self._limits, region)

    def demonstrator(self) -> BasePolicy:
        """The scripted policy that misperceives the scene; its successes stand for human data."""
        wrong = DEMONSTRATORS[self.task]
        return ImperfectPolicy(
            self.task, self.robot.truth, self.spec, misperception=wrong, retries=True
        )
