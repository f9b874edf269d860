"""The twin: MuJoCo scenes and tasks, the simulated arm's server, the cameras' renderer.

MuJoCo chooses its OpenGL back end when it is first imported; machines without a screen need EGL.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
