"""The episodes of a graph run as an evaluation, so that they compare with those of the twin."""

from __future__ import annotations

from pathlib import Path

from pld.errors import RecordingError
from pld.evaluation.results import EpisodeResult, Evaluation
from pld.recording.labels import outcome
from pld.recording.verdict import load_verdict
from pld.run_folder import closed_folders


def evaluation_of(run_dir: Path, name: str, policy_id: str, run_seed: int) -> Evaluation:
    """The labelled episodes of `run_dir` in the order of their seeds, as `name`.

    Raises RecordingError when there are none, ConfigError when their seeds are not an evaluation's.
    """
    results, tasks = [], set()
    for folder in closed_folders(run_dir):
        counted, verdict = outcome(folder), load_verdict(folder)
        if counted == "unlabelled":
            continue
        tasks.add(verdict.task)
        results.append(
            EpisodeResult(
                verdict.seed,
                counted == "success",
                verdict.steps.steps,
                verdict.region,
                verdict.termination_reason,
                verdict.task,
            )
        )
    if len(tasks) != 1:
        raise RecordingError(f"{str(run_dir)!r} has labelled episodes of {len(tasks)} tasks, not 1")
    ordered = tuple(sorted(results, key=lambda r: r.seed))
    return Evaluation(name, tasks.pop(), policy_id, run_seed, ordered)
