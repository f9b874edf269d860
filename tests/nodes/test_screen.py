"""Tables on the screen show every letter: `[s]` is a unit there, not rich's markup."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from rich.console import Console

from pld.cli.screen import PlainTable
from pld_nodes.bench.aims import Figure, report
from pld_nodes.bench.safety_table import COLUMNS, show

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "pld").rglob("*.py"), *(ROOT / "pld_nodes").rglob("*.py")])
UNITS = "a time [s] and [ms] of [red]this[/red]"


def shown(table: PlainTable) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_header_cell_and_title_of_a_table_keep_their_brackets() -> None:
    table = PlainTable(UNITS, title=UNITS)
    table.add_column(UNITS, justify="right")
    table.add_row(UNITS, UNITS, style="bold")
    assert shown(table).count(UNITS) == 5


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_of_every_command_is_such_a_table(path: Path) -> None:
    if path.name == "screen.py":
        return
    modules = [
        n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)
    ]
    assert "rich.table" not in modules, "use pld.cli.screen.PlainTable"


def test_the_parameters_and_their_units_are_printed(capsys, monkeypatch) -> None:
    from pld_nodes import cli
    from pld_nodes.graph import Deployment
    from pld_nodes.parameters import RunParameters

    monkeypatch.setattr(cli, "console", Console(width=400))
    cli.parameters(Deployment.ROBOT)
    text = " ".join(capsys.readouterr().out.split())
    for field in RunParameters.__dataclass_fields__.values():
        assert field.metadata["help"] in text


def test_the_topics_of_a_bag_have_their_units(tmp_path: Path) -> None:
    from pld.cli.bag import _loss_table, _topic_table

    assert all(unit in shown(_topic_table(())) for unit in ("first [s]", "last [s]", "gap [ms]"))
    assert "longest gap [ms]" in shown(_loss_table([]))


def test_the_faults_have_their_units() -> None:
    console = Console(width=300)
    with console.capture() as capture:
        show([], console)
    assert all(name in capture.get() for name in COLUMNS)


@pytest.mark.parametrize("command", ["graph", "safety"])
def test_help_keeps_units_too(command: str) -> None:
    from typer.testing import CliRunner

    from pld_nodes import cli

    cli._register()
    help_text = CliRunner().invoke(cli.app, ["bench", command, "--help"]).output
    assert re.search(r"\[(s|Hz)\]", help_text)


def test_figures_count_exactly_and_measure_to_four_places() -> None:
    console = Console(width=200)
    figures = [
        Figure("commands", 99702, ""),
        Figure("of them", 1234567.0, "", at_least=1),
        Figure("factor", 0.98765, ""),
        Figure("lag", 438.0, "ms"),
        Figure("way", 12.3456, "mm"),
        Figure("nothing", float("nan"), ""),
    ]
    with console.capture() as capture:
        report("t", figures, console, None)
    rows = [re.split(r"\s*│\s*", line)[1:3] for line in capture.get().splitlines() if "│" in line]
    assert dict(rows) == {
        "commands": "99,702",
        "of them": "1,234,567",
        "factor": "0.9877",
        "lag": "438 ms",
        "way": "12.35 mm",
        "nothing": "nan",
    }
