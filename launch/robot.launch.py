"""`ros2 launch pld_nodes robot.launch.py robot_ip:=...`: the process table on a real arm."""

from pld_nodes.graph import Deployment
from pld_nodes.launching import describe


def generate_launch_description():
    """The description that ros2 launch asks for."""
    return describe(Deployment.ROBOT)
