"""A repeated picture counts as frozen once the hand has travelled, whatever its stamp says."""

from __future__ import annotations

import numpy as np

from pld.cameras.frozen import TRAVEL_M, FrozenPictures
from pld.types import CameraImage


def image(t_ns: int, shade: int) -> CameraImage:
    return CameraImage(t_ns, -1, np.full((4, 6, 3), shade, np.uint8))


def after(*steps: tuple[int, int, float]) -> tuple[FrozenPictures, np.ndarray]:
    """Steps of (stamp, shade, x of the hand)."""
    pictures, p_m = FrozenPictures(), np.zeros(3)
    for t_ns, shade, x_m in steps:
        p_m = np.array([x_m, 0.0, 0.0])
        pictures = pictures.on_step({"wrist": image(t_ns, shade)}, p_m)
    return pictures, p_m


def test_new_stamps_do_not_hide_an_old_picture() -> None:
    pictures, p_m = after((1, 7, 0.0), (2, 7, TRAVEL_M), (3, 7, TRAVEL_M + 0.001))
    assert pictures.frozen(p_m) == ["wrist"]
    assert pictures.frozen(np.array([TRAVEL_M, 0.0, 0.0])) == []


def test_a_picture_that_changes_is_alive_and_so_is_one_of_a_hand_at_rest() -> None:
    pictures, p_m = after(*((i, i, 0.03 * i) for i in range(10)))
    assert pictures.frozen(p_m) == []
    pictures, p_m = after(*((i, 7, 0.0) for i in range(100)))
    assert pictures.frozen(p_m) == []


def test_one_camera_does_not_speak_for_the_other() -> None:
    pictures, p_m = FrozenPictures(), np.zeros(3)
    for step in range(4):
        p_m = np.array([0.015 * step, 0.0, 0.0])
        images = {"wrist": image(step, step), "third_person": image(step, 7)}
        pictures = pictures.on_step(images, p_m)
    assert pictures.frozen(p_m) == ["third_person"]


def test_a_picture_that_moves_again_is_alive_again() -> None:
    pictures, p_m = after((1, 7, 0.0), (2, 7, 0.05), (3, 8, 0.06), (4, 9, 0.07))
    assert pictures.frozen(p_m) == []


def test_a_picture_that_is_only_late_is_not_called_frozen() -> None:
    pictures, p_m = after((1, 7, 0.0), (1, 7, 0.03), (1, 7, 0.06))
    assert pictures.frozen(p_m) == []
