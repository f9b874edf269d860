"""Episodes on disk, batches, and a fine-tuning that can be killed at any step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pld.augmentation import Augmentation
from pld.base_policy.builtin_training import BuiltinTrainer, copy_network
from pld.distill.dataset import SftDataset
from pld.distill.episodes import (
    corrected_part,
    episode_path,
    read_episode,
    read_episodes,
    successes,
    write_episode,
)
from pld.distill.sft import SftConfig, fine_tune
from pld.errors import ConfigError, ContractError
from pld.types import ActionSource
from tests.pld.vla_fixtures import dataset, episode, network

torch.set_num_threads(1)
PLAIN = Augmentation(0, 0.0, 0.0)
QUICK = SftConfig(steps=12, batch_size=8, warmup_steps=2, save_every=5)


def test_an_episode_survives_the_disk(tmp_path: Path) -> None:
    written = episode(3, takeover_step=4)
    write_episode(tmp_path / "e", written)
    found = read_episode(tmp_path / "e")
    for name in ("images", "proprio", "executed", "base", "source"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    assert (found.seed, found.takeover_step, found.instruction) == (3, 4, written.instruction)


def test_a_half_written_episode_is_refused_and_named(tmp_path: Path) -> None:
    path = episode_path(tmp_path, 7)
    write_episode(path, episode(7))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="episode-0000000007"):
        read_episodes(tmp_path)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="collect some"):
        read_episodes(tmp_path)


@pytest.mark.parametrize("name", ["proprio", "executed"])
def test_numbers_that_are_not_finite_never_become_an_episode(name: str) -> None:
    sound = episode(1)
    broken = np.array(getattr(sound, name))
    broken[2, 0] = np.nan
    content = {f: getattr(sound, f) for f in ("images", "proprio", "executed", "base", "source")}
    content[name] = broken
    with pytest.raises(ContractError, match="not finite"):
        type(sound)(**content, instruction="a", task="t", region="r", seed=1, success=True)


def test_only_successes_are_distilled() -> None:
    kept = successes([episode(1), episode(2, success=False), episode(3)])
    assert [e.seed for e in kept] == [1, 3]


def test_what_is_learned_from_begins_at_the_takeover_and_is_nothing_without_one() -> None:
    source = np.array([1] * 5 + [2] * 7, np.uint8)
    whole = replace(episode(3), source=source, takeover_step=5)
    part = corrected_part(whole)
    assert part is not None
    assert (part.source == 2).all()
    np.testing.assert_array_equal(part.executed, whole.executed[5:])
    np.testing.assert_array_equal(part.images, whole.images[5:])
    assert corrected_part(episode(3)) is None


def test_what_a_person_did_is_learned_from_without_any_specialist() -> None:
    helped = replace(episode(3), source=np.array([1] * 4 + [3] * 3 + [1] * 5, np.uint8))
    part = corrected_part(helped)
    assert part is not None
    np.testing.assert_array_equal(part.source, [3] * 3 + [1] * 5)
    shown = replace(episode(3), source=np.full(12, 3, np.uint8))
    assert len(corrected_part(shown) or ()) == 12


def test_a_chunk_holds_the_executed_actions_from_its_frame_on() -> None:
    one = episode(5, steps=6)
    frames = SftDataset([one], 4)
    batch = frames.batch(64, 0, 0, PLAIN)
    for row in range(64):
        t = int(np.flatnonzero((one.proprio == batch.proprio[row].numpy()).all(1))[0])
        left = min(4, 6 - t)
        np.testing.assert_array_equal(batch.chunk[row, :left].numpy(), one.executed[t : t + left])
        assert batch.mask[row].tolist() == [1.0] * left + [0.0] * (4 - left)


def test_chunks_never_reach_into_the_next_episode() -> None:
    episodes = [episode(1, 5), episode(2, 4)]
    batch = SftDataset(episodes, 3).batch(200, 0, 0, PLAIN)
    left = {
        tuple(row): len(one) - t for one in episodes for t, row in enumerate(one.proprio.tolist())
    }
    seen = [left[tuple(row)] for row in batch.proprio.tolist()]
    assert set(seen) == {1, 2, 3, 4, 5}
    assert batch.mask.sum(1).tolist() == [min(3, steps) for steps in seen]


def test_chunks_never_reach_over_steps_that_were_left_out(tmp_path: Path) -> None:
    written = replace(episode(1, 7), gaps=(2, 5))
    write_episode(tmp_path / "e", written)
    one = read_episode(tmp_path / "e")
    assert one.gaps == (2, 5)
    batch = SftDataset([one, episode(2, 3)], 3).batch(200, 0, 0, PLAIN)
    for row in range(200):
        found = np.flatnonzero((one.proprio == batch.proprio[row].numpy()).all(1))
        if len(found):
            left = next(end for end in (2, 5, 7) if end > found[0]) - int(found[0])
            assert int(batch.mask[row].sum()) == min(3, left)
    source = np.full(7, ActionSource.BASE, np.uint8)
    source[3:] = ActionSource.SPECIALIST
    corrected = corrected_part(replace(one, source=source))
    assert corrected is not None
    assert (len(corrected), corrected.gaps) == (4, (2,))


def test_every_task_has_the_same_part_in_a_batch_however_many_frames_it_has() -> None:
    many = [episode(i) for i in range(9)]
    few = episode(20, steps=3, instruction="insert the peg", task="peg_insertion")
    frames = SftDataset([*many, few], 3)
    of_peg = frames.instructions.index("insert the peg")
    for size, part in ((32, 16), (8, 4)):
        batch = frames.batch(size, 0, 0, PLAIN)
        assert int((batch.instruction == of_peg).sum()) == part
    one = SftDataset(many, 3)
    rows = np.random.default_rng((7, 5)).integers(0, len(one), 16)
    np.testing.assert_array_equal(one.batch(16, 7, 5, PLAIN).proprio, one.proprio[rows])


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    frames = dataset()
    first, again = (frames.batch(8, 1, 5, Augmentation()) for _ in range(2))
    other = frames.batch(8, 1, 6, Augmentation())
    torch.testing.assert_close(first.images, again.images, rtol=0, atol=0)
    assert not torch.equal(first.proprio, other.proprio)


def test_a_shift_moves_the_image_by_whole_pixels_and_repeats_the_rim() -> None:
    one = episode(2, steps=1)
    image = np.arange(84, dtype=np.uint8)[None, None, :, None, None]
    ramp = np.broadcast_to(image, (1, 2, 84, 84, 3)).copy()
    frames = SftDataset(
        [
            type(one)(
                ramp,
                *(getattr(one, n) for n in ("proprio", "executed", "base", "source")),
                "a",
                "t",
                "r",
                1,
                True,
            )
        ],
        1,
    )
    rows = frames.batch(50, 0, 0, Augmentation(3, 0.0, 0.0)).images[:, 0, :, 40, 0].numpy()
    shifts = rows[:, 42] - 42
    assert set(shifts) == {-3, -2, -1, 0, 1, 2, 3}
    for row, shift in zip(rows, shifts, strict=True):
        np.testing.assert_array_equal(row, np.clip(np.arange(84) + shift, 0, 83))


def test_training_learns_to_read_the_image() -> None:
    frames = dataset(10)
    net = network(frames)
    config = SftConfig(
        steps=200, batch_size=16, learning_rate=3e-3, averaging=0.9, augmentation=PLAIN
    )
    trainer = BuiltinTrainer(net)
    fine_tune(trainer, frames, config)
    with torch.no_grad():
        batch = frames.batch(64, 9, 9, PLAIN)
        words = trainer._words(frames.instructions)[batch.instruction]
        actions = net.actions(net(batch.images, batch.proprio, words)[0])[:, 0]
    error = (actions[:, 0] - batch.chunk[:, 0, 0]).abs().mean()
    assert float(error) < 0.3 * float(batch.chunk[:, 0, 0].abs().mean())


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [5, 7, 11])
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, killed_at: int) -> None:
    frames = dataset(3)
    whole, cut = network(frames), network(frames)
    fine_tune(BuiltinTrainer(whole), frames, QUICK)

    def kill(step: int, loss: float) -> None:
        if step == killed_at:
            raise _KilledError

    file = tmp_path / "training.safetensors"
    with pytest.raises(_KilledError):
        fine_tune(BuiltinTrainer(cut), frames, QUICK, file, kill)
    resumed = network(frames)
    report = fine_tune(BuiltinTrainer(resumed), frames, QUICK, file)
    assert report.resumed_from == (killed_at - 1) // 5 * 5
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_resume_file_of_other_settings_or_data_is_refused(tmp_path: Path) -> None:
    frames, file = dataset(3), tmp_path / "training.safetensors"
    fine_tune(BuiltinTrainer(network(frames)), frames, QUICK, file)
    other = SftConfig(steps=13, batch_size=8, save_every=5)
    with pytest.raises(ConfigError, match="other settings"):
        fine_tune(BuiltinTrainer(network(frames)), frames, other, file)
    with pytest.raises(ConfigError, match="other data"):
        fine_tune(BuiltinTrainer(network(frames)), dataset(4), QUICK, file)
    as_many = dataset(3)
    as_many.actions[5, 0] += 0.01
    with pytest.raises(ConfigError, match="a training with other data; delete it"):
        fine_tune(BuiltinTrainer(network(frames)), as_many, QUICK, file)
    with pytest.raises(ConfigError, match="a training with other weights; delete it"):
        fine_tune(BuiltinTrainer(network(frames, seed=9)), frames, QUICK, file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ConfigError, match="broken"):
        fine_tune(BuiltinTrainer(network(frames)), frames, QUICK, file)


def test_a_loss_that_is_not_finite_ends_training_loudly() -> None:
    frames = dataset(2)
    net = network(frames)
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))
    with pytest.raises(ConfigError, match="loss became nan at step 0"):
        fine_tune(BuiltinTrainer(net), frames, QUICK)


def test_fine_tuning_leaves_the_original_network_alone() -> None:
    frames = dataset(2)
    original = network(frames)
    before = {k: v.clone() for k, v in original.state_dict().items()}
    tuned = copy_network(original)
    fine_tune(BuiltinTrainer(tuned), frames, QUICK)
    for name, value in original.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(tuned.head.weight, original.head.weight)


@pytest.mark.parametrize(
    ("processor", "dtype"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_bf16_is_used_only_where_the_processor_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, processor: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    frames = dataset(2)
    net = network(frames)
    seen = []
    net.encoders[0].stem[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    fine_tune(BuiltinTrainer(net), frames, replace(QUICK, steps=1))
    assert seen == [dtype]


def test_short_and_long_instructions_weigh_their_words_alike() -> None:
    frames = SftDataset([episode(1), episode(2, instruction="insert the peg")], 3)
    net = network(frames)
    words = BuiltinTrainer(net)._words(frames.instructions)
    assert words.shape == (2, 15)
    for row, text in zip(words, frames.instructions, strict=True):
        from pld.base_policy.builtin_network import tokens

        short = torch.tensor([tokens(net.config.vocabulary, text)])
        torch.testing.assert_close(net.words(row[None]), net.words(short))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("images", (12, 2, 64, 64, 3)),
        ("proprio", (12, 5)),
        ("executed", (12, 6)),
        ("base", (12, 8)),
    ],
)
def test_an_episode_of_another_contract_is_refused_with_both_shapes(name: str, shape) -> None:
    whole = episode(1)
    with pytest.raises(ContractError, match=rf"seed 1: {name} of shape .*the contract says"):
        replace(whole, **{name: np.zeros(shape, getattr(whole, name).dtype)})


def test_a_training_killed_after_its_last_step_still_tells_its_loss(tmp_path: Path) -> None:
    frames, file = dataset(), tmp_path / "resume.safetensors"
    config = replace(QUICK, save_every=QUICK.steps)
    whole = fine_tune(BuiltinTrainer(network(frames)), frames, config, file)
    again = fine_tune(BuiltinTrainer(network(frames)), frames, config, file)
    assert again.resumed_from == QUICK.steps
    assert again.loss == pytest.approx(whole.loss)
    assert whole.loss > 0
