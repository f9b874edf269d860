"""A policy in the graph beside the same policy in lockstep: the starts that both have count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pld import run_evaluation
from pld.errors import ConfigError
from pld.evaluation.results import EpisodeResult, Evaluation
from pld.files import sha256_of, write_json_atomically
from pld.recording.run_files import CHECKPOINTS_NAME, PARAMETERS_NAME
from pld.run_evaluation import deployed, policy_of_run
from tests.nodes.test_graph_probing import random_base

FIRST = 1_000_000_000


def evaluation(successes: str, first: int = FIRST, task: str = "peg_insertion") -> Evaluation:
    """One episode per letter, `y` for a success."""
    results = tuple(
        EpisodeResult(
            first + i, letter == "y", 10, "far", "success" if letter == "y" else "horizon"
        )
        for i, letter in enumerate(successes)
    )
    return Evaluation("base", task, "p", 0, results)


def compared(tmp_path: Path, monkeypatch, graph: Evaluation, lockstep: Evaluation):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(lockstep.as_json()))
    monkeypatch.setattr(run_evaluation, "evaluation_of", lambda *_: graph)
    return deployed(tmp_path, path)


def test_only_common_starts_count_and_they_are_paired(tmp_path: Path, monkeypatch) -> None:
    found = compared(tmp_path, monkeypatch, evaluation("yyn"), evaluation("ynnyyyyy"))
    assert (found.graph.rate.k, found.graph.rate.n, found.lockstep.rate.k) == (2, 3, 1)
    assert (found.pair.only_second, found.pair.only_first) == (1, 0)
    assert found.reasons == {"horizon": (2, 1), "success": (1, 2)}


def test_agreement_is_the_rate_within_the_lockstep_interval(tmp_path: Path, monkeypatch) -> None:
    lockstep = evaluation("y" * 95 + "n" * 5)
    assert compared(tmp_path, monkeypatch, evaluation("y" * 96 + "n" * 4), lockstep).agrees
    assert not compared(tmp_path, monkeypatch, evaluation("y" * 80 + "n" * 20), lockstep).agrees


def test_a_run_of_another_policy_is_no_comparison(tmp_path: Path, monkeypatch) -> None:
    weights = tmp_path / "base.safetensors"
    policy_id = random_base(weights).policy_id
    write = write_json_atomically
    write(tmp_path / PARAMETERS_NAME, {"policy": str(weights), "specialist": "actor.safetensors"})
    write(tmp_path / CHECKPOINTS_NAME, {"policy": f"sha256:{sha256_of(weights)}"})
    assert policy_of_run(tmp_path) == f"specialist-over-{policy_id}"
    with pytest.raises(ConfigError, match=f"ran specialist-over-{policy_id}, and .* is of p"):
        compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y"))
    write(tmp_path / CHECKPOINTS_NAME, {"policy": "sha256:of an earlier file"})
    assert policy_of_run(tmp_path) == ""
    assert compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y")).agrees


def test_a_run_in_which_base_and_specialist_take_turns_is_no_evaluation(
    tmp_path: Path, monkeypatch
) -> None:
    write_json_atomically(tmp_path / PARAMETERS_NAME, {"mode": "probe"})
    with pytest.raises(ConfigError, match="mode:=probe"):
        compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y"))
    write_json_atomically(tmp_path / PARAMETERS_NAME, {"mode": "evaluate"})
    assert compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y")).agrees


def test_seeds_of_no_evaluation_are_said_with_the_remedy(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation("y").as_json()))
    played = type("Played", (), {"seed": 3, "region": "far", "termination_reason": "success"})
    played.task, played.steps = "peg_insertion", type("Steps", (), {"steps": 9})
    monkeypatch.setattr(run_evaluation, "policys_episodes", lambda _: [(played, True)])
    with pytest.raises(ConfigError, match=f"is a .* seed; record a run with .* seed:={FIRST}"):
        deployed(tmp_path, path)


def test_nothing_in_common_is_said_with_the_remedy(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match=f"seed:={FIRST}"):
        compared(tmp_path, monkeypatch, evaluation("y", first=FIRST + 50), evaluation("yy"))
    with pytest.raises(ConfigError, match="is of cube_pickup, the evaluation of peg_insertion"):
        compared(tmp_path, monkeypatch, evaluation("y", task="cube_pickup"), evaluation("y"))
