"""Camera images and intrinsics as messages."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from pld.types import CameraImage, Intrinsics
from pld_nodes.ros.messages import header

DEPTH_UNIT_M = 0.001


def color_frame(camera: str) -> str:
    """Optical frame of the colour image."""
    return f"{camera}_color_optical_frame"


def depth_frame(camera: str) -> str:
    """Optical frame of the depth image."""
    return f"{camera}_depth_optical_frame"


def color_to_msg(image: CameraImage, camera: str) -> Image:
    """The colour image as rgb8."""
    return _image(image.t_ns, color_frame(camera), "rgb8", image.rgb)


def depth_to_msg(image: CameraImage, camera: str) -> Image | None:
    """The depth image as 16UC1 [mm], as realsense-ros publishes it; None when there is none."""
    if image.depth_m is None:
        return None
    depth = np.rint(image.depth_m * (1.0 / DEPTH_UNIT_M)).astype(np.uint16)
    return _image(image.t_ns, depth_frame(camera), "16UC1", depth)


def _image(t_ns: int, frame_id: str, encoding: str, pixels: NDArray[np.generic]) -> Image:
    """Any pixels (H, W[, C]); only an array.array reaches the message without a slow copy."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    msg = Image(
        header=header(t_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=pixels.strides[0],
    )
    msg.data = data
    return msg


def camera_info(t_ns: int, frame_id: str, intrinsics: Intrinsics) -> CameraInfo:
    """Intrinsics of the image in the optical frame `frame_id`, plumb_bob, unrectified."""
    k = intrinsics.matrix()
    return CameraInfo(
        header=header(t_ns, frame_id),
        height=intrinsics.height_px,
        width=intrinsics.width_px,
        distortion_model="plumb_bob",
        d=list(intrinsics.distortion),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
    )
