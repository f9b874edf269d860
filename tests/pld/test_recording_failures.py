"""A disk that is full, slow or read-only: loud, counted, and nothing written is lost."""

from __future__ import annotations

import errno
import io
import resource
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

from pld.errors import RecordingError
from pld.recording.durable import require_room
from pld.recording.recover import RecoverResult, bag_path, part_path, recover_episode
from pld.recording.session import RecorderState, SessionConfig
from pld.recording.verdict import load_verdict
from pld.recording.writer import WriterConfig
from tests.pld.recording_stream import EPISODE, FRONT, NS, Stream, session, settle, status_cdr

ROOT = Path(__file__).resolve().parents[2]
NO_COMPRESSION = WriterConfig(compression="none")


class FullDisk(io.FileIO):
    """A file on a disk with room for `room_bytes` more."""

    room_bytes = 200_000

    def write(self, data: Any) -> int:
        taken = memoryview(data)[: self.room_bytes]
        if not len(taken):
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(taken)
        self.room_bytes -= written
        return written


def open_on_full_disk(path: Path) -> IO[bytes]:
    return io.BufferedWriter(FullDisk(path, "xb"), 1024)


def fill(run_dir: Path, opener: Any) -> Any:
    """Record more than the disk takes; returns the session."""
    config = SessionConfig(run_dir, min_free_bytes=1, writer=NO_COMPRESSION)
    recorder, stream = session(run_dir, config=config, opener=opener), Stream()
    for message in list(stream.episode("e0", 200))[:-1]:
        recorder.on_message(message)
    recorder.shutdown("shutdown")
    return recorder


def test_a_full_disk_ends_the_episode_loudly(tmp_path: Path) -> None:
    status = fill(tmp_path, open_on_full_disk).status
    assert status.state is RecorderState.FAILED
    assert "No space left on device (ENOSPC)" in status.error
    assert "pld bag recover" in status.error


def test_what_was_written_before_the_disk_filled_is_kept_and_recoverable(tmp_path: Path) -> None:
    fill(tmp_path, open_on_full_disk)
    folder = tmp_path / "episodes" / "e0"
    failed = load_verdict(folder)
    assert (failed.bag_state, failed.termination_reason) == ("failed", "recording_failed")
    assert part_path(folder).stat().st_size == FullDisk.room_bytes
    recovery = recover_episode(folder)
    assert recovery.result is RecoverResult.LOSSY
    assert recovery.messages > 50
    verdict = load_verdict(folder)
    assert (verdict.bag_state, verdict.termination_reason) == ("recovered", "recording_failed")
    assert "ENOSPC" in verdict.error


def test_after_a_failure_the_next_episode_is_recorded_again(tmp_path: Path) -> None:
    openers = iter([open_on_full_disk])

    def opener(path: Path) -> IO[bytes]:
        return next(openers, lambda p: p.open("xb"))(path)

    recorder = fill(tmp_path, opener)
    stream = Stream(2 * Stream().now_ns)
    for message in stream.episode("e1", 3):
        recorder.on_message(message)
    settle(recorder)
    assert recorder.status.state is RecorderState.CLOSED
    assert load_verdict(tmp_path / "episodes" / "e1").bag_state == "complete"


def test_a_file_size_limit_of_the_system_is_met_the_same_way(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.pld.test_recording_failures import fill\n"
        "from pld.recording.writer import open_exclusively\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "print(fill(Path(sys.argv[1]), open_exclusively).status.error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "EFBIG" in done.stdout
    assert recover_episode(tmp_path / "episodes" / "e0").result is RecoverResult.LOSSY
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200_000


def test_a_slow_disk_drops_by_count_and_never_in_silence(tmp_path: Path) -> None:
    gate = threading.Event()

    class SlowFile(io.FileIO):
        def write(self, data: Any) -> int:
            gate.wait(30)
            return super().write(data)

    def opener(path: Path) -> IO[bytes]:
        gate.set()
        return io.BufferedWriter(SlowFile(path, "xb"), 16)

    writer = WriterConfig(compression="none", queue_bytes=20_000)
    config = SessionConfig(tmp_path, min_free_bytes=1, writer=writer)
    recorder, stream = session(tmp_path, config=config, opener=opener), Stream()
    messages = list(stream.episode("e0", 100))
    recorder.on_message(messages[0])
    gate.clear()
    for message in messages[1:-1]:
        recorder.on_message(message)
    assert recorder.dropped > 0
    gate.set()
    while recorder._writer is not None and recorder._writer._queued_bytes:
        gate.wait(0.001)
    recorder.on_message(messages[-1])
    settle(recorder)
    verdict = load_verdict(tmp_path / "episodes" / "e0")
    sent = Counter(m.topic for m in messages)
    for topic in verdict.topics:
        assert topic.messages + topic.dropped == sent[topic.name], topic.name
        assert topic.lost == topic.dropped
    assert verdict.lost == recorder.status.lost == sum(t.dropped for t in verdict.topics) > 0


def test_too_little_room_is_refused_before_anything_moves(tmp_path: Path) -> None:
    recorder = session(tmp_path, free=lambda _: 999_999)
    with pytest.raises(RecordingError, match=r"999999 bytes free.*at least 1000000.*output_dir:="):
        recorder.check()


def test_a_folder_that_cannot_be_made_is_refused_before_anything_moves(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(RecordingError, match=r"file/runs.*\(ENOTDIR\).*output_dir:="):
        require_room(blocked / "runs")


def test_a_disk_that_fills_between_episodes_refuses_the_next_one(tmp_path: Path) -> None:
    recorder = session(tmp_path, free=lambda _: 10)
    stream = Stream()
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, "e0", 1)))
    assert recorder.status.state is RecorderState.FAILED
    assert "10 bytes free" in recorder.status.error
    assert not (tmp_path / "episodes" / "e0").exists()


@pytest.mark.parametrize("episode_id", ["../out", "a/b", ".hidden", "-x", "ä"])
def test_an_episode_id_that_is_no_folder_name_is_refused(tmp_path: Path, episode_id: str) -> None:
    recorder, stream = session(tmp_path), Stream()
    recorder.on_message(stream.message(EPISODE, status_cdr(NS, episode_id, 1)))
    assert recorder.status.state is RecorderState.FAILED
    assert repr(episode_id) in recorder.status.error


def test_undecodable_bytes_are_counted_and_kept(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    messages = list(stream.episode("e0", 3))
    messages.insert(5, stream.message(FRONT, b"\x00\x01\x00\x00short"))
    for message in messages:
        recorder.on_message(message)
    settle(recorder)
    verdict = load_verdict(tmp_path / "episodes" / "e0")
    assert verdict.undecodable == 1
    assert verdict.messages == len(messages)
    assert bag_path(tmp_path / "episodes" / "e0").exists()
