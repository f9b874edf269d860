"""From a recorded bag to an episode for fine-tuning: the only road from the graph to training.

The same functions as live make images, proprioception and actions. Before anything is taken over,
the identity executed == filter(choose(base, residual, human)) is checked over the whole bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pld import parity
from pld.contract import CAMERAS, POLICY_IMAGE_PX, ActionSpec, proprio
from pld.distill.episodes import NO_TAKEOVER, SftEpisode, origin_of, write_episode
from pld.errors import ConfigError, ContractError, PldError, RecordingError
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.policy_image import policy_image
from pld.probing.arbitrator import NEVER
from pld.recording.labels import outcome
from pld.recording.reader import Episode, ImageStream, read_episode
from pld.recording.recover import episodes_at
from pld.recording.verdict import load_verdict
from pld.safety.limits import SafetyLimits, load_limits
from pld.share import share_path
from pld.types import ActionSource, ArmState, BaseAction, Choice, Command

KEPT_ASIDE = "kept aside"


@dataclass(frozen=True)
class Converted:
    """An episode for fine-tuning, and how many of its control steps were left out.

    Left out are steps at which the arm held because somebody had not answered: they show no
    decision of a policy.
    """

    episode: SftEpisode
    held_steps: int


@dataclass(frozen=True)
class PolicyStep:
    """One control step at which a policy acted, with all that is known of it."""

    arm: ArmState
    base: BaseAction
    choice: Choice
    command: Command


def convert(folder: Path, limits: SafetyLimits, spec: ActionSpec) -> Converted:
    """The episode in `folder`; raises ContractError when live and offline code disagree."""
    recorded = read_episode(folder)
    found = parity.check(recorded, limits, spec)
    if not found.holds:
        raise ContractError(
            f"{folder.name}: {len(found.different_choices)} choices and "
            f"{len(found.different_commands)} commands of {found.commands} do not follow from "
            "their inputs; give the limits and the rate of the run"
        )
    last = recorded.last_update
    steps, held = policy_steps(recorded, last.first_step)
    if not steps:
        raise ContractError(f"{folder.name} has no step at which a policy acted")
    takeover = sum(s.arm.step < last.first_step + last.takeover_step for s in steps)
    return Converted(
        SftEpisode(
            images=step_images(recorded, [s.base for s in steps]),
            proprio=np.array([proprio(s.arm) for s in steps], np.float32),
            executed=np.array([s.command.executed_action for s in steps], np.float32).clip(-1, 1),
            base=np.array([s.base.action for s in steps], np.float32),
            source=np.array([s.choice.source for s in steps], np.uint8),
            instruction=last.instruction,
            task=last.task,
            region=last.region,
            seed=last.seed,
            success=outcome(folder) == "success",
            takeover_step=NO_TAKEOVER if last.takeover_step == NEVER else takeover,
            rate_hz=spec.rate_hz,
            gaps=gaps_in([s.arm.step for s in steps]),
        ),
        held,
    )


def gaps_in(steps: Sequence[int]) -> tuple[int, ...]:
    """The places in `steps` whose step is not the one after that before."""
    return tuple(i for i in range(1, len(steps)) if steps[i] != steps[i - 1] + 1)


@dataclass(frozen=True)
class ConversionRow:
    """What became of one episode: `converted`, or no success (its outcome).

    Or a `problem`: `refused`, where live and offline code disagree, `unreadable`, not closed, or
    `kept aside`, since nothing may be learned from the starts of evaluations.
    """

    name: str
    result: str
    steps: int = 0
    held_steps: int = 0
    specialist_steps: int = 0
    problem: str = ""


def convert_folder(folder: Path, output: Path, limits: Path | None) -> list[ConversionRow]:
    """Convert the successes of a run or one episode into `output`, a file per episode.

    What an earlier conversion wrote of an episode that is no success (any more) is removed. Limits
    and rate are those of the run's parameters, unless `limits` says otherwise.
    """
    return [_row(episode, output, limits) for episode in episodes_at(folder)]


def _limits_file(name: str) -> Path:
    """The limits that a run names: a file of the operator's, or one that comes with the package."""
    return Path(name) if Path(name).exists() else share_path(name)


def rules_of(folder: Path, limits: Path | None = None) -> tuple[SafetyLimits, ActionSpec]:
    """Limits and action contract of the run that the episode in `folder` belongs to.

    `limits` replaces the file that the run names. Raises ContractError where it names none.
    """
    parameters = load_verdict(folder).parameters
    try:
        path = limits or _limits_file(parameters["limits"])
        return load_limits(path), ActionSpec(rate_hz=float(parameters["rate_hz"]))
    except KeyError as error:
        raise ContractError(f"its run names no {error.args[0]}") from error


