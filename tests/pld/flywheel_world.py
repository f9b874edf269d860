"""A world that costs nothing: a point that must be brought to a goal along x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pld.base_policy.protocol import BasePolicy
from pld.contract import CAMERAS, ActionSpec
from pld.errors import ConfigError, RobotError
from pld.safety.filter import filter_choice
from pld.safety.limits import SafetyLimits
from pld.types import ArmState, Array, CameraImage, Choice, Command, Observation, Pose

SPEC = ActionSpec(rate_hz=10.0)
LIMITS = SafetyLimits("toy", (0.2, -0.3, 0.0), (0.8, 0.3, 0.6), 0.5, 1.0, 0.1, 1.0, 0.05, 0.2, 50.0)
START = Pose(np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))


@dataclass
class PointRobot:
    """Tracks perfectly; the goal lies to the left or right of the start, or on one `side` only."""

    goal_m: float = 0.0
    side: str = ""
    step: int = 0
    diverges_at: int = -1
    pose: Pose = START
    target: Pose | None = None

    def reset(self, seed: int) -> ArmState:
        rng = np.random.default_rng(seed)
        sides = {"left": [-1], "right": [1]}.get(self.side, [-1, 1])
        self.goal_m = 0.5 + float(rng.choice(sides)) * float(rng.uniform(0.04, 0.06))
        self.pose, self.target, self.started = START, None, self.step
        return self.state()

    def apply(self, command: Command) -> None:
        self.target = command.target

    def wait_step(self) -> ArmState:
        self.step += 1
        if self.step - self.started == self.diverges_at:
            raise RobotError("the simulation became unstable")
        self.pose = self.target or self.pose
        return self.state()

    def state(self) -> ArmState:
        return ArmState(
            self.step * 10**8,
            self.step,
            np.zeros(7),
            np.zeros(7),
            self.pose,
            np.zeros(6),
            self.pose,
            np.zeros(6),
            0.08,
            1.0,
        )


class PointExpert:
    """Goes to the goal, but in half of the episodes to the other side."""

    policy_id = "point-expert"

    def __init__(self, robot: PointRobot) -> None:
        self.robot = robot
        self.sign = 1.0

    def reset(self, seed: int) -> None:
        self.sign = 1.0 if np.random.default_rng([seed, 5]).random() < 0.5 else -1.0

    def infer(self, observation: Observation) -> Array:
        action = np.zeros((1, 7))
        action[0, 0] = self.sign * np.sign(self.robot.goal_m - observation.arm.O_T_EE.p_m[0])
        action[0, 6] = 1.0
        return action


class PointWorld:
    """pld.flywheel.world.World around the point."""

    def __init__(self, task: str) -> None:
        self.task, self.instruction, self.rate_hz, self.max_steps = task, "go to the goal", 10.0, 15
        self.robot = PointRobot()

    def observe(self, arm: ArmState) -> Observation:
        image = np.zeros((84, 84, 3), np.uint8)
        image[10:30, self._column(arm.O_T_EE.p_m[0]), 0] = 255
        image[50:70, self._column(self.robot.goal_m), 1] = 255
        camera = CameraImage(arm.t_ns, arm.step, image)
        return Observation(arm, dict.fromkeys(CAMERAS, camera), self.instruction)

    def _column(self, x_m: float) -> slice:
        centre = int(np.clip(42 + (x_m - 0.5) * 500, 6, 78))
        return slice(centre - 4, centre + 4)

    def filter(self, choice: Choice, arm: ArmState) -> Command:
        return filter_choice(choice, arm, LIMITS, SPEC)

    def succeeded(self) -> bool:
        return bool(abs(self.robot.pose.p_m[0] - self.robot.goal_m) < 0.012)

    def region(self) -> str:
        return "left" if self.robot.goal_m < 0.5 else "right"

    def demonstrated(self, region: str | None = None) -> PointWorld:
        return self.starting_in(region) if region else self

    def starting_in(self, region: str) -> PointWorld:
        if region not in ("left", "right"):
            raise ConfigError.unknown(f"region of {self.task}", region, ("left", "right"))
        world = PointWorld(self.task)
        world.robot.side = region
        return world

    def demonstrator(self) -> BasePolicy:
        return PointExpert(self.robot)
