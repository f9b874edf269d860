"""From a camera's image to the policy's: centre square, area average, 84 px. Live and offline."""

from __future__ import annotations

import cv2
import numpy as np

from pld.contract import POLICY_IMAGE_PX
from pld.errors import ContractError
from pld.types import Image


def policy_image(rgb: Image, side_px: int = POLICY_IMAGE_PX) -> Image:
    """Centre-crop (H, W, 3) uint8 RGB to a square and average it down to (side, side, 3).

    An image that already has this size passes unchanged.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ContractError(f"an image of shape {rgb.shape} {rgb.dtype}; give (H, W, 3) uint8 RGB")
    if rgb.shape[:2] == (side_px, side_px):
        return rgb
    side = min(rgb.shape[:2])
    if side < side_px:
        raise ContractError(f"an image of {rgb.shape[1]}x{rgb.shape[0]} px; need {side_px} or more")
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    square = rgb[top : top + side, left : left + side]
    resized = cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
