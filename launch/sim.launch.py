"""`ros2 launch pld_nodes sim.launch.py task:=cube_pickup`: the process table on the twin."""

from pld_nodes.graph import Deployment
from pld_nodes.launching import describe


def generate_launch_description():
    """The description that ros2 launch asks for."""
    return describe(Deployment.SIM)
