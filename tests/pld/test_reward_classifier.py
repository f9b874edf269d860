"""The success classifier: what it learns from, what it refuses, and its second check."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pld.cli.train import app
from pld.contract import CAMERAS
from pld.errors import ConfigError
from pld.recording import bag
from pld.recording.bag import RawMessage
from pld.recording.labels import Label, append_label
from pld.recording.reader import Episode, read_episode
from pld.recording.recover import bag_path
from pld.recording.verdict import load_verdict
from pld.reward.classifier import SENSES, SuccessClassifier
from pld.reward.frames import LabelledFrames
from pld.reward.training import RewardTraining, held_out, train_classifier
from pld.success_frames import UNCLEAR_STEPS, clear_labels, frames_of
from pld.types import ArmState, CameraImage, EpisodeState, Pose
from tests.pld.recording_stream import (
    ARM,
    EPISODE,
    FRONT,
    NS,
    WRIST,
    Stream,
    arm_cdr,
    cdr,
    header,
    image_cdr,
    session,
    settle,
    status_cdr,
)
from tests.pld.vla_fixtures import observation

FIRST, STEPS = 100, 12
TRAINING = RewardTraining(steps=60, batch_size=16)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def frame(success: bool, side: int, shade: int = 0) -> np.ndarray:
    """A grey image with a bright block where an episode has succeeded."""
    rgb = np.full((side, side, 3), 60 + shade, np.uint8)
    if success:
        rgb[side // 4 : side // 2, side // 4 : side // 2] = (250, 40, 40)
    return rgb


def labelled(successes: int, failures: int, task: str = "cube_pickup") -> LabelledFrames:
    """Ten frames per episode; a success shows in the last three of them."""
    images, success, episode = [], [], []
    for number in range(successes + failures):
        for step in range(10):
            done = number < successes and step >= 7
            images.append([frame(done, 84, number % 5)] * 2)
            success.append(done)
            episode.append(number)
    return LabelledFrames(np.array(images), np.array(success), np.array(episode), task)


@pytest.fixture(scope="module")
def trained() -> SuccessClassifier:
    return train_classifier(labelled(8, 8), TRAINING)


def arm(width_m: float, height_m: float) -> ArmState:
    pose = Pose(np.array([0.5, 0.0, height_m]), DOWN)
    return replace(observation().arm, O_T_EE=pose, gripper_width_m=width_m)


def seen(success: bool) -> dict[str, CameraImage]:
    return {camera: CameraImage(0, 0, frame(success, 240)) for camera in CAMERAS}


def test_steps_before_a_success_and_wrong_successes_teach_nothing() -> None:
    said = np.array([False] * 6 + [True] * 2)
    clear = [False] * (6 - UNCLEAR_STEPS) + [None] * UNCLEAR_STEPS
    assert clear_labels(said, counts=True) == [*clear, True, True]
    assert clear_labels(said, counts=False) == [*clear, None, None]
    assert clear_labels(np.zeros(3, bool), counts=False) == [False] * 3
    by_word = [False] * (7 - UNCLEAR_STEPS) + [None] * UNCLEAR_STEPS + [True]
    assert clear_labels(np.zeros(8, bool), counts=True) == by_word
    flicker = np.array([True, False, True])
    assert clear_labels(flicker, counts=True) == [True, None, True]


def test_it_finds_successes_and_the_threshold_lies_above_every_failure(trained) -> None:
    card = trained.card
    assert (card.episodes, card.true_successes, card.true_failures) == (4, 6, 34)
    assert (card.found_successes, card.false_successes) == (6, 0)
    failures = trained.probability(np.array([[frame(False, 84)] * 2]))
    assert failures[0] < card.threshold < 1.0


def test_validation_episodes_have_both_outcomes_and_share_no_episode() -> None:
    frames = labelled(4, 5)
    aside = held_out(frames, 4)
    kept = set(frames.episode[aside])
    assert kept == {3, 7}
    assert not kept & set(frames.episode[~aside])


def test_images_alone_are_not_enough(trained) -> None:
    held, empty = arm(0.04, 0.15), arm(0.001, 0.15)
    assert trained.succeeded(seen(True), held)
    assert not trained.succeeded(seen(False), held)
    assert not trained.succeeded(seen(True), empty), "closed on nothing"
    assert not trained.succeeded(seen(True), arm(0.04, 0.03)), "not lifted"
    wrist_lost = {CAMERAS[0]: seen(True)[CAMERAS[0]]}
    assert not trained.succeeded(wrist_lost, held)


def test_a_file_is_read_back_and_refused_for_another_task_or_when_damaged(
    trained, tmp_path
) -> None:
    path = tmp_path / "c.safetensors"
    trained.save(path)
    again = SuccessClassifier.load(path, "cube_pickup")
    assert again.card == trained.card
    images = labelled(1, 0).images
    np.testing.assert_array_equal(again.probability(images), trained.probability(images))
    with pytest.raises(ConfigError, match="task 'cube_pickup', not 'peg_insertion'"):
        SuccessClassifier.load(path, "peg_insertion")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="half-written or damaged"):
        SuccessClassifier.load(path, "cube_pickup")


def test_without_both_kinds_in_both_parts_there_is_nothing_to_learn() -> None:
    with pytest.raises(ConfigError, match="training episodes have 0 frames of success"):
        train_classifier(labelled(1, 6), TRAINING)


def test_every_reference_task_has_a_second_check() -> None:
    from pld.tasks import TASKS

    assert set(SENSES) == {task.name for task in TASKS}


def episode(stream: Stream, name: str, success: bool) -> Iterator[RawMessage]:
    """An episode of STEPS steps whose detector says success in the last two."""
    yield stream.message(EPISODE, status_cdr(0, name, 2, FIRST))
    for step in range(FIRST, FIRST + STEPS):
        t_ns = step * NS // 20
        stream.now_ns += 50_000_000
        done = success and step >= FIRST + STEPS - 2
        for camera in (FRONT, WRIST):
            yield stream.message(camera, image_cdr(t_ns - 10_000_000, frame(done, 240)))
        yield stream.message(ARM, arm_cdr(t_ns, step, at_work=True))
        said = cdr(bag.REWARD, header=header(t_ns), step=step, success=done, detector="twin")
        yield stream.message("/pld/task/reward", said)
    end_ns = (FIRST + STEPS) * NS // 20
    outcome, reason = (1, "success") if success else (2, "horizon")
    yield stream.message(EPISODE, status_cdr(end_ns, name, 3, FIRST, outcome, reason))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of four successes and four failures."""
    folder = tmp_path_factory.mktemp("bags") / "run"
    recorder, stream = session(folder), Stream()
    for number in range(8):
        for message in episode(stream, f"e{number}", number < 4):
            recorder.on_message(message)
        settle(recorder)
    return folder


