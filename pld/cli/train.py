"""`pld train`: single stages of the flywheel, and SFT on converted bags."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pld.cli.flywheel import (
    DemonstratedInOption,
    RateOption,
    RoundOption,
    RunOption,
    SeedOption,
    TaskOption,
    finish,
    opened,
)
from pld.cli.options import JsonOption, writable, writable_folder
from pld.errors import ConfigError

app = typer.Typer(help="Train one part of the flywheel.", no_args_is_help=True)


@app.command("base")
def base(
    task: TaskOption = None,
    seed: SeedOption = None,
    demonstrations: Annotated[
        int | None,
        typer.Option(min=1, help="Per task; default: the run's, else as the task needs."),
    ] = None,
    demonstrated_in: DemonstratedInOption = None,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Collect scripted demonstrations and train the built-in VLA on them."""
    with opened(
        task,
        seed,
        run,
        begins=True,
        demonstrations=demonstrations,
        demonstrated_in=demonstrated_in,
        rate_hz=rate_hz,
    ) as wheel:
        wheel.base()
        finish(wheel, json_file)


@app.command("specialist")
def specialist(
    task: TaskOption = None,
    seed: SeedOption = None,
    number: RoundOption = 1,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Train a round's residual specialist over the run's newest policy, frozen."""
    with opened(
        task, seed, run, lambda c: c.check_specialist_round(number), rate_hz=rate_hz
    ) as wheel:
        for name in wheel.config.tasks:
            wheel.specialist(name, number)
        finish(wheel, json_file)


@app.command("sft")
def sft(
    start: Annotated[Path, typer.Argument(help="weights to begin from; they are not touched")],
    episodes: Annotated[list[Path], typer.Argument(help="folders that `pld bag convert` wrote")],
    output: Annotated[
        Path, typer.Option(help="folder that receives policy.safetensors", callback=writable_folder)
    ],
    steps: Annotated[
        int | None, typer.Option(min=1, help="training steps; default: as the episodes' tasks need")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of batches and augmentation")] = 0,
    whole: Annotated[
        bool, typer.Option("--whole", help="learn the base's prefix too, as in the paper")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Fine-tune a policy on converted bags: distillation from what the robot did."""
    import torch

    from pld.base_policy.builtin_checkpoint import load_checkpoint
    from pld.cli.meter import RichMeter
    from pld.distill.episodes import tasks_in
    from pld.distill.sft import SftConfig
    from pld.files import write_json_atomically
    from pld.flywheel import stages
    from pld.flywheel.config import steps_for

    torch.set_num_threads(1)
    if (output / stages.POLICY_FILE).resolve() == start.resolve():
        raise ConfigError(f"output {str(output)!r} holds the weights to begin from; name another")
    meter = RichMeter()
    labels = "whole" if whole else "specialist"
    episodes = list({folder.resolve(): folder for folder in episodes}.values())
    with meter:
        rate_hz = load_checkpoint(start).rate_hz
        config = SftConfig(seed=seed, steps=steps or steps_for(tasks_in(episodes)))
        figures = stages.distill(output, episodes, start, config, rate_hz, meter, labels)
    if json_file is not None:
        write_json_atomically(json_file, figures)
    meter.console.print(f"{figures['frames']} frames; weights: {output / stages.POLICY_FILE}")


@app.command("reward")
def reward(
    bags: Annotated[list[Path], typer.Argument(help="runs or episodes with their verdicts")],
    output: Annotated[
        Path,
        typer.Option(help="file that receives the weights, .safetensors", callback=writable),
    ],
    steps: Annotated[int, typer.Option(min=1, help="training steps")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="seed of weights, batches and augmentation")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Train the image classifier of success on recorded bags; use it with detector:=FILE."""
    import torch

    from pld.cli.meter import RichMeter
    from pld.cli.tables import classifier_table
    from pld.files import write_json_atomically
    from pld.reward.training import RewardTraining, train_classifier
    from pld.success_frames import frames_of

    torch.set_num_threads(1)
    meter = RichMeter()
    config = RewardTraining(seed=seed, steps=steps)
    if output.suffix != ".safetensors":
        raise ConfigError(f"output {str(output)!r}: give a file that ends in .safetensors")
    with meter:
        frames = frames_of(bags, lambda said: meter.console.print(said, markup=False))
        meter.begin(f"{frames.task}: success in {len(frames)} frames", steps)
        trained = train_classifier(
            frames, config, lambda step, loss: meter.update(step, f"loss {loss:.3f}")
        )
        meter.end()
    trained.save(output)
    if json_file is not None:
        write_json_atomically(json_file, asdict(trained.card))
    meter.console.print(classifier_table(trained.card))
    meter.console.print(f"weights: {output}")
