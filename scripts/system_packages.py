"""Find the system packages that are missing, say so, and install them with apt where possible."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


class SetupError(Exception):
    """The set-up cannot go on; the message names what is missing and the remedy."""


@dataclass(frozen=True)
class Need:
    """Something of the system that is used, how to see it, and the Debian package that has it."""

    what: str
    package: str
    present: Callable[[], bool]


def loads(*names: str) -> bool:
    """Return whether the dynamic linker finds one of the shared libraries."""
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def has_software_renderer() -> bool:
    """Return whether EGL can draw: Mesa's llvmpipe, or an NVIDIA driver."""
    if loads("libEGL_nvidia.so.0"):
        return True
    folder = Path("/usr/lib/x86_64-linux-gnu")
    places = (folder, Path("/usr/lib64"), Path("/usr/lib"))
    return any(
        next(place.glob(pattern), None) is not None
        for place in places
        for pattern in ("dri/*swrast_dri.so", "libgallium-*.so")
    )


def has_python_headers() -> bool:
    """Return whether Python.h of this interpreter is there."""
    return Path(sysconfig.get_paths()["include"], "Python.h").is_file()


def needs() -> tuple[Need, ...]:
    """Return all that the stack uses of the system, for the interpreter that runs this."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (
        Need(
            "Python's venv module",
            f"{python}-venv",
            lambda: importlib.util.find_spec("ensurepip") is not None,
        ),
        Need("Python.h", f"{python}-dev", has_python_headers),
        Need("a C++ compiler (g++)", "g++", lambda: shutil.which("g++") is not None),
        Need(
            "libusb-1.0.so.0 (RealSense cameras)",
            "libusb-1.0-0",
            lambda: loads("libusb-1.0.so.0"),
        ),
        Need("libEGL.so.1 (rendering)", "libegl1", lambda: loads("libEGL.so.1")),
        Need("libOpenGL.so.0 (rendering)", "libopengl0", lambda: loads("libOpenGL.so.0")),
        Need("Mesa's software renderer", "libgl1-mesa-dri", has_software_renderer),
    )


def missing(wanted: Sequence[Need]) -> tuple[Need, ...]:
    """Return those that are not present."""
    return tuple(need for need in wanted if not need.present())


def refuse_foreign_python(absent: Sequence[Need]) -> None:
    """Refuse a Python that apt did not install and that lacks a part of itself."""
    parts = [need.what for need in absent if need.package.startswith("python")]
    if parts and not Path(sys.base_prefix).samefile("/usr"):
        raise SetupError(
            f"the interpreter {sys.executable} lacks {' and '.join(parts)}, and it is not the "
            "system's; name another one, as in `make PYTHON=/usr/bin/python3 test`"
        )


def apt_command(packages: Sequence[str]) -> list[str]:
    """Return the line that installs the packages."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def privilege() -> list[str] | None:
    """Return what to put before apt-get, or None where this user may not install."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    if sys.stdin is not None and sys.stdin.isatty():
        return ["sudo"]
    quiet = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if quiet.returncode == 0 else None


def install(absent: Sequence[Need]) -> None:
    """Install the missing packages; raise SetupError with the line to run where that fails."""
    packages = [need.package for need in absent]
    names = ", ".join(need.what for need in absent)
    by_hand = f"sudo apt-get update && sudo {' '.join(apt_command(packages))}"
    prefix = privilege()
    if prefix is None:
        raise SetupError(
            f"missing on this system: {names}. Run this line, then try again:\n  {by_hand}"
        )
    print(
        f"Installing system packages with apt-get: {' '.join(packages)} (for {names})", flush=True
    )
    environ = ["env", "DEBIAN_FRONTEND=noninteractive"]
    subprocess.run([*prefix, *environ, "apt-get", "update", "-q"], check=False)
    done = subprocess.run([*prefix, *environ, *apt_command(packages)], check=False)
    importlib.invalidate_caches()
    still = missing(absent)
    if done.returncode != 0 or still:
        names = ", ".join(need.what for need in still) or names
        raise SetupError(
            f"apt-get did not bring {names}. Run this line, then try again:\n  {by_hand}"
        )


def ensure() -> None:
    """Make every system package present, or raise SetupError."""
    absent = missing(needs())
    if absent:
        refuse_foreign_python(absent)
        install(absent)
