"""A run as one HTML page that needs nothing beside it: figures, plots, films, tables."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from pld.evaluation.film import Film, animation, png, strip
from pld.evaluation.plots import curve_plot, region_plot, success_plot
from pld.evaluation.results import Evaluation, policy_and_region
from pld.files import write_bytes_atomically

STYLE = """body{font:15px/1.45 sans-serif;max-width:1080px;margin:2em auto;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;
text-align:left}img{max-width:100%}.big{font-size:1.5em}.films{display:flex;gap:1.5em;
flex-wrap:wrap}figure{margin:.5em 0}figcaption{color:#555;font-size:.9em}"""

# Controls of many sizes: in the tables, not in the plot by region.
SWEPT = ("control-alpha-", "control-probing-", "control-demonstrations-")


@dataclass(frozen=True)
class Report:
    """Everything the page shows. `comparisons` and `cpu_s` are rows of plain values."""

    title: str
    final: str
    evaluations: Sequence[Evaluation]
    films: Sequence[Film] = ()
    curves: Mapping[str, Sequence[tuple[int, bool]]] = field(default_factory=dict)
    comparisons: Sequence[Mapping[str, object]] = ()
    cpu_s: Mapping[str, float] = field(default_factory=dict)


def write_report(path: Path, report: Report) -> None:
    """Write the page atomically."""
    tasks = sorted({e.task for e in report.evaluations})
    parts = [f"<h1>{escape(report.title)}</h1>"]
    for task in tasks:
        parts += _task_section(report, task)
    if report.curves:
        parts += ["<h2>The specialist learns</h2>", _image(curve_plot(report.curves), "png")]
    if report.comparisons:
        parts += ["<h2>Paired comparisons on the same starts</h2>", _comparison_table(report)]
    if report.cpu_s:
        parts += ["<h2>CPU seconds</h2>", _table(("stage", "CPU s"), _cpu_rows(report))]
    page = (
        "<!doctype html><meta charset='utf-8'>"
        f"<title>{escape(report.title)}</title><style>{STYLE}</style>{''.join(parts)}"
    )
    write_bytes_atomically(path, page.encode())


def _task_section(report: Report, task: str) -> list[str]:
    evaluations = [e for e in report.evaluations if e.task == task]
    named = {e.name: e for e in evaluations}
    parts = [f"<h2>{escape(task)}</h2>"]
    if "base" in named and report.final in named:
        before, after = named["base"].rate, named[report.final].rate
        parts.append(
            f"<p class='big'>The base succeeds in <b>{before}</b>, "
            f"the distilled policy in <b>{after}</b>.</p>"
        )
    parts += [_image(success_plot(evaluations), "png")]
    whole = [e for e in evaluations if not policy_and_region(e.name)[1]]
    main = [e for e in whole if not e.name.startswith(SWEPT)]
    parts += [_image(region_plot(main), "png")] if main else []
    parts += [_rate_table(evaluations)]
    return parts + _films([f for f in report.films if f.task == task])


def _films(films: Sequence[Film]) -> list[str]:
    if not films:
        return []
    parts = ["<h3>The same starts, different policies</h3>"]
    for film in films:
        caption = f"<figcaption>{escape(film.caption)}</figcaption>"
        parts.append(f"<figure>{_image(png(strip(film)), 'png')}{caption}</figure>")
    parts.append("<div class='films'>")
    for film in films[:4]:
        caption = f"<figcaption>{escape(film.caption)}</figcaption>"
        parts.append(f"<figure>{_image(animation(film), 'webp')}{caption}</figure>")
    return [*parts, "</div>"]


def _rate_table(evaluations: Sequence[Evaluation]) -> str:
    rows = []
    for e in evaluations:
        regions = ", ".join(f"{name} {rate}" for name, rate in e.regions.items())
        steps = f"{e.median_success_steps:.0f}" if e.rate.k else "-"
        rows.append((e.name, str(e.rate), regions, steps))
    return _table(("policy", "success [95 % Wilson]", "by region", "median steps"), rows)


def _comparison_table(report: Report) -> str:
    rows = [
        (
            str(c["task"]),
            f"{c['second']} - {c['first']}",
            str(c["region"]),
            f"{100 * float(str(c['difference'])):+.1f} points",
            f"{c['only_second']} : {c['only_first']}",
            f"{float(str(c['p_value'])):.2g}",
        )
        for c in report.comparisons
    ]
    return _table(("task", "policies", "starts", "difference", "won : lost", "exact p"), rows)


def _cpu_rows(report: Report) -> list[tuple[str, str]]:
    return [(name, f"{seconds:.0f}") for name, seconds in report.cpu_s.items()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _image(content: bytes, kind: str) -> str:
    encoded = base64.b64encode(content).decode()
    return f"<img src='data:image/{kind};base64,{encoded}'>"
