"""A run says which weights it began with: in its folder, and in every verdict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pld.errors import ConfigError
from pld.files import read_json
from pld.recording.run_files import describe_run
from pld.recording.session import RecordingSession, SessionConfig
from pld.recording.verdict import Verdict, load_verdict
from pld.share import share_path
from pld_nodes.graph import Deployment
from pld_nodes.parameters import parse_arguments
from pld_nodes.run import prepare
from tests.nodes.test_graph_probing import random_base, random_specialist
from tests.pld.recording_stream import NAMESPACE, Stream, settle, topics


def hash_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


SETTINGS = {
    "limits": hash_of(share_path("launch/config/limits_fr3.yaml")),
    "arm_config": hash_of(share_path("launch/config/arm_twin.yaml")),
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    base, actor = tmp_path / "base.safetensors", tmp_path / "actor.safetensors"
    random_specialist(actor, random_base(base))
    return {"policy": base, "specialist": actor}


def prepared(tmp_path: Path, *words: str) -> Path:
    """The folder of a run that is ready to start."""
    given = [f"output_dir:={tmp_path}", "run:=r", "robot_ip:=127.0.0.75", *words]
    run = prepare(parse_arguments(Deployment.SIM, given), Deployment.SIM)
    run.clean_up()
    return run.run_dir


def recorded(run_dir: Path) -> Verdict:
    """The verdict of an episode that the recorder's session kept in the run's folder."""
    recorder = RecordingSession(
        SessionConfig(run_dir, min_free_bytes=1_000_000),
        topics(),
        lambda: describe_run(run_dir, NAMESPACE, "sim", "kilted"),
    )
    for message in Stream().episode("e0", 3):
        recorder.on_message(message)
    settle(recorder)
    return load_verdict(run_dir / "episodes" / "e0")


def test_every_weights_file_of_a_run_is_in_its_verdicts(tmp_path: Path, files) -> None:
    words = [f"{name}:={path}" for name, path in files.items()]
    run_dir = prepared(tmp_path, "mode:=probe", "rate_hz:=10", *words)
    expected = {name: hash_of(path) for name, path in files.items()} | SETTINGS
    assert read_json(run_dir / "checkpoints.json") == expected
    assert recorded(run_dir).checkpoints == expected


def test_names_of_policies_and_detectors_are_no_weights(tmp_path: Path) -> None:
    assert read_json(prepared(tmp_path) / "checkpoints.json") == SETTINGS


def test_a_resumed_run_goes_on_with_the_weights_that_it_began_with(tmp_path: Path, files) -> None:
    run_dir = prepared(tmp_path, f"policy:={files['policy']}", "rate_hz:=10", "episodes:=2")
    began = {"policy": hash_of(files["policy"])} | SETTINGS
    words = ["resume:=r", f"output_dir:={tmp_path}", "robot_ip:=127.0.0.75"]
    prepare(parse_arguments(Deployment.SIM, words), Deployment.SIM).clean_up()
    assert read_json(run_dir / "checkpoints.json") == began
    random_base(files["policy"], seed=1)
    with pytest.raises(ConfigError, match="policy: its file is not the one that the run in"):
        prepare(parse_arguments(Deployment.SIM, words), Deployment.SIM)
    assert read_json(run_dir / "checkpoints.json") == began


def test_a_resumed_run_moves_within_the_limits_that_it_began_with(tmp_path: Path) -> None:
    own = tmp_path / "limits.yaml"
    own.write_text(share_path("launch/config/limits_fr3.yaml").read_text())
    run_dir = prepared(tmp_path, f"limits:={own}", "episodes:=2")
    words = ["resume:=r", f"output_dir:={tmp_path}", "robot_ip:=127.0.0.75"]
    prepare(parse_arguments(Deployment.SIM, words), Deployment.SIM).clean_up()
    own.write_text(own.read_text() + "# edited\n")
    with pytest.raises(ConfigError, match="limits: its file is not the one that the run in"):
        prepare(parse_arguments(Deployment.SIM, words), Deployment.SIM)
    began = read_json(run_dir / "checkpoints.json")
    del began["limits"]
    (run_dir / "checkpoints.json").write_text(json.dumps(began))
    prepare(parse_arguments(Deployment.SIM, words), Deployment.SIM).clean_up()
