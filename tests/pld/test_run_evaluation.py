"""A policy in the graph beside the same policy in lockstep: the starts that both have count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pld import run_evaluation
from pld.errors import ConfigError
from pld.evaluation.results import EpisodeResult, Evaluation
from pld.files import write_json_atomically
from pld.flywheel.rolling import Specialist
from pld.recording.run_files import CHECKPOINTS_NAME, PARAMETERS_NAME, file_digest
from pld.residual.actor import ResidualActor, load_actor
from pld.run_evaluation import deployed, policy_of_run
from tests.nodes.test_graph_probing import random_base, random_specialist

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
    weights, actor = tmp_path / "base.safetensors", tmp_path / "actor.safetensors"
    base = random_base(weights)
    specialist = Specialist(base, random_specialist(actor, base))
    write = write_json_atomically
    write(tmp_path / PARAMETERS_NAME, {"policy": str(weights), "specialist": str(actor)})
    kept = {"policy": file_digest(weights), "specialist": file_digest(actor)}
    write(tmp_path / CHECKPOINTS_NAME, kept)
    assert policy_of_run(tmp_path) == specialist.policy_id
    with pytest.raises(ConfigError, match=f"ran {specialist.policy_id}, and .* is of p"):
        compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y"))
    for name in kept:
        write(tmp_path / CHECKPOINTS_NAME, {**kept, name: "sha256:of an earlier file"})
        assert policy_of_run(tmp_path) == ""
    assert compared(tmp_path, monkeypatch, evaluation("y"), evaluation("y")).agrees


def test_specialists_of_other_weights_over_the_same_base_are_other_policies(tmp_path: Path) -> None:
    base = random_base(tmp_path / "base.safetensors")
    first = random_specialist(tmp_path / "actor.safetensors", base)
    other = ResidualActor(replace(first.card, learned_steps=7), first._tensors())
    names = {Specialist(base, actor).policy_id for actor in (first, other)}
    assert len(names) == 2
    assert first.save(tmp_path / "again.safetensors") == first.digest
    files = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("actor", "again")]
    assert files[0] == files[1], "the same content is the same file"
    assert load_actor(tmp_path / "again.safetensors").digest == first.digest


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
