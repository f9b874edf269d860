"""`pld demo`: the flywheel in small, all of it through the graph and its bags.

Base policy before, probing episodes recorded by the nodes, conversion of the bags, fine-tuning,
and the new policy on the same starts. Every part is kept in one folder and taken up where it was
left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pld.conversion import ConversionRow, convert_folder
from pld.distill.sft import SftConfig
from pld.errors import INTERRUPTED, ConfigError
from pld.evaluation.report import Report, write_report
from pld.evaluation.results import Evaluation, on_common_starts, paired
from pld.evaluation.seeds import Purpose, evaluation_seeds, seed_range
from pld.files import sole_user, write_json_atomically
from pld.flywheel import stages
from pld.flywheel.stage import Meter
from pld.recording.run_files import PARAMETERS_NAME
from pld.run_evaluation import evaluation_of
from pld_nodes.demo_settings import Demo, keep_settings
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.resuming import next_episode
from pld_nodes.run import close_open_episodes, execute
from pld_nodes.supervisor import RunFailedError

RATE_HZ = 10.0
Say = Callable[[str, str], None]


def turn(demo: Demo, meter: Meter, say: Say) -> dict[str, Any]:
    """Run what is missing of the demo; returns and writes its figures, and writes the report.

    Raises KeyboardInterrupt where a run of the graph was interrupted.
    """
    base, specialist = demo.weights()
    with sole_user(demo.folder):
        return _turn(demo, base, specialist, meter, say)


def _turn(demo: Demo, base: Path, specialist: Path, meter: Meter, say: Say) -> dict[str, Any]:
    keep_settings(demo)
    seeds = evaluation_seeds(demo.seed, demo.evaluations)
    before = _record(demo, "before", demo.evaluations, seeds[0], say, f"policy:={base}")
    first = seed_range(Purpose.PROBING, demo.seed)[0]
    probing = _record(
        demo,
        "probing",
        demo.probing,
        first,
        say,
        "mode:=probe",
        f"policy:={base}",
        f"specialist:={specialist}",
    )
    rows = convert_folder(probing, demo.folder / "data", None)
    new = _fine_tune(demo, base, rows, meter)
    after = _record(demo, "after", demo.evaluations, seeds[0], say, f"policy:={new}")
    found = [
        evaluation_of(before, "base", str(base.name), demo.seed),
        evaluation_of(after, "distilled-1", str(new.name), demo.seed),
    ]
    return _report(demo, found, rows)


def _record(demo: Demo, name: str, episodes: int, seed: int, say: Say, *more: str) -> Path:
    """The run folder `name` with all its episodes, recorded now as far as they are missing."""
    folder = demo.folder / name
    if next_episode(folder) >= episodes:
        close_open_episodes(folder)
        return folder
    where = [f"output_dir:={demo.folder}", f"robot_ip:={demo.robot_ip}", f"episodes:={episodes}"]
    if (folder / PARAMETERS_NAME).exists():
        words = [f"resume:={name}", *where]
    else:
        settings = [f"task:={demo.task}", f"rate_hz:={RATE_HZ:g}", f"seed:={seed}", f"run:={name}"]
        words = [*settings, "unattended:=true", *where, *more]
        if not any(word.startswith("mode:=") for word in more):
            words.append("mode:=evaluate")
    code, _ = execute(parse_arguments(Deployment.SIM, words), Deployment.SIM, say)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code != 0:
        raise RunFailedError(f"the run {name!r} was not written to its end; see {folder / 'logs'}")
    return folder


def _fine_tune(demo: Demo, base: Path, rows: list[ConversionRow], meter: Meter) -> Path:
    """The new policy's weights; ConfigError when probing left nothing to learn from."""
    refused = [row for row in rows if row.result == "refused"]
    if refused:
        raise ConfigError(f"{refused[0].name} was refused: {refused[0].problem}")
    if not any(row.specialist_steps for row in rows):
        raise ConfigError("no probing episode succeeded with the specialist; see its bags")
    new = demo.folder / "distilled"
    if not (new / stages.POLICY_FILE).exists():
        new.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)  # two wait for each other where the machine is busy
        config = SftConfig(seed=demo.seed, steps=demo.steps)
        data = [demo.folder / "data"]
        stages.distill(new, data, base, config, RATE_HZ, meter)
    return new / stages.POLICY_FILE


def _report(demo: Demo, evaluations: list[Evaluation], rows: list[ConversionRow]) -> dict[str, Any]:
    before, after = evaluations
    pair = paired(*on_common_starts(before, after))
    converted = [row for row in rows if row.result == "converted"]
    figures = {
        "task": demo.task,
        "before": before.as_json(),
        "after": after.as_json(),
        "paired": asdict(pair) | {"difference": pair.difference},
        "probing_episodes": len(rows),
        "probing_successes": len(converted),
        "frames_of_the_specialist": sum(row.specialist_steps for row in converted),
    }
    write_json_atomically(demo.folder / "demo.json", figures)
    compared = {"task": demo.task, "first": "base", "second": after.name, "region": "all"}
    report = Report(
        title=f"{demo.task}: the flywheel in small, through the graph",
        final=after.name,
        evaluations=evaluations,
        comparisons=[compared | asdict(pair) | {"difference": pair.difference}],
    )
    write_report(demo.folder / "report.html", report)
    return figures
