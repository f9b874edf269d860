"""`pld bag`: look into episode bags, check them, label them, rebuild unfinished or damaged ones."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pld.cli.options import JsonOption
from pld.cli.screen import PlainTable, wide_console
from pld.files import write_json_atomically

if TYPE_CHECKING:
    from pld.recording.info import EpisodeInfo
    from pld.recording.statistics import TopicFigures

app = typer.Typer(
    help="Look into episode bags, check them, label them, rebuild unfinished or damaged ones.",
    no_args_is_help=True,
)
console = wide_console()

FolderArgument = Annotated[Path, typer.Argument(help="an episode's folder, or a run folder")]
EXIT_PROBLEM = 3


@app.command()
def info(folder: FolderArgument, json_file: JsonOption = None) -> None:
    """Topics, counts, rates, losses and stamps of one episode; a line per episode of a run."""
    from pld.recording.info import recount, run_info

    episodes = run_info(folder)
    console.print(_episode_table(episodes))
    figures: dict[str, Any] = {"episodes": [_episode_document(e) for e in episodes]}
    if len(episodes) == 1:
        topics = recount(episodes[0].folder)
        console.print(_topic_table(topics))
        figures["topics"] = [dataclasses.asdict(t) for t in topics]
    else:
        console.print(_loss_table(episodes))
    for episode in episodes:
        if episode.problem:
            console.print(f"{episode.folder.name}: {episode.problem}", style="yellow", markup=False)
    _write_json(json_file, figures)


@app.command()
def verify(folder: FolderArgument, json_file: JsonOption = None) -> None:
    """Read each bag with three independent readers and compare counts and type hashes.

    Ends with 0 when all agree, with 3 when something differs.
    """
    from pld.recording.recover import episodes_at
    from pld.recording.schemas import installed_hash
    from pld.recording.verify import verify_episode

    figures: dict[str, Any] = {}
    problems: list[str] = []
    table = PlainTable("episode", "topics", "messages", "mcap", "mcap_ros2", "rosbags", "hashes")
    for episode in episodes_at(folder):
        checks = verify_episode(episode, installed_hash)
        figures[episode.name] = [dataclasses.asdict(c) for c in checks]
        problems += [f"{episode.name} {c.name}: {p}" for c in checks for p in c.problems]
        hashes = sum(c.type_hash == c.computed_hash == c.installed_hash for c in checks)
        table.add_row(
            episode.name,
            str(len(checks)),
            str(sum(c.in_verdict for c in checks)),
            str(sum(c.in_mcap_index for c in checks)),
            str(sum(c.decoded_mcap_ros2 for c in checks)),
            str(sum(c.decoded_rosbags for c in checks)),
            f"{hashes}/{len(checks)} official",
        )
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    _write_json(json_file, {"episodes": figures, "problems": problems})
    raise typer.Exit(EXIT_PROBLEM if problems else 0)


@app.command()
def recover(
    folder: FolderArgument,
    reason: Annotated[
        str, typer.Option(help="termination reason of episodes that nobody ended")
    ] = "recorder_lost",
    json_file: JsonOption = None,
) -> None:
    """Rebuild bags that a killed recorder or a full disk left unfinished, or that are damaged.

    Ends with 0 when every episode is whole, 3 when an end may be missing, 1 when nothing at all
    could be read. Finished episodes that can be read are not touched; the old file is kept.
    """
    from pld.recording.recover import episodes_at, overall, recover_all

    recoveries = recover_all(episodes_at(folder), reason)
    table = PlainTable("episode", "result", "messages", "note")
    for r in recoveries:
        table.add_row(r.folder.name, r.result.name.lower(), str(r.messages), r.note)
    console.print(table)
    _write_json(
        json_file,
        [
            {"episode": r.folder.name, "result": r.result.name.lower(), "messages": r.messages}
            for r in recoveries
        ],
    )
    raise typer.Exit(int(overall(recoveries)))


@app.command()
def label(
    folder: Annotated[Path, typer.Argument(help="an episode's folder")],
    outcome: Annotated[str, typer.Argument(help="success, failure or unlabelled")],
    by: Annotated[str, typer.Option(help="who says so")] = "operator",
) -> None:
    """Append a label to an episode; the verdict itself and earlier labels stay."""
    from pld.recording.labels import Label, append_label
    from pld.recording.recover import one_episode

    append_label(one_episode(folder), Label(outcome, by, time.time_ns()))
    console.print(f"{folder.name}: {outcome}")


@app.command()
def convert(
    folder: FolderArgument,
    output: Annotated[Path, typer.Option(help="folder that receives the episodes")],
    limits: Annotated[
        Path | None, typer.Option(help="limits of the run; default: those that it names")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Turn successful episodes into training data; each bag's decisions are checked first.

    Ends with 0, or with 3 when a success could not be taken over. Bags are only read.
    """
    from pld.conversion import KEPT_ASIDE, convert_folder

    rows = convert_folder(folder, output, limits)
    table = PlainTable("episode", "steps", "held", "specialist's", "result")
    for row in rows:
        counts = (row.steps, row.held_steps, row.specialist_steps)
        table.add_row(row.name, *(str(n) for n in counts), row.problem or row.result)
    console.print(table)
    taken = sum(row.result == "converted" for row in rows)
    console.print(f"{taken} of {len(rows)} episodes in {output}")
    _write_json(json_file, [dataclasses.asdict(row) for row in rows])
    problems = [row for row in rows if row.problem and row.result != KEPT_ASIDE]
    raise typer.Exit(EXIT_PROBLEM if problems else 0)