def test_bags_become_labelled_frames(run) -> None:
    frames = frames_of([run])
    assert frames.task == "cube_pickup"
    assert frames.images.shape[1:] == (2, 84, 84, 3)
    assert len(frames) == 4 * (STEPS - UNCLEAR_STEPS) + 4 * STEPS
    assert frames.success.sum() == 8
    bright = frames.images[:, 0, 30, 30, 0] > 200
    np.testing.assert_array_equal(bright, frames.success)


def test_an_episode_relabelled_as_failure_gives_no_frame_of_success(run, tmp_path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    folder = next(f for f in sorted((copy / "episodes").iterdir()) if f.name == "e0")
    append_label(folder, Label("failure", "operator", 1))
    assert frames_of([copy]).success.sum() == 6


def test_an_unlabelled_episode_teaches_nothing(run, tmp_path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    append_label(copy / "episodes" / "e5", Label("unlabelled", "operator", 1))
    told: list[str] = []
    frames = frames_of([copy], told.append)
    assert len(frames) == 4 * (STEPS - UNCLEAR_STEPS) + 3 * STEPS
    assert told[0].startswith("left out e5: it is unlabelled")


def test_an_episode_whose_end_could_not_be_recovered_teaches_nothing(run, monkeypatch) -> None:
    def cut(folder: Path) -> Episode:
        whole = read_episode(folder)
        if folder.name != "e1":
            return whole
        *before, last = whole.updates
        running = replace(last, value=replace(last.value, state=EpisodeState.RUNNING))
        return replace(whole, updates=(*before, running))

    monkeypatch.setattr("pld.success_frames.read_episode", cut)
    told: list[str] = []
    assert frames_of([run], told.append).success.sum() == 6
    assert told == ["left out e1: it was recovered without its end, where a success shows"]


def test_a_start_of_evaluations_teaches_nothing(run, monkeypatch) -> None:
    [seed] = {load_verdict(folder).seed for folder in (run / "episodes").iterdir()}
    monkeypatch.setattr("pld.success_frames.EVALUATION_BLOCK", range(seed, seed + 1))
    told: list[str] = []
    with pytest.raises(ConfigError, match="0 episodes with 0 successes"):
        frames_of([run], told.append)
    assert told[0] == f"left out e0: it begins at a start of evaluations (seed {seed})"


def test_an_episode_that_cannot_be_read_is_left_out_and_named(run, tmp_path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    bag_path(copy / "episodes" / "e2").write_bytes(b"half")
    told: list[str] = []
    frames = frames_of([copy], told.append)
    assert frames.success.sum() == 6
    assert sorted(set(frames.episode)) == list(range(7))
    assert len(told) == 1
    assert told[0].startswith("left out e2: ")


def test_too_few_episodes_are_refused_with_the_remedy(run) -> None:
    folders = [run / "episodes" / "e0", run / "episodes" / "e1", run / "episodes" / "e5"]
    with pytest.raises(ConfigError, match=r"3 episodes with 2 successes .* at least two"):
        frames_of(folders)


def test_the_command_trains_prints_intervals_and_writes_weights(run, tmp_path) -> None:
    output = tmp_path / "reward.safetensors"
    figures = tmp_path / "figures.json"
    arguments = ["reward", str(run), "--output", str(output), "--steps", "60"]
    found = CliRunner().invoke(app, [*arguments, "--json", str(figures)])
    assert found.exit_code == 0, found.output
    assert "2/2" in found.output
    assert SuccessClassifier.load(output, "cube_pickup").card.episodes == 2
    assert '"false_successes": 0' in figures.read_text()


def test_the_command_refuses_what_it_cannot_use(run, tmp_path) -> None:
    found = CliRunner().invoke(app, ["reward", str(run), "--output", str(tmp_path / "r.pt")])
    assert "ends in .safetensors" in str(found.exception)
