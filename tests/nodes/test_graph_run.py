"""The whole graph on the twin: an episode from reset to bag, with the genuine clients below."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pld import cadence, contact_sheet, parity
from pld.cli.run import app
from pld.contract import CAMERAS, ActionSpec
from pld.recording.reader import Episode, read_episode
from pld.run_folder import episode_folders, success_rows
from pld.run_usage import SHARED_MEMORY
from pld.safety.limits import load_limits
from pld.types import ControlMode, EpisodeState
from pld_nodes import graph
from pld_nodes.graph import Deployment
from pld_nodes.ros import environment
from tests.nodes.whole_run import run_whole

environment.prepare()

import rclpy  # noqa: E402
from domain_coordinator import domain_id  # noqa: E402
from rclpy.context import Context  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LIMITS = load_limits(ROOT / "launch" / "config" / "limits_fr3.yaml")
ADDRESS = "127.0.0.71"


@dataclass
class Run:
    """One finished run of the graph, and what a stranger on the same domain saw of it."""

    code: int
    output: str
    folder: Path
    publishers: dict[str, set[str]] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)


def look_around(run: Run, domain: int, stop: threading.Event) -> None:
    """Note who really publishes and reads each topic of the table while the graph runs."""
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("stranger", context=context)
    while not stop.wait(0.3):
        for row in graph.TOPICS:
            name = row.name if row.name.startswith("/") else f"/pld/{row.name}"
            for seen, infos in (
                (run.publishers, node.get_publishers_info_by_topic(name)),
                (run.readers, node.get_subscriptions_info_by_topic(name)),
            ):
                seen.setdefault(row.name, set()).update(
                    i.node_name for i in infos if not i.node_name.startswith("_NODE_NAME")
                )
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="pld-test-") as folder, domain_id() as domain:
        arguments = ["policy:=expert", "episodes:=1", "seed:=3", "run:=r", f"robot_ip:={ADDRESS}"]
        result = Run(-1, "", Path(folder) / "r")
        stop = threading.Event()
        stranger = threading.Thread(target=look_around, args=(result, domain, stop))
        stranger.start()
        try:
            done = run_whole(Path(folder), int(domain), *arguments)
        finally:
            stop.set()
            stranger.join()
        result.code, result.output = done.returncode, done.stdout
        yield result


@pytest.fixture(scope="module")
def episode(run: Run) -> Episode:
    return read_episode(episode_folders(run.folder)[0])


def test_the_run_ends_well_and_the_expert_picks_the_cube_up(run: Run) -> None:
    assert run.code == 0, run.output
    total = success_rows(run.folder)[-1]
    assert (total.successes, total.episodes) == (1, 1)


def test_the_bag_lost_nothing_and_names_its_task(episode: Episode) -> None:
    verdict = episode.verdict
    assert verdict.lost == 0
    assert verdict.undecodable == 0
    assert (verdict.task, verdict.seed, verdict.mode) == ("cube_pickup", 3, "collect")
    assert verdict.region in ("centre", "wall", "corner")
    assert verdict.termination_reason == "success"


def test_independent_readers_agree_on_the_bag(run: Run) -> None:
    folder = episode_folders(run.folder)[0]
    report = Path(run.folder) / "verify.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pld_nodes.cli",
            "bag",
            "verify",
            str(folder),
            "--json",
            str(report),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(report.read_text())


def test_every_recorded_choice_and_command_follows_from_its_inputs(episode: Episode) -> None:
    found = parity.check(episode, LIMITS, ActionSpec())
    assert found.holds, found
    assert found.choices > 20


def test_every_step_of_the_running_episode_was_answered_once_or_held(episode: Episode) -> None:
    first = episode.updates[-1].value.first_step
    ended = [u for u in episode.updates if u.value.state is EpisodeState.ENDED]
    last = max(c.value.step for c in episode.choices if c.value.source != 0)
    steps = [c.value.step for c in episode.choices if first <= c.value.step <= last]
    assert len(steps) == len(set(steps))
    unanswered = set(parity.check(episode, LIMITS, ActionSpec()).unanswered)
    assert set(range(first, last + 1)) <= set(steps) | unanswered
    assert ended


def test_stamps_are_robot_time_and_commands_are_executed_in_time(episode: Episode) -> None:
    applied = cadence.applied_commands(episode)
    period = cadence.command_period_ms(applied)
    assert abs(float(period.mean()) - 50.0) < 2.0
    assert float(cadence.camera_to_command_ms(episode, applied).max()) < 120.0
    t_ns = [a.t_ns for a in episode.arm_states]
    assert t_ns == sorted(t_ns)
    assert t_ns[-1] < 120e9


def test_the_arm_was_tracked_without_faults(episode: Episode) -> None:
    modes = {a.value.control_mode for a in episode.arm_states}
    assert ControlMode.TRACKING in modes
    assert ControlMode.FAULT not in modes
    assert not any(a.value.errors for a in episode.arm_states)


def test_both_cameras_saw_the_episode_change(episode: Episode, tmp_path: Path) -> None:
    assert set(episode.images) == set(CAMERAS)
    assert list(contact_sheet.moments(episode)) == ["start", "grasp", "end"]
    sheet = contact_sheet.draw(episode.folder)
    assert sheet.shape[1] > 3 * 424
    for stream in episode.images.values():
        start, end = stream.load(0).rgb, stream.load(len(stream) - 1).rgb
        assert abs(start.astype(int) - end.astype(int)).mean() > 1.0


@pytest.mark.parametrize("row", graph.TOPICS, ids=lambda row: row.name)
def test_real_publishers_and_readers_equal_the_table(run: Run, row: graph.Topic) -> None:
    nodes = {p.name for p in graph.processes(Deployment.SIM) if p.is_node}
    producers = nodes if row.producer == graph.EVERY_NODE else {row.producer} & nodes
    assert run.publishers[row.name] == producers
    expected = {n for n in nodes if row.name in graph.read_by(n)}
    assert run.readers[row.name] == expected


def test_nobody_is_left_running(run: Run) -> None:
    assert run.code == 0
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(run.folder).encode() in _read(path)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_command_line_computes_every_decision_again(run: Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["parity", str(run.folder), "--json", str(tmp_path / "p.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "p.json").read_text())
    assert figures["episodes"] == 1
    assert figures["commands"] > 20
    assert figures["episodes_that_differ"] == []


def test_the_run_s_usage_and_cadence_are_told_by_commands(run: Run) -> None:
    usage, cadences = run.folder / "usage.json", run.folder / "cadence.json"
    told = CliRunner().invoke(app, ["usage", str(run.folder), "--json", str(usage)])
    assert told.exit_code == 0, told.output
    found = {row["name"]: row for row in json.loads(usage.read_text())}
    del found[SHARED_MEMORY]
    assert set(found) == {p.name for p in graph.processes(Deployment.SIM)}
    assert min(row["last_mb"] for row in found.values()) > 1
    assert min(row["cpu_percent"] for row in found.values()) > 0
    told = CliRunner().invoke(app, ["cadence", str(run.folder), "--json", str(cadences)])
    assert told.exit_code == 0, told.output
    (row,) = json.loads(cadences.read_text())
    assert (row["run"], row["episodes"], row["lost"]) == ("r", 1, 0)
    assert row["p50_ms"] == pytest.approx(50.0, abs=2.0)
