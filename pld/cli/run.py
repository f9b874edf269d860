"""`pld run`: what a finished run folder says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pld.cli.options import JsonOption, writable
from pld.errors import RecordingError
from pld.files import write_json_atomically

app = typer.Typer(help="Read a run folder: success, parity, cadence, usage, contact sheets.")


@app.command()
def summary(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up` made")],
    json_file: JsonOption = None,
) -> None:
    """Success by region with Wilson 95 % intervals, where no person acted."""
    from dataclasses import asdict

    from pld.cli.screen import PlainTable, wide_console
    from pld.evaluation.seeds import EVALUATION_BLOCK
    from pld.run_folder import seeds_not_kept_aside, success_rows, verdicts

    rows, found = success_rows(run_dir), verdicts(run_dir)
    table = PlainTable("region", "success", "rate", "95 % interval", title=f"{run_dir.name}")
    for row in rows:
        rate = f"{100 * row.successes / row.episodes:.0f} %" if row.episodes else ""
        interval = f"[{row.low:.2f}, {row.high:.2f}]"
        table.add_row(row.region, f"{row.successes}/{row.episodes}", rate, interval)
    console = wide_console()
    console.print(table)
    lost = sum(verdict.lost for verdict in found)
    helped = sum(verdict.steps.interventions > 0 for verdict in found)
    console.print(
        f"{len(found)} episodes closed, a person acted in {helped}, {lost} messages lost, "
        f"bags in {run_dir}/episodes"
    )
    learned_from = seeds_not_kept_aside(found)
    if learned_from:
        console.print(
            f"starts with seeds {learned_from[0]} to {learned_from[-1]} may have been learned "
            f"from; evaluate with seed:={EVALUATION_BLOCK.start} or above"
        )
    if json_file is not None:
        figures = {
            "episodes": len(found),
            "helped": helped,
            "messages_lost": lost,
            "seeds_not_kept_aside": learned_from,
            "success": [asdict(row) for row in rows],
        }
        write_json_atomically(json_file, figures)


@app.command()
def compare(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up sim` made")],
    evaluation: Annotated[Path, typer.Argument(help="evaluation.json of a flywheel run")],
    json_file: JsonOption = None,
) -> None:
    """The same policy on the same starts: through the graph, and in the lockstep twin."""
    from pld.cli.screen import wide_console
    from pld.cli.tables import deployed_table
    from pld.run_evaluation import deployed

    found = deployed(run_dir, evaluation)
    wide_console().print(deployed_table(found))
    if json_file is not None:
        write_json_atomically(json_file, found.as_json())


@app.command()
def parity(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up` made")],
    json_file: JsonOption = None,
) -> None:
    """Does executed == filter(choose(base, residual, human)) hold at every step of every bag?"""
    from pld.cli.screen import wide_console
    from pld.conversion import rules_of
    from pld.parity import check
    from pld.recording.reader import read_episode
    from pld.run_folder import closed_folders

    found = {f.name: check(read_episode(f), *rules_of(f)) for f in closed_folders(run_dir)}
    if not found:
        raise RecordingError(f"{str(run_dir)!r} has no closed episode; record some first")
    differing = {name: p for name, p in found.items() if not p.holds}
    figures = {
        "episodes": len(found),
        "choices": sum(p.choices for p in found.values()),
        "commands": sum(p.commands for p in found.values()),
        "unanswered_steps": sum(len(p.unanswered) for p in found.values()),
        "episodes_that_differ": sorted(differing),
    }
    console = wide_console()
    console.print(
        f"{figures['episodes']} episodes: {figures['choices']} choices and {figures['commands']} "
        f"commands computed again from what was recorded, {figures['unanswered_steps']} steps that "
        f"nobody answered; {len(differing)} episodes differ"
    )
    for name, checked in differing.items():
        console.print(f"{name}: choices {checked.different_choices}, ", end="")
        console.print(f"commands {checked.different_commands}")
    if json_file is not None:
        write_json_atomically(json_file, figures)
    raise typer.Exit(1 if differing or not found else 0)


@app.command()
def usage(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up` made")],
    json_file: JsonOption = None,
) -> None:
    """CPU, memory and its growth, of every process of the run and of the shared memory."""
    from dataclasses import asdict

    from pld.cli.screen import wide_console
    from pld.cli.tables import usage_table
    from pld.run_usage import run_usage

    found = run_usage(run_dir)
    wide_console().print(usage_table(found))
    if json_file is not None:
        write_json_atomically(json_file, [asdict(row) for row in found])


@app.command()
def cadence(
    run_dirs: Annotated[list[Path], typer.Argument(help="run folders to hold side by side")],
    json_file: JsonOption = None,
) -> None:
    """The period between commands in robot time, and how many steps were starved or held."""
    from dataclasses import asdict

    from pld.cadence import run_cadence
    from pld.cli.screen import wide_console
    from pld.cli.tables import cadence_table

    found = [run_cadence(run_dir) for run_dir in run_dirs]
    wide_console().print(cadence_table(found))
    if json_file is not None:
        write_json_atomically(json_file, [asdict(row) for row in found])


@app.command()
def curve(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up ... mode:=learn` made")],
    window: Annotated[int, typer.Option(min=1, help="episodes that are counted together")] = 50,
    aim: Annotated[float, typer.Option(min=0, max=1, help="share of successes to look for")] = 0.9,
    plot: Annotated[
        Path | None, typer.Option(help="draw the curve into this PNG", callback=writable)
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Success of the last episodes of a learning run over robot time, and when it met an aim."""
    from dataclasses import asdict

    from pld.cli.screen import PlainTable, wide_console
    from pld.evaluation.results import Rate
    from pld.files import write_bytes_atomically
    from pld.run_curve import first_reaching, run_curve

    points = run_curve(run_dir, window)
    met = first_reaching(points, aim)
    best = max(points, key=lambda p: p.successes)
    rows = {"first window": points[0], f"first with {aim:.0%}": met, "best": best}
    rows["last"] = points[-1]
    table = PlainTable("moment", "episode", "robot minutes", "success (95 % interval)")
    for name, point in rows.items():
        if point is None:
            table.add_row(name, "", "", "not reached")
            continue
        success = str(Rate(point.successes, point.window))
        table.add_row(name, str(point.episode), f"{point.minutes:.1f}", success)
    console = wide_console()
    console.print(table)
    if plot is not None:
        from pld.evaluation.plots import run_curve_plot

        write_bytes_atomically(plot, run_curve_plot(points, aim))
        console.print(f"plot: {plot}")
    if json_file is not None:
        write_json_atomically(json_file, [asdict(point) for point in points])


@app.command()
def sheet(
    run_dir: Annotated[Path, typer.Argument(help="a folder that `pld up` made")],
    episode: Annotated[int, typer.Option(help="which episode; -1: the first success")] = -1,
    out: Annotated[
        Path | None, typer.Option(help="the PNG; default: in the run folder", callback=writable)
    ] = None,
) -> None:
    """Draw every camera at the start, the grasp (or lowest point) and the end of an episode."""
    from pld import contact_sheet
    from pld.run_folder import FIRST_SUCCESS, numbered_episode, pick_episode

    first = episode == FIRST_SUCCESS
    folder = pick_episode(run_dir) if first else numbered_episode(run_dir, episode)
    path = out or run_dir / "contact_sheet.png"
    contact_sheet.save(folder, path)
    typer.echo(f"contact sheet of {folder.name}: {path}")
