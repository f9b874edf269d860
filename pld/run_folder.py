"""What a run folder holds: its episodes' verdicts, and success counted by region."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pld.errors import RecordingError
from pld.evaluation.intervals import wilson
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.recording.bag import EPISODES_FOLDER, VERDICT_NAME
from pld.recording.labels import outcome as counted_outcome
from pld.recording.recover import is_episode
from pld.recording.run_files import PARAMETERS_NAME
from pld.recording.verdict import Verdict, load_verdict

FIRST_SUCCESS = -1


@dataclass(frozen=True)
class SuccessRow:
    """k successes of n labelled episodes in a region, with the Wilson 95 % interval."""

    region: str
    successes: int
    episodes: int
    low: float
    high: float


def episode_folders(run_dir: Path) -> list[Path]:
    """The episode folders of a run, in the order of recording."""
    folder = run_dir / EPISODES_FOLDER
    if not folder.is_dir():
        began = (run_dir / PARAMETERS_NAME).exists()
        what = "has no episode yet" if began else "is no run folder"
        raise RecordingError(f"{str(run_dir)!r} {what}: there is no {EPISODES_FOLDER}/ in it")
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_episode(path))


def closed_folders(run_dir: Path) -> list[Path]:
    """Those of `episode_folders` whose episode has a verdict."""
    return [f for f in episode_folders(run_dir) if (f / VERDICT_NAME).exists()]


def verdicts(run_dir: Path) -> list[Verdict]:
    """The verdicts of a run's closed episodes, in the order of recording."""
    return [load_verdict(folder) for folder in closed_folders(run_dir)]


def policys_episodes(run_dir: Path) -> list[tuple[Verdict, bool]]:
    """The labelled episodes of a run that only policies acted in, and whether each succeeded.

    Those in which a person acted say nothing of a policy. An operator's label wins over the
    verdict's outcome.
    """
    found = [(load_verdict(f), counted_outcome(f)) for f in closed_folders(run_dir)]
    return [
        (verdict, outcome == "success")
        for verdict, outcome in found
        if outcome != "unlabelled" and not verdict.steps.interventions
    ]


def seeds_not_kept_aside(found: Iterable[Verdict]) -> list[int]:
    """Seeds of simulated evaluations that are not those of evaluations, in order.

    Training may have seen these starts; on hardware a person lays the scene, whatever the seed.
    """
    played = (v for v in found if v.mode == "evaluate" and v.deployment == "sim")
    return sorted(v.seed for v in played if v.seed not in EVALUATION_BLOCK)


def success_rows(run_dir: Path) -> list[SuccessRow]:
    """Success of `policys_episodes` by region, then over all."""
    outcomes: dict[str, list[bool]] = {}
    for verdict, success in policys_episodes(run_dir):
        outcomes.setdefault(verdict.region or "anywhere", []).append(success)
    rows = [_row(region, found) for region, found in sorted(outcomes.items())]
    return [*rows, _row("all", [s for found in outcomes.values() for s in found])]


def _row(region: str, found: list[bool]) -> SuccessRow:
    low, high = wilson(sum(found), len(found)) if found else (0.0, 1.0)
    return SuccessRow(region, sum(found), len(found), low, high)


def numbered_episode(run_dir: Path, number: int) -> Path:
    """Episode `number` of a run, from 0; raises RecordingError that says the valid ones."""
    folders = episode_folders(run_dir)
    if 0 <= number < len(folders):
        return folders[number]
    if not folders:
        raise RecordingError(f"{str(run_dir)!r} has no episode")
    raise RecordingError(
        f"episode {number}: {str(run_dir)!r} has episodes 0 to {len(folders) - 1}; "
        f"{FIRST_SUCCESS} takes the first success"
    )


def pick_episode(run_dir: Path) -> Path:
    """The first successful episode, else the first closed one; raises RecordingError if none."""
    closed = closed_folders(run_dir)
    if not closed:
        raise RecordingError(f"{str(run_dir)!r} has no closed episode")
    return next((f for f in closed if counted_outcome(f) == "success"), closed[0])