def _row(folder: Path, output: Path, limits: Path | None) -> ConversionRow:
    target = output / f"episode-{folder.name}.safetensors"
    try:
        verdict = load_verdict(folder)
        _make_way(target, verdict.fingerprint)
        counted = outcome(folder)
    except RecordingError as error:
        return ConversionRow(folder.name, "unreadable", problem=str(error))
    except ConfigError as error:
        return ConversionRow(folder.name, "refused", problem=str(error))
    if counted != "success":
        return ConversionRow(folder.name, counted)
    if verdict.seed in EVALUATION_BLOCK:
        return ConversionRow(folder.name, KEPT_ASIDE, problem="begins at an evaluation's start")
    try:
        converted = convert(folder, *rules_of(folder, limits))
    except PldError as error:
        return ConversionRow(folder.name, "refused", problem=str(error))
    episode = replace(converted.episode, origin=verdict.fingerprint)
    write_episode(target, episode)
    return ConversionRow(
        folder.name, "converted", len(episode), converted.held_steps, episode.specialist_steps
    )


def _make_way(target: Path, fingerprint: str) -> None:
    """Remove what an earlier conversion of the same episode wrote.

    Raises ConfigError for a file of another episode of that name, from another run: it stays.
    """
    if not target.exists():
        return
    there = ""
    with suppress(ConfigError):  # a broken file is nobody's
        there = origin_of(target)
    if there and there != fingerprint:
        raise ConfigError(
            f"{str(target)!r} is of another run's episode of that name; give each run an --output "
            "of its own"
        )
    target.unlink()


def policy_steps(recorded: Episode, first_step: int) -> tuple[list[PolicyStep], int]:
    """The steps of the running episode whose four parts are all in the bag, and the others.

    A step that a hold cut short, and one whose command the driver refused, did not execute its
    action, and is one of the others. The state at which the episode ended is an observation without
    an action, also where somebody acted on it before the end was told.
    """
    arms = {a.value.step: a.value for a in recorded.arm_states}
    bases = {b.value.step: b.value for b in recorded.base_actions}
    acted = choices_acted_on(recorded, first_step)
    idle = {c.value.step for c in recorded.commands if c.value.hold} | _refused(recorded)
    whole, running, last_step = [], 0, max(acted, default=first_step - 1)
    for step, command in {c.value.step: c.value for c in recorded.commands}.items():
        if not first_step <= step <= last_step:
            continue
        running += 1
        if step in arms and step in bases and step in acted and step not in idle:
            whole.append(PolicyStep(arms[step], bases[step], acted[step], command))
    return whole, running - len(whole)


def choices_acted_on(recorded: Episode, first_step: int) -> dict[int, Choice]:
    """Who acted in the running episode, by step: until it ended, and not where the arm held."""
    ended_ns = recorded.ended_ns
    t_ns = {a.value.step: a.value.t_ns for a in recorded.arm_states}
    choices = (c.value for c in recorded.choices if c.value.step >= first_step)
    acted = {c.step: c for c in choices if c.source is not ActionSource.HOLD}
    if ended_ns is None:
        return acted
    return {s: c for s, c in acted.items() if s in t_ns and t_ns[s] < ended_ns}


def _refused(recorded: Episode) -> set[int]:
    """Steps whose command the driver did not execute, as later arm states tell.

    Of a step after which the bag has no state nobody knows, nor of any where the driver tells of
    none that it executed: these are not among them.
    """
    states = [a.value for a in recorded.arm_states]
    executed = {a.applied_step for a in states if a.applied_ns}
    if not executed:
        return set()
    newest = max(a.step for a in states)
    return {c.value.step for c in recorded.commands if c.value.step < newest} - executed


def step_images(recorded: Episode, answers: list[BaseAction]) -> NDArray[np.uint8]:
    """The policy's images (T, cameras, px, px, 3) that each base action was made of."""
    columns = [
        images_at(recorded.images[camera], [answer.image_ns[i] for answer in answers])
        for i, camera in enumerate(CAMERAS)
    ]
    return np.stack(columns, axis=1)


def images_at(stream: ImageStream, wanted_ns: list[int]) -> NDArray[np.uint8]:
    """The policy's images (T, px, px, 3) measured at `wanted_ns`; ContractError for a missing one.

    The stream is read once, whatever the order and repetition of `wanted_ns`.
    """
    asked, small = set(wanted_ns), {}
    for image in stream.all():
        if image.t_ns in asked:
            small[image.t_ns] = policy_image(image.rgb)
    missing = sorted(asked - small.keys())
    if missing:
        raise ContractError(
            f"{stream.path.parent.name}: {len(missing)} images of {stream.topic} that a policy saw "
            f"are not in the bag, the first of {missing[0]} ns"
        )
    if not wanted_ns:
        return np.zeros((0, POLICY_IMAGE_PX, POLICY_IMAGE_PX, 3), np.uint8)
    return np.stack([small[t_ns] for t_ns in wanted_ns])
