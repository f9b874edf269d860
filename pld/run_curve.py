"""The learning curve of a run of the graph: successes of the last episodes over robot time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RecordingError
from pld.probing.arbitrator import NEVER
from pld.recording.verdict import Verdict
from pld.run_folder import policys_episodes, verdicts

ARM_STATE = "arm/state"
RESUMED_NS = 600_000_000_000
"""Longer than a running run is ever between two episodes: on hardware robot time is the host's."""


@dataclass(frozen=True)
class CurvePoint:
    """After `episode` (its index in the run), `minutes` of robot time into the run.

    `successes` of the last `window` episodes in which a specialist was to take over.
    """

    episode: int
    minutes: float
    successes: int
    window: int


def run_curve(run_dir: Path, window: int) -> list[CurvePoint]:
    """One point per labelled episode with a takeover, from the `window`-th on.

    Those in which a person acted say nothing of the specialist and are left out. Raises
    RecordingError where fewer than `window` of them were closed.
    """
    if window < 1:
        raise RecordingError(f"a window of {window} episodes; give a number from 1")
    ended_ns = _ends_ns(verdicts(run_dir))
    counted = [
        (verdict, ended_ns[verdict.index], success)
        for verdict, success in policys_episodes(run_dir)
        if verdict.takeover_step != NEVER and verdict.index in ended_ns
    ]
    if len(counted) < window:
        raise RecordingError(
            f"{str(run_dir)!r} has {len(counted)} labelled episodes with a takeover, fewer than "
            f"the window of {window}; give a smaller --window or let it learn longer (the first "
            "episodes are the base's alone)"
        )
    successes = [success for _, _, success in counted]
    return [
        CurvePoint(
            verdict.index,
            ended / 60e9,
            sum(successes[i + 1 - window : i + 1]),
            window,
        )
        for i, (verdict, ended, _) in enumerate(counted)
        if i + 1 >= window
    ]


def _ends_ns(closed: Sequence[Verdict]) -> dict[int, int]:
    """Robot time [ns] at the end of each episode (by index) since the first began.

    Robot time begins anew, or leaps, where a run was resumed; what was spent before is added.
    """
    ends: dict[int, int] = {}
    before_ns, began_ns, last_ns = 0, None, 0
    for verdict in sorted(closed, key=lambda v: v.index):
        if (span := _span_ns(verdict)) is None:
            continue
        if began_ns is None or not 0 <= span[0] - last_ns <= RESUMED_NS:
            before_ns += 0 if began_ns is None else last_ns - began_ns
            began_ns = span[0]
        last_ns = span[1]
        ends[verdict.index] = before_ns + last_ns - began_ns
    return ends


def first_reaching(points: Sequence[CurvePoint], share: float) -> CurvePoint | None:
    """The first point at which `share` of the window succeeded; None when there is none."""
    return next((p for p in points if p.successes >= share * p.window), None)


def _span_ns(verdict: Verdict) -> tuple[int, int] | None:
    """Robot time [ns] of an episode's first and last arm state; None where it has none."""
    topics = (t for t in verdict.topics if t.name.endswith(ARM_STATE) and t.messages)
    states = next(topics, None)
    return (states.first_stamp_ns, states.last_stamp_ns) if states else None
