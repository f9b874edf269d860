"""`pld demo`: the flywheel in small through the graph, and what becomes of an interrupted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from pld.base_policy.builtin import BuiltinPolicy
from pld.conversion import ConversionRow
from pld.distill.episodes import read_episodes
from pld.errors import ConfigError, RecordingError
from pld.evaluation.seeds import Purpose, purpose_of
from pld.flywheel.stage import SilentMeter
from pld.residual.actor import load_actor
from pld.run_evaluation import evaluation_of
from pld.run_folder import verdicts
from pld_nodes.demo import Demo, _fine_tune
from tests.pld.recording_stream import record

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--evaluations", "1", "--probing", "2", "--sft-steps", "2", "--robot-ip", "127.0.0.71"]


def demo(run: Path) -> subprocess.CompletedProcess[str]:
    with domain_id() as domain:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", "pld_nodes.cli", "demo", "--run", str(run), *WORDS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )


@pytest.fixture(scope="module")
def turned(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("demo") / "d"
    found = demo(run)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]
    assert "before and after" in found.stdout
    return run


def test_the_demo_goes_from_bags_to_a_new_policy_on_the_same_starts(turned) -> None:
    figures = json.loads((turned / "demo.json").read_text())
    starts = [[e["seed"] for e in figures[name]["episodes"]] for name in ("before", "after")]
    assert starts[0] == starts[1]
    assert len(starts[0]) == 1
    assert all(purpose_of(v.seed) is Purpose.PROBING for v in verdicts(turned / "probing"))
    episodes = read_episodes(turned / "data")
    assert len(episodes) == figures["probing_successes"] >= 1
    assert figures["frames_of_the_specialist"] == sum(e.specialist_steps for e in episodes)
    base, _ = Demo(turned).weights()
    new = BuiltinPolicy.load(turned / "distilled" / "policy.safetensors", "peg_insertion")
    assert new.policy_id != BuiltinPolicy.load(base, "peg_insertion").policy_id
    assert "<h1>" in (turned / "report.html").read_text()


def test_what_is_there_is_not_recorded_again(turned) -> None:
    bags = sorted(turned.glob("*/episodes/*/*.mcap"))
    before = [path.stat().st_mtime_ns for path in bags]
    again = demo(turned)
    assert again.returncode == 0, again.stderr
    assert "episode before-00000" not in again.stdout
    assert [path.stat().st_mtime_ns for path in bags] == before


def test_the_shipped_specialist_belongs_to_the_shipped_base() -> None:
    base, residual = Demo(Path("unused")).weights()
    policy = BuiltinPolicy.load(base, "peg_insertion")
    assert load_actor(residual, "peg_insertion").card.base_policy_id == policy.policy_id


def test_a_task_without_shipped_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="launch/demo/cube_pickup/base"):
        Demo(Path("unused"), task="cube_pickup").weights()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ConversionRow("e1", "refused", problem="why")], "e1 was refused: why"),
        ([ConversionRow("e1", "failure")], "no probing episode succeeded"),
    ],
)
def test_nothing_to_learn_from_is_said(tmp_path, rows, words) -> None:
    with pytest.raises(ConfigError, match=words):
        _fine_tune(Demo(tmp_path), Path("base"), rows, SilentMeter())


def test_only_evaluation_seeds_make_an_evaluation(tmp_path) -> None:
    folder = record(tmp_path / "run").parents[1]
    with pytest.raises(ConfigError, match="seed 7"):
        evaluation_of(folder, "base", "b", 0)
    (tmp_path / "empty" / "episodes").mkdir(parents=True)
    with pytest.raises(RecordingError, match="0 tasks"):
        evaluation_of(tmp_path / "empty", "base", "b", 0)
