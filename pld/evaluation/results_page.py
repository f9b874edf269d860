"""The results page in Markdown, made from the runs' JSON files and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_letters
from typing import Any

from pld.errors import ConfigError
from pld.evaluation.intervals import wilson
from pld.evaluation.results import Rate, policy_and_region
from pld.files import read_json, write_bytes_atomically
from pld.flywheel.names import control_policies, zero_to_distilled

USUAL_ROUNDS = 2
EXTRA = "control-extra-demonstrations"
GLANCE = """

As many demonstrations: the base fine-tuned on as many extra scripted demonstrations as the rounds
gave episodes. Gain: points by which the last policy is better than that, where both were evaluated
with every start in one region, with the p of McNemar's exact test."""

INTRODUCTION = """# Results

Written by `pld results`; do not edit. Every figure comes from the `summary.json` of a run in the
lockstep twin. The runs that the command was given are listed whole, whatever they found;
[flywheel.md](flywheel.md#state) names those of other configurations. Success is counted on starts
whose seeds no training saw, the same starts for every policy of a run; intervals are 95 % Wilson;
p-values are McNemar's exact test on paired starts.

This page again, from the runs' own figures: `pld results {files} --out {page}`. The runs
again, with the settings of today: the commands of the [last section](#commands).
"""


def write_results_page(path: Path, files: Sequence[Path]) -> None:
    """Write the page; raises ConfigError for files that are no summaries."""
    summaries = _summaries(sorted(files))
    sections = [
        _introduction(path, files),
        "## At a glance",
        _glance(summaries),
        "## Success",
        _success(summaries),
        "## By region",
        _regions(summaries),
    ]
    for task in dict.fromkeys(rate["task"] for s in summaries for rate in s["rates"]):
        sections.append(_plot(path, task, summaries))
    sections += ["## Distilled against the others", _comparisons(summaries)]
    sections += ["## Learning the specialist", _specialists(summaries)]
    sections += ["## What each run learned from", _learned_from(summaries)]
    sections += ["## CPU seconds, from nothing to distilled", _cpu(summaries)]
    sections += ["## Commands", _commands(summaries)]
    write_bytes_atomically(path, ("\n\n".join(sections) + "\n").encode())


def _introduction(page: Path, files: Sequence[Path]) -> str:
    folders = dict.fromkeys(file.parent / "*.json" for file in files)
    named = " ".join(str(folder) for folder in folders)
    return INTRODUCTION.format(files=named, page=page)


def _summaries(files: Sequence[Path]) -> list[dict[str, Any]]:
    """One summary of every run; ConfigError where two are of the same."""
    found: dict[str, Path] = {}
    summaries = [_summary(file) for file in files]
    for file, summary in zip(files, summaries, strict=True):
        name = _run(summary)
        if name in found:
            raise ConfigError(
                f"{str(found[name])!r} and {str(file)!r} are both of {name!r}; give one of them"
            )
        found[name] = file
    if not summaries:
        raise ConfigError("no summaries given; run `pld flywheel` first")
    return summaries


