"""One JSON that says what a run found: rates, paired comparisons, CPU seconds, seeds checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pld.distill.episodes import read_episode
from pld.evaluation.film import Film
from pld.evaluation.report import Report, write_report
from pld.evaluation.results import (
    Evaluation,
    evaluation_name,
    on_common_starts,
    paired,
    policy_and_region,
)
from pld.evaluation.seeds import Purpose, refuse_overlap, seed_range
from pld.files import read_json, write_json_atomically
from pld.flywheel.collecting import seed_of_log
from pld.flywheel.config import FlywheelConfig
from pld.flywheel.names import RESIDUAL_CONTROLS
from pld.flywheel.stage import DONE, current_stages
from pld.flywheel.stages import CURVE_FILE, EVALUATION_FILE
from pld.flywheel.turning import Flywheel

SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
SCHEMA = 1


def evaluations_of(stages: Sequence[Path]) -> list[Evaluation]:
    """The evaluations among a run's stages: base, specialist, distilled policies, then controls."""
    files = [folder / EVALUATION_FILE for folder in stages]
    found = sorted((path for path in files if path.exists()), key=_place)
    return [Evaluation.from_json(read_json(path)) for path in found]


def _place(path: Path) -> tuple[int, str, str]:
    """Where the evaluation `POLICY/TASK/FILE` stands in tables."""
    policy, task = path.parts[-3:-1]
    kinds = ("base", "specialist", "distilled", "control", "weights")
    return next(i for i, kind in enumerate(kinds) if policy.startswith(kind)), policy, task


def write_summary(wheel: Flywheel, json_file: Path | None) -> dict[str, Any]:
    """Gather the run's figures, write them beside the HTML report, and return them."""
    run, config = wheel.folder, wheel.config
    current = current_stages(run)
    evaluations = evaluations_of(current)
    trained = trained_seeds(run, config.seed)
    evaluated = {e.seed for evaluation in evaluations for e in evaluation.episodes}
    refuse_overlap(trained, evaluated)
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "tasks": list(config.tasks),
        "seed": config.seed,
        "rounds": config.rounds,
        "config": config.as_dict() | {"specialist": _specialists(config)},
        "rates": [_rate(e) for e in evaluations],
        "comparisons": _comparisons(evaluations, f"distilled-{config.rounds}"),
        "stages": [_stage(run, folder) for folder in current],
        "training_seeds": len(trained),
        "seeds_disjoint": trained.isdisjoint(evaluated),
        "report": REPORT_FILE,
    }
    write_report(run / REPORT_FILE, _report(run, summary, evaluations, curves_of(current)))
    write_json_atomically(run / SUMMARY_FILE, summary)
    if json_file is not None:
        write_json_atomically(json_file, summary)
    return summary


def _specialists(config: FlywheelConfig) -> dict[str, Any]:
    """What the specialists of a run were trained with, by task: the tasks' own values."""
    return {task: config.specialist_of(task).as_dict() for task in config.tasks}


def trained_seeds(run: Path, seed: int) -> set[int]:
    """Every seed whose episode was trained on: recorded attempts and the specialists' blocks."""
    recorded = {seed_of_log(path) for path in run.glob("**/attempts/*.json")}
    return recorded | set(seed_range(Purpose.SPECIALIST, seed))


def _rate(evaluation: Evaluation) -> dict[str, Any]:
    content = evaluation.as_json()
    del content["episodes"]
    return content


def _comparisons(evaluations: list[Evaluation], final: str) -> list[dict[str, Any]]:
    """Every policy against its counterpart on the same starts, whole and by region."""
    found = {(e.name, e.task): e for e in evaluations}
    rows = []
    for other in evaluations:
        name = counterpart(other.name, final) or ""
        best = found.get((name, other.task))
        if best is None or other is best:
            continue
        regions = best.regions if len(best.regions) > 1 else ()
        for region in (None, *regions):
            pair = paired(*on_common_starts(other, best), region)
            if not pair.n:
                continue
            rows.append(
                {
                    "task": best.task,
                    "first": other.name,
                    "second": name,
                    "region": region or "all",
                    **asdict(pair),
                    "difference": pair.difference,
                }
            )
    return rows


def counterpart(name: str, final: str) -> str | None:
    """What the policy `name` is compared with: the policy that had as much to learn from.

    On the same starts, so `P@REGION` is compared with another policy in that region.
    """
    policy, region = policy_and_region(name)
    control = policy.removeprefix("control-")
    if control in RESIDUAL_CONTROLS:
        against = "specialist"
    elif control.startswith("probing-"):
        against = f"control-{control.replace('probing', 'demonstrations')}"
    elif control.startswith("demonstrations-"):
        return None  # it is what `probing-N` is compared with
    else:
        against = "distilled-1" if control.startswith("alpha-") else final
    return evaluation_name(against, region)


def _stage(run: Path, folder: Path) -> dict[str, Any]:
    content = read_json(folder / DONE)
    name = str(folder.relative_to(run))
    return {"name": name, "cpu_s": content["cpu_s"], "figures": content["figures"]}


def _report(
    run: Path,
    summary: dict[str, Any],
    evaluations: list[Evaluation],
    curves: dict[str, list[tuple[int, bool]]],
) -> Report:
    final = f"distilled-{summary['rounds']}"
    ordered = sorted(evaluations, key=lambda e: _place(Path(e.name) / e.task / "file"))
    return Report(
        title=f"{' + '.join(summary['tasks'])}, seed {summary['seed']}",
        final=final,
        evaluations=ordered,
        films=[f for task in summary["tasks"] for f in _films(run, evaluations, task, final)],
        curves=curves,
        comparisons=summary["comparisons"],
        cpu_s={s["name"]: s["cpu_s"] for s in summary["stages"]},
    )


def curves_of(stages: Sequence[Path]) -> dict[str, list[tuple[int, bool]]]:
    """Learning curves of the specialists among a run's stages.

    (environment steps, success) per episode.
    """
    found = sorted(p for folder in stages if (p := folder / CURVE_FILE).exists())
    return {
        f"{path.parent.name} {path.parent.parent.name}": [
            (int(s), bool(k)) for s, k in read_json(path)
        ]
        for path in found
    }


def _films(run: Path, evaluations: list[Evaluation], task: str, final: str) -> list[Film]:
    """Up to three starts where the base fails, each with the base and the final policy."""
    outcomes = {e.name: {r.seed: r for r in e.episodes} for e in evaluations if e.task == task}
    if "base" not in outcomes or final not in outcomes:
        return []
    both = [s for s in outcomes["base"] if s in outcomes[final]]
    lost = [s for s in both if not outcomes["base"][s].success and outcomes[final][s].success]
    films = []
    for seed in lost[:40]:
        pair = [_film(run, name, task, seed) for name in ("base", final)]
        films += [film for film in pair if film is not None and None not in pair]
    return films[:6]


def _film(run: Path, name: str, task: str, seed: int) -> Film | None:
    path = run / "evaluation" / name / task / "films" / f"film-{seed}.safetensors"
    if not path.exists():
        return None
    episode = read_episode(path)
    return Film(name, task, seed, episode.region, episode.success, episode.images)
