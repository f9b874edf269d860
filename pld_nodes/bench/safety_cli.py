"""`pld bench safety`, `cycles`, `box`, `hand` and `safety-page`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from pld.cli.options import JsonOption
from pld.cli.screen import wide_console
from pld.errors import ConfigError
from pld.share import share_path
from pld_nodes.bench.aims import EXIT_MISSED, report
from pld_nodes.parameters import rates_named

SAVED = Path("docs/figures/safety")
LIMITS = "launch/config/limits_fr3.yaml"
console = wide_console()


def bench_safety(
    trials: Annotated[int, typer.Option(min=1, help="injections of each fault")] = 3,
    only: Annotated[str, typer.Option(help="faults' names or words of them, by comma")] = "",
    budget_s: Annotated[float, typer.Option(help="begin no new run after [s] of wall time")] = 1e9,
    normal_s: Annotated[
        float, typer.Option(min=0.0, help="robot time [s] without faults, or 0")
    ] = 60.0,
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
    rate_hz: Annotated[float, typer.Option(help="control rate [Hz]")] = 20.0,
) -> None:
    """Inject faults into the graph, as often as asked: time to hold, travel, false stops."""
    from pld.safety.limits import load_limits
    from pld_nodes.bench import safety_table
    from pld_nodes.bench.safety_bench import measure, normal_running
    from pld_nodes.bench.safety_faults import chosen
    from pld_nodes.bench.safety_session import Trial

    rates_named(f"{rate_hz:g}")
    faults = chosen(only)
    normal = [normal_running(normal_s)] if normal_s > 0 else []
    limits = load_limits(share_path(LIMITS))
    launch = (f"robot_ip:={robot_ip}", f"rate_hz:={rate_hz:g}")
    say = _teller()
    calm: list[Trial] = measure(normal, 1, launch, limits, say) if normal else []

    def rows(done: list[Trial]) -> list[safety_table.Row]:
        return safety_table.rows([*normal, *faults], [*calm, *done], rate_hz)

    def keep(done: list[Trial]) -> None:
        if json_file is not None:
            safety_table.save(rows(done), json_file)

    done = measure(faults, trials, launch, limits, say, budget_s, keep)
    keep(done)
    found = rows(done)
    safety_table.show(found, console)
    met = safety_table.all_tried(found, trials, console) and all(row.met for row in found)
    raise typer.Exit(0 if met else EXIT_MISSED)


def _teller() -> Callable[[str, str], None]:
    """Prints who said what, and how many seconds after now."""
    began = time.monotonic()

    def say(name: str, line: str) -> None:
        after_s = time.monotonic() - began
        console.print(f"{after_s:6.0f} s {name}: {line}", markup=False, highlight=False)

    return say


def bench_safety_page(
    json_files: Annotated[
        list[Path] | None,
        typer.Argument(help="what `bench safety --json` wrote; default: docs/figures/safety/*"),
    ] = None,
    page: Annotated[Path, typer.Option(help="the page with the two marks")] = Path(
        "docs/safety.md"
    ),
) -> None:
    """Write the tables of faults into docs/safety.md."""
    from pld_nodes.bench.safety_table import load, write_into

    files = json_files or sorted(SAVED.glob("*.json"))
    if not files:
        raise ConfigError(f"no JSON file in {SAVED}; write one with `pld bench safety --json FILE`")
    write_into(page, [load(file) for file in files])


def bench_cycles(
    minutes: Annotated[
        float, typer.Option(min=0.1, help="begin no cycle after so much wall time")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="seed of the moments of interruption")] = 0,
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the twin")] = "127.0.0.1",
) -> None:
    """Bring the graph up and down again and again, half of the times by an interrupt."""
    from pld_nodes.bench.cycles_bench import measure

    found = measure(minutes, robot_ip, seed, lambda _, line: console.print(line, markup=False))
    met = report(f"{minutes:g} minutes of up and down", found.figures(), console, json_file)
    raise typer.Exit(0 if met else EXIT_MISSED)


def bench_box(
    commands: Annotated[
        int | None, typer.Option(min=1, help="random commands; default: 100000, 10000 with --fci")
    ] = None,
    rate_hz: Annotated[float, typer.Option(help="control rate [Hz]")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="seed of the commands")] = 0,
    fci: Annotated[
        bool, typer.Option("--fci", help="the driver and a simulated Franka, in real time")
    ] = False,
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the FCI twin")] = "127.0.0.1",
) -> None:
    """Random and adversarial commands in a twin: does the arm stay in its box?"""
    from pld_nodes.bench.box_bench import lockstep_arm, measure
    from pld_nodes.bench.box_fci import fci_arm

    rates_named(f"{rate_hz:g}")
    count = commands or (10_000 if fci else 100_000)
    title = f"{count} random commands at {rate_hz:g} Hz, {'FCI' if fci else 'lockstep'} twin"
    turns = track(range(count), title, console=console)
    with fci_arm(robot_ip, rate_hz, seed) if fci else lockstep_arm(rate_hz, seed) as robot:
        found = measure(robot, turns, rate_hz, seed, share_path(LIMITS))
    met = report(title, found.figures(), console, json_file)
    raise typer.Exit(0 if met else EXIT_MISSED)


def bench_hand(
    trials: Annotated[int, typer.Option(min=1, help="stops while the fingers close")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="seed of the moments of the stops")] = 0,
    json_file: JsonOption = None,
    robot_ip: Annotated[str, typer.Option(help="loopback address of the FCI twin")] = "127.0.0.1",
) -> None:
    """Stop the hand while its fingers close: how long and how far do they go on?"""
    from pld_nodes.bench.box_fci import fci_arm
    from pld_nodes.bench.hand_bench import measure

    title = f"{trials} stops of a closing hand, FCI twin"
    with fci_arm(robot_ip, 20.0, seed) as robot:
        found = measure(robot, track(range(trials), title, console=console), seed)
    met = report(title, found.figures(), console, json_file)
    raise typer.Exit(0 if met else EXIT_MISSED)
