"""The ChArUco board that calibrations look at: drawn to print, and found in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pld.errors import ConfigError
from pld.geometry import pose_from_matrix
from pld.types import Image, Intrinsics, Pose

MARKERS = 50
"""Of the dictionary that boards are drawn with."""
SMALLEST_MARKER_PX = 12
LARGEST_SQUARE_M = 1.0
MIN_CORNERS = 6


@dataclass(frozen=True)
class Board:
    """A board of `columns` x `rows` squares [m]; the default fits on A4 with a margin.

    Its frame has its origin in a corner of the board, x along the columns and y along the rows.
    """

    columns: int = 7
    rows: int = 5
    square_m: float = 0.036
    marker_m: float = 0.027

    def __post_init__(self) -> None:
        """Refuse a board that cannot be drawn."""
        if self.columns < 3 or self.rows < 3:
            raise ConfigError(f"board: {self.columns} x {self.rows} squares; at least 3 x 3")
        if self.columns * self.rows // 2 > MARKERS:
            raise ConfigError(
                f"board: {self.columns} x {self.rows} squares need more than {MARKERS} markers"
            )
        if not 0 < self.marker_m < self.square_m < LARGEST_SQUARE_M:
            raise ConfigError(
                f"marker_m: {self.marker_m} must be positive and below square_m {self.square_m}, "
                f"and that below {LARGEST_SQUARE_M:g}"
            )

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the printed squares [m]; measure them on the print."""
        return self.columns * self.square_m, self.rows * self.square_m


def draw_board(board: Board, *, dpi: int = 300, margin_m: float = 0.012) -> NDArray[np.uint8]:
    """The board as a grey image (H, W) uint8, true to size when printed at `dpi` and 100 %."""
    px_per_m = dpi / 0.0254
    width_m, height_m = board.size_m
    margin_px = round(margin_m * px_per_m)
    size_px = (
        round(width_m * px_per_m) + 2 * margin_px,
        round(height_m * px_per_m) + 2 * margin_px,
    )
    if board.marker_m * px_per_m < SMALLEST_MARKER_PX:
        raise ConfigError(
            f"marker_m: {board.marker_m} is {board.marker_m * px_per_m:.0f} px at {dpi} dpi; at "
            f"least {SMALLEST_MARKER_PX} are needed: give larger markers or more dpi"
        )
    drawn = _charuco(board).generateImage(size_px, marginSize=margin_px)
    return np.asarray(drawn, np.uint8)


def find_board(rgb: Image, board: Board, intrinsics: Intrinsics) -> Pose | None:
    """`camera_T_board` from an image (H, W, 3) RGB, or None when too little of it is seen.

    One row of corners, however many, is too little: it can be turned about itself.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    charuco: Any = _charuco(board)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(charuco).detectBoard(grey)
    if ids is None or len(ids) < MIN_CORNERS or charuco.checkCharucoCornersCollinear(ids):
        return None
    points_m, points_px = charuco.matchImagePoints(corners, ids)
    distortion = np.array(intrinsics.distortion)
    found, turn, shift = cv2.solvePnP(points_m, points_px, intrinsics.matrix(), distortion)
    if not found:
        return None
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = cv2.Rodrigues(turn)[0], np.ravel(shift)
    return pose_from_matrix(matrix)


def write_png(path: str, image: NDArray[np.uint8], dpi: int) -> None:
    """Write a grey PNG that says its own resolution, so that it prints at its true size."""
    from PIL import Image as Picture

    Picture.fromarray(image).save(path, dpi=(dpi, dpi))


def _charuco(board: Board) -> cv2.aruco.CharucoBoard:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return cv2.aruco.CharucoBoard(
        (board.columns, board.rows), board.square_m, board.marker_m, dictionary
    )
