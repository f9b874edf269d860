"""Calibration files read back what was written, name what is wrong, and the solver is exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image as Picture
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from pld.calibration.board import Board, draw_board, find_board, write_png
from pld.calibration.files import (
    CameraCalibration,
    CameraPose,
    load_calibration,
    load_camera_info,
    load_hand_eye,
    save_calibration,
    save_camera_info,
    save_hand_eye,
)
from pld.calibration.hand_eye import solve_hand_eye
from pld.cli.calibration import app
from pld.errors import ConfigError
from pld.geometry import compose, matrix_from_pose, pose_from_matrix
from pld.types import Intrinsics, Pose

INTRINSICS = Intrinsics(424, 240, 308.5, 309.25, 211.5, 119.0, (0.01, -0.02, 0.001, 0.002, 0.3))
POSE = CameraPose("EE", (0.085, 0.01, -0.1), (0.0, 0.0, 0.6, 0.8))
CALIBRATION = CameraCalibration(
    "wrist", "123", "2025-01-31", "hand-eye", 0.001, 0.002, INTRINSICS, POSE
)


def random_pose(rng: np.random.Generator, spread_m: float, turn_rad: float) -> Pose:
    rotation = Rotation.from_rotvec(rng.uniform(-turn_rad, turn_rad, 3))
    return Pose(rng.uniform(-spread_m, spread_m, 3), rotation.as_quat(canonical=True))


def samples(
    rng: np.random.Generator, *, eye_in_hand: bool, noise_m: float = 0.0, noise_rad: float = 0.0
) -> tuple[Pose, list[Pose], list[Pose]]:
    """The true parent_T_camera, and 15 arm poses with the board poses that follow from it."""
    parent_T_camera = random_pose(rng, 0.5, 2.0)
    other_T_board = random_pose(rng, 0.5, 2.0)
    arms, boards = [], []
    for _ in range(15):
        O_T_EE = random_pose(rng, 0.4, 0.6)
        arm, board = matrix_from_pose(O_T_EE), matrix_from_pose(other_T_board)
        moving = np.linalg.inv(arm) if eye_in_hand else arm
        seen = np.linalg.inv(matrix_from_pose(parent_T_camera)) @ moving @ board
        noise = Pose(
            rng.normal(0.0, noise_m, 3), Rotation.from_rotvec(rng.normal(0, noise_rad, 3)).as_quat()
        )
        arms.append(O_T_EE)
        boards.append(compose(pose_from_matrix(seen), noise))
    return parent_T_camera, arms, boards


@pytest.mark.parametrize("eye_in_hand", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_solver_recovers_a_known_camera_pose(seed: int, eye_in_hand: bool) -> None:
    truth, arms, boards = samples(np.random.default_rng(seed), eye_in_hand=eye_in_hand)
    found = solve_hand_eye(arms, boards, eye_in_hand=eye_in_hand)
    assert found.parent == ("EE" if eye_in_hand else "O")
    np.testing.assert_allclose(
        matrix_from_pose(found.parent_T_camera), matrix_from_pose(truth), atol=1e-9
    )
    assert found.residual_m < 1e-9
    assert found.residual_rad < 1e-7


def test_noise_shows_in_the_residual_and_is_averaged_in_the_solution() -> None:
    truth, arms, boards = samples(
        np.random.default_rng(3), eye_in_hand=True, noise_m=0.001, noise_rad=0.002
    )
    found = solve_hand_eye(arms, boards, eye_in_hand=True)
    error_m = np.linalg.norm(found.parent_T_camera.p_m - truth.p_m)
    assert 0.0005 < found.residual_m < 0.004
    assert 0.001 < found.residual_rad < 0.008
    assert error_m < 0.003


def test_an_arm_that_turned_about_one_axis_only_is_refused() -> None:
    arms = [Pose(np.zeros(3), Rotation.from_euler("z", 0.2 * i).as_quat()) for i in range(10)]
    with pytest.raises(ConfigError, match="less than two axes"):
        solve_hand_eye(arms, arms, eye_in_hand=True)


def test_too_few_samples_are_refused() -> None:
    arms = [Pose(np.zeros(3), np.array([0, 0, 0, 1.0]))] * 4
    with pytest.raises(ConfigError, match="4 samples; take at least 5"):
        solve_hand_eye(arms, arms, eye_in_hand=True)


def test_our_file_reads_back_what_was_written(tmp_path: Path) -> None:
    save_calibration(tmp_path / "c.yaml", CALIBRATION)
    assert load_calibration(tmp_path / "c.yaml") == CALIBRATION


def test_a_camera_info_file_reads_back_what_was_written(tmp_path: Path) -> None:
    save_camera_info(tmp_path / "info.yaml", "wrist", INTRINSICS)
    assert load_camera_info(tmp_path / "info.yaml") == ("wrist", INTRINSICS)


def test_a_camera_info_file_of_camera_calibration_parsers_is_read(tmp_path: Path) -> None:
    (tmp_path / "info.yaml").write_text(
        """
