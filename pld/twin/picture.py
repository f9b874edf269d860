"""Draws a scene's cameras into arrays; the one place that owns an OpenGL context in process."""

from __future__ import annotations

import mujoco

from pld.contract import CAMERAS
from pld.errors import ConfigError
from pld.twin.scene import render_options
from pld.types import CameraImage

COSTLY_EFFECTS = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class Pictures:
    """Both cameras of one model at one size [px]; a square image is a wide one's central square."""

    def __init__(self, model: mujoco.MjModel, width_px: int, height_px: int) -> None:
        try:
            self._renderer = mujoco.Renderer(model, height_px, width_px)
        except mujoco.FatalError as error:
            raise ConfigError(
                f"no OpenGL context ({error}); set MUJOCO_GL=egl before Python starts, and "
                "install libegl1 and a driver (apt install libegl1 libgl1-mesa-dri)"
            ) from error
        self._options = render_options()
        for flag in COSTLY_EFFECTS:
            self._renderer.scene.flags[flag] = 0

    def take(self, data: mujoco.MjData, t_ns: int, sequence: int) -> dict[str, CameraImage]:
        """One image (H, W, 3) uint8 RGB per camera; positions in `data` must be current."""
        images = {}
        for camera in CAMERAS:
            self._renderer.update_scene(data, camera=camera, scene_option=self._options)
            images[camera] = CameraImage(t_ns, sequence, self._renderer.render().copy())
        return images

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
