"""The recorder as a process among real publishers: nothing lost, every end accounted for."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from domain_coordinator import domain_id
from pld_interfaces.msg import EpisodeStatus, RecorderStatus

from pld.recording.recover import RecoverResult, recover_episode
from pld.recording.schemas import installed_hash
from pld.recording.verdict import Verdict, load_verdict
from pld.recording.verify import verify_episode
from tests.nodes.recorder_graph import SmallGraph, kill_started, start_recorder, stop

RUNNING, ENDED = EpisodeStatus.RUNNING, EpisodeStatus.ENDED


@pytest.fixture
def domain() -> Iterator[int]:
    with domain_id() as found:
        yield int(found)
        kill_started()


@pytest.fixture
def small_graph(domain: int) -> Iterator[SmallGraph]:
    found = SmallGraph(domain)
    yield found
    found.close()


def begin(graph: SmallGraph, episode_id: str) -> None:
    graph.status(episode_id, RUNNING)
    assert graph.wait(lambda: graph.answered(RecorderStatus.RECORDING, episode_id))


def verdict_of(run_dir: Path, episode_id: str) -> Verdict:
    return load_verdict(run_dir / "episodes" / episode_id)


def test_two_episodes_of_raw_images_are_recorded_without_a_loss(
    tmp_path: Path, domain: int, small_graph: SmallGraph
) -> None:
    run_dir = tmp_path / "run"
    recorder = start_recorder(run_dir, domain)
    assert small_graph.wait(small_graph.is_matched), stop(recorder)
    small_graph.say_hello()
    for episode_id in ("e0", "e1"):
        small_graph.published.clear()
        begin(small_graph, episode_id)
        small_graph.run_for(2.0)
        small_graph.status(episode_id, ENDED, outcome=1, termination_reason="success")
        assert small_graph.wait(
            lambda name=episode_id: small_graph.answered(RecorderStatus.CLOSED, name)
        )
        verdict = verdict_of(run_dir, episode_id)
        counts = {t.name.removeprefix("/pld/"): t.messages for t in verdict.topics if t.messages}
        counts.pop("/diagnostics", None)
        assert counts == small_graph.published
        assert (verdict.lost, verdict.outcome) == (0, "success")
        checks = verify_episode(run_dir / "episodes" / episode_id, installed_hash)
        assert [c.problems for c in checks] == [()] * len(checks)
    assert stop(recorder, signal.SIGINT)[0] == 0


def test_a_terminated_recorder_closes_the_episode_with_the_supervisors_reason(
    tmp_path: Path, domain: int, small_graph: SmallGraph
) -> None:
    run_dir = tmp_path / "run"
    recorder = start_recorder(run_dir, domain)
    assert small_graph.wait(small_graph.is_matched), stop(recorder)
    small_graph.say_hello()
    begin(small_graph, "e0")
    small_graph.run_for(2.0)
    (run_dir / "termination.json").write_text(json.dumps({"reason": "node_lost:vla_node"}))
    assert stop(recorder)[0] == 0
    verdict = verdict_of(run_dir, "e0")
    assert (verdict.termination_reason, verdict.bag_state) == ("node_lost:vla_node", "complete")
    assert verdict.steps.steps >= small_graph.published["arm/state"] - 5


def test_a_killed_recorder_leaves_a_bag_that_can_be_recovered(
    tmp_path: Path, domain: int, small_graph: SmallGraph
) -> None:
    run_dir = tmp_path / "run"
    recorder = start_recorder(run_dir, domain)
    assert small_graph.wait(small_graph.is_matched), stop(recorder)
    small_graph.say_hello()
    begin(small_graph, "e0")
    small_graph.run_for(2.0)
    stop(recorder, signal.SIGKILL)
    recovery = recover_episode(run_dir / "episodes" / "e0")
    assert recovery.result is RecoverResult.LOSSY
    verdict = verdict_of(run_dir, "e0")
    arm = next(t for t in verdict.topics if t.name == "/pld/arm/state")
    assert small_graph.published["arm/state"] - arm.messages < 20
    assert verdict.termination_reason == "recorder_lost"


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"min_free_bytes": 10**18}, "needs at least 1000000000000000000"),
        ({"compression": "gzip"}, "'gzip'; valid: none, lz4, zstd"),
    ],
)
def test_a_recorder_that_could_not_record_ends_at_once_and_says_why(
    tmp_path: Path, domain: int, parameters: dict[str, object], named: str
) -> None:
    recorder = start_recorder(tmp_path / "run", domain, **parameters)
    output, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 2
    assert named in output.replace("recording ", "")
    assert "Traceback" not in output


def test_a_folder_that_cannot_be_made_ends_the_recorder_at_once(
    tmp_path: Path, domain: int
) -> None:
    (tmp_path / "file").write_text("no folder")
    recorder = start_recorder(tmp_path / "file" / "run", domain)
    output, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 2
    assert "output_dir:=FOLDER" in output
