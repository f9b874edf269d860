"""The command line `pld`: one verb per thing that an operator or a researcher does."""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pld.cli.options import JsonOption, writable
from pld.cli.screen import PlainTable, interrupted, wide_console
from pld.errors import PldError
from pld_nodes.graph import Deployment

app = typer.Typer(
    name="pld",
    help="Probe, Learn, Distill on ROS 2: run the graph, read its bags, train and measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
bench = typer.Typer(help="Measure: every bench prints a table and ends non-zero off its aims.")
console = wide_console()
errors = Console(stderr=True)
STYLES = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green")


def say(name: str, line: str) -> None:
    """Print a process's line behind its name, at once: many speak at the same time."""
    style = STYLES[sum(map(ord, name)) % len(STYLES)]
    told = Text.assemble((f"{name:>24} ", style), line)
    console.print(told, highlight=False, soft_wrap=True)


@app.command()
def up(
    deployment: Annotated[Deployment, typer.Argument(help="sim or robot")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="name:=value; `pld parameters` lists them")
    ] = None,
) -> None:
    """Run the graph without `ros2 launch`, e.g. `pld up sim task:=cube_pickup episodes:=3`."""
    from pld_nodes.parameters import parse_arguments
    from pld_nodes.run import execute

    code, run_dir = execute(parse_arguments(deployment, arguments or []), deployment, say)
    goes_on = f"; it goes on with resume:={run_dir.name}" if code else ""
    console.print(f"run folder: {run_dir}{goes_on}", markup=False, soft_wrap=True)
    raise typer.Exit(code)


@app.command()
def parameters(
    deployment: Annotated[Deployment, typer.Argument(help="sim or robot")] = Deployment.SIM,
) -> None:
    """List what may be set on a run, with the deployment's defaults."""
    import dataclasses

    from pld_nodes.parameters import RunParameters, parse_arguments

    defaults = parse_arguments(deployment, [])
    table = PlainTable("parameter", "default", "meaning")
    for field in dataclasses.fields(RunParameters):
        table.add_row(field.name, str(getattr(defaults, field.name)), field.metadata["help"])
    console.print(table)


@app.command(name="graph")
def show_graph(
    mermaid: Annotated[bool, typer.Option("--mermaid", help="the README's picture")] = False,
) -> None:
    """Print the tables of topics and processes."""
    from pld_nodes import graph_picture
    from pld_nodes.graph import PROCESSES, TOPICS

    if mermaid:
        print(graph_picture.mermaid())
        return

    topics = PlainTable("topic", "type", "producer", "consumers", "stale after", "recorded")
    for row in TOPICS:
        stale = f"{row.stale_after_ms:.0f} ms" if row.stale_after_ms else ""
        readers = ", ".join((*row.consumers, *(f"({o})" for o in row.observers)))
        topics.add_row(
            row.name, row.type, row.producer, readers, stale, "yes" if row.recorded else ""
        )
    console.print(topics)
    processes = PlainTable("process", "runs in", "its end means")
    for process in PROCESSES:
        where = ", ".join(d.value for d in process.deployments)
        processes.add_row(process.name, where, process.on_exit.value)
    console.print(processes)


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="folder; an interrupted demo goes on in it")] = Path(
        "runs/demo"
    ),
    evaluations: Annotated[
        int, typer.Option(min=1, help="episodes before, and as many after")
    ] = 20,
    probing: Annotated[int, typer.Option(min=1, help="probing episodes")] = 30,
    sft_steps: Annotated[
        int | None, typer.Option(min=1, help="steps of fine-tuning; default: as the task needs")
    ] = None,
    seed: Annotated[int, typer.Option(help="which fresh starts")] = 0,
    task: Annotated[str, typer.Option(help="a task with weights, or give them")] = "peg_insertion",
    trained: Annotated[
        Path | None, typer.Option(help="run of `pld flywheel` whose weights replace the shipped")
    ] = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
) -> None:
    """The flywheel in small, through the graph: evaluate, probe, distill, evaluate again."""
    from pld.cli.meter import RichMeter
    from pld.cli.tables import before_after_table
    from pld_nodes.demo import turn
    from pld_nodes.demo_settings import Demo

    what = Demo(run, task, evaluations, probing, sft_steps, seed, robot_ip, trained)
    try:
        with RichMeter(console) as meter:
            figures = turn(what, meter, say)
    except KeyboardInterrupt as error:
        raise interrupted(console) from error
    console.print(before_after_table(figures))
    console.print(f"report: {run / 'report.html'}; bags: {run}/*/episodes", markup=False)


