"""A run on a real arm refuses what only the twin can do, before anything starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pld.base_policy.registry import make_policy
from pld.calibration.files import load_calibration, save_calibration
from pld.contract import ActionSpec
from pld.errors import ConfigError, RobotError
from pld_nodes.graph import Deployment
from pld_nodes.parameters import POLICIES, WEIGHTS, parse_arguments
from pld_nodes.run import check_before_start
from tests.pld.vla_fixtures import observation

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "launch" / "demo" / "peg_insertion" / "base.safetensors"
WHOLE = [
    "task:=peg_insertion",
    "rate_hz:=10",
    f"policy:={BASE}",
    "third_person_serial:=1",
    "wrist_serial:=2",
    "robot_ip:=127.0.0.74",
]


def check(deployment: Deployment, *words: str) -> None:
    check_before_start(parse_arguments(deployment, words), deployment)


def test_a_whole_set_of_parameters_gets_as_far_as_the_arm(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match=r"no robot answers at 127\.0\.0\.74:1337"):
        check(Deployment.ROBOT, *WHOLE, f"output_dir:={tmp_path}")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("detector:=twin", "detector: 'twin' needs the twin; give detector:=operator or"),
        ("scene:=service", "scene: 'service' needs the twin; give scene:=operator"),
        ("realtime:=ignore", "realtime: 'ignore' needs the twin; give realtime:=enforce"),
        ("arm_config:=launch/config/arm_twin.yaml", "arm_twin.yaml' needs the twin; give arm_con"),
        ("calibrations:=calibration/twin_wrist.yaml", "twin_wrist.yaml' needs the twin; give"),
        ("third_person_serial:=", "third_person_serial is empty; `pld camera list`"),
        ("wrist_serial:=TWIN-WRIST", "wrist_serial is TWIN-WRIST; `pld camera list`"),
        ("wrist_serial:=1", "1 is the serial of both cameras"),
    ],
)
def test_what_needs_the_twin_is_refused_with_the_remedy(
    tmp_path: Path, argument: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check(Deployment.ROBOT, *WHOLE, f"output_dir:={tmp_path}", argument)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def rig(folder: Path, serials: dict[str, str]) -> dict[str, str]:
    """The twin's calibrations as those of cameras with other serials."""
    paths = {}
    for camera, serial in serials.items():
        told = load_calibration(ROOT / "calibration" / f"twin_{camera}.yaml")
        paths[camera] = str(folder / f"{camera}_{serial}.yaml")
        save_calibration(Path(paths[camera]), replace(told, serial=serial))
    return paths


def test_calibrations_must_be_those_of_the_cameras_that_are_there(tmp_path: Path) -> None:
    mine = rig(tmp_path, {"third_person": "1", "wrist": "2"})
    other = rig(tmp_path, {"third_person": "2", "wrist": "1"})
    output = f"output_dir:={tmp_path}"
    both = f"calibrations:={mine['third_person']},{mine['wrist']}"
    with pytest.raises(RobotError, match="no robot answers"):
        check(Deployment.ROBOT, *WHOLE, output, both)
    with pytest.raises(ConfigError, match="is of third_person 2, and third_person_serial is 1"):
        check(Deployment.ROBOT, *WHOLE, output, f"calibrations:={other['third_person']}")
    with pytest.raises(ConfigError, match="are both of wrist"):
        check(Deployment.ROBOT, *WHOLE, output, f"calibrations:={mine['wrist']},{mine['wrist']}")


@pytest.mark.parametrize("policy", [p for p in POLICIES if p not in (WEIGHTS, "still")])
def test_every_policy_that_needs_the_twin_is_refused_on_a_real_arm(policy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(Deployment.ROBOT, *WHOLE, f"policy:={policy}")
    assert f"policy: {policy!r} needs the twin; give policy:={WEIGHTS}" in str(caught.value)


def test_a_copy_of_the_twins_driver_settings_is_refused_too(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    shutil.copy(ROOT / "launch" / "config" / "arm_twin.yaml", copy)
    with pytest.raises(ConfigError, match=r"mine\.yaml' needs the twin"):
        check(Deployment.ROBOT, *WHOLE, f"arm_config:={copy}")


def test_a_real_arm_stands_still_unless_it_is_given_weights(tmp_path: Path) -> None:
    assert parse_arguments(Deployment.ROBOT, []).policy == "still"
    with pytest.raises(RobotError, match="no robot answers"):
        check(Deployment.ROBOT, *WHOLE, f"output_dir:={tmp_path}", "policy:=still")
    for deployment in Deployment:
        with pytest.raises(ConfigError, match="unknown policy ''; valid: scripted"):
            parse_arguments(deployment, ["policy:="])


def test_the_still_policy_asks_for_nothing() -> None:
    policy = make_policy("still", "cube_pickup", ActionSpec(), lambda: pytest.fail("no truth"))
    assert not policy.infer(observation()).any()


@pytest.mark.parametrize("deployment", list(Deployment))
def test_limits_of_another_robot_are_refused(tmp_path: Path, deployment: Deployment) -> None:
    text = (ROOT / "launch" / "config" / "limits_fr3.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("lower_q", "upper_q"))]
    joints = [
        "lower_q_rad: [-2.8, -1.7, -2.8, -3.0, -2.8, 0.1, -2.8]",
        "upper_q_rad: [2.8, 1.7, 2.8, -0.2, 2.8, 3.7, 2.8]",
    ]
    other = tmp_path / "limits_fer.yaml"
    other.write_text("\n".join([*kept, *joints]).replace("robot: fr3", "robot: fer"))
    words = WHOLE if deployment is Deployment.ROBOT else []
    with pytest.raises(ConfigError, match="is for robot 'fer'; the driver is a client of 'fr3'"):
        check(deployment, *words, f"limits:={other}")
