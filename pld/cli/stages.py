"""`pld probe`, `pld distill`, `pld evaluate`, `pld results`: single stages and the results page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pld.cli.flywheel import (
    EpisodesOption,
    JsonOption,
    RateOption,
    RoundOption,
    RunOption,
    SeedOption,
    TaskOption,
    finish,
    opened,
)

app = typer.Typer(help="Single stages of the flywheel.", no_args_is_help=True)


@app.command("probe")
def probe(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    number: RoundOption = 1,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Collect successful episodes: the newest policy first, then the specialist."""
    with opened(task, seed, run, rate_hz) as wheel:
        for name in wheel.config.tasks:
            wheel.probe(name, number)
        finish(wheel, json_file)


@app.command("distill")
def distill(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    number: RoundOption = 1,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Fine-tune the newest policy on the probing episodes of all rounds up to this one."""
    with opened(task, seed, run, rate_hz) as wheel:
        wheel.distill(number)
        finish(wheel, json_file)


@app.command("evaluate")
def evaluate(
    policy: Annotated[str, typer.Argument(help="base, specialist, distilled-1, ...")],
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    episodes: EpisodesOption = 100,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Success of one policy of a run on fresh starts, with its Wilson interval."""
    with opened(task, seed, run, rate_hz, evaluation_episodes=episodes) as wheel:
        wheel.evaluate(policy)
        finish(wheel, json_file)


@app.command("results")
def results(
    summaries: Annotated[list[Path], typer.Argument(help="summary.json files of finished runs.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("docs/results.md"),
) -> None:
    """Write the results page from the runs' JSON files."""
    from pld.errors import PldError
    from pld.evaluation.results_page import write_results_page

    try:
        write_results_page(out, summaries)
    except PldError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"wrote {out} from {len(summaries)} runs")


if __name__ == "__main__":
    app()
