"""The twin cameras' calibrations, read from the scene that is rendered."""

from __future__ import annotations

from pld.calibration.files import CameraCalibration, CameraPose
from pld.contract import CAMERAS, IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX
from pld.twin.realsense import twin_serial
from pld.twin.scene import EE_T_camera, O_T_camera, build_model, camera_intrinsics
from pld.twin.tasks import task_named

METHOD = "read from the twin's scene"


def twin_calibrations(task: str, date: str) -> dict[str, CameraCalibration]:
    """The calibration of each camera by name; `date` is ISO 8601."""
    model = build_model(task_named(task))
    poses = {
        "third_person": CameraPose.of("O", O_T_camera(model)),
        "wrist": CameraPose.of("EE", EE_T_camera(model)),
    }
    return {
        camera: CameraCalibration(
            camera,
            twin_serial(camera),
            date,
            METHOD,
            0.0,
            0.0,
            camera_intrinsics(model, camera, IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX),
            poses[camera],
        )
        for camera in CAMERAS
    }
