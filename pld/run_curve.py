"""The learning curve of a run of the graph: successes of the last episodes over robot time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RecordingError
from pld.probing.arbitrator import NEVER
from pld.recording.labels import outcome
from pld.recording.verdict import Verdict, load_verdict
from pld.run_folder import closed_folders

ARM_STATE = "arm/state"


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

    Raises RecordingError where fewer than `window` of them were closed.
    """
    if window < 1:
        raise RecordingError(f"a window of {window} episodes; give a number from 1")
    found = [(load_verdict(f), outcome(f)) for f in closed_folders(run_dir)]
    counted = [(v, o == "success") for v, o in found if _counts(v, o)]
    if len(counted) < window:
        raise RecordingError(
            f"{str(run_dir)!r} has {len(counted)} labelled episodes with a takeover, fewer than "
            f"the window of {window}; give a smaller --window or let it learn longer"
        )
    began_ns = min(_stamps(v)[0] for v, _ in found if _has_time(v))
    successes = [success for _, success in counted]
    return [
        CurvePoint(
            verdict.index,
            (_stamps(verdict)[1] - began_ns) / 60e9,
            sum(successes[i + 1 - window : i + 1]),
            window,
        )
        for i, (verdict, _) in enumerate(counted)
        if i + 1 >= window
    ]


def first_reaching(points: Sequence[CurvePoint], share: float) -> CurvePoint | None:
    """The first point at which `share` of the window succeeded; None when there is none."""
    return next((p for p in points if p.successes >= share * p.window), None)


def _counts(verdict: Verdict, found: str) -> bool:
    return verdict.takeover_step != NEVER and found != "unlabelled" and _has_time(verdict)


def _has_time(verdict: Verdict) -> bool:
    return any(t.name.endswith(ARM_STATE) and t.messages for t in verdict.topics)


def _stamps(verdict: Verdict) -> tuple[int, int]:
    """Robot time [ns] of the first and the last arm state of an episode."""
    states = next(t for t in verdict.topics if t.name.endswith(ARM_STATE))
    return states.first_stamp_ns, states.last_stamp_ns
