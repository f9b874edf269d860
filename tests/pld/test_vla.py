"""The built-in VLA: its images, its weights on disk, its answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pld.base_policy.builtin import BuiltinPolicy
from pld.base_policy.builtin_checkpoint import load_checkpoint, save_checkpoint
from pld.base_policy.builtin_network import BuiltinNetwork, NetworkConfig, SpatialSoftmax, tokens
from pld.errors import ConfigError, ContractError
from pld.policy_image import policy_image
from tests.pld.vla_fixtures import INSTRUCTION, dataset, network, observation

torch.set_num_threads(1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    save_checkpoint(path, network(dataset()), ("cube_pickup",), (INSTRUCTION,), 20.0)
    return path


def _header(path: Path) -> dict[str, object]:
    from safetensors import safe_open

    with safe_open(path, "pt") as stream:
        content: dict[str, object] = json.loads(stream.metadata()["pld"])
    return content


def _rewrite(path: Path, **changes: object) -> None:
    tensors = load_file(path)
    save_file(tensors, path, metadata={"pld": json.dumps(_header(path) | changes)})


def test_the_default_network_has_fewer_than_half_a_million_parameters() -> None:
    net = BuiltinNetwork(NetworkConfig(vocabulary=("cube",)))
    assert sum(p.numel() for p in net.parameters()) < 500_000


def test_a_wide_image_is_cut_to_its_central_square_and_averaged() -> None:
    rgb = np.zeros((240, 424, 3), np.uint8)
    rgb[:, 92:332] = 100
    rgb[0:20, 92:112] = 200
    small = policy_image(rgb)
    assert small.shape == (84, 84, 3)
    assert small[3, 3, 0] == 200
    assert small[40:, 40:].min() == small[40:, 40:].max() == 100


def test_a_small_image_is_refused() -> None:
    with pytest.raises(ContractError, match="60x60"):
        policy_image(np.zeros((60, 60, 3), np.uint8))


def test_spatial_softmax_finds_where_a_channel_is_bright() -> None:
    maps = torch.zeros(1, 1, 21, 21)
    maps[0, 0, 5, 15] = 50.0
    x, y = SpatialSoftmax(1)(maps)[0].tolist()
    assert (x, y) == pytest.approx((0.5, -0.5), abs=1e-3)


def test_words_never_seen_share_one_number() -> None:
    assert tokens(("cube", "red"), "Red CUBE, quickly!") == [2, 1, 0]


def test_weights_come_back_with_the_same_answers_and_name(tmp_path: Path) -> None:
    path, kept = tmp_path / "policy.safetensors", network(dataset())
    saved = save_checkpoint(path, kept, ("cube_pickup",), (INSTRUCTION,), 20.0)
    assert saved.network is kept
    written, loaded = BuiltinPolicy(saved), BuiltinPolicy.load(path, "cube_pickup")
    seen = observation()
    np.testing.assert_array_equal(written.infer(seen), loaded.infer(seen))
    assert written.policy_id == loaded.policy_id


def test_the_chunk_is_within_the_contract(weights: Path) -> None:
    chunk = BuiltinPolicy.load(weights).infer(observation())
    assert chunk.shape == (3, 7)
    assert np.abs(chunk).max() <= 1


def test_features_and_actions_share_one_forward_pass(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, calls = BuiltinPolicy.load(weights), []
    forward = policy.forward_arrays
    monkeypatch.setattr(policy, "forward_arrays", lambda *a: calls.append(a) or forward(*a))
    seen = observation()
    assert policy.encode(seen).shape == (policy.feature_dim,)
    policy.infer(seen)
    assert len(calls) == 1
    policy.infer(observation())
    assert len(calls) == 2


def test_features_are_bounded(weights: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 424, 3), dtype=np.uint8)
    assert np.abs(BuiltinPolicy.load(weights).encode(observation(noise))).max() <= 1


def test_an_instruction_without_a_known_word_is_refused(weights: Path) -> None:
    with pytest.raises(ConfigError, match="known: cube, pick"):
        BuiltinPolicy.load(weights).infer(observation(instruction="öffne"))


def test_a_network_that_ignores_its_images_does_not_start(tmp_path: Path) -> None:
    net = network(dataset())
    with torch.no_grad():
        for encoder in net.encoders:
            encoder.points.temperature.zero_()  # type: ignore[union-attr]
    save_checkpoint(tmp_path / "blind", net, ("cube_pickup",), (INSTRUCTION,), 20.0)
    with pytest.raises(ConfigError, match="ignore the cameras"):
        BuiltinPolicy.load(tmp_path / "blind")


def test_weights_of_another_task_are_refused_by_name(weights: Path) -> None:
    with pytest.raises(ConfigError, match="trained for cube_pickup, not for 'peg_insertion'"):
        load_checkpoint(weights, "peg_insertion")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"format": "other"}, "format 'other'"),
        ({"tasks": None}, r"says nothing of \['tasks'\]"),
        ({"sha256": "0" * 64}, "changed after it was written"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    weights: Path, change: dict[str, object], message: str
) -> None:
    _rewrite(weights, **change)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(weights)


def test_weights_of_another_contract_are_refused_with_both_values(tmp_path: Path) -> None:
    net = BuiltinNetwork(replace(NetworkConfig(vocabulary=("a",)), proprio_dim=7))
    save_checkpoint(tmp_path / "w", net, ("cube_pickup",), ("a",), 20.0)
    with pytest.raises(ConfigError, match="proprio_dim 7; the contract says 19"):
        load_checkpoint(tmp_path / "w")


def test_tensors_of_other_sizes_are_named(weights: Path) -> None:
    sizes = _header(weights)["network"]
    assert isinstance(sizes, dict)
    _rewrite(weights, network=sizes | {"hidden": 64})
    with pytest.raises(ConfigError, match=r"trunk\.0\.weight"):
        load_checkpoint(weights)


def test_a_half_written_file_is_refused(weights: Path) -> None:
    content = weights.read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 1):
        weights.write_bytes(content[:length])
        with pytest.raises(ConfigError, match="no whole safetensors file"):
            load_checkpoint(weights)


def test_missing_weights_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pld train base"):
        load_checkpoint(tmp_path / "nothing")
