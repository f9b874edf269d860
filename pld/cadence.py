"""How well a recorded episode kept its pace: periods, latencies and tracking, in robot time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pld.errors import RecordingError
from pld.recording.reader import Episode, read_episode
from pld.run_folder import closed_folders
from pld.types import Array


@dataclass(frozen=True)
class Applied:
    """Commands as the driver executed them: step and graph-clock time [ns], each (N,)."""

    step: NDArray[np.int64]
    t_ns: NDArray[np.int64]


def applied_commands(episode: Episode) -> Applied:
    """When each command took effect, from the driver's own echo in the arm state."""
    found: dict[int, int] = {}
    for arm in episode.arm_states:
        if arm.value.applied_ns > 0:
            found.setdefault(arm.value.applied_step, arm.value.applied_ns)
    steps = np.array(sorted(found), dtype=np.int64)
    return Applied(steps, np.array([found[int(s)] for s in steps], dtype=np.int64))


def command_period_ms(applied: Applied) -> Array:
    """Robot time between commands of consecutive steps [ms], (N-1,)."""
    consecutive = np.diff(applied.step) == 1
    period_ms: Array = np.diff(applied.t_ns)[consecutive] / 1e6
    return period_ms


def missed_steps(applied: Applied) -> int:
    """Control steps between the first and the last executed command that have none of their own."""
    return (
        int(applied.step[-1] - applied.step[0]) + 1 - len(applied.step) if len(applied.step) else 0
    )


@dataclass(frozen=True)
class RunCadence:
    """How a whole run kept its pace: robot time between executed commands of consecutive steps.

    `starved` control steps had no base action of their own, `held` were told to keep the pose,
    for `missed` ones no command was executed.
    """

    run: str
    episodes: int
    steps: int
    starved: int
    held: int
    missed: int
    lost: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def run_cadence(run_dir: Path) -> RunCadence:
    """The cadence of a run's closed episodes; RecordingError where no command was executed."""
    episodes = [read_episode(folder) for folder in closed_folders(run_dir)]
    applied = [applied_commands(e) for e in episodes]
    period_ms = np.concatenate([np.zeros(0), *map(command_period_ms, applied)])
    if not period_ms.size:
        raise RecordingError(f"{str(run_dir)!r} holds no two commands in a row; nothing to time")
    figures = [e.verdict.steps for e in episodes]
    p50, p99, largest = (float(v) for v in np.percentile(period_ms, (50, 99, 100)))
    return RunCadence(
        run=run_dir.name,
        episodes=len(episodes),
        steps=sum(f.steps for f in figures),
        starved=sum(f.starved_steps for f in figures),
        held=sum(f.held_steps for f in figures),
        missed=sum(map(missed_steps, applied)),
        lost=sum(e.verdict.lost for e in episodes),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=largest,
    )


def camera_to_command_ms(episode: Episode, applied: Applied) -> Array:
    """From the measurement of the oldest image used to the command's execution [ms]."""
    answers = [a.value for a in episode.base_actions if a.value.image_ns]
    image_ns = {answer.step: min(answer.image_ns) for answer in answers}
    pairs = zip(applied.step, applied.t_ns, strict=True)
    return np.array([(t - image_ns[int(s)]) / 1e6 for s, t in pairs if int(s) in image_ns])


def state_to_command_wall_ms(episode: Episode) -> Array:
    """From the arrival of a state at the recorder to that of its command, wall clock [ms]."""
    states = {a.value.step: a.log_time_ns for a in episode.arm_states}
    commands = [(c.value.step, c.log_time_ns) for c in episode.commands if not c.value.hold]
    return np.array([(t - states[step]) / 1e6 for step, t in commands if step in states])


def tracking(episode: Episode) -> tuple[float, float]:
    """Lag [ms] of the measured behind the reference position, and rms error at that lag [mm].

    The lag is the shift of the measured path, interpolated, that fits the reference best.
    """
    t_s = np.array([a.t_ns for a in episode.arm_states]) / 1e9
    reference = np.array([a.value.reference.p_m for a in episode.arm_states])
    measured = np.array([a.value.O_T_EE.p_m for a in episode.arm_states])
    shifts_s = np.arange(0.0, 0.4, 0.005)
    errors = [_rms_at(t_s, reference, measured, shift) for shift in shifts_s]
    best = int(np.argmin(errors))
    return float(shifts_s[best] * 1e3), float(errors[best] * 1e3)


def _rms_at(t_s: Array, reference: Array, measured: Array, shift_s: float) -> float:
    inside = t_s + shift_s <= t_s[-1]
    later = np.stack(
        [np.interp(t_s[inside] + shift_s, t_s, measured[:, axis]) for axis in range(3)], axis=1
    )
    return float(np.sqrt(np.mean(np.sum((later - reference[inside]) ** 2, axis=1))))
