"""One recorded episode for supervised fine-tuning, in memory and on disk.

The label of a step is the action that was executed there, whoever chose it. On disk: one
safetensors file per episode, arrays as tensors, everything else as JSON in its header; nothing
is unpickled. Bags are converted into the same class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pld.contract import CAMERAS, POLICY_IMAGE_PX, PROPRIO_DIM
from pld.errors import ConfigError, ContractError
from pld.files import write_bytes_atomically
from pld.types import ACTION_DIM, ActionSource

FORMAT = "pld-episode"
VERSION = 1
NO_TAKEOVER = -1


@dataclass(frozen=True)
class SftEpisode:
    """T steps of one episode.

    `images` (T, cameras, px, px, 3) uint8; `proprio` (T, P) float32; `executed` (T, 7) and
    `base` (T, 7) float32 normalised actions; `source` (T,) uint8 of ActionSource.
    `takeover_step` is the first step of the specialist, NO_TAKEOVER when it never acted;
    `rate_hz` the control rate, 0 in files that do not say it. `origin` tells recorded episodes of
    one name apart; empty where none was recorded. `gaps` are the steps that do not follow the one
    before at once, since steps between were left out.
    """

    images: NDArray[np.uint8]
    proprio: NDArray[np.float32]
    executed: NDArray[np.float32]
    base: NDArray[np.float32]
    source: NDArray[np.uint8]
    instruction: str
    task: str
    region: str
    seed: int
    success: bool
    takeover_step: int = NO_TAKEOVER
    rate_hz: float = 0.0
    origin: str = ""
    gaps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths, of another contract, and not finite numbers."""
        arrays = (self.images, self.proprio, self.executed, self.base, self.source)
        if len({len(a) for a in arrays}) != 1:
            lengths = [len(a) for a in arrays]
            raise ContractError(f"episode with seed {self.seed}: arrays of lengths {lengths}")
        self._check_contract()
        if not (np.isfinite(self.proprio).all() and np.isfinite(self.executed).all()):
            raise ContractError(
                f"episode with seed {self.seed} holds numbers that are not finite; drop it"
            )

    def _check_contract(self) -> None:
        side = POLICY_IMAGE_PX
        wanted = {
            "images": (len(CAMERAS), side, side, 3),
            "proprio": (PROPRIO_DIM,),
            "executed": (ACTION_DIM,),
            "base": (ACTION_DIM,),
        }
        for name, shape in wanted.items():
            found = getattr(self, name).shape[1:]
            if found != shape:
                raise ContractError(
                    f"episode with seed {self.seed}: {name} of shape {found} per step; the "
                    f"contract says {shape}: convert its bag again"
                )

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.executed)

    @property
    def specialist_steps(self) -> int:
        """How many steps the specialist chose."""
        return int((self.source == ActionSource.SPECIALIST).sum())


ARRAYS = ("images", "proprio", "executed", "base", "source")
FACTS = (
    "instruction", "task", "region", "seed", "success",
    "takeover_step", "rate_hz", "origin", "gaps",
)  # fmt: skip


def write_episode(path: Path, episode: SftEpisode) -> None:
    """Write one episode atomically."""
    tensors = {name: np.ascontiguousarray(getattr(episode, name)) for name in ARRAYS}
    facts = {name: getattr(episode, name) for name in FACTS}
    header = {"format": FORMAT, "version": VERSION, **facts}
    write_bytes_atomically(path, save(tensors, metadata={"pld": json.dumps(header)}))


def read_episode(path: Path) -> SftEpisode:
    """Read one episode; raises ConfigError for a broken or foreign file."""
    header = _header(path)
    try:
        with safe_open(path, framework="np") as stream:
            arrays = {name: stream.get_tensor(name) for name in ARRAYS}
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from error
    try:
        facts = {name: header[name] for name in FACTS if name in header}
        return SftEpisode(**arrays, **facts | {"gaps": tuple(header.get("gaps", ()))})
    except TypeError as error:
        raise _broken(path, error) from error
    except ContractError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from error


def origin_of(path: Path) -> str:
    """What an episode's file says of its origin; only the header is read. ConfigError as above."""
    return str(_header(path).get("origin", ""))


def _header(path: Path) -> dict[str, Any]:
    """What an episode's file says of itself; raises ConfigError for a broken or foreign file."""
    try:
        with safe_open(path, framework="np") as stream:
            header: dict[str, Any] = json.loads((stream.metadata() or {}).get("pld", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise _broken(path, error) from error
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise ConfigError(f"{str(path)!r} is not an episode of format {FORMAT} {VERSION}")
    return header


def _broken(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{str(path)!r} is no whole episode ({error}); record it again")


def episode_path(folder: Path, seed: int) -> Path:
    """Where the episode that began from `seed` lies in `folder`."""
    return folder / f"episode-{seed:010d}.safetensors"


def read_episodes(folder: Path) -> list[SftEpisode]:
    """All episodes of a folder in the order of their seeds; raises ConfigError when empty."""
    return [read_episode(path) for path in _episode_paths(folder)]


def tasks_in(folders: Iterable[Path]) -> tuple[str, ...]:
    """The tasks of the episodes in some folders, in name order; only headers are read."""
    paths = [path for folder in folders for path in _episode_paths(folder)]
    return tuple(sorted({str(_header(path)["task"]) for path in paths}))


def _episode_paths(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("episode-*.safetensors"))
    if not paths:
        raise ConfigError(f"no episodes in {str(folder)!r}; collect some before training on them")
    return paths


def corrected_part(episode: SftEpisode) -> SftEpisode | None:
    """The steps from the first that the specialist or a person chose; None where none did.

    The base's prefix leads the episode into states that the base gets itself into; as labels it
    teaches the hesitation that the specialist was trained to end.
    """
    corrected = np.isin(episode.source, (ActionSource.SPECIALIST, ActionSource.HUMAN))
    if not corrected.any():
        return None
    first = int(corrected.argmax())
    later = tuple(gap - first for gap in episode.gaps if gap > first)
    return replace(episode, gaps=later, **{name: getattr(episode, name)[first:] for name in ARRAYS})


def successes(episodes: Iterable[SftEpisode]) -> list[SftEpisode]:
    """Only what may be distilled: episodes that reached the goal."""
    return [episode for episode in episodes if episode.success]
