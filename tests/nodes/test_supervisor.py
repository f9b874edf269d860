"""The supervisor starts, watches and stops; nobody is left behind."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pld_nodes.dds_memory import SETTLED_S, remove_stale_segments
from pld_nodes.graph import OnExit, Process
from pld_nodes.processes import Child, start
from pld_nodes.supervisor import RunFailedError, Supervisor
from tests.processes import alive, gone

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(600)",
]


def row(name: str, on_exit: OnExit = OnExit.END_RUN) -> Process:
    return Process(name, name, (), on_exit=on_exit, is_node=False)


def supervisor(tmp_path: Path, commands: dict[str, list[str]], finishing: str = "") -> Supervisor:
    rows = [
        row(name, OnExit.FINISH_RUN if name == finishing else OnExit.END_RUN) for name in commands
    ]
    return Supervisor(rows, commands, tmp_path, None, lambda name, line: None)


def test_the_run_ends_well_when_the_finishing_process_does(tmp_path: Path) -> None:
    commands = {"a": SLEEP, "b": [sys.executable, "-c", "pass"]}
    run = supervisor(tmp_path, commands, finishing="b")
    started: list[int] = []
    original = run._watch

    def watch() -> int:
        started.extend(child.popen.pid for child in run.children)
        return original()

    run._watch = watch
    assert run.run() == 0
    assert len(started) == 2
    assert all(gone(pid) for pid in started)


def test_a_death_ends_the_run_and_leaves_its_reason_for_the_recorder(tmp_path: Path) -> None:
    kill = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with pytest.raises(RunFailedError, match=r"vla_node ended \(SIGKILL\)"):
        supervisor(tmp_path, {"a": SLEEP, "vla_node": kill}).run()
    note = json.loads((tmp_path / "termination.json").read_text())
    assert note == {"reason": "node_lost:vla_node", "how": "SIGKILL"}


def test_an_interrupted_run_lets_the_driver_hold_before_anybody_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, signal.Signals]] = []
    ask = Child.ask

    def asking(child: Child, number: signal.Signals) -> None:
        asked.append((child.name, number))
        ask(child, number)

    monkeypatch.setattr(Child, "ask", asking)
    says = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGUSR1, lambda *_: print('halted', flush=True)); "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('ended', flush=True))); "
        "print('up', flush=True); time.sleep(600); time.sleep(600)"
    )
    commands = {n: [sys.executable, "-c", says] for n in ("arbitrator_node", "franka_node")}
    heard: list[tuple[str, str]] = []
    run = supervisor(tmp_path, commands)

    def hear(name: str, line: str) -> None:
        heard.append((name, line.strip()))
        if sum(said == "up" for _, said in heard) == len(commands):
            run.stop_requested = True

    run.say = hear
    assert run.run() == 130
    assert ("franka_node", "halted") in heard
    assert asked[0] == ("franka_node", signal.SIGUSR1)
    assert ("arbitrator_node", signal.SIGTERM) in asked
    assert ("arbitrator_node", "halted") not in heard


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_lost_terminal_end_a_run_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    run = supervisor(tmp_path, {"a": SLEEP})
    run.say = lambda name, line: os.kill(os.getpid(), number)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may be run under nohup
    try:
        assert run.run() == 130
    finally:
        signal.signal(signal.SIGHUP, before)
    note = json.loads((tmp_path / "termination.json").read_text())
    assert note == {"reason": "shutdown", "how": "interrupted"}


def test_a_process_that_is_still_starting_ends_without_a_traceback(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    run = supervisor(tmp_path, {"a": SLEEP})

    def hear(name: str, line: str) -> None:
        heard.append((name, line))
        run.stop_requested = True

    run.say = hear
    assert run.run() == 130
    assert heard == [("a", "up")]


def test_a_run_that_nohup_started_outlives_its_terminal(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = supervisor(tmp_path, {"a": SLEEP, "b": [sys.executable, "-c", "pass"]}, "b")
        original = run._watch

        def watch() -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            return original()

        run._watch = watch
        assert run.run() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_which_somebody_fails_while_ending_says_so(tmp_path: Path) -> None:
    fails = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "print('up', flush=True); time.sleep(600)"
    )
    waits = [sys.executable, "-c", "import time; time.sleep(1.5)"]
    run = supervisor(tmp_path, {"recorder_node": [sys.executable, "-c", fails], "b": waits}, "b")
    heard: list[tuple[str, str]] = []
    run.say = lambda name, line: heard.append((name, line))
    assert run.run() == 1
    assert ("pld", "recorder_node did not end well (exit 7)") in heard


def test_a_line_that_a_terminal_cannot_show_is_in_the_log_all_the_same(tmp_path: Path) -> None:
    def plain(name: str, line: str) -> None:
        line.encode("ascii")

    word = [sys.executable, "-c", "print('5 \u00b0'); print('then')"]
    child = start(row("a"), word, tmp_path, plain)
    assert child.wait(10.0)
    child.reader.join(10.0)
    assert (tmp_path / "a.log").read_text().splitlines() == ["5 \u00b0", "then"]


def test_a_process_that_ignores_being_asked_is_made_to_stop(tmp_path: Path, monkeypatch) -> None:
    from pld_nodes import supervisor as module

    monkeypatch.setattr(module, "GRACE_S", {"deaf": 0.3})
    commands = {"deaf": DEAF, "end": [sys.executable, "-c", "import time; time.sleep(0.5)"]}
    run = supervisor(tmp_path, commands, finishing="end")
    pids: list[int] = []
    original = run._watch

    def watch() -> int:
        pids.extend(child.popen.pid for child in run.children)
        return original()

    run._watch = watch
    assert run.run() == 1, "it was killed in its work"
    assert all(gone(pid) for pid in pids)


def test_output_is_kept_in_a_log_per_process(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('hello'); print('there')"]
    supervisor(tmp_path, {"speaker": words}, finishing="speaker").run()
    assert (tmp_path / "logs" / "speaker.log").read_text() == "hello\nthere\n"


def test_a_killed_supervisor_leaves_nobody(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from pathlib import Path
from pld_nodes.graph import Process
from pld_nodes.supervisor import Supervisor
rows = [Process(n, n, (), is_node=False) for n in "ab"]
sleep = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
say = lambda name, line: print(line, flush=True)
Supervisor(rows, {{"a": sleep, "b": sleep}}, Path({str(tmp_path)!r}), None, say).run()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(alive(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("prefix", ["fastdds", "fastrtps"])
def test_segments_of_dead_owners_are_removed_and_of_living_ones_kept(
    tmp_path: Path, prefix: str
) -> None:
    for name in ("_1", "_1_el", "_2", "_2_el"):
        (tmp_path / f"{prefix}{name}").write_text("")
    with (tmp_path / f"{prefix}_2_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_stale_segments(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{prefix}_2", f"{prefix}_2_el"]


def test_ports_that_nobody_has_mapped_are_removed_with_their_mutex(tmp_path: Path) -> None:
    for name in ("dead", "mapped", "new"):
        number = {"dead": 7411, "mapped": 7413, "new": 7415}[name]
        for path in (f"fastdds_port{number}", f"sem.fastdds_port{number}_mutex"):
            (tmp_path / path).write_bytes(bytes(16))
    (tmp_path / "fastdds_port7411_sl").write_text("")
    (tmp_path / "sem.fastdds_port7417_mutex").write_bytes(bytes(16))
    before = time.time() - 2 * SETTLED_S
    for name in ("fastdds_port7411", "fastdds_port7413", "sem.fastdds_port7417_mutex"):
        os.utime(tmp_path / name, (before, before))
    with (tmp_path / "fastdds_port7413").open("r+b") as file:
        port = mmap.mmap(file.fileno(), 16)
    assert remove_stale_segments(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "fastdds_port7413",
        "fastdds_port7415",
        "sem.fastdds_port7413_mutex",
        "sem.fastdds_port7415_mutex",
    ]
    port.close()
    assert remove_stale_segments(tmp_path) == 1


def test_segments_of_a_living_node_are_locked_by_it(tmp_path: Path) -> None:
    script = (
        "from pld_nodes.ros import environment; environment.prepare(); import rclpy, time; "
        "rclpy.init(); node = rclpy.create_node('n'); print('up', flush=True); time.sleep(60)"
    )
    living = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert living.stdout is not None
        assert living.stdout.readline() == "up\n"
        held = {file.resolve() for file in Path(f"/proc/{living.pid}/fd").iterdir()}
        own = {path for path in held if path.match("/dev/shm/fast*_el")}
        assert own
        remove_stale_segments()
        assert all(path.exists() for path in own)
    finally:
        living.kill()
        living.wait()
    remove_stale_segments()
    assert not any(path.exists() for path in own)


def test_a_child_that_is_not_yet_a_program_is_no_process_of_the_run() -> None:
    script = (
        "import os, signal, time\n"
        "from pld_nodes.usage import samples\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(60)\n"
        "print(*(row[1] for row in samples()))\n"
        "os.kill(child, signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["/dev/shm"]


def test_a_full_disk_and_a_closed_terminal_stop_no_process(tmp_path: Path) -> None:
    (tmp_path / "talker.log").symlink_to("/dev/full")
    heard: list[str] = []

    def say(_: str, line: str) -> None:
        heard.append(line)
        raise BrokenPipeError

    talks = "for number in range(20000): print('a line of some length', number)"
    child = start(row("talker"), [sys.executable, "-c", talks], tmp_path, say)
    assert child.wait(20.0), "a pipe that nobody reads keeps the process from ending"
    child.reader.join(20.0)
    assert len(heard) == 20000


def test_the_lines_of_a_resumed_run_follow_those_of_before(tmp_path: Path) -> None:
    for word in ("first", "second"):
        command = [sys.executable, "-c", f"print('{word}')"]
        assert start(row("talker"), command, tmp_path, lambda name, line: None).wait(20.0)
    assert (tmp_path / "talker.log").read_text() == "first\nsecond\n"
