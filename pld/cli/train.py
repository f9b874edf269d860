"""`pld train base` and `pld train specialist`: single stages of the flywheel."""

from __future__ import annotations

from typing import Annotated

import typer

from pld.cli.flywheel import (
    JsonOption,
    RateOption,
    RunOption,
    SeedOption,
    TaskOption,
    finish,
    opened,
)

app = typer.Typer(help="Train one part of the flywheel.", no_args_is_help=True)


@app.command("base")
def base(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    demonstrations: Annotated[int, typer.Option(help="Per task; 0 takes the default.")] = 0,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Collect scripted demonstrations and train the built-in VLA on them."""
    with opened(task, seed, run, rate_hz, demonstrations=demonstrations) as wheel:
        wheel.base()
        finish(wheel, json_file)


@app.command("specialist")
def specialist(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Train the residual specialist over the run's frozen base."""
    with opened(task, seed, run, rate_hz) as wheel:
        for name in wheel.config.tasks:
            wheel.specialist(name)
        finish(wheel, json_file)


if __name__ == "__main__":
    app()
