"""What a killed recorder leaves behind is rebuilt; what was finished is not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from typer.testing import CliRunner

from pld.cli.bag import app
from pld.errors import RecordingError
from pld.recording import recover
from pld.recording.bag import VERDICT_NAME
from pld.recording.mcap_read import BagFile
from pld.recording.reader import read_episode
from pld.recording.recover import RecoverResult, bag_path, overall, part_path, recover_episode
from pld.recording.verdict import load_verdict
from tests.pld.recording_stream import ARM, NS, Stream, record, session, settle

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys, time
from pathlib import Path
from tests.pld.recording_stream import Stream, session, EPISODE, ARM, arm_cdr, status_cdr, NS
recorder, stream = session(Path(sys.argv[1])), Stream()
recorder.on_message(stream.message(EPISODE, status_cdr(NS, "killed", 2, 0)))
for step in range(100000):
    stream.now_ns = time.time_ns()
    recorder.on_message(stream.message(ARM, arm_cdr(step * NS // 20, step)))
    print(stream.now_ns, flush=True)
    time.sleep(0.02)
"""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def logged(path: Path) -> list[tuple[str, bytes, int]]:
    with path.open("rb") as stream:
        return [(c.topic, m.data, m.log_time) for _, c, m in make_reader(stream).iter_messages()]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return record(tmp_path)


def unfinished(run_dir: Path, keep: float = 1.0, episode_id: str = "part") -> Path:
    """An episode whose recorder vanished: the bytes of a whole bag, cut, under the part's name."""
    folder = record(run_dir, episode_id)
    content = bag_path(folder).read_bytes()
    for path in folder.iterdir():
        path.unlink()
    part_path(folder).write_bytes(content[: int(len(content) * keep)])
    return folder


def test_a_killed_recorder_loses_less_than_a_second(tmp_path: Path) -> None:
    first = record(tmp_path, "first")
    before = tree(first)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = [process.stdout.readline() for _ in range(90)][-1]
    os.kill(process.pid, signal.SIGKILL)
    last = (process.stdout.read().split() or [last.strip()])[-1]
    process.wait()
    recovery = recover_episode(tmp_path / "episodes" / "killed")
    assert recovery.result is RecoverResult.LOSSY
    found = logged(bag_path(recovery.folder))
    assert int(last) - found[-1][2] < NS
    assert len(found) == recovery.messages > 50
    assert load_verdict(recovery.folder).termination_reason == "recorder_lost"
    assert load_verdict(recovery.folder).bag_state == "recovered"
    assert tree(first) == before


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_bag_becomes_a_readable_prefix(tmp_path: Path, keep: float) -> None:
    whole = logged(bag_path(record(tmp_path / "whole", "part")))
    folder = unfinished(tmp_path, keep)
    content = part_path(folder).read_bytes()
    recovery = recover_episode(folder)
    found = logged(bag_path(folder))
    assert recovery.result is RecoverResult.LOSSY
    assert found == whole[: len(found)]
    assert len(found) == recovery.messages == load_verdict(folder).messages
    assert (folder / "part.mcap.truncated").read_bytes() == content
    with Reader(folder) as reader:
        assert reader.message_count == len(found)


