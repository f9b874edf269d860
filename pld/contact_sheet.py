"""A contact sheet of one episode: every camera at its start, its grasp and its end."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pld.errors import RecordingError
from pld.recording.reader import Episode, read_episode
from pld.types import EpisodeState, Image

MARGIN_PX = 8
CAPTION_PX = 26
INK = (35, 35, 35)


def moments(episode: Episode) -> dict[str, int]:
    """Graph-clock times [ns] of the start, the grasp and the end of an episode, by their names.

    The grasp is the first closing of the gripper after the start; an episode that starts with a
    grasp, or never grasps, has its lowest point instead.
    """
    running = [u for u in episode.updates if u.value.state is EpisodeState.RUNNING]
    if not running or not episode.arm_states:
        raise RecordingError(f"{episode.folder}: the episode never ran")
    arms = [a for a in episode.arm_states if a.value.step >= running[0].value.first_step]
    if not arms:
        raise RecordingError(f"{episode.folder}: no arm state since the episode began")
    opened = [a.value.gripper_open > 0 for a in arms]
    closing = next((i for i in range(1, len(arms)) if opened[i - 1] and not opened[i]), None)
    lowest = int(np.argmin([a.value.O_T_EE.p_m[2] for a in arms]))
    name, middle = ("lowest point", lowest) if closing is None else ("grasp", closing)
    return {"start": arms[0].t_ns, name: arms[middle].t_ns, "end": arms[-1].t_ns}


def draw(folder: Path) -> Image:
    """The sheet (H, W, 3) uint8 RGB of the episode in `folder`: a row per camera."""
    episode = read_episode(folder)
    times = moments(episode)
    rows = []
    for camera, stream in sorted(episode.images.items()):
        tiles = [
            _tile(stream.load(stream.newest_before(t)).rgb, f"{camera}: {name}")
            for name, t in times.items()
        ]
        rows.append(np.concatenate(tiles, axis=1))
    verdict = episode.verdict
    title = f"{verdict.episode_id}  {verdict.task}  {verdict.region}  seed {verdict.seed}  "
    return np.concatenate([_caption(title + verdict.outcome, rows[0].shape[1]), *rows], axis=0)


def save(folder: Path, path: Path) -> None:
    """Write the sheet of the episode in `folder` as a PNG."""
    if path.suffix.lower() != ".png":
        raise RecordingError(f"{str(path)!r}: give a file that ends in .png")
    written = cv2.imwrite(str(path), cv2.cvtColor(draw(folder), cv2.COLOR_RGB2BGR))
    if not written:
        raise RecordingError(f"cannot write {str(path)!r}")


def _tile(rgb: Image, text: str) -> Image:
    framed = cv2.copyMakeBorder(
        np.ascontiguousarray(rgb),
        0,
        MARGIN_PX,
        MARGIN_PX,
        MARGIN_PX,
        cv2.BORDER_CONSTANT,
        value=(255, 255, 255),
    )
    return np.concatenate([_caption(text, framed.shape[1]), framed], axis=0)


def _caption(text: str, width_px: int) -> Image:
    strip = np.full((CAPTION_PX, width_px, 3), 255, np.uint8)
    place = (MARGIN_PX, CAPTION_PX - 8)
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return strip
