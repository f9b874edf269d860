"""The learning curve of a run of the graph, from its verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pld.cli.run import app
from pld.errors import RecordingError
from pld.recording.bag import EPISODES_FOLDER, VERDICT_NAME
from pld.run_curve import first_reaching, run_curve
from pld.run_folder import success_rows
from tests.pld.recording_stream import record

MINUTE_NS = 60_000_000_000
OUTCOMES = ("success", "failure", "failure", "success", "unlabelled", "success", "success")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Seven episodes of a minute each; the first is the base's."""
    folder = tmp_path / "learned"
    recorded = json.loads((record(tmp_path) / VERDICT_NAME).read_text())
    states = next(t for t in recorded["topics"] if t["name"].endswith("arm/state"))
    for index, outcome in enumerate(OUTCOMES):
        states["first_stamp_ns"] = index * MINUTE_NS
        states["last_stamp_ns"] = (index + 1) * MINUTE_NS
        takeover = -1 if index == 0 else 3
        said = {"index": index, "outcome": outcome, "takeover_step": takeover}
        episode = folder / EPISODES_FOLDER / f"r-{index:05d}"
        episode.mkdir(parents=True)
        (episode / VERDICT_NAME).write_text(json.dumps({**recorded, **said}))
    return folder


def test_labelled_episodes_with_a_takeover_count_over_robot_time(run_dir: Path) -> None:
    points = run_curve(run_dir, 2)
    assert [p.successes for p in points] == [0, 1, 2, 2]
    assert [p.episode for p in points] == [2, 3, 5, 6]
    assert [p.minutes for p in points] == [3.0, 4.0, 6.0, 7.0]


@pytest.mark.parametrize("minutes", [-4, 600], ids=["the twin's began anew", "the host's went on"])
def test_robot_time_goes_on_where_a_run_was_resumed(run_dir: Path, minutes: int) -> None:
    for index in range(4, len(OUTCOMES)):
        file = run_dir / EPISODES_FOLDER / f"r-{index:05d}" / VERDICT_NAME
        verdict = json.loads(file.read_text())
        states = next(t for t in verdict["topics"] if t["name"].endswith("arm/state"))
        for stamp in ("first_stamp_ns", "last_stamp_ns"):
            states[stamp] += minutes * MINUTE_NS
        file.write_text(json.dumps(verdict))
    assert [p.minutes for p in run_curve(run_dir, 2)] == [3.0, 4.0, 6.0, 7.0]


def test_an_evaluation_on_starts_that_training_may_have_seen_says_so(run_dir: Path) -> None:
    def summary(**said: object) -> str:
        file = run_dir / EPISODES_FOLDER / "r-00003" / VERDICT_NAME
        file.write_text(json.dumps(json.loads(file.read_text()) | said))
        return " ".join(CliRunner().invoke(app, ["summary", str(run_dir)]).output.split())

    warning = "starts with seeds 5 to 5 may have been learned from"
    assert warning in summary(mode="evaluate", deployment="sim", seed=5)
    assert warning not in summary(deployment="robot")
    assert warning not in summary(deployment="sim", seed=1_000_000_005)


def test_an_episode_in_which_a_person_acted_is_not_the_specialists(run_dir: Path) -> None:
    file = run_dir / EPISODES_FOLDER / "r-00003" / VERDICT_NAME
    helped = json.loads(file.read_text())
    helped["steps"]["interventions"] = 4
    file.write_text(json.dumps(helped))
    assert [p.episode for p in run_curve(run_dir, 2)] == [2, 5, 6]
    assert success_rows(run_dir)[-1].episodes == 5
    told = run_dir / "told.json"
    printed = CliRunner().invoke(app, ["summary", str(run_dir), "--json", str(told)]).output
    assert "a person acted in 1" in printed
    figures = json.loads(told.read_text())
    assert (figures["episodes"], figures["helped"]) == (len(OUTCOMES), 1)
    assert figures["success"][-1]["episodes"] == 5


def test_the_first_point_that_meets_an_aim_is_found_or_nothing(run_dir: Path) -> None:
    points = run_curve(run_dir, 2)
    assert first_reaching(points, 0.9) == points[2]
    assert first_reaching([replace(p, successes=1) for p in points], 0.9) is None


def test_too_few_episodes_are_counted_in_the_error(run_dir: Path) -> None:
    with pytest.raises(RecordingError, match="has 5 labelled episodes with a takeover, fewer"):
        run_curve(run_dir, 6)


def test_the_command_prints_when_an_aim_was_met_and_draws(run_dir: Path, tmp_path: Path) -> None:
    plot, figures = tmp_path / "c.png", tmp_path / "c.json"
    words = [str(run_dir), "--window", "2", "--plot", str(plot), "--json", str(figures)]
    done = CliRunner().invoke(app, ["curve", *words], catch_exceptions=False)
    assert "6.0" in next(line for line in done.output.splitlines() if "first with 90%" in line)
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert len(json.loads(figures.read_text())) == 4
