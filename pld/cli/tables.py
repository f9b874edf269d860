"""Tables of a run for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pld.cli.screen import PlainTable
from pld.evaluation.intervals import wilson
from pld.flywheel.names import zero_to_distilled

if TYPE_CHECKING:
    from pld.cadence import RunCadence
    from pld.reward.classifier import ClassifierCard
    from pld.run_evaluation import Deployed
    from pld.run_usage import ProcessUsage


def rate_table(summary: dict[str, Any]) -> PlainTable:
    """Success of every policy with its Wilson interval, whole and by region."""
    table = PlainTable(title="success on fresh starts (95 % Wilson interval)")
    for column in ("task", "policy", "success", "interval", "by region", "steps"):
        table.add_column(column, overflow="fold")
    for rate in summary["rates"]:
        low, high = rate["wilson_95"]
        table.add_row(
            rate["task"],
            rate["name"],
            f"{rate['successes']}/{rate['trials']}",
            f"[{low:.3f}, {high:.3f}]",
            _by_region(rate["regions"]),
            f"{rate['median_success_steps']:.0f}",
        )
    return table


def cpu_table(summary: dict[str, Any]) -> PlainTable:
    """CPU seconds per stage; evaluations and controls are summed apart."""
    table = PlainTable(title="CPU seconds")
    table.add_column("stage")
    table.add_column("CPU s", justify="right")
    for stage in summary["stages"]:
        table.add_row(stage["name"], f"{stage['cpu_s']:.0f}")
    spent = sum(stage["cpu_s"] for stage in zero_to_distilled(summary["stages"]))
    table.add_row("zero to distilled", f"{spent:.0f}", style="bold")
    return table


def classifier_table(card: ClassifierCard) -> PlainTable:
    """What a success classifier did on the frames of the episodes that were kept aside."""
    table = PlainTable(title=f"{card.task}: frames of {card.episodes} episodes kept aside")
    for column in ("frames of", "said success", "95 % Wilson interval"):
        table.add_column(column)
    for name, k, n in (
        ("success", card.found_successes, card.true_successes),
        ("failure", card.false_successes, card.true_failures),
    ):
        low, high = wilson(k, n)
        table.add_row(name, f"{k}/{n}", f"{low:.3f} to {high:.3f}")
    table.caption = f"threshold {card.threshold:.3f}"
    return table


def before_after_table(figures: dict[str, Any]) -> PlainTable:
    """Base and distilled policy on the same starts through the graph, and what lies between."""
    table = PlainTable(title=f"{figures['task']}: the same fresh starts, before and after")
    for column in ("policy", "success", "95 % Wilson interval", "by region"):
        table.add_column(column)
    for name in ("before", "after"):
        rate = figures[name]
        low, high = rate["wilson_95"]
        count = f"{rate['successes']}/{rate['trials']}"
        table.add_row(rate["name"], count, f"{low:.2f} to {high:.2f}", _by_region(rate["regions"]))
    pair = figures["paired"]
    table.caption = (
        f"{figures['probing_successes']} of {figures['probing_episodes']} probing episodes were "
        f"successes, {figures['frames_of_the_specialist']} steps of the specialist learned from; "
        f"won {pair['only_second']}, lost {pair['only_first']}, exact p {pair['p_value']:.2g}"
    )
    return table


def deployed_table(found: Deployed) -> PlainTable:
    """The same policy on the same starts, in the lockstep twin and through the graph."""
    table = PlainTable(title=f"{found.graph.task}, {found.graph.name}: lockstep and graph")
    for column in ("where", "success", "95 % Wilson interval", "by region", "steps"):
        table.add_column(column)
    for name, evaluation in (("lockstep", found.lockstep), ("graph", found.graph)):
        rate = evaluation.rate
        low, high = rate.interval
        regions = _by_region({r: (v.k, v.n) for r, v in evaluation.regions.items()})
        steps = f"{evaluation.median_success_steps:.0f}"
        table.add_row(name, f"{rate.k}/{rate.n}", f"{low:.2f} to {high:.2f}", regions, steps)
    pair = found.pair
    ends = ", ".join(f"{name} {a}/{b}" for name, (a, b) in found.reasons.items())
    verdict = "within" if found.agrees else "outside"
    table.caption = (
        f"the graph's rate is {verdict} the lockstep interval; only lockstep {pair.only_first}, "
        f"only graph {pair.only_second}, exact p {pair.p_value:.2g}; ends (lockstep/graph): {ends}"
    )
    return table


def _by_region(regions: Mapping[str, Sequence[int]]) -> str:
    """Successes of trials by region of the start, in one line."""
    return ", ".join(f"{region} {k}/{n}" for region, (k, n) in regions.items())


def usage_table(found: Sequence[ProcessUsage]) -> PlainTable:
    """What every process of a run took."""
    table = PlainTable("process", title="a run's processes, on the wall clock")
    for column in ("seconds", "CPU %", "memory MB", "at the end MB", "growth MB/min"):
        table.add_column(column, justify="right")
    for row in found:
        numbers = (row.cpu_percent, row.first_mb, row.last_mb)
        cells = [f"{row.wall_s:.0f}", *(f"{v:.0f}" for v in numbers)]
        table.add_row(row.name, *cells, f"{row.growth_mb_per_min:.2f}")
    return table


def cadence_table(found: Sequence[RunCadence]) -> PlainTable:
    """The control period of each run, and what its steps came to."""
    table = PlainTable("run", title="period between commands, in robot time")
    for column in (
        "episodes",
        "steps",
        "starved",
        "held",
        "missed",
        "lost",
        "p50 ms",
        "p99 ms",
        "max ms",
    ):
        table.add_column(column, justify="right")
    for row in found:
        counts = (row.episodes, row.steps, row.starved, row.held, row.missed, row.lost)
        periods = (row.p50_ms, row.p99_ms, row.max_ms)
        table.add_row(row.run, *map(str, counts), *(f"{v:.1f}" for v in periods))
    return table