image_width: 640
image_height: 480
camera_name: narrow
camera_matrix: {rows: 3, cols: 3, data: [600, 0, 320.5, 0, 601.5, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0, 0.001, 0]
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [600, 0, 320.5, 0, 0, 601.5, 240, 0, 0, 0, 1, 0]}
"""
    )
    name, found = load_camera_info(tmp_path / "info.yaml")
    assert name == "narrow"
    assert found == Intrinsics(640, 480, 600, 601.5, 320.5, 240, (0.1, -0.2, 0, 0.001, 0))


@pytest.mark.parametrize("parent", ["O", "EE"])
def test_an_easy_handeye2_file_reads_back_what_was_written(tmp_path: Path, parent: str) -> None:
    pose = dataclasses.replace(POSE, parent=parent)
    save_hand_eye(tmp_path / "h.calib", "wrist", pose)
    assert load_hand_eye(tmp_path / "h.calib") == pose
    kind = yaml.safe_load((tmp_path / "h.calib").read_text())["parameters"]["calibration_type"]
    assert kind == {"O": "eye_on_base", "EE": "eye_in_hand"}[parent]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fx": -1.0}, "fx"),
        ({"cx": 900.0}, "cx"),
        ({"width_px": 0}, "width_px"),
        ({"fy": float("nan")}, "fy"),
    ],
)
def test_bad_intrinsics_name_file_and_field(
    tmp_path: Path, change: dict[str, float], field: str
) -> None:
    path = tmp_path / "c.yaml"
    save_calibration(path, CALIBRATION)
    content = yaml.safe_load(path.read_text())
    content["intrinsics"] |= change
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=field) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("date", "yesterday", "date"),
        ("residual_m", -0.1, "residual_m"),
        ("pose", {"parent": "hand", "p_m": [0, 0, 0], "q_xyzw": [0, 0, 0, 1]}, "valid: O, EE"),
        ("pose", {"parent": "O", "p_m": [0, 0, 0], "q_xyzw": [0, 0, 0, 2]}, "q_xyzw"),
        ("pose", {"parent": "O", "p_m": [0, 0, 850], "q_xyzw": [0, 0, 0, 1]}, "p_m"),
        ("colour", "red", "colour"),
    ],
)
def test_a_bad_field_of_ours_is_named(tmp_path: Path, key: str, value: object, field: str) -> None:
    path = tmp_path / "c.yaml"
    save_calibration(path, CALIBRATION)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=field):
        load_calibration(path)


@pytest.mark.parametrize(
    ("path_of_field", "value", "message"),
    [
        (("transform", "translation", "y"), "abc", "transform.translation.y"),
        (("transform", "rotation", "w"), 7.0, "q_xyzw"),
        (("parameters", "calibration_type"), "eye_to_hand", "eye_in_hand, eye_on_base"),
        (("parameters", "robot_effector_frame"), "fr3_link8", "valid: fr3_hand_tcp"),
        (("parameters", "tracking_base_frame"), "camera_link", "valid: .*_color_optical_frame"),
    ],
)
def test_a_bad_field_of_an_easy_handeye2_file_is_named(
    tmp_path: Path, path_of_field: tuple[str, ...], value: object, message: str
) -> None:
    path = tmp_path / "h.calib"
    save_hand_eye(path, "wrist", POSE)
    content = inner = yaml.safe_load(path.read_text())
    for key in path_of_field[:-1]:
        inner = inner[key]
    inner[path_of_field[-1]] = value
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=message):
        load_hand_eye(path)


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "h.calib").write_text("parameters: {calibration_type: eye_in_hand}\n")
    with pytest.raises(ConfigError, match=r"missing field 'parameters\.robot_effector_frame'"):
        load_hand_eye(tmp_path / "h.calib")
    with pytest.raises(ConfigError, match=r"cannot read .*nothing\.yaml"):
        load_camera_info(tmp_path / "nothing.yaml")
    (tmp_path / "board.png").write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"board\.png: malformed YAML"):
        load_camera_info(tmp_path / "board.png")


def test_one_row_of_corners_is_no_pose() -> None:
    board, intrinsics = Board(), Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0, (0.0,) * 5)
    whole = np.full((480, 640), 255, np.uint8)
    drawn = cv2.resize(draw_board(board, dpi=100, margin_m=0.0), (560, 400))
    whole[40:440, 40:600] = drawn
    rgb = np.repeat(whole[:, :, None], 3, axis=2)
    assert find_board(rgb, board, intrinsics) is not None
    rgb[40 + 2 * 80 + 8 :] = 255
    assert find_board(rgb, board, intrinsics) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"columns": 12, "rows": 10}, "need more than 50 markers"),
        ({"square_m": float("inf")}, "must be positive and below square_m inf, and that below 1"),
    ],
)
def test_a_board_that_cannot_be_drawn_is_refused(words: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Board(**words)


def test_a_marker_of_a_few_pixels_is_refused() -> None:
    with pytest.raises(ConfigError, match="is 2 px at 100 dpi; at least 12"):
        draw_board(Board(marker_m=0.0005), dpi=100)


def test_the_printed_board_says_its_true_size(tmp_path: Path) -> None:
    board = Board()
    write_png(str(tmp_path / "b.png"), draw_board(board, dpi=150), 150)
    with Picture.open(tmp_path / "b.png") as picture:
        dpi = picture.info["dpi"][0]
        dark = np.argwhere(np.asarray(picture) < 128)
    height_m, width_m = (dark.max(axis=0) - dark.min(axis=0) + 1) / dpi * 0.0254
    assert board.size_m == pytest.approx((0.252, 0.180))
    assert width_m == pytest.approx(board.size_m[0], abs=0.0005)
    assert height_m == pytest.approx(board.size_m[1], abs=0.0005)


def test_the_board_is_found_where_it_was_put() -> None:
    board, dpi, margin_m = Board(), 100, 0.012
    print_px_per_m = dpi / 0.0254
    camera = Intrinsics(1280, 720, 900.0, 900.0, 639.5, 359.5)
    truth = Pose(
        np.array([-0.1, -0.08, 0.5]), Rotation.from_euler("xyz", [0.3, -0.2, 0.1]).as_quat()
    )
    print_to_board = np.array(
        [[1 / print_px_per_m, 0, -margin_m], [0, 1 / print_px_per_m, -margin_m], [0, 0, 1.0]]
    )
    matrix = matrix_from_pose(truth)
    to_image = camera.matrix() @ matrix[:3, [0, 1, 3]] @ print_to_board
    seen = cv2.warpPerspective(
        draw_board(board, dpi=dpi, margin_m=margin_m), to_image, (1280, 720), borderValue=200
    )
    found = find_board(np.repeat(seen[:, :, None], 3, axis=2), board, camera)
    assert found is not None
    np.testing.assert_allclose(found.p_m, truth.p_m, atol=0.002)
    turn = Rotation.from_quat(found.q_xyzw).inv() * Rotation.from_quat(truth.q_xyzw)
    assert turn.magnitude() < np.deg2rad(0.5)


def test_no_board_in_sight_is_none() -> None:
    assert find_board(np.full((240, 424, 3), 90, np.uint8), Board(), INTRINSICS) is None


def test_a_camera_is_calibrated_in_what_it_stands_on() -> None:
    with pytest.raises(ConfigError, match=r"'EE'; camera third_person is calibrated in 'O'"):
        dataclasses.replace(CALIBRATION, camera="third_person")
    with pytest.raises(ConfigError, match="unknown camera 'banana'; valid: third_person, wrist"):
        dataclasses.replace(CALIBRATION, camera="banana")


def test_intrinsics_of_another_image_size_are_not_imported(tmp_path: Path) -> None:
    info, hand_eye = tmp_path / "info.yaml", tmp_path / "wrist.calib"
    save_hand_eye(hand_eye, "wrist", POSE)
    words = ["import", "wrist", str(info), str(hand_eye), "--serial", "123", "--residual-mm", "1"]
    words += ["--date", "2025-01-31", "--residual-deg", "0.1", "--folder", str(tmp_path)]
    save_camera_info(info, "wrist", dataclasses.replace(INTRINSICS, width_px=1280, height_px=720))
    refused = CliRunner().invoke(app, words)
    assert "is of 1280 x 720 px; the cameras run at 424 x 240" in str(refused.exception)
    save_camera_info(info, "wrist", INTRINSICS)
    assert CliRunner().invoke(app, words).exit_code == 0
    printed = CliRunner().invoke(app, ["check", str(tmp_path / "wrist_123.yaml")]).output
    assert "424 x 240 px, f 308.5 309.2" in printed
