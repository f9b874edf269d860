"""Every missing, swapped, non-finite or absurd limit is refused at load with the field named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from pld.errors import ConfigError
from pld.robots.franka_config import FR3_LOWER_RAD, FR3_UPPER_RAD, HOME_RAD
from pld.robots.twin import LockstepTwin
from pld.safety.arm_model import JOINT_TABLES, tool_line
from pld.safety.limits import SafetyLimits, load_limits
from pld.twin.tasks import task_named

LIMITS_FILE = Path(__file__).resolve().parents[2] / "launch" / "config" / "limits_fr3.yaml"
CONTENT = yaml.safe_load(LIMITS_FILE.read_text())
REQUIRED = sorted(CONTENT)
SCALARS = sorted(name for name, value in CONTENT.items() if isinstance(value, float))
VECTORS = sorted(name for name, v in CONTENT.items() if isinstance(v, list) and v)


def load(tmp_path: Path, **changes: object) -> SafetyLimits:
    path = tmp_path / "limits.yaml"
    content = {k: v for k, v in {**CONTENT, **changes}.items() if v != "absent"}
    path.write_text(yaml.safe_dump(content))
    return load_limits(path)


def test_the_file_names_every_limit() -> None:
    assert set(CONTENT) == {f.name for f in fields(SafetyLimits)}


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_limit_is_refused_by_name(field: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"limits.yaml: missing field '{field}'"):
        load(tmp_path, **{field: "absent"})


@pytest.mark.parametrize("field", SCALARS)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e6, "fast", True, None])
def test_an_absurd_number_is_refused_by_name(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=field):
        load(tmp_path, **{field: value})


@pytest.mark.parametrize("field", VECTORS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6, -1e6, "far"])
def test_an_absurd_entry_of_a_vector_is_refused_by_name(
    field: str, value: object, tmp_path: Path
) -> None:
    for index in range(len(CONTENT[field])):
        changed = [*CONTENT[field]]
        changed[index] = value
        with pytest.raises(ConfigError, match=field):
            load(tmp_path, **{field: changed})


@pytest.mark.parametrize("field", VECTORS)
def test_a_vector_of_the_wrong_length_is_refused_by_name(field: str, tmp_path: Path) -> None:
    for changed in (CONTENT[field][:-1], [*CONTENT[field], 0.1], [], 0.3):
        with pytest.raises(ConfigError, match=field):
            load(tmp_path, **{field: changed})


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("workspace_min_m", "workspace_max_m"),
        ("lower_q_rad", "upper_q_rad"),
        ("singularity_slow", "singularity_stop"),
    ],
)
def test_swapped_ends_are_refused_by_name(low: str, high: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=low):
        load(tmp_path, **{low: CONTENT[high], high: CONTENT[low]})


def test_joint_limits_of_another_robot_are_refused(tmp_path: Path) -> None:
    fer = JOINT_TABLES["fer"]
    as_fer = {"lower_q_rad": list(fer.lower_rad), "upper_q_rad": list(fer.upper_rad)}
    assert load(tmp_path, robot="fer", **as_fer).robot == "fer"
    with pytest.raises(ConfigError, match=r"lower_q_rad: joint 5: .* is below .* of fr3"):
        load(tmp_path, **as_fer)
    with pytest.raises(ConfigError, match=r"lower_q_rad: joint 1: .* is below .* of fer"):
        load(tmp_path, robot="fer")


def test_an_unknown_robot_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown robot 'ur5'; valid: fr3, fer"):
        load(tmp_path, robot="ur5")


def test_filter_and_driver_have_the_same_joint_limits() -> None:
    assert JOINT_TABLES["fr3"].lower_rad == FR3_LOWER_RAD
    assert JOINT_TABLES["fr3"].upper_rad == FR3_UPPER_RAD


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        ([[0.0, 0.0, 0.0, 0.1]], "normal.*length 0"),
        ([[0.0, 0.0, 2.0, 0.1]], "length 2"),
        ([[0.0, 0.0, np.nan, 0.1]], "not finite"),
        ([[0.0, 0.0, 1.0]], "expected 4 values, got 3"),
        ([[1.0, 0.0, 0.0, 0.2]], "no point of the workspace box"),
        ([[1.0, 0.0, 0.0, 0.4], [-1.0, 0.0, 0.0, -0.5]], "no point of the workspace box"),
        ([0.0, 0.0, 1.0, 0.2], "not a list"),
    ],
)
def test_a_zone_that_is_none_is_refused_by_name(planes: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"zone_planes.*{words}"):
        load(tmp_path, zone_planes=planes)


def test_a_zone_that_cuts_the_box_is_taken(tmp_path: Path) -> None:
    assert load(tmp_path, zone_planes=[[0.6, 0.0, 0.8, 0.5]]).zone_planes == ((0.6, 0, 0.8, 0.5),)


def test_a_misspelt_limit_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_sped_m_s.*valid:.*max_speed_m_s"):
        load(tmp_path, max_sped_m_s=0.1)


def test_a_limit_that_stands_twice_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(LIMITS_FILE.read_text() + "max_speed_m_s: 1.0\n")
    with pytest.raises(ConfigError, match=r"limits.yaml.*'max_speed_m_s' stands twice"):
        load_limits(path)


def test_a_hand_that_points_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"upright_q_xyzw: .* points the hand up"):
        load(tmp_path, upright_q_xyzw=[0.0, 0.0, 0.0, 1.0])


def test_a_box_deep_below_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"workspace_min_m: z = -1.0 is beyond the arm's reach"):
        load(tmp_path, workspace_min_m=[0.29, -0.16, -1.0])


def test_malformed_yaml_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("robot: [")
    with pytest.raises(ConfigError, match=r"c.yaml: malformed YAML"):
        load_limits(tmp_path / "c.yaml")


def test_a_home_outside_of_the_workspace_is_refused_with_any_usual_hand(tmp_path: Path) -> None:
    limits = load(tmp_path)
    limits.check_home(HOME_RAD)
    with pytest.raises(ConfigError, match=r"hand would be at \(0.17, 0.45, 0.35\) m, 287 mm outs"):
        limits.check_home((1.2, *HOME_RAD[1:]))
    post = load(tmp_path, zone_planes=[[1.0, 0.0, 0.0, 0.40]])
    with pytest.raises(ConfigError, match="80 mm outside of the workspace"):
        post.check_home(HOME_RAD)


def test_the_line_of_the_hand_is_where_the_twin_has_it() -> None:
    robot = LockstepTwin(task_named("cube_pickup"))
    robot.reset(0)
    arm = robot.wait_step()
    assert tool_line(arm.q_rad, np.array([0.1034]))[0] == pytest.approx(arm.O_T_EE.p_m, abs=1e-3)


def test_a_driver_that_may_push_harder_than_the_force_ceiling_is_refused(tmp_path: Path) -> None:
    limits = load(tmp_path, max_force_n=20.0)
    limits.check_force(600.0, 0.010)
    with pytest.raises(ConfigError, match=r"stiffness_n_m 1500 .*clip_m 0.02 = 30 N .* 20"):
        limits.check_force(1500.0, 0.020)
