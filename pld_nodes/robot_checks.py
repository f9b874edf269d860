"""What a run on a real arm may not be told: settings that can only work in the twin."""

from __future__ import annotations

from pathlib import Path

from pld.base_policy.registry import TWIN_ONLY
from pld.calibration.files import load_calibration
from pld.config import load_yaml
from pld.contract import CAMERAS
from pld.errors import ConfigError
from pld.robots.franka import FrankaConfig
from pld.safety.limits import SafetyLimits
from pld.share import share_path
from pld_nodes.parameters import WEIGHTS, RunParameters, resolve

DRIVEN = "fr3"
"""The robot that the driver is a client of, as limits files name it."""
REMEDY = {
    "policy": f"policy:={WEIGHTS}, or policy:=still to move it by hand",
    "detector": f"detector:=operator or detector:={WEIGHTS}",
    "scene": "scene:=operator",
    "realtime": "realtime:=enforce",
    "arm_config": "arm_config:=launch/config/arm_fr3.yaml, or your own",
    "calibrations": "calibrations:=FILE,FILE of your cameras",
}
TWIN_VALUES = {"detector": "twin", "scene": "service", "realtime": "ignore"}
TWIN_ARM = "launch/config/arm_twin.yaml"
TWIN_SERIAL = "TWIN-"


def check_robot_named(limits: SafetyLimits, path: str) -> None:
    """The limits must be the driven robot's; raises ConfigError."""
    if limits.robot != DRIVEN:
        raise ConfigError(
            f"limits: {path!r} is for robot {limits.robot!r}; the driver is a client of "
            f"{DRIVEN!r}: give limits:=launch/config/limits_{DRIVEN}.yaml, or your own for it"
        )


def check_for_real_arm(parameters: RunParameters) -> None:
    """Refuse what needs the twin; raises ConfigError that names the remedy."""
    if parameters.policy in TWIN_ONLY:
        raise _needs_twin("policy", parameters.policy)
    for name, value in TWIN_VALUES.items():
        if getattr(parameters, name) == value:
            raise _needs_twin(name, value)
    driver = load_yaml(Path(resolve(parameters.arm_config)), FrankaConfig)
    if driver == load_yaml(share_path(TWIN_ARM), FrankaConfig):
        raise _needs_twin("arm_config", parameters.arm_config)
    _check_serials(parameters)
    _check_calibrations(parameters)


def _check_serials(parameters: RunParameters) -> None:
    """Both cameras must be named, and be no cameras of the twin."""
    for camera in CAMERAS:
        serial = getattr(parameters, f"{camera}_serial")
        if not serial or serial.startswith(TWIN_SERIAL):
            raise ConfigError(
                f"{camera}_serial is {serial or 'empty'}; `pld camera list` prints the serial "
                f"numbers, then add {camera}_serial:=NUMBER"
            )
    serials = [getattr(parameters, f"{camera}_serial") for camera in CAMERAS]
    if len(set(serials)) < len(serials):
        raise ConfigError(f"{serials[0]} is the serial of both cameras; give each its own")


def _check_calibrations(parameters: RunParameters) -> None:
    """Each file must be of a camera of this run, and each camera have one file at most."""
    seen: dict[str, str] = {}
    for path in parameters.calibration_files:
        told = load_calibration(Path(resolve(path)))
        if told.serial.startswith(TWIN_SERIAL):
            raise _needs_twin("calibrations", path)
        serial = getattr(parameters, f"{told.camera}_serial")
        if told.serial != serial:
            raise ConfigError(
                f"calibrations: {path!r} is of {told.camera} {told.serial}, and "
                f"{told.camera}_serial is {serial}; give the file of that camera, or swap the "
                "serials"
            )
        if told.camera in seen:
            raise ConfigError(
                f"calibrations: {path!r} and {seen[told.camera]!r} are both of {told.camera}; "
                "give one"
            )
        seen[told.camera] = path


def _needs_twin(name: str, value: str) -> ConfigError:
    return ConfigError(f"{name}: {value!r} needs the twin; give {REMEDY[name]}")
