"""`resume:=RUN`: a run that ended early goes on with its own parameters and its next episode.

What a run asks for is fixed when it begins (parameters.json); a resumed run may only be told to
record more episodes, and where and with which cameras it runs. Its recorded episodes are never
touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pld.errors import ConfigError
from pld.recording.bag import EPISODES_FOLDER
from pld.recording.run_files import PARAMETERS_NAME

CHANGEABLE = (
    "episodes",
    "output_dir",
    "robot_ip",
    "third_person_serial",
    "wrist_serial",
    "calibrations",
)


def resumed_values(said: Mapping[str, Any], deployment: str, default_dir: str) -> dict[str, Any]:
    """The values of the run that `said` (name to value, with `resume`) asks to go on with.

    Raises ConfigError for an unknown run, one of the other deployment, or a changed parameter.
    """
    run = str(said["resume"])
    folder = Path(str(said.get("output_dir", default_dir)))
    for name in said:
        if name not in (*CHANGEABLE, "resume"):
            raise ConfigError(
                f"{name}: a resumed run keeps its own; with resume:= only "
                f"{', '.join(CHANGEABLE)} may be given"
            )
    kept = _kept(folder, run)
    began = kept.pop("deployment", "")
    if began != deployment:
        raise ConfigError(f"resume: {run!r} is a {began} run; use pld up {began} resume:={run}")
    return kept | dict(said) | {"output_dir": str(folder), "run": run}


def _kept(folder: Path, run: str) -> dict[str, Any]:
    path = folder / run / PARAMETERS_NAME
    if not run or not path.is_file():
        names = sorted(p.parent.name for p in folder.glob(f"*/{PARAMETERS_NAME}"))
        known = ", ".join(names) or "none"
        raise ConfigError(f"resume: there is no run {run!r} in {str(folder)!r}; known: {known}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; start a new run") from error


def next_episode(run_dir: Path) -> int:
    """The index after the last recorded episode, whatever became of that; 0 in a new folder."""
    folders = (path.name for path in (run_dir / EPISODES_FOLDER).glob("*") if path.is_dir())
    numbered = (re.fullmatch(r"[^.].*-(\d+)", name) for name in folders)
    return max((int(found[1]) + 1 for found in numbered if found), default=0)
