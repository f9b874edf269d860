"""`pld up sim` to its end, as an operator starts it; one that does not end says how far it came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 200.0
STOPPED_WITHIN_S = 60.0


def start_run(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """A run below `folder` that was just started; one pipe has all that it prints."""
    return subprocess.Popen(
        [sys.executable, "-m", "pld_nodes.cli", "up", "sim", f"output_dir:={folder}", *words],
        cwd=ROOT,
        env={**os.environ, "ROS_LOG_DIR": f"{folder}/log", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_whole(
    folder: Path, domain: int, *words: str, longest_s: float = LONGEST_S
) -> subprocess.CompletedProcess[str]:
    """The ended run below `folder`, with all that it printed as its stdout."""
    run = start_run(folder, *words, ROS_DOMAIN_ID=str(domain))
    try:
        said, _ = run.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(run.pid).children():
            child.send_signal(signal.SIGABRT)  # each tells where its threads stand
        said, _ = run.communicate(timeout=STOPPED_WITHIN_S)
        pytest.fail(f"the run did not end within {longest_s:g} s; it said:\n{said}")
    return subprocess.CompletedProcess(run.args, run.returncode, said)
