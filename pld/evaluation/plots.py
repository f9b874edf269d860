"""Plots of a run as PNG bytes."""

from __future__ import annotations

import io
import string
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np

from pld.evaluation.results import Evaluation, Rate, policy_and_region
from pld.run_curve import CurvePoint

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LABEL_NEEDS = 0.15
"""Share from which on a bar is high enough for the count that stands in it."""
COLOURS = {"base": "#b5651d", "specialist": "#3465a4"}
ROUNDS = ("#7cc49b", "#2e8b57", "#17512f")


def colour_of(policy: str) -> str:
    """One colour per kind of policy, a darker green for every round; controls are grey."""
    policy, _ = policy_and_region(policy)
    if policy.startswith("distilled-"):
        return ROUNDS[min(int(policy.removeprefix("distilled-")), len(ROUNDS)) - 1]
    return next((c for kind, c in COLOURS.items() if policy.startswith(kind)), "#888888")


def success_plot(evaluations: Sequence[Evaluation]) -> bytes:
    """One bar per policy with its Wilson interval; all of one task."""
    figure, axes = plt.subplots(figsize=(1.6 + 1.1 * len(evaluations), 3.6))
    for x, evaluation in enumerate(evaluations):
        _bar(axes, x, evaluation.rate, colour_of(evaluation.name), 0.7)
    axes.set_xticks(range(len(evaluations)), [_wrapped(e.name) for e in evaluations], fontsize=8)
    return _finished(figure, axes)


def region_plot(evaluations: Sequence[Evaluation]) -> bytes:
    """Success by region of the start, one group of bars per region."""
    regions = sorted({r for e in evaluations for r in e.regions})
    figure, axes = plt.subplots(figsize=(2 + 1.2 * len(regions) + 0.3 * len(evaluations), 3.6))
    width = 0.8 / max(len(evaluations), 1)
    for i, evaluation in enumerate(evaluations):
        for x, region in enumerate(regions):
            rate = evaluation.regions.get(region, Rate(0, 0))
            label = evaluation.name if x == 0 else None
            _bar(axes, x - 0.4 + width * (i + 0.5), rate, colour_of(evaluation.name), width, label)
    axes.set_xticks(range(len(regions)), regions)
    axes.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return _finished(figure, axes)


def runs_plot(runs: Mapping[str, Mapping[str, Rate]]) -> bytes:
    """Policies of several runs of one task: a group per policy, a bar for each run that has it.

    Below its bars stands a run's letter: `a` for the first of `runs`, and so on.
    """
    policies = list(dict.fromkeys(name for rates in runs.values() for name in rates))
    lettered = list(zip(string.ascii_letters, runs.values(), strict=False))
    groups = [[(a, rates[name]) for a, rates in lettered if name in rates] for name in policies]
    widths = [max(len(group), 2) + 1 for group in groups]
    figure, axes = plt.subplots(figsize=(1.5 + 0.26 * sum(widths), 3.6))
    middles = np.cumsum(widths) - np.array(widths) / 2
    for name, group, middle in zip(policies, groups, middles, strict=True):
        for i, (letter, rate) in enumerate(group):
            x = middle + i - (len(group) - 1) / 2
            _bar(axes, x, rate, colour_of(name), 0.9)
            axes.text(x, -0.045, letter, ha="center", fontsize=6)
    axes.set_xticks(middles, [_wrapped(name) for name in policies], fontsize=7)
    axes.tick_params(axis="x", pad=13, length=0)
    return _finished(figure, axes)


def curve_plot(curves: Mapping[str, Sequence[tuple[int, bool]]], window: int = 50) -> bytes:
    """Share of successes of the last `window` training episodes over environment steps.

    These episodes explore, and most of them start where the base has brought the arm.
    """
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for name, points in curves.items():
        outcomes = np.array([success for _, success in points], float)
        steps = [step for step, _ in points]
        means = [outcomes[max(0, i + 1 - window) : i + 1].mean() for i in range(len(outcomes))]
        axes.plot(steps, means, label=name)
    axes.set_xlabel(f"environment steps; last {window} training episodes, exploring")
    axes.legend(fontsize=7)
    return _finished(figure, axes)


def run_curve_plot(points: Sequence[CurvePoint], aim: float) -> bytes:
    """Share of successes with its Wilson band over a run's robot time; `aim` is marked."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    minutes = [p.minutes for p in points]
    rates = [Rate(p.successes, p.window) for p in points]
    low, high = zip(*(rate.interval for rate in rates), strict=True)
    axes.fill_between(minutes, low, high, color="#cfe0f3", lw=0)
    axes.plot(minutes, [rate.value for rate in rates], color=COLOURS["specialist"])
    axes.axhline(aim, color="#888888", lw=0.8, ls="--")
    axes.set_xlabel(
        f"robot time [min]; last {points[0].window} episodes with a takeover, exploring"
    )
    return _finished(figure, axes)


def _bar(
    axes: Axes, x: float, rate: Rate, colour: str, width: float, label: str | None = None
) -> None:
    low, high = rate.interval
    if not rate.n:
        return
    error = [[rate.value - low], [high - rate.value]]
    axes.bar(x, rate.value, width, color=colour, yerr=error, capsize=2, label=label)
    inside = rate.value > LABEL_NEEDS
    colour, y = ("white", 0.03) if inside else ("#333333", high + 0.03)
    axes.text(x, y, f"{rate.k}/{rate.n}", ha="center", fontsize=6, color=colour, rotation=90)


def _wrapped(name: str) -> str:
    return name.replace("control-", "").replace("-", "\n")


def _finished(figure: Figure, axes: Axes) -> bytes:
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("success")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return stream.getvalue()
