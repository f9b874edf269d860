"""`ros2 launch pld_nodes replay.launch.py bag:=FOLDER`: play a bag for viewing, below /replay."""

from pld_nodes.launching import describe_replay


def generate_launch_description():
    """The description that ros2 launch asks for."""
    return describe_replay()