def test_every_cut_gives_a_prefix_or_nothing_and_never_an_error(tmp_path: Path) -> None:
    folder = unfinished(tmp_path)
    content = part_path(folder).read_bytes()
    counts = []
    for size in range(0, len(content), len(content) // 40):
        for path in folder.iterdir():
            path.unlink()
        part_path(folder).write_bytes(content[:size])
        recovery = recover_episode(folder)
        counts.append(recovery.messages)
        assert (recovery.result is RecoverResult.NOTHING) == (recovery.messages == 0)
        assert part_path(folder).exists() == (recovery.messages == 0)
    assert counts == sorted(counts)
    assert counts[0] == 0


def test_a_flipped_byte_ends_the_recovery_at_the_chunk_before(tmp_path: Path) -> None:
    folder = unfinished(tmp_path)
    content = bytearray(part_path(folder).read_bytes())
    with part_path(folder).open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    second = summary.chunk_indexes[1]
    content[second.chunk_start_offset + second.chunk_length // 2] ^= 0xFF
    part_path(folder).write_bytes(content)
    recovery = recover_episode(folder)
    assert recovery.result is RecoverResult.LOSSY
    assert 0 < recovery.messages < len(list(Stream().episode("e", 20)))


def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    folder = unfinished(tmp_path, 0.7)
    recover_episode(folder)
    once = tree(folder)
    again = recover_episode(folder)
    assert again.result is RecoverResult.OK
    assert tree(folder) == once


@pytest.mark.parametrize("survived", range(4))
def test_an_interrupted_recovery_is_simply_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Die at each of the four steps that change the folder; the next run ends the same."""
    expected_folder = unfinished(tmp_path / "reference", 0.7)
    recover_episode(expected_folder)
    folder = unfinished(tmp_path / "interrupted", 0.7)
    calls = 0

    def dying(real: Any) -> Any:
        def step(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > survived:
                raise KeyboardInterrupt
            return real(*args)

        return step

    with monkeypatch.context() as patch:
        for name in ("rename_durably", "write_durably", "save_verdict"):
            patch.setattr(recover, name, dying(getattr(recover, name)))
        with pytest.raises(KeyboardInterrupt):
            recover_episode(folder)
    recover_episode(folder)
    assert tree(folder) == tree(expected_folder)


def test_a_whole_part_that_only_missed_its_renaming_is_complete(tmp_path: Path) -> None:
    folder = unfinished(tmp_path)
    assert recover_episode(folder).result is RecoverResult.OK
    verdict = load_verdict(folder)
    assert (verdict.bag_state, verdict.outcome) == ("complete", "success")
    assert verdict.termination_reason == "task_succeeded"


@pytest.mark.parametrize("missing", [["verdict.json"], ["metadata.yaml", "verdict.json"]])
def test_a_bag_without_its_last_files_gets_them_back(finished: Path, missing: list[str]) -> None:
    before = tree(finished)
    for name in missing:
        (finished / name).unlink()
    assert recover_episode(finished).result is RecoverResult.OK
    after = tree(finished)
    assert after["metadata.yaml"] == before["metadata.yaml"]
    assert after["e0.mcap"] == before["e0.mcap"]
    assert load_verdict(finished).outcome == "success"


def test_a_finished_episode_stays_bit_identical(finished: Path) -> None:
    before = tree(finished)
    assert recover_episode(finished).result is RecoverResult.OK
    assert tree(finished) == before


def test_a_bag_that_is_being_written_is_refused(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    for message in list(stream.episode("e0", 2))[:-1]:
        recorder.on_message(message)
    with pytest.raises(RecordingError, match="written by a running recorder"):
        recover_episode(tmp_path / "episodes" / "e0")
    recorder.shutdown("shutdown")
    assert load_verdict(tmp_path / "episodes" / "e0").termination_reason == "shutdown"


def test_a_recovered_verdict_counts_what_is_missing_in_the_bag(tmp_path: Path) -> None:
    recorder, stream = session(tmp_path), Stream()
    messages = list(stream.episode("e0", 6))
    arms = [m for m in messages if m.topic == ARM]
    for message in messages:
        if message not in arms[2:4]:
            recorder.on_message(message)
    settle(recorder)
    folder = tmp_path / "episodes" / "e0"
    (folder / "verdict.json").unlink()
    recover_episode(folder)
    assert {t.name: t.lost for t in load_verdict(folder).topics}[ARM] == 2


def test_a_given_reason_is_written_where_nobody_ended_the_episode(tmp_path: Path) -> None:
    folder = unfinished(tmp_path, 0.3)
    recover_episode(folder, "power_cut")
    assert load_verdict(folder).termination_reason == "power_cut"
    assert load_verdict(folder).outcome == "unlabelled"


def test_exit_codes_say_what_became_of_a_whole_run(tmp_path: Path) -> None:
    run = CliRunner()
    record(tmp_path, "good")
    assert run.invoke(app, ["recover", str(tmp_path)]).exit_code == 0
    empty = tmp_path / "episodes" / "empty"
    empty.mkdir()
    part_path(empty).write_bytes(b"")
    assert run.invoke(app, ["recover", str(empty)]).exit_code == 1
    unfinished(tmp_path, 0.5)
    assert run.invoke(app, ["recover", str(tmp_path / "episodes" / "part")]).exit_code == 3
    assert overall([recover_episode(empty)]) is RecoverResult.NOTHING
    assert run.invoke(app, ["recover", str(tmp_path)]).exit_code == 3


def test_an_episode_that_cannot_be_recovered_does_not_keep_the_others_from_it(
    tmp_path: Path,
) -> None:
    broken = unfinished(tmp_path, 0.5, "a")
    (broken / VERDICT_NAME).write_text("{")
    later = unfinished(tmp_path, 0.5, "b")
    done = CliRunner().invoke(app, ["recover", str(tmp_path)])
    assert done.exit_code == 3
    assert load_verdict(later).bag_state == "recovered"
    with pytest.raises(RecordingError, match=r"verdict\.json"):
        recover_episode(broken)


def damage(path: Path, where: float) -> None:
    """Flip bits of one byte, `where` in the file (0 to 1)."""
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 7
    path.write_bytes(bytes(content))


def test_a_finished_bag_with_a_damaged_summary_is_rebuilt_whole(finished: Path) -> None:
    before, verdict = logged(bag_path(finished)), load_verdict(finished)
    damage(bag_path(finished), 0.7)
    with pytest.raises(RecordingError, match=r"checksum.*pld bag recover"):
        BagFile(bag_path(finished))
    damaged = bag_path(finished).read_bytes()
    found = recover_episode(finished)
    assert (found.result, found.note) == (RecoverResult.OK, "it was whole")
    assert sorted(logged(bag_path(finished))) == sorted(before)
    assert load_verdict(finished).outcome == verdict.outcome
    kept = finished / f"{finished.name}.mcap.truncated"
    assert kept.read_bytes() == damaged
    assert recover_episode(finished).note == "nothing to do"
    damage(bag_path(finished), 0.7)
    assert recover_episode(finished).result == RecoverResult.OK
    assert kept.read_bytes() == damaged, "what an earlier recovery kept is not replaced"
    assert kept.with_name(f"{kept.name}.2").exists()


def test_a_verdict_that_was_known_stays_with_what_could_be_recovered(finished: Path) -> None:
    before = load_verdict(finished)
    assert before.outcome == "success"
    damage(bag_path(finished), 0.3)
    assert recover_episode(finished).result is RecoverResult.LOSSY
    after = load_verdict(finished)
    assert (after.outcome, after.termination_reason) == ("success", before.termination_reason)
    assert after.bag_state == "recovered"
    assert after.messages < before.messages


def test_a_damaged_bag_without_its_verdict_is_rebuilt_likewise(finished: Path) -> None:
    (finished / VERDICT_NAME).unlink()
    damage(bag_path(finished), 0.4)
    found = recover_episode(finished)
    assert found.result is RecoverResult.LOSSY
    assert found.messages > 0
    assert load_verdict(finished).outcome == "unlabelled"


def test_whatever_is_damaged_is_told_as_a_damaged_recording(finished: Path) -> None:
    path = bag_path(finished)
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    told = 0
    for _ in range(120):
        content = bytearray(whole)
        at = int(rng.integers(len(content)))
        kind = rng.integers(3)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content[at] ^= int(rng.integers(1, 256))
        else:
            content[at : at + 20] = rng.bytes(len(content[at : at + 20]))
        path.write_bytes(bytes(content))
        try:
            read_episode(finished)
        except RecordingError:
            told += 1
    assert told > 100
