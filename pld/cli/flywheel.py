"""`pld flywheel`: from nothing to a distilled policy, in one resumable command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pld.cli.options import JsonOption
from pld.errors import ConfigError

if TYPE_CHECKING:
    from pld.flywheel.config import FlywheelConfig
    from pld.flywheel.turning import Flywheel
    from pld.flywheel.world import World

app = typer.Typer(help="Probe, Learn, Distill in the lockstep twin.", no_args_is_help=True)

DEFAULT_TASK = "cube_pickup"
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="cube_pickup, peg_insertion or all (one base); default: the run's, else cube_pickup."
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of everything random; default: the run's, else 0.")
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Folder of the run; default: runs/flywheel/TASK-seedSEED."),
]
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
    task: str | None,
    seed: int | None,
    run: Path | None,
    check: Callable[[FlywheelConfig], None] | None = None,
    *,
    begins: bool = False,
    **changes: object,
) -> Iterator[Flywheel]:
    """The run's flywheel with a progress bar around it.

    What is left None is as the run was begun with. `check` may refuse before anything is written.
    Only a command that `begins` runs makes a new folder.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    import torch

    from pld.cli.meter import RichMeter
    from pld.cli.screen import interrupted
    from pld.files import sole_user
    from pld.flywheel.turning import Flywheel
    from pld.flywheel.twin_world import TwinWorld

    torch.set_num_threads(1)
    folder = run or Path("runs") / "flywheel" / f"{task or DEFAULT_TASK}-seed{seed or 0}"
    config = _config_of(folder, begins, task, seed=seed, **changes)
    if check is not None:
        check(config)
    for name in config.tasks:  # refuse what cannot run before the folder keeps it
        world = TwinWorld(name, config.rate_hz)
        if config.demonstrated_in:
            world.starting_in(config.demonstrated_in)
    meter = RichMeter()
    try:
        with sole_user(folder), meter:
            worlds = partial(_world, folder, config.rate_hz)
            yield Flywheel(folder, config, worlds, meter)
    except KeyboardInterrupt as error:
        raise interrupted(meter.console) from error


def _world(folder: Path, rate_hz: float, task: str) -> World:
    """The twin as the run in `folder` was begun with it."""
    from pld.flywheel.kept import kept_limits
    from pld.flywheel.twin_world import TwinWorld

    return TwinWorld(task, rate_hz, kept_limits(folder))


def _config_of(folder: Path, begins: bool, task: str | None, **changes: object) -> FlywheelConfig:
    from pld.flywheel.config import FlywheelConfig, tasks_of
    from pld.flywheel.kept import kept_settings
    from pld.recording.run_files import PARAMETERS_NAME

    kept = kept_settings(folder)
    if (folder / PARAMETERS_NAME).exists():
        raise ConfigError(f"{str(folder)!r} holds a run of the graph; choose another with --run")
    if not kept and not begins:
        raise ConfigError(
            f"there is no run in {str(folder)!r}; `pld flywheel` makes one, `pld train base` "
            "begins one; --run, or --task and --seed, name another"
        )
    asked = {"tasks": task and tasks_of(task), **changes}
    settings = {"tasks": tasks_of(DEFAULT_TASK), "seed": 0, **kept}
    settings |= {name: value for name, value in asked.items() if value is not None}
    tasks, seed = settings.pop("tasks"), settings.pop("seed")
    return replace(FlywheelConfig(tasks=tasks, seed=seed), **settings)


@app.command("flywheel")
def flywheel(
    task: TaskOption = None,
    seed: SeedOption = None,
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
    from pld.flywheel.controls import run_controls
    from pld.flywheel.names import controls_named

    named = controls_named(controls)
    with opened(
        task,
        seed,
        run,
        lambda config: config.check_round(specialists or 1),
        begins=True,
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
