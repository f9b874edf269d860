"""Make the locks of requirements/ from its .in files: every version with its hashes.

lock.txt is for laptops and CI. lab.txt is for machines with a ROS installation: the run-time part
at the same versions, without ROS wheels and development tools.

Pins that a lock already holds are kept as long as the .in files allow them. torch and its CUDA
libraries are left out: requirements/torch.txt says why. Run it by `make lock`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
LOCK = FOLDER / "lock.txt"
LAB_LOCK = FOLDER / "lab.txt"
HEADER = "# Made by `make lock` from the .in files of this folder; do not edit.\n"
OLDEST_PYTHON = "3.10"
# The bootstrap refuses every other machine, so that the lock need not say so on each line.
GIVEN = (
    "platform_machine == 'x86_64'",
    "platform_python_implementation == 'CPython'",
    "sys_platform == 'linux'",
    "python_full_version < '3.14'",
)


def shorten(line: str) -> str:
    """Return a line of the lock without the markers that always hold."""
    match = re.match(r"^(\S+==\S+) ; (.*?)( \\)?$", line)
    if match is None:
        return line
    kept = [part for part in match[2].split(" and ") if part not in GIVEN]
    marker = " ; " + " and ".join(kept) if kept else ""
    return f"{match[1]}{marker}{match[3] or ''}"


def compile_lock(lock: Path, sources: Sequence[Path], constraint: Path | None = None) -> int:
    """Write one lock with uv, then shorten it; return uv's exit status."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as override:
        override.write("torch ; sys_platform == 'never'\n")
        override.flush()
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
            *("--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-annotate"),
            *("--no-header", "--override", override.name),
            *(["-c", str(constraint)] if constraint else []),
            *("-o", str(lock), *map(str, sources)),
        ]
        status = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False
        ).returncode
    if status == 0:
        lines = lock.read_text(encoding="utf-8").splitlines()
        lock.write_text(HEADER + "\n".join(map(shorten, lines)) + "\n", encoding="utf-8")
    return status


def main() -> int:
    """Write both locks; return the exit status."""
    sources = sorted(FOLDER.glob("*.in"))
    return compile_lock(LOCK, sources) or compile_lock(LAB_LOCK, [FOLDER / "runtime.in"], LOCK)


if __name__ == "__main__":
    sys.exit(main())
