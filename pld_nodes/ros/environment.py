"""What a ROS process needs in its environment before rclpy is imported.

`prepare` is idempotent and changes nothing that an operator has set, except that DDS discovery
stays on this machine unless PLD_ROS_DISCOVERY says otherwise.
"""

from __future__ import annotations

import os
import sys
from importlib import resources

from pld.errors import MissingPackageError


def profile_variable() -> str:
    """How this distribution names the variable of the Fast DDS profile; newer ones warn."""
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"


def variables() -> dict[str, str]:
    """Environment variables for our processes: fast discovery, large segments, localhost only."""
    profile = str(resources.files("pld_nodes.ros").joinpath("fastdds.xml"))
    wanted = {
        profile_variable(): profile,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": os.environ.get("PLD_ROS_DISCOVERY", "LOCALHOST"),
        "AMENT_PREFIX_PATH": sys.prefix,
        "OMP_NUM_THREADS": "1",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def prepare() -> None:
    """Set the variables in this process; raises MissingPackageError when rclpy is absent."""
    os.environ.update(variables())
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"rclpy cannot be imported ({error}); run `make test` or `make demo` once, which "
            "installs it, or source /opt/ros/<distro>/setup.bash"
        ) from error
