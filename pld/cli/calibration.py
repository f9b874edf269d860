"""`pld calibration`: boards to print, the twin's own files, and checks of a lab's files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated

import typer

from pld.cli.options import JsonOption, writable
from pld.errors import ConfigError
from pld.files import write_json_atomically
from pld.types import Intrinsics

app = typer.Typer(help="Camera calibration files and boards.", no_args_is_help=True)

FolderOption = Annotated[Path, typer.Option(help="Folder that receives the files.")]


@app.command("from-twin")
def from_twin(
    folder: FolderOption = Path("calibration"),
    task: Annotated[str, typer.Option(help="Scene to read the cameras from.")] = "cube_pickup",
    date: Annotated[str | None, typer.Option(help="Date to write; default: today.")] = None,
) -> None:
    """Write the twin cameras' calibration files from the scene itself."""
    import datetime

    from pld.calibration.files import save_calibration
    from pld.twin.calibrations import twin_calibrations

    today = date or datetime.date.today().isoformat()
    for name, calibration in twin_calibrations(task, today).items():
        path = folder / f"twin_{name}.yaml"
        save_calibration(path, calibration)
        print(path)


@app.command()
def board(
    path: Annotated[Path, typer.Argument(help="PNG to write.", callback=writable)] = Path(
        "calibration/board.png"
    ),
    columns: Annotated[int, typer.Option(min=2, help="Squares across.")] = 7,
    rows: Annotated[int, typer.Option(min=2, help="Squares down.")] = 5,
    square_mm: Annotated[float, typer.Option(help="Side of a square [mm].")] = 36.0,
    marker_mm: Annotated[float, typer.Option(help="Side of a marker [mm].")] = 27.0,
    dpi: Annotated[int, typer.Option(min=50, max=1200, help="Resolution of the print.")] = 300,
) -> None:
    """Draw a ChArUco board, true to size when printed at 100 %."""
    from pld.calibration.board import Board, draw_board, write_png

    if path.suffix.lower() != ".png":
        raise ConfigError(f"{str(path)!r}: give a file that ends in .png")
    drawn = Board(columns, rows, square_mm / 1000, marker_mm / 1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(str(path), draw_board(drawn, dpi=dpi), dpi)
    width_m, height_m = drawn.size_m
    print(
        f"{path}: {columns} x {rows} squares of {square_mm:g} mm, markers DICT_4X4_50 of "
        f"{marker_mm:g} mm; the squares measure {width_m * 1000:g} x {height_m * 1000:g} mm on a "
        f"print at {dpi} dpi and 100 %"
    )


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Our .yaml files.")],
    json_file: JsonOption = None,
) -> None:
    """Read calibration files and say what is in them; a fault names the file and the field."""
    from pld.calibration.files import load_calibration
    from pld.cli.screen import PlainTable, wide_console

    read = {str(path): load_calibration(path) for path in paths}
    if json_file is not None:
        write_json_atomically(json_file, {p: dataclasses.asdict(c) for p, c in read.items()})
    columns = ("file", "camera", "serial", "pose in", "p_m", "image", "residual", "date", "method")
    table = PlainTable(*columns)
    for path, c in read.items():
        position = " ".join(f"{v:.4f}" for v in c.pose.p_m)
        residual = f"{c.residual_m * 1000:.2f} mm, {math.degrees(c.residual_rad):.2f} deg"
        i = c.intrinsics
        image = f"{i.width_px} x {i.height_px} px, f {i.fx:.1f} {i.fy:.1f}"
        where = (c.camera, c.serial, c.pose.parent, position)
        table.add_row(path, *where, image, residual, c.date, c.method)
    wide_console().print(table)


@app.command("import")
def import_files(
    camera: Annotated[str, typer.Argument(help="Name of the camera.")],
    camera_info: Annotated[Path, typer.Argument(help="camera_info YAML.")],
    hand_eye: Annotated[Path, typer.Argument(help="easy_handeye2 .calib file.")],
    serial: Annotated[str, typer.Option(help="Serial number of the camera.")],
    date: Annotated[str, typer.Option(help="Date of the calibration, such as 2025-01-31.")],
    residual_mm: Annotated[float, typer.Option(help="Residual reported by the method [mm].")],
    residual_deg: Annotated[float, typer.Option(help="Residual reported by the method [deg].")],
    folder: FolderOption = Path("calibration"),
) -> None:
    """Join a camera_info file and an easy_handeye2 file into one of ours."""
    from pld.calibration.files import (
        CameraCalibration,
        load_camera_info,
        load_hand_eye,
        save_calibration,
    )
    from pld.contract import CAMERAS

    if camera not in CAMERAS:
        raise ConfigError.unknown("camera", camera, CAMERAS)
    if not serial.isalnum():
        raise ConfigError(f"serial: {serial!r} is no serial number; `pld camera list` prints them")
    _, intrinsics = load_camera_info(camera_info)
    _check_size(intrinsics, camera_info)
    calibration = CameraCalibration(
        camera,
        serial,
        date,
        "easy_handeye2",
        residual_mm / 1000,
        math.radians(residual_deg),
        intrinsics,
        load_hand_eye(hand_eye),
    )
    path = folder / f"{camera}_{serial}.yaml"
    save_calibration(path, calibration)
    print(path)


def _check_size(intrinsics: Intrinsics, path: Path) -> None:
    """Intrinsics of another image size are those of another camera mode; raises ConfigError."""
    from pld.contract import IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX

    size = (intrinsics.width_px, intrinsics.height_px)
    if size != (IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX):
        raise ConfigError(
            f"{str(path)!r} is of {size[0]} x {size[1]} px; the cameras run at {IMAGE_WIDTH_PX} x "
            f"{IMAGE_HEIGHT_PX}: calibrate at that size"
        )
