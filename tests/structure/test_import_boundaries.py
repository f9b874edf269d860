"""What may import what, read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOWER = sorted((ROOT / "pld").rglob("*.py"))
UPPER = sorted((ROOT / "pld_nodes").rglob("*.py"))
ROS = {
    "rclpy",
    "launch",
    "std_msgs",
    "std_srvs",
    "sensor_msgs",
    "geometry_msgs",
    "pld_interfaces",
    "diagnostic_msgs",
    "tf2_msgs",
    "builtin_interfaces",
    "rcl_interfaces",
    "ament_index_python",
}
STAGES = (
    "base_policy",
    "residual",
    "probing",
    "safety",
    "cameras",
    "teleop",
    "reward",
    "recording",
    "distill",
    "evaluation",
    "calibration",
)
VENDORS = ("franky", "pyrealsense2", "franky_sim", "mcap", "rosbags")
CLOCKS = {"time", "datetime"}


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports, and of what it takes from them."""
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{relative(path)}:{node.lineno} imports without a module's name"
            assert node.level == 0, f"{relative(path)}:{node.lineno} imports relatively"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def sources_of(stage: str) -> list[Path]:
    """The files of one stage; there are some."""
    paths = [path for path in LOWER if path.is_relative_to(ROOT / "pld" / stage)]
    assert len(paths) > 1, f"no files in pld/{stage}"
    return paths


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", LOWER, ids=relative)
def test_the_lower_floor_knows_no_ros(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & (ROS | {"pld_nodes"})


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_each_other(stage: str) -> None:
    others = {f"pld.{other}" for other in STAGES if other != stage}
    for path in sources_of(stage):
        met = {n for n in imports(path) if any(n == o or n.startswith(f"{o}.") for o in others)}
        assert not met, f"{relative(path)} imports {sorted(met)}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_package_is_imported_in_few_named_places(vendor: str) -> None:
    users = {
        relative(path)
        for path in LOWER + UPPER
        if any(n == vendor or n.startswith(f"{vendor}.") for n in imports(path))
    }
    allowed = {
        "franky": {"pld/robots/franky_link.py"},
        "pyrealsense2": {"pld/cameras/realsense.py", "pld/twin/realsense.py"},
        "franky_sim": {p for p in map(relative, LOWER) if p.startswith("pld/twin/")},
        "mcap": {p for p in map(relative, LOWER) if p.startswith("pld/recording/")},
        "rosbags": {p for p in map(relative, LOWER) if p.startswith("pld/recording/")},
    }
    assert users
    assert users <= allowed[vendor]


@pytest.mark.parametrize("path", [p for p in UPPER if p.name.endswith("_node.py")], ids=relative)
def test_shells_do_not_talk_to_vendors_directly(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"franky", "pyrealsense2", "mujoco", "franky_sim"}


@pytest.mark.parametrize("stage", ["safety", "probing", "residual", "base_policy", "reward"])
def test_decisions_read_no_clock(stage: str) -> None:
    for path in sources_of(stage):
        met = CLOCKS & {name.split(".")[0] for name in imports(path)}
        assert not met, f"{relative(path)} imports {sorted(met)}"
