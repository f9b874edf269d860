"""Calibration files: our own, one per camera and rig, and the two formats that labs have.

Ours holds the intrinsics and the camera's pose with where they come from. `camera_info` YAML is
that of `camera_calibration_parsers`; `.calib` is that of easy_handeye2, whose transform is the pose
of the tracking camera in the effector (eye_in_hand) or in the robot's base (eye_on_base).
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pld.config import coerce, load_yaml
from pld.errors import ConfigError
from pld.files import write_bytes_atomically
from pld.geometry import normalised
from pld.types import Intrinsics, Pose

PARENTS = ("O", "EE")
MOUNTED = {"third_person": "O", "wrist": "EE"}
"""What each camera stands on, and so what its pose is told in."""
DISTORTION_MODEL = "plumb_bob"
CALIBRATION_TYPES = {"eye_in_hand": "EE", "eye_on_base": "O"}
FRAMES = {
    "EE": ("robot_effector_frame", ("fr3_hand_tcp",)),
    "O": ("robot_base_frame", ("base", "fr3_link0")),
}
"""Where a pose begins, as easy_handeye2 names it; the robot's base and its first link coincide."""
CAMERA_FRAME = ("tracking_base_frame", ("*_color_optical_frame",))
"""Where it ends."""
UNIT_TOLERANCE = 1e-3
MAX_REACH_M = 5.0


@dataclass(frozen=True)
class CameraPose:
    """Pose of a camera's colour optical frame (z forward) in `parent`: O (base) or EE."""

    parent: str
    p_m: tuple[float, float, float]
    q_xyzw: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        """Refuse an unknown parent, a quaternion that is no rotation, a camera out of reach."""
        if self.parent not in PARENTS:
            raise ConfigError.unknown("parent", self.parent, PARENTS)
        norm = math.sqrt(sum(v * v for v in self.q_xyzw))
        if abs(norm - 1.0) > UNIT_TOLERANCE:
            raise ConfigError(f"q_xyzw: {list(self.q_xyzw)} has norm {norm:.4g}; expected 1")
        if math.hypot(*self.p_m) > MAX_REACH_M:
            raise ConfigError(f"p_m: {list(self.p_m)} is over {MAX_REACH_M} m away; expected [m]")

    @property
    def pose(self) -> Pose:
        """`parent_T_camera`."""
        return normalised(Pose(np.array(self.p_m), np.array(self.q_xyzw)))

    @classmethod
    def of(cls, parent: str, parent_T_camera: Pose) -> CameraPose:
        """From a pose of the vocabulary."""
        pose = normalised(parent_T_camera)
        x, y, z = (round(float(v), 9) for v in pose.p_m)
        qx, qy, qz, qw = (round(float(v), 12) for v in pose.q_xyzw)
        return cls(parent, (x, y, z), (qx, qy, qz, qw))


@dataclass(frozen=True)
class CameraCalibration:
    """What is known of one camera of one rig, and how well.

    `date` is ISO 8601; `residual_m` and `residual_rad` are the root mean square disagreement of the
    board's pose over the samples, 0 for a camera whose pose is known by construction.
    """

    camera: str
    serial: str
    date: str
    method: str
    residual_m: float
    residual_rad: float
    intrinsics: Intrinsics
    pose: CameraPose

    def __post_init__(self) -> None:
        """Refuse what cannot be a calibration."""
        if self.camera not in MOUNTED:
            raise ConfigError.unknown("camera", self.camera, MOUNTED)
        if (parent := MOUNTED[self.camera]) != self.pose.parent:
            raise ConfigError(
                f"parent: {self.pose.parent!r}; camera {self.camera} is calibrated in {parent!r} "
                f"({_calibration_type(parent)}): give the file of the other camera"
            )
        check_intrinsics(self.intrinsics, where=self.camera)
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError as error:
            raise ConfigError(f"date: {self.date!r} is not a date such as 2025-01-31") from error
        for name in ("residual_m", "residual_rad"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}: {value} is not 0 or more")


def check_intrinsics(intrinsics: Intrinsics, *, where: str) -> None:
    """Raise ConfigError that names the first field that no pinhole camera has."""
    for name in ("width_px", "height_px", "fx", "fy"):
        if getattr(intrinsics, name) <= 0:
            raise ConfigError(f"{where}: {name}: {getattr(intrinsics, name)} is not positive")
    for name, size in (("cx", intrinsics.width_px), ("cy", intrinsics.height_px)):
        value = getattr(intrinsics, name)
        if not 0 <= value <= size:
            raise ConfigError(f"{where}: {name}: {value} is outside the image, 0 to {size} px")


def load_calibration(path: Path) -> CameraCalibration:
    """Read our own file; raises ConfigError that names file and field."""
    try:
        return load_yaml(path, CameraCalibration)
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f"{path}: {error}") from error


def save_calibration(path: Path, calibration: CameraCalibration) -> None:
    """Write our own file, whole or not at all."""
    _save(path, dataclasses.asdict(calibration))


