"""`pld flywheel`: from nothing to a distilled policy, in one resumable command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pld.flywheel.config import FlywheelConfig
    from pld.flywheel.turning import Flywheel

app = typer.Typer(help="Probe, Learn, Distill in the lockstep twin.", no_args_is_help=True)

TaskOption = Annotated[str, typer.Option(help="cube_pickup, peg_insertion or all (one base).")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random in the run.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Folder of the run.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]
EpisodesOption = Annotated[
    int | None, typer.Option(help="Evaluation episodes per policy; default: the run's, else 100.")
]
RoundOption = Annotated[int, typer.Option("--round", help="Round of the run, from 1.")]
RateOption = Annotated[
    float | None, typer.Option(help="Control rate [Hz]; default: the run's, else 10.")
]
DemonstratedInOption = Annotated[
    str | None,
    typer.Option(help="Region that is demonstrated, such as middle; default: the run's or task's."),
]


@contextmanager
def opened(
    task: str,
    seed: int,
    run: Path | None,
    check: Callable[[FlywheelConfig], None] | None = None,
    **changes: object,
) -> Iterator[Flywheel]:
    """The run's flywheel with a progress bar around it.

    What `changes` leaves None is as the run was begun with. `check` may refuse before anything
    is written.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    import torch

    from pld.cli.meter import RichMeter
    from pld.files import sole_user
    from pld.flywheel.config import FlywheelConfig, tasks_of
    from pld.flywheel.kept import kept_settings
    from pld.flywheel.turning import Flywheel
    from pld.flywheel.twin_world import TwinWorld

    torch.set_num_threads(1)
    folder = run or Path("runs") / "flywheel" / f"{task}-seed{seed}"
    given = {name: value for name, value in changes.items() if value is not None}
    config = replace(
        FlywheelConfig(tasks=tasks_of(task), seed=seed), **(kept_settings(folder) | given)
    )
    if check is not None:
        check(config)
    if config.demonstrated_in:
        for name in config.tasks:
            TwinWorld(name, config.rate_hz).starting_in(config.demonstrated_in)
    meter = RichMeter()
    try:
        with sole_user(folder), meter:
            yield Flywheel(folder, config, lambda name: TwinWorld(name, config.rate_hz), meter)
    except KeyboardInterrupt as error:
        meter.console.print("interrupted; the same command goes on from here")
        raise typer.Exit(130) from error


@app.command("flywheel")
def flywheel(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds of probing and distillation; default: the run's, else 2."),
    ] = None,
    specialists: Annotated[
        int | None,
        typer.Option(help="Rounds that train a specialist; default: the run's, else 1."),
    ] = None,
    episodes: EpisodesOption = None,
    controls: Annotated[str, typer.Option(help="none, all, or names by comma.")] = "none",
    *,
    demonstrated_in: DemonstratedInOption = None,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Base, specialist, probing, distillation and the report; finished stages are skipped."""
    from pld.flywheel.controls import controls_named, run_controls

    named = controls_named(controls)
    with opened(
        task,
        seed,
        run,
        rounds=rounds,
        specialists=specialists,
        evaluation_episodes=episodes,
        demonstrated_in=demonstrated_in,
        rate_hz=rate_hz,
    ) as wheel:
        wheel.turn()
        run_controls(wheel, named)
        finish(wheel, json_file)


def finish(wheel: Flywheel, json_file: Path | None) -> None:
    """Write summary and report of what is done so far and show the figures."""
    from pld.cli.tables import cpu_table, rate_table
    from pld.flywheel.summary import write_summary

    summary = write_summary(wheel, json_file)
    console = getattr(wheel.meter, "console", None)
    if console is not None:
        console.print(rate_table(summary))
        console.print(cpu_table(summary))
        console.print(f"report: {wheel.folder / summary['report']}")
