"""What is installed, pinned and built is the same wherever it is written."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
INPUTS = sorted(REQUIREMENTS.glob("*.in"))
INTERFACES = ROOT / "ros2_ws" / "src"
NODE_FILES = sorted((ROOT / "pld_nodes").glob("*_node.py"))
ROS_OF_A_LAB_MACHINE = {
    "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "launch", "launch_ros",
    "pld_interfaces", "rcl_interfaces", "rclpy", "sensor_msgs", "std_msgs",
    "std_srvs", "tf2_msgs",
}  # fmt: skip
PIN = r"([\w.-]+)==([\w.]+)(?: ; python_version ([<>]=?) \"3\.(\d+)\")?"
DISTRIBUTION_OF_IMPORT = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "franky": "franky-control",
    "mcap_ros2": "mcap-ros2-support",
    "pinocchio": "pin",
    "yaml": "pyyaml",
}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(path: Path) -> set[tuple[str, str]]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE)
    return {(normalised(name), version) for name, version in found}


def direct_pins() -> set[tuple[str, str]]:
    return set().union(*(pins_of(path) for path in INPUTS))


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def imports_under(*folders: str) -> set[str]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return set().union(*(imports_of(path) for path in files))


@pytest.fixture(scope="module")
def distribution() -> dict:
    """What setup.py declares, read as colcon reads it."""
    program = (
        "import json, setuptools; from distutils.core import run_setup;"
        "d = run_setup('setup.py', stop_after='init');"
        "print(json.dumps([d.metadata.version, d.packages, d.data_files, d.entry_points,"
        " d.install_requires]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    keys = ("version", "packages", "data_files", "entry_points", "install_requires")
    return dict(zip(keys, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_every_folder_with_python_code_is_an_installed_package(distribution: dict) -> None:
    folders = {
        str(path.parent.relative_to(ROOT)).replace(os.sep, ".")
        for top in ("pld", "pld_nodes")
        for path in (ROOT / top).rglob("*.py")
    }
    assert folders == set(distribution["packages"])


def test_every_launch_urdf_and_calibration_file_is_shared(distribution: dict) -> None:
    installed = {file for _, files in distribution["data_files"] for file in files}
    present = {
        str(path.relative_to(ROOT))
        for top in ("launch", "urdf", "calibration")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == present | {"package.xml", "resource/pld_nodes"}


def test_shared_files_keep_their_folder_under_share(distribution: dict) -> None:
    for folder, files in distribution["data_files"]:
        for file in files:
            if file != "resource/pld_nodes":
                assert folder == str(Path("share/pld_nodes") / Path(file).parent)


def test_every_node_is_an_executable_and_has_a_main(distribution: dict) -> None:
    scripts = dict(re.split(r"\s*=\s*", s) for s in distribution["entry_points"]["console_scripts"])
    assert scripts.pop("pld") == "pld_nodes.cli:main"
    assert NODE_FILES
    assert scripts == {path.stem: f"pld_nodes.{path.stem}:main" for path in NODE_FILES}
    for path in NODE_FILES:
        names = {
            name
            for node in ast.parse(path.read_text()).body
            for name in (
                [node.name]
                if isinstance(node, ast.FunctionDef)
                else [alias.asname or alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "main" in names, f"{path.name} has no main"


def test_ros_finds_executables_where_setup_cfg_puts_them() -> None:
    text = (ROOT / "setup.cfg").read_text()
    assert text.count("=$base/lib/pld_nodes") == 2


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    tree = ElementTree.parse(ROOT / "package.xml")  # noqa: S314  our own file
    declared = {e.text for e in tree.iter("exec_depend")}
    assert imports_under("pld_nodes", "launch") & ROS_OF_A_LAB_MACHINE <= declared


def test_versions_agree(distribution: dict) -> None:
    manifests = [ROOT / "package.xml", INTERFACES / "pld_interfaces" / "package.xml"]
    versions = {ElementTree.parse(m).findtext("version") for m in manifests}  # noqa: S314
    assert versions == {distribution["version"]}


def test_setup_requires_no_ros_wheel(distribution: dict) -> None:
    assert distribution["install_requires"] == ["setuptools"]


@pytest.mark.parametrize("path", INPUTS, ids=lambda p: p.name)
def test_every_direct_dependency_is_exact_and_has_a_reason(path: Path) -> None:
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(
                r"[\w.-]+==[\w.]+( ; python_version [<>]=? \"3\.\d+\")? +# \S.*", line
            )


def test_the_lock_holds_every_direct_pin() -> None:
    assert direct_pins() <= pins_of(REQUIREMENTS / "lock.txt")


@pytest.mark.parametrize("name", ["lock.txt", "lab.txt"])
def test_every_line_of_a_lock_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (REQUIREMENTS / name).read_text().strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    assert len(entries) > 50
    for entry in entries:
        assert re.search(r"\n    --hash=sha256:[0-9a-f]{64}", entry), entry


def test_a_lab_machine_gets_the_same_versions_and_no_ros_wheel() -> None:
    lab = pins_of(REQUIREMENTS / "lab.txt")
    assert pins_of(REQUIREMENTS / "runtime.in") <= lab <= pins_of(REQUIREMENTS / "lock.txt")
    assert not [name for name, _ in lab if name.startswith("ros-")]


def test_optional_devices_are_pinned_with_hashes_and_never_required() -> None:
    text = (REQUIREMENTS / "teleop.txt").read_text()
    optional = {name for name, _ in pins_of(REQUIREMENTS / "teleop.txt")}
    loaded = re.findall(
        r"import_module\(\"(\w+)\"\)",
        "".join(path.read_text() for path in (ROOT / "pld" / "teleop").glob("*.py")),
    )
    assert set(loaded) == {"evdev", "pyspacemouse"}
    assert set(loaded) <= optional
    assert not set(loaded) & {name for name, _ in direct_pins()}
    entries = [e for e in re.split(r"\n(?=\S)", text.strip()) if not e.startswith("#")]
    assert all(re.search(r"\n    --hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_torch_is_pinned_apart_from_the_locks() -> None:
    assert "torch" in {name for name, _ in pins_of(REQUIREMENTS / "torch.txt")}
    locked = {name for lock in ("lock.txt", "lab.txt") for name, _ in pins_of(REQUIREMENTS / lock)}
    assert not {n for n in locked if n in {"torch", "triton"} or n.startswith("nvidia-")}


def test_the_installed_packages_are_the_pinned_ones() -> None:
    from importlib.metadata import distributions

    installed = {normalised(d.metadata["Name"]): d.version for d in distributions()}
    for path in (*INPUTS, REQUIREMENTS / "torch.txt"):
        for line in path.read_text().splitlines():
            match = re.match(
                r"([\w.-]+)==([\w.]+)(?: ; python_version ([<>]=?) \"3\.(\d+)\")?", line
            )
            if match is None:
                continue
            name, version, comparison, minor = match.groups()
            applies = comparison is None or (sys.version_info.minor < int(minor)) == (
                comparison == "<"
            )
            if applies:
                assert installed[normalised(name)].split("+")[0] == version


@pytest.mark.parametrize("package", ["pld_interfaces", "tf2_msgs"])
def test_messages_are_built_with_locked_tools(package: str) -> None:
    text = (INTERFACES / package / "pyproject.toml").read_text()
    required = re.findall(r"^  \"([^\"]+)\",$", text, re.MULTILINE)
    locked = pins_of(REQUIREMENTS / "lock.txt")
    assert required
    for entry in required:
        name, _, version = entry.split(";")[0].partition("==")
        assert (normalised(name), version) in locked, entry


def test_colcon_builds_our_messages_and_the_package_above_but_not_the_stand_in() -> None:
    defaults = yaml.safe_load((ROOT / "ros2_ws" / "colcon_defaults.yaml").read_text())
    assert defaults["build"]["base-paths"] == ["src", ".."]
    assert (INTERFACES / "tf2_msgs" / "COLCON_IGNORE").is_file()
    assert not (INTERFACES / "pld_interfaces" / "COLCON_IGNORE").exists()


def test_every_message_of_the_source_tree_is_installed_as_it_stands() -> None:
    for package in ("pld_interfaces", "tf2_msgs"):
        for source in (INTERFACES / package).glob("*/*.[ms][sr][gv]"):
            built = Path(sys.prefix, "share", package, source.parent.name, source.name)
            assert built.read_text() == source.read_text(), f"{source.name}: run `make interfaces`"


def test_every_third_party_import_is_a_direct_dependency() -> None:
    ours = {"pld", "pld_nodes", "tests", *ROS_OF_A_LAB_MACHINE}
    foreign = imports_under("pld", "pld_nodes") - sys.stdlib_module_names - ours
    names = {normalised(DISTRIBUTION_OF_IMPORT.get(name, name)) for name in foreign}
    assert names - {name for name, _ in direct_pins()} == {"torch"}


def test_containers_use_files_that_exist() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for path in re.findall(r"requirements/[\w.]+", dockerfile):
        assert (ROOT / path).is_file(), path
    for copied in re.findall(r"^COPY (\S+) \S+$", dockerfile, re.MULTILINE):
        assert (ROOT / copied).exists(), copied
    launched = re.findall(r"[\w.]+\.launch\.py", dockerfile + str(compose))
    assert launched
    assert all((ROOT / "launch" / name).is_file() for name in launched)
    stages = re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE)
    for service in compose["services"].values():
        assert service["build"]["target"] in stages
        assert (ROOT / "docker" / service["build"]["context"] / "docker" / "Dockerfile").is_file()


def test_containers_publish_no_port_and_are_not_privileged() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert not {"ports", "expose", "privileged"} & service.keys()
    robot = compose["services"]["robot"]
    assert robot["network_mode"] == "host"
    assert robot["ulimits"]["rtprio"] == 99
    assert robot["restart"] == "no"


def test_continuous_integration_runs_the_test_target() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("demo", ".venv/bin/pld demo"),
        ("test", ".venv/bin/python -m pytest"),
        ("lint", ".venv/bin/ruff check ."),
        ("interfaces", "scripts/bootstrap.py"),
    ],
)
def test_a_make_target_prepares_the_environment_first(target: str, expected: str) -> None:
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert "scripts/bootstrap.py" in lines[0]
    assert any(expected in line for line in lines)
