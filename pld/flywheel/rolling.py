"""Rolling one episode through THE loop: who acts when, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.chunking import ChunkPlayer
from pld.base_policy.protocol import BasePolicy
from pld.contract import CAMERAS, proprio
from pld.distill.episodes import NO_TAKEOVER, SftEpisode
from pld.errors import ConfigError, RobotError
from pld.flywheel.world import World
from pld.policy_image import policy_image
from pld.probing.arbitrator import NEVER, Offers, choose, specialist_acts
from pld.residual.actor import ResidualActor
from pld.residual.held import HeldResidual
from pld.residual.protocol import StepOutcome
from pld.residual.search import Search
from pld.rollout import ControlLoop, ControlStep
from pld.rollout_env import SENSOR_DIM, RolloutEnv, sensor_features
from pld.types import Array, BaseAction, Choice, Observation


@dataclass(frozen=True)
class Specialist:
    """A frozen base with the residual that was trained over it."""

    base: BuiltinPolicy
    residual: ResidualActor

    def __post_init__(self) -> None:
        """Refuse a residual that was trained over another base."""
        trained_over = self.residual.card.base_policy_id
        if trained_over != self.base.policy_id:
            raise ConfigError(
                f"the specialist was trained over {trained_over}, not over "
                f"{self.base.policy_id}; give the base that it was trained with"
            )

    @property
    def policy_id(self) -> str:
        """Name of the pair, of what is in both."""
        return self.residual.policy_id


@dataclass(frozen=True)
class Cast:
    """Who acts in an episode: `prefix` until `takeover_step`, then the specialist.

    The specialist always works on its own frozen base, whoever acted before it. Without a
    specialist the prefix acts throughout. With a `search` attempt the specialist searches.
    """

    prefix: BasePolicy
    specialist: Specialist | None = None
    takeover_step: int = NEVER
    execute_horizon: int = 1
    search: int | None = None

    @property
    def policy_id(self) -> str:
        """Name of whoever acts last."""
        return self.specialist.policy_id if self.specialist else self.prefix.policy_id


class _CastBase:
    """The base of the loop: the prefix's chunks, then those of the specialist's own base."""

    def __init__(self, cast: Cast) -> None:
        self._first = ChunkPlayer(cast.prefix, cast.execute_horizon)
        self._then = self._first
        if cast.specialist is not None and cast.specialist.base is not cast.prefix:
            self._then = ChunkPlayer(cast.specialist.base, cast.execute_horizon)
        self._takeover = cast.takeover_step
        self._answered = 0

    def reset(self, seed: int) -> None:
        self._first.reset(seed)
        self._then.reset(seed)
        self._answered = 0

    def answer(self, observation: Observation) -> BaseAction:
        taken = specialist_acts(self._answered, self._takeover)
        self._answered += 1
        return (self._then if taken else self._first).answer(observation)


@dataclass(frozen=True)
class Rolled:
    """One finished episode; `episode` holds the steps when they were kept."""

    seed: int
    success: bool
    steps: int
    region: str
    takeover_step: int
    reason: str
    episode: SftEpisode | None = None


@dataclass
class _Tape:
    """Steps as they pass; the label is the command's executed action."""

    pictures: bool
    steps: int = 0
    fault: bool = False
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    proprio: list[Array] = field(default_factory=list)
    executed: list[Array] = field(default_factory=list)
    base: list[Array] = field(default_factory=list)
    source: list[int] = field(default_factory=list)

    def add(self, step: ControlStep) -> None:
        self.steps += 1
        self.fault = step.fault
        if not self.pictures:
            return
        seen = step.observation
        self.images.append(np.stack([policy_image(seen.images[c].rgb) for c in CAMERAS]))
        self.proprio.append(proprio(seen.arm))
        self.executed.append(np.clip(step.command.executed_action, -1.0, 1.0))
        self.base.append(step.base.action)
        self.source.append(int(step.choice.source))


def roll(world: World, seed: int, cast: Cast, *, keep: bool = False) -> Rolled:
    """Run one episode; with `keep` the whole trajectory is returned.

    An arm or simulation that fails ends the episode; the broken step is not kept.
    """
    tape = _Tape(keep)
    loop = _loop(world, cast, tape.add)
    search = None if cast.search is None else Search(seed, cast.search)
    success, reason = False, "horizon"
    try:
        success = bool(loop.run(seed, _residual(cast, loop, search), world.max_steps))
    except RobotError:
        reason = "diverged"
    if tape.fault:
        reason = "robot_fault"
    region = world.region()
    episode = _episode(world, tape, seed, region, cast, success=success) if tape.images else None
    return Rolled(
        seed,
        success,
        tape.steps,
        region,
        cast.takeover_step,
        "success" if success else reason,
        episode,
    )


def _loop(world: World, cast: Cast, record: Callable[[ControlStep], None]) -> ControlLoop:
    def arbitrate(episode_step: int, base: BaseAction, residual: Array | None) -> Choice:
        return choose(base.step, episode_step, cast.takeover_step, Offers(base.action, residual))

    return ControlLoop(
        world.robot,
        _CastBase(cast),
        world.observe,
        arbitrate,
        world.filter,
        world.succeeded,
        record,
    )


def _residual(
    cast: Cast, loop: ControlLoop, search: Search | None
) -> Callable[[Observation, BaseAction], Array | None]:
    if cast.specialist is None:
        return lambda observation, base: None
    features = sensor_features(cast.specialist.base.encode)
    specialist = HeldResidual(cast.specialist.residual, search=search)

    def residual(observation: Observation, base: BaseAction) -> Array | None:
        step = loop.episode_step
        if step < cast.takeover_step:
            return None
        return specialist.residual(step, lambda: features(observation, base), base.action)

    return residual


class ChosenActionEnv(RolloutEnv):
    """Hands the learner the chosen action, the filter being part of the environment.

    The critics must know the value of what the actor proposes. Filtered actions would leave the
    values of unfiltered proposals, the base's own included, to extrapolation.
    """

    def step(self, action: Array) -> StepOutcome:
        """Carry out one turn; the outcome's action is `action` as clipped to [-1, 1]."""
        return replace(super().step(action), executed_action=np.clip(action, -1.0, 1.0))


def specialist_env(world: World, policy: BuiltinPolicy, execute_horizon: int) -> RolloutEnv:
    """The loop with the frozen base inside, as the residual learner wants it.

    Features: the frozen base's own, proprioception, wrench, gripper; nothing is privileged.
    """
    cast = Cast(policy, None, 0, execute_horizon)
    return ChosenActionEnv(
        _loop(world, cast, lambda step: None),
        sensor_features(policy.encode),
        task=world.task,
        feature_dim=policy.feature_dim + SENSOR_DIM,
        max_steps=world.max_steps,
    )


def _episode(
    world: World, tape: _Tape, seed: int, region: str, cast: Cast, *, success: bool
) -> SftEpisode:
    return SftEpisode(
        images=np.stack(tape.images),
        proprio=np.array(tape.proprio, np.float32),
        executed=np.array(tape.executed, np.float32),
        base=np.array(tape.base, np.float32),
        source=np.array(tape.source, np.uint8),
        instruction=world.instruction,
        task=world.task,
        region=region,
        seed=seed,
        success=success,
        takeover_step=NO_TAKEOVER if cast.takeover_step == NEVER else cast.takeover_step,
        rate_hz=world.rate_hz,
    )
