"""`pld camera`: which cameras are there."""

from __future__ import annotations

import typer

app = typer.Typer(help="RealSense cameras on this machine.", no_args_is_help=True)


@app.callback()
def camera() -> None:
    """RealSense cameras on this machine."""


@app.command("list")
def list_present() -> None:
    """List serial number, name, USB link and firmware of each RealSense camera."""
    from rich.console import Console

    from pld.cameras.realsense import list_cameras
    from pld.cli.screen import PlainTable

    found = list_cameras()
    table = PlainTable("serial", "name", "usb", "firmware")
    for c in found:
        table.add_row(c.serial, c.name, c.usb, c.firmware)
    Console().print(table if found else "no RealSense camera; check the cable and a USB 3 port")
    raise typer.Exit(0 if found else 1)
