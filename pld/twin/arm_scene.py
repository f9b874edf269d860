"""The simulated FR3 with its hand as an editable MJCF tree: franky-sim's own robot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pld.errors import MissingPackageError

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET


def arm_scene() -> ET.Element:
    """A fresh MJCF tree with the arm added first, so that it owns qpos[0:9] and qvel[0:9].

    It is the tree that franky-sim's server compiles; `pld.twin.scene.decorate` lays the task on
    it. Raises MissingPackageError with the install line when franky-sim is absent.
    """
    try:
        from franky_sim.mujoco_simulator import MujocoSimulator
    except ImportError as error:
        raise MissingPackageError(
            "the simulated arm needs franky-sim: pip install 'franky-sim==1.0.4'"
        ) from error
    simulator = MujocoSimulator()
    simulator.add_robot()
    tree: ET.Element = simulator.scene
    return tree
