"""The verdict says what happened, is read strictly, and is never rewritten by a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pld.cli.bag import app
from pld.errors import ConfigError, RecordingError
from pld.recording.camera_check import CameraFigures
from pld.recording.labels import Label, append_label, load_labels, outcome
from pld.recording.verdict import Verdict, load_verdict, save_verdict
from tests.pld.recording_stream import ARM, EPISODE, NS, Stream, record, session, settle, status_cdr


def run(tmp_path: Path, messages: Any) -> Verdict:
    recorder = session(tmp_path)
    for message in messages:
        recorder.on_message(message)
    settle(recorder)
    return load_verdict(next(recorder.episodes_folder.iterdir()))


def running(stream: Stream, steps: Any) -> Any:
    """An episode from step 100 made of what `steps` yields."""
    yield stream.message(EPISODE, status_cdr(5 * NS, "e0", 2, 100))
    yield from steps
    yield stream.message(EPISODE, status_cdr(10 * NS, "e0", 3, 100, 2, "out_of_time"))


def both_cameras(verdict: Verdict) -> tuple[CameraFigures, ...]:
    """The figures of the stream's two cameras, which must be there."""
    assert {camera.camera for camera in verdict.cameras} == {"third_person", "wrist"}
    return verdict.cameras


def test_figures_of_an_ordinary_episode(tmp_path: Path) -> None:
    verdict = load_verdict(record(tmp_path, steps=20))
    steps = verdict.steps
    assert (steps.steps, steps.first_step, steps.last_step) == (20, 100, 119)
    assert steps.robot_time_s == pytest.approx(1.0)
    assert steps.sources == {"BASE": 20}
    assert (steps.commands, steps.held_steps, steps.starved_steps) == (20, 0, 0)
    assert steps.filter_reasons == {"speed": 20}
    arm = next(t for t in verdict.topics if t.name == ARM)
    assert (arm.clock, arm.messages) == ("header", 21)
    assert arm.rate_hz == pytest.approx(20.0)
    assert arm.interval_max_ms == pytest.approx(50.0)
    assert (arm.first_stamp_ns, arm.last_stamp_ns) == (5 * NS, 6 * NS)
    assert arm.gap_max_ms == pytest.approx(50.7, abs=0.2)
    for camera in both_cameras(verdict):
        assert camera.frame_age_p50_ms == pytest.approx(10.0)
        assert camera.frame_age_max_ms == pytest.approx(60.0)
        assert (camera.repeated_images, camera.is_frozen) == (0, False)


def test_a_step_without_a_base_action_is_starved(tmp_path: Path) -> None:
    stream = Stream()
    steps = [m for step in range(100, 110) for m in stream.step(step)]
    without = [m for m in steps if m.topic != "/pld/base/action" or m.sequence not in (3, 4)]
    assert run(tmp_path, running(stream, without)).steps.starved_steps == 2


def test_an_episode_that_never_ran_has_no_steps(tmp_path: Path) -> None:
    stream = Stream()
    yielded = [
        stream.message(EPISODE, status_cdr(5 * NS, "e0", 1, 0)),
        *(m for step in range(100, 130) for m in stream.step(step)),
        stream.message(EPISODE, status_cdr(10 * NS, "e0", 3, 0, 0, "robot_fault")),
    ]
    verdict = run(tmp_path, yielded)
    assert verdict.termination_reason == "robot_fault"
    assert (verdict.steps.steps, verdict.steps.starved_steps) == (0, 0)


def test_a_picture_that_stands_still_while_the_arm_moves_is_frozen(tmp_path: Path) -> None:
    stream = Stream()
    steps = [m for step in range(100, 130) for m in stream.step(step, image=1)]
    for camera in both_cameras(run(tmp_path, running(stream, steps))):
        assert camera.is_frozen
        assert camera.repeated_images == 29
        assert camera.longest_repeat_s == pytest.approx(29 * 0.05)


