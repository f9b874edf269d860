"""Random shifts of images: every pixel comes from where its move says, the rim is repeated."""

from __future__ import annotations

import numpy as np
import pytest

from pld.augmentation import shifted


@pytest.mark.parametrize("reach", [0, 1, 4, 30])
def test_an_image_moves_as_a_whole_and_its_rim_is_repeated(reach: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 2, 12, 12, 3), np.uint8)
    rows = np.array([4, 0, 3, 3, 1, 2, 0, 4])
    found = shifted(images, rows, reach, np.random.default_rng(7))
    moves = np.random.default_rng(7).integers(-reach, reach + 1, (len(rows), 2, 2))
    places = np.arange(12)
    for (i, row), camera in ((pair, c) for pair in enumerate(rows) for c in range(2)):
        y, x = (np.clip(places + move, 0, 11) for move in moves[i, camera])
        np.testing.assert_array_equal(found[i, camera], images[row, camera][y][:, x])
