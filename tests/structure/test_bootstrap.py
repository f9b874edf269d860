"""The set-up refuses with a sentence, installs what is missing, and repeats nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import bootstrap  # noqa: E402
import environment  # noqa: E402
import lock  # noqa: E402
import system_packages  # noqa: E402
from system_packages import Need, SetupError  # noqa: E402

GONE = Need("libmissing.so.9 (a device)", "libmissing9", lambda: False)
THERE = Need("something", "something", lambda: True)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> environment.Environment:
    """An environment whose steps only note that they ran."""
    (tmp_path / "requirements").mkdir()
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    (tmp_path / "source.txt").write_text("one")
    made = environment.Environment(tmp_path / "venv", "")
    made.stamps.mkdir(parents=True)
    return made


def counting_step(runs: list[str], root: Path) -> environment.Step:
    source = root / "source.txt"
    return environment.Step(
        "counted",
        "Counting",
        lambda: environment.digest_of([source]),
        lambda: runs.append("run"),
    )


@pytest.mark.parametrize("version", [(2, 7), (3, 9, 18), (3, 14), (4, 0)])
def test_a_python_outside_the_range_is_refused_with_the_range_and_a_remedy(
    version: tuple[int, ...],
) -> None:
    reason = bootstrap.refusal(version, "x86_64", "Linux")
    assert f"Python {version[0]}.{version[1]} is not supported" in reason
    assert "3.10 to 3.13" in reason
    assert "make PYTHON=" in reason


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_each_supported_python_is_accepted(minor: int) -> None:
    assert bootstrap.refusal((3, minor, 2), "x86_64", "Linux") is None


@pytest.mark.parametrize(("machine", "system"), [("aarch64", "Linux"), ("x86_64", "Darwin")])
def test_another_machine_is_refused_by_name(machine: str, system: str) -> None:
    reason = bootstrap.refusal((3, 11), machine, system)
    assert machine in reason
    assert system in reason
    assert "colcon" in reason


def test_only_what_is_absent_is_missing() -> None:
    assert system_packages.missing([THERE, GONE]) == (GONE,)


def test_this_machine_lacks_nothing_after_the_set_up() -> None:
    assert system_packages.missing(system_packages.needs()) == ()


def test_without_the_right_to_install_the_error_holds_the_line_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(system_packages, "privilege", lambda: None)
    with pytest.raises(SetupError) as caught:
        system_packages.install([GONE])
    assert "libmissing.so.9" in str(caught.value)
    assert "apt-get install -y --no-install-recommends libmissing9" in str(caught.value)


def test_a_package_that_apt_did_not_bring_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def record(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(system_packages, "privilege", lambda: ["sudo"])
    monkeypatch.setattr(system_packages.subprocess, "run", record)
    with pytest.raises(SetupError, match=r"apt-get did not bring libmissing\.so\.9"):
        system_packages.install([GONE])
    assert "libmissing9" in capsys.readouterr().out
    assert commands[-1][:4] == ["sudo", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    assert commands[-1][-1] == "libmissing9"


def test_a_python_that_apt_cannot_complete_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages.sys, "base_prefix", str(ROOT))
    with pytest.raises(SetupError, match=r"lacks Python\.h.*PYTHON=/usr/bin/python3"):
        system_packages.refuse_foreign_python([Need("Python.h", "python3.11-dev", lambda: False)])


def test_a_step_runs_once_until_its_source_changes(sandbox: environment.Environment) -> None:
    runs: list[str] = []
    step = counting_step(runs, environment.ROOT)
    for expected in (1, 1):
        if not sandbox.is_done(step):
            sandbox.perform(step)
        assert len(runs) == expected
    (environment.ROOT / "source.txt").write_text("two")
    assert not sandbox.is_done(step)


def test_a_failed_step_is_not_stamped(sandbox: environment.Environment) -> None:
    def fail() -> None:
        raise SetupError("no network")

    step = environment.Step("failing", "Failing", lambda: "digest", fail)
    with pytest.raises(SetupError):
        sandbox.perform(step)
    assert not sandbox.is_done(step)


def test_a_touched_file_with_the_same_content_changes_nothing(
    sandbox: environment.Environment,
) -> None:
    source = environment.ROOT / "source.txt"
    before = environment.digest_of([source])
    os.utime(source, (1, 1))
    assert environment.digest_of([source]) == before
    source.rename(source.with_name("renamed.txt"))
    assert environment.digest_of([source.with_name("renamed.txt")]) != before


def test_an_environment_of_another_python_is_refused_not_overwritten(
    sandbox: environment.Environment,
) -> None:
    sandbox.python.parent.mkdir(parents=True)
    sandbox.python.symlink_to(sys.executable)
    sandbox.version = "3.99"
    with pytest.raises(SetupError, match=r"but this is 3\.99"):
        sandbox.is_usable()


def test_a_full_disk_is_refused_before_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "NEEDED_DISK_GB", 1e12)
    with pytest.raises(SetupError, match=r"GB are free at"):
        environment.check_disk(tmp_path)


def test_the_lock_drops_only_markers_that_always_hold() -> None:
    line = "a==1 ; python_full_version < '3.11' and sys_platform == 'linux' \\"
    assert lock.shorten(line) == "a==1 ; python_full_version < '3.11' \\"
    assert lock.shorten("b==2 ; sys_platform == 'linux' \\") == "b==2 \\"
    assert lock.shorten("    --hash=sha256:00") == "    --hash=sha256:00"
