"""The episodes of a graph run as an evaluation, so that they compare with those of the twin."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pld.base_policy.builtin_checkpoint import load_checkpoint
from pld.errors import ConfigError, RecordingError
from pld.evaluation.intervals import Paired
from pld.evaluation.results import EpisodeResult, Evaluation, on_common_starts, paired
from pld.evaluation.seeds import EVALUATION_BLOCK
from pld.files import read_json
from pld.recording.run_files import (
    CHECKPOINTS_NAME,
    PARAMETERS_NAME,
    file_digest,
    read_kept,
)
from pld.residual.actor import load_actor
from pld.run_folder import policys_episodes


def evaluation_of(run_dir: Path, name: str, policy_id: str, run_seed: int) -> Evaluation:
    """The labelled episodes of `run_dir` in the order of their seeds, as `name`.

    Those in which a person acted say nothing of a policy and are left out. Raises RecordingError
    when there are none, ConfigError when their seeds are not an evaluation's.
    """
    results = [
        EpisodeResult(
            verdict.seed,
            success,
            verdict.steps.steps,
            verdict.region,
            verdict.termination_reason,
            verdict.task,
        )
        for verdict, success in policys_episodes(run_dir)
    ]
    tasks = {result.task for result in results}
    if len(tasks) != 1:
        raise RecordingError(f"{str(run_dir)!r} has labelled episodes of {len(tasks)} tasks, not 1")
    ordered = tuple(sorted(results, key=lambda r: r.seed))
    return Evaluation(name, tasks.pop(), policy_id, run_seed, ordered)


@dataclass(frozen=True)
class Deployed:
    """A policy in the graph beside the same policy in the lockstep twin, on the same starts."""

    graph: Evaluation
    lockstep: Evaluation

    @property
    def agrees(self) -> bool:
        """Whether the rate in the graph lies within the Wilson interval of the lockstep one."""
        low, high = self.lockstep.rate.interval
        return low <= self.graph.rate.value <= high

    @property
    def pair(self) -> Paired:
        """Start by start; first is lockstep, second the graph."""
        return paired(self.lockstep, self.graph)

    @property
    def reasons(self) -> dict[str, tuple[int, int]]:
        """How episodes ended, and how often: in lockstep, in the graph."""
        there, here = (Counter(e.reason for e in ev.episodes) for ev in (self.lockstep, self.graph))
        return {name: (there[name], here[name]) for name in sorted({*there, *here})}

    def as_json(self) -> dict[str, Any]:
        """Both evaluations and what lies between."""
        return {
            "graph": self.graph.as_json(),
            "lockstep": self.lockstep.as_json(),
            "agrees": self.agrees,
            "paired": asdict(self.pair),
            "reasons": self.reasons,
        }


def load_evaluation(path: Path) -> Evaluation:
    """A lockstep evaluation from its file or folder; ConfigError says which file to give."""
    content = read_json(path / "evaluation.json" if path.is_dir() else path)
    try:
        return Evaluation.from_json(content)
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(path)!r} is no evaluation ({type(error).__name__}: {error}); give "
            "RUN/evaluation/POLICY/TASK/evaluation.json of a flywheel run"
        ) from error


def policy_of_run(run_dir: Path) -> str:
    """Name of the policy that a run was of, as evaluations have it; empty where nobody can tell."""
    parameters = read_kept(run_dir / PARAMETERS_NAME)
    given = {name: str(parameters.get(name, "")) for name in ("policy", "specialist")}
    weights = {name: Path(path) for name, path in given.items() if path}
    ran = read_kept(run_dir / CHECKPOINTS_NAME)
    same = (p.is_file() and ran.get(name) == file_digest(p) for name, p in weights.items())
    if "policy" not in weights or not all(same):
        return ""
    if "specialist" in weights:
        return load_actor(weights["specialist"]).policy_id
    return load_checkpoint(weights["policy"]).policy_id


def deployed(run_dir: Path, evaluation: Path) -> Deployed:
    """The graph run `run_dir` beside the lockstep evaluation kept in a JSON file.

    Only starts that both have count. Raises ConfigError when there are none, or the tasks or the
    policies differ, as far as the run's weights are still there to tell.
    """
    lockstep = load_evaluation(evaluation)
    first = min((e.seed for e in lockstep.episodes), default=EVALUATION_BLOCK.start)
    mode = str(read_kept(run_dir / PARAMETERS_NAME).get("mode", "evaluate"))
    if mode not in ("evaluate", "collect"):
        raise ConfigError(
            f"{str(run_dir)!r} was recorded with mode:={mode}, where base and specialist take "
            "turns; give a run with mode:=evaluate"
        )
    ran = policy_of_run(run_dir)
    if ran and ran != lockstep.policy_id:
        raise ConfigError(
            f"{str(run_dir)!r} ran {ran}, and {str(evaluation)!r} is of {lockstep.policy_id}; give "
            "the evaluation of the policy that ran"
        )
    try:
        graph = evaluation_of(run_dir, lockstep.name, lockstep.policy_id, lockstep.run_seed)
    except ConfigError as error:
        raise ConfigError(f"{error}; record a run with mode:=evaluate seed:={first}") from error
    if graph.task != lockstep.task:
        raise ConfigError(f"{str(run_dir)!r} is of {graph.task}, the evaluation of {lockstep.task}")
    common = Deployed(*on_common_starts(graph, lockstep))
    if not common.graph.episodes:
        raise ConfigError(
            f"{str(run_dir)!r} and {str(evaluation)!r} have no start in common; give the run "
            f"seed:={first}"
        )
    return common
