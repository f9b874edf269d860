"""A policy's process dies in mid-run: the bag is closed, and `resume:=RUN` records the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from domain_coordinator import domain_id

from pld.recording.reader import read_episode
from pld.run_folder import episode_folders, verdicts
from tests.nodes.test_graph_probing import random_base, random_specialist
from tests.nodes.whole_run import start_run

ROOT = Path(__file__).resolve().parents[2]
SEED = 50
CASES = (("probe", "residual_node"), ("learn", "learner_node"))


@dataclass
class Killed:
    """What a run said that lost `node`, and what the resumed one said."""

    node: str
    folder: Path
    first: str
    first_code: int
    bag: bytes
    second: str
    second_code: int


BEGUN_S = 1.0  # of an episode of 2 s that begins two steps after it is told


def start(folder: Path, words: list[str]) -> subprocess.Popen[str]:
    return start_run(folder, "robot_ip:=127.0.0.73", *words)


def kill_while_running(run: subprocess.Popen[str], node: str) -> str:
    """SIGKILL the process of `node` once an episode runs; returns all that the run printed."""
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        lines.append(line)
        if "running, wants nothing" in line:
            victim = next(
                child
                for child in psutil.Process(run.pid).children(recursive=True)
                if f"pld_nodes.{node}" in child.cmdline()
            )
            time.sleep(BEGUN_S)
            os.kill(victim.pid, signal.SIGKILL)
            break
    rest, _ = run.communicate(timeout=120)
    return "".join(lines) + rest


@pytest.fixture(scope="module", params=CASES, ids=[node for _, node in CASES])
def killed(request, tmp_path_factory) -> Killed:
    mode, node = request.param
    folder = tmp_path_factory.mktemp("runs")
    base = random_base(folder / "base.safetensors")
    words = ["run:=r", "task:=cube_pickup", f"mode:={mode}", "rate_hz:=10", "episodes:=2"]
    words += ["horizon_s:=2", f"seed:={SEED}", f"policy:={folder / 'base.safetensors'}"]
    if mode == "probe":
        random_specialist(folder / "actor.safetensors", base)
        words.append(f"specialist:={folder / 'actor.safetensors'}")
    with pytest.MonkeyPatch.context() as patch, domain_id() as domain:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        lost = start(folder, words)
        first = kill_while_running(lost, node)
        bag = next((folder / "r" / "episodes").glob("*-00000/*.mcap")).read_bytes()
        resumed = start(folder, ["resume:=r"])
        second, _ = resumed.communicate(timeout=200)
    return Killed(node, folder / "r", first, lost.returncode, bag, second, resumed.returncode)


def test_the_run_ends_and_says_who_was_lost(killed: Killed) -> None:
    assert killed.first_code != 0
    assert f"{killed.node} ended" in killed.first


def test_the_episode_is_closed_whole_and_belongs_to_nobody(killed: Killed) -> None:
    verdict = verdicts(killed.folder)[0]
    assert verdict.termination_reason == f"node_lost:{killed.node}"
    assert verdict.outcome == "unlabelled"
    episode = read_episode(episode_folders(killed.folder)[0])
    assert episode.verdict.bag_state in ("complete", "recovered")
    assert len(episode.commands) > 0


def test_the_resumed_run_records_what_was_missing_and_nothing_twice(killed: Killed) -> None:
    assert killed.second_code == 0, killed.second
    found = verdicts(killed.folder)
    assert [(v.index, v.seed) for v in found] == [(0, SEED), (1, SEED + 1)]
    assert found[1].termination_reason in ("horizon", "success")
    assert found[1].parameters == found[0].parameters
    assert next(episode_folders(killed.folder)[0].glob("*.mcap")).read_bytes() == killed.bag