@bench.command(name="graph")
def bench_graph(
    seconds: Annotated[float, typer.Option(min=1.0, help="robot time per rate [s]")] = 60.0,
    rates_hz: Annotated[str, typer.Option(help="control rates, e.g. 10,20")] = "10,20",
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
) -> None:
    """Pace, latency, tracking and cost of the running graph; 300 s make it a soak."""
    from pld_nodes.bench.aims import EXIT_MISSED, report
    from pld_nodes.bench.graph_bench import measure
    from pld_nodes.parameters import rates_named

    met = True
    for rate in rates_named(rates_hz):
        found = measure(rate, seconds, robot_ip, say)
        path = json_file and json_file.with_stem(f"{json_file.stem}_{rate:g}hz")
        met &= report(f"graph at {rate:g} Hz, {seconds:g} s of robot time", found, console, path)
    raise typer.Exit(0 if met else EXIT_MISSED)


@bench.command(name="kill")
def bench_kill(
    nodes: Annotated[str, typer.Option(help="node names with commas; empty: every node")] = "",
    rate_hz: Annotated[float, typer.Option(help="control rate [Hz]")] = 20.0,
    trials: Annotated[int, typer.Option(min=1, help="kills of each node")] = 1,
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
) -> None:
    """SIGKILL each node while the arm moves: it must hold, and the episode must be closed.

    residual_node and learner_node are killed in runs with the shipped weights, at their 10 Hz.
    """
    from pld_nodes.bench.aims import EXIT_MISSED, Figure, report
    from pld_nodes.bench.kill_bench import kill_while_moving, nodes_named, rate_of
    from pld_nodes.parameters import rates_named

    rates_named(f"{rate_hz:g}")
    figures: list[Figure] = []
    for node in nodes_named(nodes):
        for _ in range(trials):
            found = kill_while_moving(node, rate_hz, robot_ip, say)
            closed = found.termination_reason == f"node_lost:{node}"
            two_periods_ms = 2e3 / rate_of(node, rate_hz)
            figures += [
                Figure(f"{node}: to hold", found.to_hold_ms, "ms", at_most=two_periods_ms),
                Figure(f"{node}: to standing still", found.to_still_ms, "ms"),
                Figure(f"{node}: travel", found.travel_mm, "mm"),
                Figure(f"{node}: robot time watched", found.watched_ms, "ms"),
                Figure(f"{node}: episode closed as node_lost", float(closed), "", at_least=1),
                Figure(f"{node}: processes left", found.left_running, "", at_most=0),
            ]
    met = report(f"SIGKILL of each node at {rate_hz:g} Hz", figures, console, json_file)
    raise typer.Exit(0 if met else EXIT_MISSED)


@bench.command(name="reflex")
def bench_reflex(
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
) -> None:
    """Press on the table with a low force threshold: the reflex latches until recovery."""
    from pld_nodes.bench.aims import EXIT_MISSED, report
    from pld_nodes.bench.reflex_bench import measure

    met = report("reflex on touching the table", measure(robot_ip, say), console, json_file)
    raise typer.Exit(0 if met else EXIT_MISSED)


@bench.command(name="page")
def bench_page(
    folder: Annotated[Path, typer.Option(help="JSON files of benches")] = Path("docs/figures"),
    out: Annotated[Path, typer.Option(help="the page", callback=writable)] = Path(
        "docs/figures.md"
    ),
) -> None:
    """Write docs/figures.md from the JSON files of benches."""
    from pld_nodes.bench.figures_page import documents_in, page

    out.write_text(page(documents_in(folder)))


LAZY = {
    "bag": "pld.cli.bag",
    "run": "pld.cli.run",
    "camera": "pld.cli.camera",
    "calibration": "pld.cli.calibration",
    "train": "pld.cli.train",
}
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
UNNAMED = ("pld.cli.flywheel", "pld.cli.stages", "pld_nodes.teleop_cli", "pld_nodes.call")


def _register() -> None:
    """Hang the areas' own commands below `pld`."""
    for name, module in LAZY.items():
        app.add_typer(importlib.import_module(module).app, name=name)
    for module in UNNAMED:
        app.add_typer(importlib.import_module(module).app)
    bench.command("learner")(importlib.import_module("pld.cli.bench_learner").bench_learner)
    safety = importlib.import_module("pld_nodes.bench.safety_cli")
    bench.command("safety")(safety.bench_safety)
    bench.command("safety-page")(safety.bench_safety_page)
    bench.command("cycles")(safety.bench_cycles)
    bench.command("box")(safety.bench_box)
    bench.command("hand")(safety.bench_hand)
    app.add_typer(bench, name="bench")
    bags = importlib.import_module("pld.cli.bag").app
    bags.command("replay")(importlib.import_module("pld_nodes.replay_cli").replay)


def main() -> None:
    """Entry point: an expected error is one line on stderr and exit code 2."""
    _register()
    try:
        app()
    except PldError as error:
        _say_error(str(error))
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        _say_error(
            f"{error.strerror}: {error.filename or 'a file'}; free some room, or write elsewhere"
        )


def _say_error(words: str) -> None:
    errors.print(f"error: {words}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
