"""`pld flywheel`: from nothing to a distilled policy, in one resumable command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pld.errors import PldError

if TYPE_CHECKING:
    from pld.flywheel.config import FlywheelConfig
    from pld.flywheel.turning import Flywheel

app = typer.Typer(help="Probe, Learn, Distill in the lockstep twin.", no_args_is_help=True)

TaskOption = Annotated[str, typer.Option(help="cube_pickup, peg_insertion or all (one base).")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random in the run.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Folder of the run.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]
EpisodesOption = Annotated[int, typer.Option(help="Evaluation episodes per policy.")]
RoundOption = Annotated[int, typer.Option("--round", help="Round of the flywheel, from 1.")]
RateOption = Annotated[float, typer.Option(help="Control rate [Hz].")]


@contextmanager
def opened(
    task: str, seed: int, run: Path | None, rate_hz: float, **changes: object
) -> Iterator[Flywheel]:
    """The run's flywheel with a progress bar around it; errors end the command in one line."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import torch

    from pld.cli.meter import RichMeter
    from pld.flywheel.config import FlywheelConfig, tasks_of
    from pld.flywheel.turning import Flywheel
    from pld.flywheel.twin_world import TwinWorld

    torch.set_num_threads(1)
    meter = RichMeter()
    try:
        config: FlywheelConfig = replace(
            FlywheelConfig(tasks=tasks_of(task), seed=seed),
            **{k: v for k, v in changes.items() if v is not None},  # type: ignore[arg-type]
        )
        folder = run or Path("runs") / "flywheel" / f"{task}-seed{seed}"
        with meter:
            yield Flywheel(folder, config, lambda name: TwinWorld(name, rate_hz), meter)
    except PldError as error:
        meter.console.print(
            f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        meter.console.print("interrupted; the same command goes on from here")
        raise typer.Exit(130) from error


@app.command("flywheel")
def flywheel(
    task: TaskOption = "cube_pickup",
    seed: SeedOption = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of probing and distillation.")] = 2,
    specialists: Annotated[
        int, typer.Option(help="Rounds that train a specialist over the newest policy.")
    ] = 1,
    episodes: EpisodesOption = 100,
    controls: Annotated[str, typer.Option(help="none, all, or names by comma.")] = "none",
    *,
    rate_hz: RateOption = 10.0,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Base, specialist, probing, distillation and the report; finished stages are skipped."""
    from pld.flywheel.controls import run_controls

    changes = {"rounds": rounds, "specialists": specialists, "evaluation_episodes": episodes}
    with opened(task, seed, run, rate_hz, **changes) as wheel:
        wheel.turn()
        run_controls(wheel, controls)
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


if __name__ == "__main__":
    app()
