"""The recorder follows the episode status: one bag per episode, closed once and accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pld.recording.camera_check import camera_name
from pld.recording.drain import ACTIVE_WITHIN_NS, Activity, Drain
from pld.recording.run_files import describe_run, termination_reason
from pld.recording.sequences import SequenceTracker
from pld.recording.session import RecorderState, RecordingSession, SessionConfig
from pld.recording.verdict import Verdict, load_verdict
from tests.pld.recording_stream import (
    ARM,
    EPISODE,
    FRONT,
    NS,
    STATIC,
    WRIST,
    Stream,
    arm_cdr,
    cdr,
    image_cdr,
    record,
    session,
    settle,
    status_cdr,
)


def verdict_of(recorder: RecordingSession, episode_id: str) -> Verdict:
    return load_verdict(recorder.episodes_folder / episode_id)


def topic(verdict: Verdict, name: str) -> dict[str, object]:
    return vars(next(t for t in verdict.topics if t.name == name))


@pytest.mark.parametrize("state", [1, 2])
def test_a_new_episode_opens_a_bag_in_resetting_or_running(tmp_path: Path, state: int) -> None:
    recorder, stream = session(tmp_path), Stream()
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", state)))
    assert (recorder.status.state, recorder.status.episode_id) == (RecorderState.RECORDING, "e0")
    recorder.shutdown("shutdown")


def test_recording_is_told_once_everybody_who_streams_was_heard(tmp_path: Path) -> None:
    config = SessionConfig(tmp_path, min_free_bytes=1_000_000, awaited=frozenset({ARM, FRONT}))
    recorder, stream = session(tmp_path, config=config), Stream()
    image = image_cdr(NS, np.zeros((2, 2, 3), np.uint8))
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", 1)))
    seen = [recorder.status.state]
    recorder.on_found(EPISODE)
    for name, message in ((ARM, arm_cdr(NS, 1)), (FRONT, image)):
        recorder.on_message(stream.message(name, message))
        seen.append(recorder.status.state)
    assert seen == [RecorderState.IDLE, RecorderState.IDLE, RecorderState.RECORDING]
    recorder.shutdown("shutdown")
    assert recorder.status.state is RecorderState.CLOSED
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e1", 1)))
    assert (recorder.status.state, recorder.status.episode_id) == (RecorderState.RECORDING, "e1")
    recorder.shutdown("shutdown")


def test_who_speaks_later_is_awaited_until_found(tmp_path: Path) -> None:
    config = SessionConfig(tmp_path, min_free_bytes=1_000_000, awaited=frozenset({ARM, FRONT}))
    recorder, stream = session(tmp_path, config=config), Stream()
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", 1)))
    recorder.on_message(stream.message(ARM, arm_cdr(NS, 1)))
    assert (recorder.status.state, recorder.awaited) == (RecorderState.IDLE, (FRONT,))
    recorder.on_found(FRONT)
    assert (recorder.status.state, recorder.awaited) == (RecorderState.RECORDING, ())
    recorder.shutdown("shutdown")


@pytest.mark.parametrize("state", [0, 3])
def test_idle_and_ended_open_nothing(tmp_path: Path, state: int) -> None:
    recorder, stream = session(tmp_path), Stream()
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", state)))
    assert recorder.status.state is RecorderState.IDLE
    assert not (tmp_path / "episodes").exists()


def test_an_ended_episode_is_closed_with_its_outcome_reason_and_facts(tmp_path: Path) -> None:
    verdict = load_verdict(record(tmp_path))
    assert (verdict.outcome, verdict.termination_reason) == ("success", "task_succeeded")
    assert (verdict.task, verdict.region, verdict.seed) == ("cube_pickup", "corner", 7)
    assert verdict.instruction == "pick up the cube"
    assert verdict.parameters == {"task": "cube_pickup"}
    assert (verdict.deployment, verdict.namespace) == ("sim", "/pld")
    assert (verdict.bag, verdict.bag_state, verdict.lost) == ("e0.mcap", "complete", 0)


def test_a_closed_episode_is_not_reopened_by_the_repeated_status(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in stream.episode("e0", 3):
        recorder.on_message(message)
    settle(recorder)
    for state in (2, 3, 3):
        recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", state)))
    assert recorder.status.state is RecorderState.CLOSED
    assert [p.name for p in recorder.episodes_folder.iterdir()] == ["e0"]


def test_messages_lost_on_the_way_are_counted_from_sequence_numbers(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for count, message in enumerate(stream.episode("e0", 10)):
        recorder.on_message(message)
        if count == 20:
            stream.lose(WRIST, 3)
    settle(recorder)
    verdict = verdict_of(recorder, "e0")
    assert {t.name: t.lost for t in verdict.topics if t.lost} == {WRIST: 3}
    assert recorder.status.lost == verdict.lost == 3


def test_a_loss_just_before_the_first_message_of_an_episode_counts(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    recorder.on_message(stream.message(ARM, arm_cdr(NS, 1)))
    stream.lose(ARM, 2)
    for message in stream.episode("e0", 3):
        recorder.on_message(message)
    settle(recorder)
    assert topic(verdict_of(recorder, "e0"), ARM)["lost"] == 2


def test_the_loss_of_a_shared_topic_is_unknown_unless_publishers_are_told_apart(
    tmp_path: Path,
) -> None:
    static = cdr("tf2_msgs/msg/TFMessage")
    for name, publisher, lost in (("told", b"one", 0), ("untold", None, None)):
        recorder, stream = session(tmp_path / name), Stream()
        for count, message in enumerate(stream.episode("e0", 3)):
            recorder.on_message(message, publisher)
            if count == 4:
                recorder.on_message(stream.message(STATIC, static), publisher)
        settle(recorder)
        assert topic(verdict_of(recorder, "e0"), STATIC)["lost"] == lost


def test_a_restarted_publisher_is_no_loss() -> None:
    tracker = SequenceTracker()
    assert [tracker.missing_before("t", s) for s in (5, 6, 9, 1, 2, 4, 0, 5)] == [
        0, 0, 2, 0, 0, 1, 0, 0,
    ]  # fmt: skip
    assert tracker.missing_before("t", 100, publisher=b"other") == 0


def test_messages_under_way_at_the_end_are_waited_for(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in stream.episode("e0", 5):
        recorder.on_message(message)
    assert recorder.status.state is RecorderState.RECORDING
    late = stream.message(ARM, arm_cdr(2 * NS, 999))
    recorder.on_message(late)
    settle(recorder)
    assert topic(verdict_of(recorder, "e0"), ARM)["messages"] == 7


def test_the_wait_ends_early_when_every_live_topic_has_passed_the_end() -> None:
    stream = Stream()
    before = [stream.message(name, b"") for name in (ARM, WRIST)]
    activity = Activity()
    for message in before:
        activity.on_message(message)
    end = stream.message(EPISODE, b"")
    drain = Drain(end.publish_time_ns, activity.active(end.publish_time_ns), NS, 3 * NS)
    assert not drain.is_complete(0)
    for name in (ARM, WRIST):
        assert not drain.has_everything
        drain.on_message(stream.message(name, b""))
    assert drain.is_complete(1)
    assert activity.active(end.publish_time_ns + ACTIVE_WITHIN_NS) == []


def test_a_recorder_that_is_behind_waits_while_older_messages_still_come() -> None:
    stream = Stream()
    late = [stream.message(ARM, b"") for _ in range(40)]
    drain = Drain(stream.message(EPISODE, b"").publish_time_ns, [ARM], NS // 4, 3 * NS)
    assert not drain.is_complete(10 * NS)
    for count, message in enumerate(late[:20]):
        drain.on_message(message)
        assert not drain.is_complete(10 * NS + count * NS // 10)
    assert not drain.is_complete(12 * NS)
    assert drain.is_complete(12 * NS + NS // 4)
    for count, message in enumerate(late):
        drain.on_message(message)
        assert drain.is_complete(10 * NS + count * NS // 10) == (count >= 30)


def test_a_shutdown_closes_the_episode_with_the_given_reason(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in list(stream.episode("e0", 5))[:-1]:
        recorder.on_message(message)
    recorder.shutdown("node_lost:vla_node")
    verdict = verdict_of(recorder, "e0")
    assert (verdict.termination_reason, verdict.outcome) == ("node_lost:vla_node", "unlabelled")
    assert (verdict.bag_state, recorder.status.state) == ("complete", RecorderState.CLOSED)
    recorder.shutdown("again")
    assert verdict_of(recorder, "e0") == verdict


def test_the_arbitrators_reason_wins_over_the_shutdown(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in stream.episode("e0", 5):
        recorder.on_message(message)
    recorder.shutdown("shutdown")
    assert verdict_of(recorder, "e0").termination_reason == "task_succeeded"


def test_an_episode_that_was_never_ended_is_closed_by_the_next_one(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in list(stream.episode("e0", 3))[:-1]:
        recorder.on_message(message)
    for message in stream.episode("e1", 3):
        recorder.on_message(message)
    settle(recorder)
    assert verdict_of(recorder, "e0").termination_reason == "superseded"
    assert verdict_of(recorder, "e1").termination_reason == "task_succeeded"


def test_two_episodes_share_no_message(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for episode_id in ("e0", "e1"):
        for message in stream.episode(episode_id, 4):
            recorder.on_message(message)
        settle(recorder)
    for episode_id in ("e0", "e1"):
        verdict = verdict_of(recorder, episode_id)
        assert topic(verdict, FRONT)["messages"] == 4
        assert topic(verdict, EPISODE)["messages"] == 3


def test_the_run_folder_tells_parameters_checkpoints_and_the_end(tmp_path: Path) -> None:
    assert termination_reason(tmp_path) == "shutdown"
    (tmp_path / "parameters.json").write_text('{"task": "peg_insertion", "seed": 3}')
    (tmp_path / "checkpoints.json").write_text('{"base": "sha256:ab"}')
    (tmp_path / "termination.json").write_text('{"reason": "node_lost:vla_node"}')
    run = describe_run(tmp_path, "/pld/", "sim", "kilted")
    assert run.parameters == {"task": "peg_insertion", "seed": "3"}
    assert run.checkpoints == {"base": "sha256:ab"}
    assert run.namespace == "/pld"
    assert {"python", "mcap"} <= set(run.versions)
    assert termination_reason(tmp_path) == "node_lost:vla_node"
    (tmp_path / "termination.json").write_text("{")
    assert termination_reason(tmp_path) == "shutdown"


def test_only_colour_topics_of_the_namespace_are_cameras() -> None:
    assert camera_name("/pld/camera/wrist/color/image_raw", "/pld") == "wrist"
    assert camera_name("/camera/wrist/color/image_raw") == "wrist"
    assert camera_name("/pld/camera/wrist/depth/image_rect_raw", "/pld") == ""
    assert camera_name("/other/camera/wrist/color/image_raw", "/pld") == ""
