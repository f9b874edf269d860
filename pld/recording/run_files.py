"""What a run's folder tells the recorder: parameters, checkpoint hashes, why the run ended."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pld.errors import RecordingError
from pld.files import sha256_of
from pld.recording.bag import RunDescription
from pld.recording.durable import write_durably

PARAMETERS_NAME = "parameters.json"
CHECKPOINTS_NAME = "checkpoints.json"
TERMINATION_NAME = "termination.json"
SHUTDOWN = "shutdown"
PACKAGES = ("pld_nodes", "mcap", "franky-control", "pyrealsense2", "mujoco", "torch")


def describe_run(run_dir: Path, namespace: str, deployment: str, ros_distro: str) -> RunDescription:
    """The run as its folder describes it now; a missing file is an empty one.

    `parameters.json` holds the run's parameters, `checkpoints.json` the SHA-256 of the files in
    use, by the parameter's name: weights, safety limits and the driver's settings.
    """
    return RunDescription(
        namespace=namespace.rstrip("/"),
        deployment=deployment,
        ros_distro=ros_distro,
        parameters=_texts(read_kept(run_dir / PARAMETERS_NAME)),
        versions=versions(PACKAGES),
        checkpoints=_texts(read_kept(run_dir / CHECKPOINTS_NAME)),
    )


def note_termination(run_dir: Path, reason: str, how: str) -> None:
    """Leave why a run ends where the recorder looks for it when it is told to stop."""
    write_durably(run_dir / TERMINATION_NAME, json.dumps({"reason": reason, "how": how}))


def termination_reason(run_dir: Path) -> str:
    """Why the recorder is asked to end: what the supervisor wrote, or `shutdown`."""
    try:
        return str(read_kept(run_dir / TERMINATION_NAME).get("reason") or SHUTDOWN)
    except RecordingError:
        return SHUTDOWN


@cache
def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the installed ones among `packages`, of Python and of the system."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def file_digest(path: Path) -> str:
    """What `checkpoints.json` says of a file."""
    return f"sha256:{sha256_of(path)}"


def read_kept(path: Path) -> Mapping[str, Any]:
    """One of the run folder's files; a missing one is empty. Raises RecordingError."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise RecordingError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def _texts(content: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in content.items()}
