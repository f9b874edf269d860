"""The steps that make .venv; each leaves a stamp of its sources and is skipped while they last."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import system_packages
from system_packages import SetupError

ROOT = Path(__file__).resolve().parents[1]
NEEDED_DISK_GB = 5.0
# Set by a sourced ROS installation; the wheels must not see it.
FOREIGN_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH")
INTERFACE_PACKAGES = ("pld_interfaces", "tf2_msgs")


@dataclass(frozen=True)
class Step:
    """One part of the set-up: what it says, what it depends on, what it does."""

    name: str
    announcement: str
    digest: Callable[[], str]
    run: Callable[[], None]


def digest_of(files: Iterable[Path], *words: str) -> str:
    """Return a hash of file names, file contents and words."""
    total = hashlib.sha256("\0".join(words).encode())
    for path in sorted(files):
        total.update(f"\0{path.relative_to(ROOT)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def files_under(folder: Path) -> list[Path]:
    """Return the source files of a folder, build outputs and caches left out."""
    skipped = {"__pycache__", "build", "dist"}
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not skipped.intersection(path.parts) and path.suffix != ".pyc"
    ]


class Environment:
    """The virtual environment of one checkout."""

    def __init__(self, folder: Path, torch_index: str) -> None:
        self.folder = folder
        self.torch_index = torch_index
        self.python = folder / "bin" / "python"
        self.stamps = folder / ".stamps"
        self.version = f"{sys.version_info.major}.{sys.version_info.minor}"

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in their order."""
        lock = ROOT / "requirements" / "lock.txt"
        torch = ROOT / "requirements" / "torch.txt"
        project = [ROOT / "setup.py", ROOT / "setup.cfg"]
        nodes = sorted(path.stem for path in (ROOT / "pld_nodes").glob("*_node.py"))
        interfaces = ROOT / "ros2_ws" / "src"
        return (
            Step(
                "lock",
                "Installing the pinned Python packages (about 900 MB)",
                lambda: digest_of([lock], self.version),
                lambda: self.pip("--require-hashes", "--no-deps", "-r", str(lock)),
            ),
            Step(
                "torch",
                "Installing torch (without TORCH_INDEX=, where that is the CUDA build: several GB)",
                lambda: digest_of([torch], self.version, self.torch_index),
                self.install_torch,
            ),
            Step(
                "project",
                "Installing pld and pld_nodes, editable",
                lambda: digest_of(project, self.version, *nodes),
                lambda: self.pip("--no-build-isolation", "--no-deps", "-e", str(ROOT)),
            ),
            Step(
                "interfaces",
                "Building the ROS messages (about a minute)",
                lambda: digest_of([lock, *files_under(interfaces)], self.version),
                self.install_interfaces,
            ),
        )

    def pip(self, *arguments: str) -> None:
        """Run `pip install` in the environment; raise SetupError if it fails."""
        quiet = [] if sys.stdout.isatty() and "CI" not in os.environ else ["--quiet"]
        command = [str(self.python), "-m", "pip", "install", *quiet, *arguments]
        environ = {k: v for k, v in os.environ.items() if k not in FOREIGN_ENVIRONMENT}
        environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        environ["PYTHONWARNINGS"] = "ignore"
        done = subprocess.run(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise SetupError(
                f"`pip install {' '.join(arguments)}` failed with status {done.returncode}; its "
                "lines above say why (most often the network or a full disk). What was installed "
                "is kept: the same command goes on from there"
            )

    def install_torch(self) -> None:
        """Install torch from the default index or from TORCH_INDEX."""
        index = ["--index-url", self.torch_index] if self.torch_index else []
        self.pip(*index, "-r", str(ROOT / "requirements" / "torch.txt"))

    def install_interfaces(self) -> None:
        """Build and install the message packages with the pinned build tools of the lock."""
        folders = [str(ROOT / "ros2_ws" / "src" / name) for name in INTERFACE_PACKAGES]
        self.pip("--no-build-isolation", "--no-deps", "--force-reinstall", *folders)

    def create(self) -> None:
        """Make the folder unless a usable one of this Python is there."""
        identity = f"{self.version} {self.folder}"
        made_here = self.stamps / "created"
        if made_here.is_file() and made_here.read_text() != identity:
            print(f"Removing {self.folder.name}: made for another Python or folder", flush=True)
            shutil.rmtree(self.folder)
        if not self.is_usable():
            print(f"Creating {self.folder.name} with Python {self.version}", flush=True)
            command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
            if subprocess.run(command, check=False).returncode != 0:
                raise SetupError(f"`{' '.join(command)}` failed; its lines above say why")
        self.stamps.mkdir(exist_ok=True)
        made_here.write_text(identity)

    def is_usable(self) -> bool:
        """Return whether the folder holds a Python of this version with pip."""
        if not self.python.exists():
            return False
        probe = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run(
            [str(self.python), "-c", probe], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and done.stdout.strip() != self.version:
            raise SetupError(
                f"{self.folder} holds Python {done.stdout.strip()}, but this is {self.version}; "
                "remove it with `make distclean`, or name its interpreter with PYTHON="
            )
        return done.returncode == 0

    def is_done(self, step: Step) -> bool:
        """Return whether the step's stamp equals what it would be made from now."""
        stamp = self.stamps / step.name
        return stamp.is_file() and stamp.read_text() == step.digest()

    def perform(self, step: Step) -> None:
        """Run a step and stamp it."""
        print(f"{step.announcement} ...", flush=True)
        begin = time.monotonic()
        digest = step.digest()
        step.run()
        (self.stamps / step.name).write_text(digest)
        print(f"  done in {time.monotonic() - begin:.0f} s", flush=True)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock of this checkout, so that two make commands do not install at once."""
    handle = os.open(ROOT / "requirements", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_disk(folder: Path) -> None:
    """Refuse to begin an installation that would fill the disk."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < NEEDED_DISK_GB:
        raise SetupError(
            f"{free_gb:.1f} GB are free at {folder}; the set-up needs {NEEDED_DISK_GB:.0f} GB"
        )


def prepare(environment: Environment) -> None:
    """Do the steps whose stamps differ, and those after the first installation."""
    system_packages.ensure()
    intact = environment.python.exists() and (environment.stamps / "created").is_file()
    if not (intact and (environment.stamps / "lock").is_file()):
        check_disk(ROOT)
    identity = f"{environment.version} {environment.folder}"
    if not intact or (environment.stamps / "created").read_text() != identity:
        environment.create()
    for step in environment.steps():
        if not environment.is_done(step):
            environment.perform(step)


def main() -> int:
    """Prepare .venv; return the exit status."""
    environment = Environment(ROOT / ".venv", os.environ.get("TORCH_INDEX", ""))
    try:
        with one_at_a_time():
            prepare(environment)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