def load_camera_info(path: Path) -> tuple[str, Intrinsics]:
    """Camera name and intrinsics of a `camera_calibration_parsers` file."""
    content = _Fields(path)
    model = content.text("distortion_model")
    if model != DISTORTION_MODEL:
        raise ConfigError(f"{path}: distortion_model: {model!r}; valid: {DISTORTION_MODEL}")
    k = content.matrix("camera_matrix", 3, 3)
    k1, k2, p1, p2, k3 = content.matrix("distortion_coefficients", 1, 5)
    width_px, height_px = content.whole("image_width"), content.whole("image_height")
    intrinsics = Intrinsics(width_px, height_px, k[0], k[4], k[2], k[5], (k1, k2, p1, p2, k3))
    check_intrinsics(intrinsics, where=str(path))
    return content.text("camera_name"), intrinsics


def save_camera_info(path: Path, camera: str, intrinsics: Intrinsics) -> None:
    """Write intrinsics for `camera_calibration_parsers`, unrectified."""
    k = intrinsics.matrix()
    _save(
        path,
        {
            "image_width": intrinsics.width_px,
            "image_height": intrinsics.height_px,
            "camera_name": camera,
            "camera_matrix": _matrix(3, 3, k.ravel()),
            "distortion_model": DISTORTION_MODEL,
            "distortion_coefficients": _matrix(1, 5, intrinsics.distortion),
            "rectification_matrix": _matrix(3, 3, np.eye(3).ravel()),
            "projection_matrix": _matrix(3, 4, np.hstack([k, np.zeros((3, 1))]).ravel()),
        },
    )


def load_hand_eye(path: Path) -> CameraPose:
    """The camera's pose from an easy_handeye2 `.calib` file.

    Raises ConfigError for a file whose frames are others than those of `CameraPose`: from the base
    or the hand's tool centre to the camera's colour optical frame.
    """
    content = _Fields(path)
    kind = content.text("parameters", "calibration_type")
    if kind not in CALIBRATION_TYPES:
        raise ConfigError(
            f"{path}: parameters.calibration_type: {kind!r}; valid: {', '.join(CALIBRATION_TYPES)}"
        )
    for name, valid in (FRAMES[CALIBRATION_TYPES[kind]], CAMERA_FRAME):
        frame = content.text("parameters", name)
        if not any(fnmatchcase(frame, pattern) for pattern in valid):
            raise ConfigError(
                f"{path}: parameters.{name}: {frame!r}; valid: {', '.join(valid)}; calibrate again "
                "with that frame"
            )
    x, y, z = (content.number("transform", "translation", axis) for axis in "xyz")
    qx, qy, qz, qw = (content.number("transform", "rotation", axis) for axis in "xyzw")
    try:
        return CameraPose(CALIBRATION_TYPES[kind], (x, y, z), (qx, qy, qz, qw))
    except ConfigError as error:
        raise ConfigError(f"{path}: transform: {error}") from error


def save_hand_eye(path: Path, camera: str, pose: CameraPose) -> None:
    """Write the camera's pose for easy_handeye2's publisher."""
    _save(
        path,
        {
            "parameters": {
                "name": camera,
                "calibration_type": _calibration_type(pose.parent),
                "robot_base_frame": "base",
                "robot_effector_frame": "fr3_hand_tcp",
                "tracking_base_frame": f"{camera}_color_optical_frame",
                "tracking_marker_frame": "board",
                "freehand_robot_movement": True,
                "move_group_namespace": "/",
                "move_group": "",
            },
            "transform": {
                "translation": dict(zip("xyz", pose.p_m, strict=True)),
                "rotation": dict(zip("xyzw", pose.q_xyzw, strict=True)),
            },
        },
    )


def _calibration_type(parent: str) -> str:
    """What easy_handeye2 calls a camera whose pose is told in `parent`."""
    return next(kind for kind, known in CALIBRATION_TYPES.items() if known == parent)


class _Fields:
    """A YAML file of somebody else's format, read field by field with errors that name both."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: malformed YAML: {error}") from error

    def _at(self, keys: Sequence[str]) -> Any:
        found = self._content
        for depth, key in enumerate(keys):
            if not isinstance(found, Mapping) or key not in found:
                raise ConfigError(f"{self._path}: missing field {'.'.join(keys[: depth + 1])!r}")
            found = found[key]
        return found

    def _coerced(self, keys: Sequence[str], kind: type) -> Any:
        return coerce(self._at(keys), kind, where=f"{self._path}: {'.'.join(keys)}")

    def text(self, *keys: str) -> str:
        return str(self._coerced(keys, str))

    def whole(self, *keys: str) -> int:
        return int(self._coerced(keys, int))

    def number(self, *keys: str) -> float:
        return float(self._coerced(keys, float))

    def matrix(self, key: str, rows: int, cols: int) -> list[float]:
        where = f"{self._path}: {key}"
        size = (self.whole(key, "rows"), self.whole(key, "cols"))
        data = self._at((key, "data"))
        if size != (rows, cols) or not isinstance(data, list) or len(data) != rows * cols:
            raise ConfigError(f"{where}: expected {rows} rows x {cols} cols of numbers in data")
        return [float(coerce(v, float, where=f"{where}.data[{i}]")) for i, v in enumerate(data)]


def _matrix(rows: int, cols: int, values: Any) -> dict[str, Any]:
    return {"rows": rows, "cols": cols, "data": [float(v) for v in values]}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def _save(path: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(_plain(content), sort_keys=False, default_flow_style=None)
    write_bytes_atomically(path, text.encode())
