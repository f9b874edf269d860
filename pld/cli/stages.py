"""`pld probe`, `pld distill`, `pld evaluate`, `pld results`: single stages and the results page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pld.cli.flywheel import (
    EpisodesOption,
    RateOption,
    RoundOption,
    RunOption,
    SeedOption,
    TaskOption,
    finish,
    opened,
)
from pld.cli.options import JsonOption, writable
from pld.errors import ConfigError

if TYPE_CHECKING:
    from pld.flywheel.config import FlywheelConfig

WEIGHTS_SUFFIX = ".safetensors"
app = typer.Typer(help="Single stages of the flywheel.", no_args_is_help=True)


@app.command("probe")
def probe(
    task: TaskOption = None,
    seed: SeedOption = None,
    number: RoundOption = 1,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Collect successful episodes: the newest policy first, then the specialist."""
    with opened(task, seed, run, lambda c: c.check_round(number), rate_hz=rate_hz) as wheel:
        for name in wheel.config.tasks:
            wheel.probe(name, number)
        finish(wheel, json_file)


@app.command("distill")
def distill(
    task: TaskOption = None,
    seed: SeedOption = None,
    number: RoundOption = 1,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Fine-tune the newest policy on the probing episodes of all rounds up to this one."""
    with opened(task, seed, run, lambda c: c.check_round(number), rate_hz=rate_hz) as wheel:
        wheel.distill(number)
        finish(wheel, json_file)


@app.command("evaluate")
def evaluate(
    policy: Annotated[
        str, typer.Argument(help="base, specialist, distilled-1, ... or a file of weights.")
    ],
    task: TaskOption = None,
    seed: SeedOption = None,
    episodes: EpisodesOption = None,
    starts_in: Annotated[
        str | None, typer.Option(help="Region of every start, such as corner; default: all.")
    ] = None,
    rate_hz: RateOption = None,
    run: RunOption = None,
    json_file: JsonOption = None,
) -> None:
    """Success of a policy on a run's fresh starts, with its Wilson interval.

    The policy is one of the run's, or weights from elsewhere, such as `pld train sft` made; those
    are copied into the run. With another number of episodes it goes on from those that were run.
    """
    from pld.flywheel.weights import take_in

    with opened(task, seed, run, lambda c: _check_policy(policy, c), rate_hz=rate_hz) as wheel:
        if episodes is not None:  # of this evaluation alone; no other of the run has as many
            wheel.config = replace(wheel.config, evaluation_episodes=episodes)
        name = policy
        if policy.endswith(WEIGHTS_SUFFIX):
            name = take_in(wheel, Path(policy))
            typer.echo(f"{policy} is called {name} in this run")
        wheel.evaluate(name, starts_in)
        finish(wheel, json_file)


def _check_policy(policy: str, config: FlywheelConfig) -> None:
    """Refuse what is no policy's name, and the policy of a round that the run does not have."""
    from pld.flywheel.names import control_policies

    controls = tuple(control_policies())
    if policy in ("base", "specialist", *controls) or policy.endswith(WEIGHTS_SUFFIX):
        return
    if found := re.fullmatch(r"distilled-(-?\d+)", policy):
        config.check_round(int(found[1]))
    elif found := re.fullmatch(r"specialist-(-?\d+)", policy):
        config.check_specialist_round(int(found[1]))
    else:
        made = [f"distilled-{number + 1}" for number in range(config.rounds)]
        valid = ("base", "specialist", *made, *controls, f"FILE{WEIGHTS_SUFFIX}")
        raise ConfigError.unknown("policy", policy, valid)


@app.command("results")
def results(
    summaries: Annotated[list[Path], typer.Argument(help="summary.json files of finished runs.")],
    out: Annotated[
        Path, typer.Option(help="Page to write, its plots beside it.", callback=writable)
    ] = Path("results.md"),
) -> None:
    """Write the results page from the runs' JSON files."""
    from pld.evaluation.results_page import write_results_page

    write_results_page(out, summaries)
    typer.echo(f"wrote {out} from {len(summaries)} runs")