def _episode_table(episodes: list[EpisodeInfo]) -> PlainTable:
    table = PlainTable(
        "episode", "outcome", "ended by", "region", "steps", "robot time", "messages"
    )
    for name in ("lost", "held", "starved", "MB"):
        table.add_column(name, justify="right")
    for episode in episodes:
        verdict = episode.verdict
        megabytes = f"{episode.size_bytes / 1e6:.1f}"
        if verdict is None:
            table.add_row(episode.folder.name, "unfinished", *[""] * 8, megabytes)
            continue
        steps = verdict.steps
        table.add_row(
            episode.folder.name,
            episode.outcome,
            verdict.termination_reason,
            verdict.region,
            str(steps.steps),
            f"{steps.robot_time_s:.2f} s",
            str(verdict.messages),
            str(verdict.lost),
            str(steps.held_steps),
            str(steps.starved_steps),
            megabytes,
        )
    return table


def _topic_table(topics: tuple[TopicFigures, ...]) -> PlainTable:
    from pld.recording.schemas import installed_hash

    table = PlainTable("topic", "type", "count", "Hz", "lost", "first [s]", "last [s]", "gap [ms]")
    table.add_column("type hash")
    for t in topics:
        hash_is = {t.type_hash: "official", "": "type not here"}
        table.add_row(
            t.name,
            t.type,
            str(t.messages),
            f"{t.rate_hz:.2f}",
            "?" if t.lost is None else str(t.lost),
            f"{t.first_stamp_ns / 1e9:.3f}",
            f"{t.last_stamp_ns / 1e9:.3f}",
            f"{t.gap_max_ms:.0f}",
            hash_is.get(installed_hash(t.type), "DIFFERS"),
        )
    return table


def _loss_table(episodes: list[EpisodeInfo]) -> PlainTable:
    """Messages, losses and the longest silence per topic, over all finished episodes."""
    table = PlainTable("topic", "count", "lost", "longest gap [ms]")
    rows: dict[str, list[TopicFigures]] = {}
    for episode in episodes:
        for topic in episode.verdict.topics if episode.verdict else ():
            rows.setdefault(topic.name, []).append(topic)
    for name, found in rows.items():
        unknown = any(t.lost is None for t in found)
        table.add_row(
            name,
            str(sum(t.messages for t in found)),
            "?" if unknown else str(sum(t.lost or 0 for t in found)),
            f"{max(t.gap_max_ms for t in found):.0f}",
        )
    return table


def _episode_document(episode: EpisodeInfo) -> dict[str, Any]:
    return {
        "episode": episode.folder.name,
        "outcome": episode.outcome,
        "size_bytes": episode.size_bytes,
        "problem": episode.problem,
        "verdict": episode.verdict and dataclasses.asdict(episode.verdict),
    }


def _write_json(path: Path | None, figures: Mapping[str, Any] | Sequence[Any]) -> None:
    if path is not None:
        write_json_atomically(path, figures)
