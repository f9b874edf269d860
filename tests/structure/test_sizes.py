"""Files and functions stay small enough to be read in one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "pld").rglob("*.py"), *(ROOT / "pld_nodes").rglob("*.py")])
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_function_has_at_most_40_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 40, f"{relative(path)}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=relative)
def test_a_launch_file_has_at_most_80_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 80


def test_the_loop_fits_on_one_page() -> None:
    assert len((ROOT / "pld" / "rollout.py").read_text().splitlines()) < 100


def test_nothing_is_called_utils_helper_or_manager() -> None:
    names = {path.stem for path in SOURCES}
    assert not names & {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