def test_a_picture_that_stands_still_for_a_moment_is_not_frozen(tmp_path: Path) -> None:
    stream = Stream()
    steps = [m for step in range(100, 130) for m in stream.step(step, image=step // 4)]
    for camera in both_cameras(run(tmp_path, running(stream, steps))):
        assert not camera.is_frozen
        assert camera.longest_repeat_s == pytest.approx(0.15)


def test_steps_before_the_first_running_one_do_not_count(tmp_path: Path) -> None:
    stream = Stream()
    steps = [m for step in range(90, 110) for m in stream.step(step)]
    figures = run(tmp_path, running(stream, steps)).steps
    assert (figures.steps, figures.first_step) == (10, 100)
    assert figures.sources == {"BASE": 10}


def test_the_outcome_is_apart_from_the_reason(tmp_path: Path) -> None:
    stream = Stream()
    steps = [m for step in range(100, 103) for m in stream.step(step)]
    verdict = run(tmp_path, running(stream, steps))
    assert (verdict.outcome, verdict.termination_reason) == ("failure", "out_of_time")


def test_a_verdict_comes_back_as_it_was_written(tmp_path: Path) -> None:
    verdict = load_verdict(record(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    save_verdict(other, verdict)
    assert load_verdict(other) == verdict
    assert [p.name for p in other.iterdir()] == ["verdict.json"]


def remove(content: dict[str, Any]) -> None:
    del content["takeover_step"]


def add(content: dict[str, Any]) -> None:
    content["extra"] = 1


def mistype(content: dict[str, Any]) -> None:
    content["steps"]["steps"] = "many"


def newer(content: dict[str, Any]) -> None:
    content["schema_version"] = 99


def other_outcome(content: dict[str, Any]) -> None:
    content["outcome"] = "great"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (remove, "takeover_step"),
        (add, "unknown field 'extra'; valid: schema_version"),
        (mistype, "steps.*'many' is not a int"),
        (newer, "unknown schema_version '99'; valid: 1"),
        (other_outcome, "unknown outcome 'great'; valid: unlabelled, success, failure"),
    ],
)
def test_a_spoiled_verdict_is_refused_by_field(tmp_path: Path, spoil: Any, named: str) -> None:
    folder = record(tmp_path)
    content = json.loads((folder / "verdict.json").read_text())
    spoil(content)
    (folder / "verdict.json").write_text(json.dumps(content))
    with pytest.raises(RecordingError, match=named):
        load_verdict(folder)


def test_an_episode_without_a_verdict_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="pld bag recover"):
        load_verdict(tmp_path)


def test_a_label_is_appended_and_the_last_one_counts(tmp_path: Path) -> None:
    folder = record(tmp_path)
    before = (folder / "verdict.json").read_bytes()
    assert outcome(folder) == "success"
    append_label(folder, Label("failure", "ana", 1))
    append_label(folder, Label("unlabelled", "ben", 2))
    assert outcome(folder) == "unlabelled"
    assert [label.by for label in load_labels(folder)] == ["ana", "ben"]
    assert (folder / "verdict.json").read_bytes() == before


@pytest.mark.parametrize("cut", [b'{"outcome": "failu', b"\xff"], ids=["cut short", "no text"])
def test_a_label_after_a_broken_one_is_not_lost_with_it(tmp_path: Path, cut: bytes) -> None:
    folder = record(tmp_path)
    (folder / "labels.jsonl").write_bytes(cut)
    append_label(folder, Label("failure", "ana", 1))
    with pytest.raises(RecordingError, match=r"labels.jsonl:1: .*delete that line, and label the"):
        outcome(folder)
    _, _, rest = (folder / "labels.jsonl").read_bytes().partition(b"\n")
    (folder / "labels.jsonl").write_bytes(rest)
    assert outcome(folder) == "failure"


def test_bad_labels_are_refused_by_value_and_by_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'good'; valid: unlabelled, success, failure"):
        Label("good", "ana", 1)
    folder = record(tmp_path)
    append_label(folder, Label("failure", "ana", 1))
    with (folder / "labels.jsonl").open("a") as stream:
        stream.write('{"outcome": "great", "by": "x", "t_ns": 1}\n')
    with pytest.raises(RecordingError, match=r"labels.jsonl:2: .*'great'"):
        load_labels(folder)


def test_the_command_line_shows_verifies_and_labels(tmp_path: Path) -> None:
    folder = record(tmp_path)
    record(tmp_path, "e1")
    cli, figures = CliRunner(), tmp_path / "figures.json"
    shown = cli.invoke(app, ["info", str(folder), "--json", str(figures)])
    assert shown.exit_code == 0
    content = json.loads(figures.read_text())
    assert {t["name"]: t["messages"] for t in content["topics"]}[ARM] == 21
    assert content["episodes"][0]["outcome"] == "success"
    assert cli.invoke(app, ["info", str(tmp_path)]).exit_code == 0
    assert cli.invoke(app, ["verify", str(tmp_path), "--json", str(figures)]).exit_code == 0
    assert set(json.loads(figures.read_text())["episodes"]) == {"e0", "e1"}
    assert cli.invoke(app, ["label", str(folder), "failure", "--by", "ana"]).exit_code == 0
    assert outcome(folder) == "failure"


def test_verify_ends_with_3_when_the_verdict_and_the_bag_differ(tmp_path: Path) -> None:
    folder = record(tmp_path)
    content = json.loads((folder / "verdict.json").read_text())
    content["topics"][0]["messages"] += 1
    (folder / "verdict.json").write_text(json.dumps(content))
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 3
    assert "counts differ" in result.output
