"""Draws the cameras of a scene off-screen, colour and depth in one pass.

`pld.twin` chooses EGL, for machines without a screen, before mujoco is imported.
"""

from __future__ import annotations

import os
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from pld.errors import ConfigError, MissingPackageError
from pld.twin.frames import DEPTH_UNIT_M
from pld.twin.scene import render_options
from pld.types import Array, Image

MAX_GEOMS = 500
MAX_DEPTH_M = 10.0


class Drawing:
    """Draws images of `width_px` x `height_px` from generalised positions; owns the GL context."""

    def __init__(self, model: mujoco.MjModel, width_px: int, height_px: int) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._context = _gl_context(width_px, height_px)
        self._context.make_current()
        self._renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._viewport = mujoco.MjrRect(0, 0, width_px, height_px)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._options = render_options()
        self._rgb: Image = np.zeros((height_px, width_px, 3), np.uint8)
        self._depth = np.zeros((height_px, width_px), np.float32)

    def place(self, qpos: Array) -> None:
        """Put every body where `qpos` (nq,) says; raises ConfigError for another scene's qpos."""
        if qpos.size != self._model.nq:
            raise ConfigError(
                f"the simulator publishes {qpos.size} positions and this scene has "
                f"{self._model.nq}; start both with the same task"
            )
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def draw(self, camera: str, *, depth: bool) -> tuple[Image, NDArray[np.uint16] | None]:
        """Colour (H, W, 3) uint8 RGB and depth (H, W) in DEPTH_UNIT_M; views, valid until next."""
        eye = mujoco.MjvCamera()
        eye.type = mujoco.mjtCamera.mjCAMERA_FIXED
        eye.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._options,
            None,
            eye,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._renderer)
        buffer = self._depth if depth else None
        mujoco.mjr_readPixels(self._rgb, buffer, self._viewport, self._renderer)
        return self._rgb[::-1], self._metric_depth()[::-1] if depth else None

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.free()
        self._context.free()

    def _metric_depth(self) -> NDArray[np.uint16]:
        """Depth buffer to depth units along the optical axis; 0 beyond MAX_DEPTH_M."""
        extent, clip = self._model.stat.extent, self._model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        depth_m = near / (1.0 - self._depth * (1.0 - near / far))
        depth_m[depth_m > MAX_DEPTH_M] = 0.0
        units: NDArray[np.uint16] = np.rint(depth_m / DEPTH_UNIT_M).astype(np.uint16)
        return units


def _gl_context(width_px: int, height_px: int) -> Any:
    """An EGL context unless MUJOCO_GL asks for another, whoever imported mujoco first."""
    try:
        if os.environ.get("MUJOCO_GL") == "egl":
            from mujoco.egl import GLContext

            return GLContext(width_px, height_px)
        return mujoco.GLContext(width_px, height_px)
    except Exception as error:  # the OpenGL loaders raise errors of many kinds
        raise MissingPackageError(
            f"cannot draw off-screen ({error}); apt install libegl1 libgl1, or set MUJOCO_GL"
        ) from error