def _summary(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or "rates" not in content or "stages" not in content:
        raise ConfigError(f"{str(file)!r} is no summary of a flywheel run; give its summary.json")
    return content


def _plot(page: Path, task: str, summaries: Sequence[dict[str, Any]]) -> str:
    """The page's picture of one task, written beside it: a bar per policy and run."""
    from pld.evaluation.plots import runs_plot

    runs = {
        _run(summary): {
            rate["name"]: Rate(rate["successes"], rate["trials"])
            for rate in summary["rates"]
            if rate["task"] == task and not policy_and_region(rate["name"])[1]
        }
        for summary in summaries
    }
    runs = {name: rates for name, rates in runs.items() if rates}
    named = "; ".join(f"{a} {run}" for a, run in zip(ascii_letters, runs, strict=False))
    file = page.parent / "figures" / f"{page.stem}-{task}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(file, runs_plot(runs))
    return (
        f"![{task}]({file.relative_to(page.parent)})\n\n{task}: success with 95 % Wilson "
        f"intervals, controls in grey. The letters below the bars are the runs: {named}."
    )


def _glance(summaries: Iterable[dict[str, Any]]) -> str:
    """A row per run and task: from base to last policy, and its gain in one region."""
    rows = []
    for summary in summaries:
        for task in summary["tasks"]:
            rates = {rate["name"]: rate for rate in summary["rates"] if rate["task"] == task}
            last = f"distilled-{summary.get('rounds', USUAL_ROUNDS)}"
            names = ("base", "specialist", last, EXTRA)
            counted = [
                _counted(rates[n]["successes"], rates[n]["trials"]) if n in rates else "-"
                for n in names
            ]
            gains = [
                f"{100 * row['difference']:+.0f} ({region}, p {row['p_value']:.1g})"
                for row in summary["comparisons"]
                for control, region in [policy_and_region(row["first"])]
                if control == EXTRA and region and row["task"] == task
            ]
            rows.append((_run(summary), task, *counted, ", ".join(gains) or "-"))
    head = ("run", "task", "base", "specialist", "last policy", "as many demonstrations", "gain")
    return _table(head, rows) + GLANCE


def _success(summaries: Iterable[dict[str, Any]]) -> str:
    rows = [
        (
            _run(summary),
            rate["task"],
            rate["name"],
            _counted(rate["successes"], rate["trials"]),
            f"{rate['median_success_steps']:.0f}",
        )
        for summary in summaries
        for rate in summary["rates"]
    ]
    return _table(("run", "task", "policy", "success", "median steps"), rows)


def _regions(summaries: Iterable[dict[str, Any]]) -> str:
    rows = [
        (_run(summary), rate["task"], rate["name"], region, _counted(k, n))
        for summary in summaries
        for rate in summary["rates"]
        for region, (k, n) in rate["regions"].items()
    ]
    return _table(("run", "task", "policy", "starts", "success"), rows)


def _comparisons(summaries: Iterable[dict[str, Any]]) -> str:
    rows = [
        (
            _run(summary),
            row["task"],
            f"{row['second']} - {row['first']}",
            row["region"],
            f"{100 * row['difference']:+.1f}",
            f"{row['only_second']} : {row['only_first']}",
            f"{row['p_value']:.2g}",
        )
        for summary in summaries
        for row in summary["comparisons"]
    ]
    return _table(("run", "task", "policies", "starts", "points", "won : lost", "exact p"), rows)


def _specialists(summaries: Iterable[dict[str, Any]]) -> str:
    rows = []
    for summary in summaries:
        for stage in summary["stages"]:
            figures = stage["figures"]
            if "learned_steps" in figures:
                reached = figures.get("steps_to_90_percent")
                rows.append(
                    (
                        _run(summary),
                        stage["name"],
                        str(figures["environment_steps"]),
                        "not reached" if reached is None else str(reached),
                        f"{stage['cpu_s']:.0f}",
                    )
                )
    return _table(
        ("run", "specialist", "environment steps", "steps to 90 % of 50 episodes", "CPU s"), rows
    )


def _learned_from(summaries: Iterable[dict[str, Any]]) -> str:
    """Successes and attempts of every collection, and the decisions of every specialist."""
    rows = []
    for summary in summaries:
        for stage in summary["stages"]:
            figures = stage["figures"]
            if "attempts" in figures:
                what = f"{figures['successes']} successes of {figures['attempts']} attempts"
            elif "learned_steps" in figures:
                what = f"{figures['learned_steps']} decisions"
            else:
                continue
            rows.append((_run(summary), stage["name"], what))
    return _table(("run", "stage", "learned from"), rows)


def _cpu(summaries: Iterable[dict[str, Any]]) -> str:
    rows = []
    for summary in summaries:
        needed = zero_to_distilled(summary["stages"])
        parts = ", ".join(f"{s['name']} {s['cpu_s']:.0f}" for s in needed)
        rows.append((_run(summary), f"{sum(s['cpu_s'] for s in needed):.0f}", parts))
    return _table(("run", "CPU s", "stages"), rows)


def _commands(summaries: Iterable[dict[str, Any]]) -> str:
    return _table(("run", "command"), [(_run(s), c) for s in summaries for c in _commands_of(s)])


def _commands_of(summary: dict[str, Any]) -> list[str]:
    """What makes a run: the flywheel with its controls, then its evaluations in one region."""
    config = summary.get("config", {})
    task = "all" if len(summary["tasks"]) > 1 else summary["tasks"][0]
    rounds = summary.get("rounds", USUAL_ROUNDS)
    options = f" --rounds {rounds}" if rounds != USUAL_ROUNDS else ""
    region = config.get("demonstrated_in")
    if region:
        options += f" --demonstrated-in {region}"
    names = [policy_and_region(rate["name"]) for rate in summary["rates"]]
    made = control_policies()
    controls = dict.fromkeys(made[policy] for policy, _ in names if policy in made)
    if controls:
        options += f" --controls {','.join(controls)}"
    which = f"--task {task} --seed {summary['seed']}"
    if region:  # not in the folder of the run with the usual demonstrations
        which += f" --run runs/flywheel/{task}-{region}-seed{summary['seed']}"
    commands = [f"`pld flywheel {which}{options}`"]
    for starts in sorted({starts for _, starts in names if starts}):
        policies = ", ".join(policy for policy, where in names if where == starts)
        commands.append(
            f"`pld evaluate POLICY {which} --starts-in {starts}`, POLICY each of {policies}"
        )
    return commands


def _run(summary: dict[str, Any]) -> str:
    """The run's name: its tasks, its seed, and where it was demonstrated if it was told."""
    region = summary.get("config", {}).get("demonstrated_in")
    where = f", demonstrated in {region}" if region else ""
    return f"{'+'.join(summary['tasks'])} seed {summary['seed']}{where}"


def _counted(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{k}/{n} [{low:.3f}, {high:.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
