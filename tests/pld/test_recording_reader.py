"""A bag read back gives what the loop saw: types, stamps and pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pld.errors import ContractError, RecordingError
from pld.recording.cdr import header_stamp_ns, image_array, image_layout
from pld.recording.reader import read_episode
from pld.recording.translate import base_action
from pld.types import ActionSource, ControlMode, EpisodeState
from tests.pld.recording_stream import (
    NS,
    READY_Q_RAD,
    arm_cdr,
    build,
    image_cdr,
    picture,
    record,
)


def test_every_step_comes_back_in_the_vocabulary_of_the_loop(tmp_path: Path) -> None:
    episode = read_episode(record(tmp_path, steps=5))
    arm = episode.arm_states[2]
    assert (arm.t_ns, arm.value.step) == (102 * NS // 20, 102)
    assert arm.log_time_ns > 1_600_000_000 * NS
    np.testing.assert_array_equal(arm.value.q_rad, READY_Q_RAD)
    np.testing.assert_allclose(arm.value.O_T_EE.p_m, [0.402, 0.1, 0.4])
    np.testing.assert_array_equal(arm.value.O_T_EE.q_xyzw, [0, 0, 0, 1])
    assert arm.value.control_mode is ControlMode.TRACKING
    assert [c.value.source for c in episode.choices] == [ActionSource.BASE] * 5
    np.testing.assert_array_equal(episode.base_actions[0].value.action, np.arange(7.0))
    np.testing.assert_array_equal(episode.commands[0].value.executed_action, np.full(7, 0.5))
    assert episode.commands[0].value.reasons == ("speed",)
    assert [r.value.step for r in episode.rewards] == list(range(100, 105))
    states = [u.value.state for u in episode.updates]
    assert states == [EpisodeState.RESETTING, EpisodeState.RUNNING, EpisodeState.ENDED]
    assert episode.updates[0].value.region == "corner"
    assert episode.residual_actions == episode.human_actions == ()


def test_images_are_loaded_one_by_one_and_exactly(tmp_path: Path) -> None:
    images = read_episode(record(tmp_path, steps=6)).images
    assert set(images) == {"third_person", "wrist"}
    stream = images["wrist"]
    assert len(stream) == 6
    np.testing.assert_array_equal(stream.load(4).rgb, picture(104))
    assert stream.load(4).t_ns == stream.t_ns[4] == 104 * NS // 20 - 10_000_000
    for index, image in enumerate(stream.all()):
        np.testing.assert_array_equal(image.rgb, picture(100 + index))


def test_the_newest_image_of_a_moment_is_found_by_its_stamp(tmp_path: Path) -> None:
    stream = read_episode(record(tmp_path, steps=6)).images["wrist"]
    assert stream.newest_before(int(stream.t_ns[3])) == 3
    assert stream.newest_before(int(stream.t_ns[3]) - 1) == 2
    with pytest.raises(RecordingError, match="no image"):
        stream.newest_before(0)


def test_pixels_come_out_in_the_order_of_the_contract() -> None:
    rgb = picture(3)
    np.testing.assert_array_equal(image_array(image_cdr(NS, rgb)), rgb)
    swapped = np.ascontiguousarray(rgb[:, :, ::-1])
    np.testing.assert_array_equal(image_array(image_cdr(NS, swapped, "bgr8")), rgb)
    depth = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(image_array(image_cdr(NS, depth, "16UC1")), depth)


def test_padded_rows_are_unpadded() -> None:
    rgb = picture(3)
    padded = np.concatenate([rgb.reshape(12, 48), np.zeros((12, 4), np.uint8)], axis=1)
    layout = image_layout(image_cdr(NS, rgb))
    cdr = bytearray(image_cdr(NS, padded, "rgb8"))
    width_at = cdr.index((52).to_bytes(4, "little"))
    cdr[width_at : width_at + 4] = (16).to_bytes(4, "little")
    np.testing.assert_array_equal(image_array(bytes(cdr)), rgb)
    assert (layout.height_px, layout.width_px, layout.row_bytes) == (12, 16, 48)


def test_stamps_are_read_without_decoding() -> None:
    assert header_stamp_ns(arm_cdr(1_234_567_890_123_456_789, 1)) == 1_234_567_890_123_456_789
    assert image_layout(image_cdr(NS + 5, picture(1))).stamp_ns == NS + 5


@pytest.mark.parametrize("size", [0, 3, 20, 60, 300])
def test_a_cut_image_is_refused(size: int) -> None:
    with pytest.raises(ContractError, match="not a serialized"):
        image_layout(image_cdr(NS, picture(1))[:size])


def test_an_unknown_encoding_lists_the_valid_ones() -> None:
    with pytest.raises(ContractError, match=r"'yuv422'.*rgb8, bgr8"):
        image_array(image_cdr(NS, picture(1), "yuv422"))


@pytest.mark.parametrize(("horizon", "index", "named"), [(3, 0, "14 numbers"), (2, 2, r"0\.\.1")])
def test_a_chunk_of_the_wrong_size_or_index_is_refused(
    horizon: int, index: int, named: str
) -> None:
    message = build(
        "pld_interfaces/msg/BaseAction",
        chunk=np.zeros(14),
        chunk_horizon=horizon,
        chunk_index=index,
    )
    with pytest.raises(ContractError, match=named):
        base_action(message)
