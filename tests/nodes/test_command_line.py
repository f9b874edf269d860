"""What a mistaken operator sees: one line with the value and the remedy, exit code 2, no motion."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pld_nodes.bench.aims import Figure, arguments_without_json, report
from pld_nodes.bench.figures_page import page
from pld_nodes.usage import process_name

ROOT = Path(__file__).resolve().parents[2]


def pld(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pld_nodes.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task:=cube"], ["unknown task 'cube'", "cube_pickup, peg_insertion"]),
        (["speed:=9"], ["unknown parameter 'speed'", "valid: task, mode"]),
        (["limits:=nowhere.yaml"], ["'nowhere.yaml' not found"]),
        (["output_dir:=/proc/runs"], ["cannot write bags into '/proc/runs'", "output_dir:=FOLDER"]),
        (["calibrations:=README.md"], ["README.md"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], words: list[str]) -> None:
    done = pld("up", "sim", *arguments)
    assert done.returncode == 2
    line = " ".join(done.stderr.split())
    assert line.startswith("error:")
    assert all(word in line for word in words), line
    assert "Traceback" not in done.stderr


def test_a_home_outside_of_the_workspace_is_refused_before_anything_starts(tmp_path: Path) -> None:
    shipped = (ROOT / "launch/config/limits_fr3.yaml").read_text()
    limits = tmp_path / "limits.yaml"
    limits.write_text(shipped.replace("zone_planes: []", "zone_planes: [[1.0, 0.0, 0.0, 0.4]]"))
    done = pld("up", "sim", f"limits:={limits}", f"output_dir:={tmp_path}")
    assert done.returncode == 2, done.stdout
    assert "home_q_rad: the hand would be at (0.48, " in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bench kill --trials 0", "'--trials'"),
        ("bench kill --rate-hz 7", "unknown control rate '7'; valid: 10, 20"),
        ("bench kill --nodes twin", "unknown node 'twin'; valid: third_person_camera_node"),
        ("bench safety --trials 0 --normal-s 0", "'--trials'"),
        ("bench safety --rate-hz 7", "unknown control rate '7'; valid: 10, 20"),
        ("bench graph --seconds 0", "'--seconds'"),
        ("bench box --rate-hz 0", "unknown control rate '0'; valid: 10, 20"),
        ("bench box --seed -1", "'--seed'"),
        ("bench cycles --minutes 0", "'--minutes'"),
        ("bench learner --features -2", "'--features'"),
        ("bench reflex --json .", "'.' cannot be written: '.' is a folder; name a file"),
        ("calibration board --dpi 0", "'--dpi'"),
        ("demo --evaluations 0", "'--evaluations'"),
        ("demo --seed 999", "run seed 999; give one from 0 to 998"),
    ],
)
def test_a_command_that_could_measure_nothing_is_refused(command: str, words: str) -> None:
    done = pld(*command.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.72", 1337))
        taken.listen()
        done = pld("up", "sim", "robot_ip:=127.0.0.72", f"output_dir:={tmp_path}")
    assert done.returncode == 2
    assert "port 1337 at robot_ip '127.0.0.72'" in " ".join(done.stderr.split())


def test_an_unreachable_arm_ends_before_anything_starts(tmp_path: Path) -> None:
    words = ["task:=peg_insertion", "rate_hz:=10", "third_person_serial:=1", "wrist_serial:=2"]
    words += ["policy:=launch/demo/peg_insertion/base.safetensors", "robot_ip:=127.0.0.73"]
    done = pld("up", "robot", *words, f"output_dir:={tmp_path}")
    assert done.returncode == 2
    assert "no robot answers at 127.0.0.73:1337" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_limits_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "limits.yaml"
    bad.write_text("robot: [")
    done = pld("up", "sim", f"limits:={bad}", f"output_dir:={tmp_path}")
    assert done.returncode == 2
    assert "malformed YAML" in done.stderr


def test_help_shows_every_verb() -> None:
    shown = pld("--help").stdout
    for verb in ("up", "demo", "bag", "run", "bench", "graph", "parameters", "camera"):
        assert f" {verb} " in shown


def test_a_missed_aim_is_said_and_an_aim_that_nobody_stated_is_not(tmp_path: Path) -> None:
    from rich.console import Console

    figures = [Figure("a", 1.0, "ms", at_most=2.0), Figure("b", 5.0, "mm")]
    console = Console(quiet=True)
    assert report("t", figures, console, tmp_path / "good.json")
    assert not report("t", [*figures, Figure("c", 1.0, "", at_least=2.0)], console, None)
    unseen = tmp_path / "unseen.json"
    assert not report("t", [Figure("nan", float("nan"), "ms", at_most=2.0)], console, unseen)
    assert '"value": null' in unseen.read_text(), "JSON has no NaN"
    assert "| nan | not seen | <= 2 | **no** |" in page([unseen])
    text = page([tmp_path / "good.json"])
    assert "| a | 1 ms | <= 2 | yes |" in text
    assert json.loads((tmp_path / "good.json").read_text())["machine"]["cores"]


def test_the_command_of_a_figure_is_told_without_where_its_json_went() -> None:
    told = arguments_without_json(["bench", "graph", "--json", "x.json", "--seconds", "60"])
    assert told == ["bench", "graph", "--seconds", "60"]


def test_processes_are_named_as_in_the_table() -> None:
    assert process_name(["python", "-m", "pld.twin.serve", "--task", "x"]) == "twin"
    assert process_name(["python", "-m", "m", "--ros-args", "-r", "__node:=vla_node"]) == "vla_node"
