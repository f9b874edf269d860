"""Built-in VLA weights on disk: one safetensors file whose header says what they are for.

Header (JSON under the key `pld`): format, version, tasks, contract, network sizes, SHA-256 of the
tensors. Nothing is unpickled; every mismatch is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pld.base_policy.builtin_network import BuiltinNetwork, NetworkConfig
from pld.contract import CAMERAS, POLICY_IMAGE_PX, PROPRIO_DIM
from pld.errors import ConfigError
from pld.files import write_bytes_atomically
from pld.tensor_file import refuse_not_finite
from pld.types import ACTION_DIM

FORMAT = "pld-builtin-vla"
VERSION = 1
HEADER_FIELDS = {"tasks", "instructions", "rate_hz", "network", "sha256"}
OTHER_KINDS = {
    "pld-residual-actor": "; this is a specialist; give it as specialist:=",
    "pld-success-classifier": "; this is a success classifier; give it as detector:=",
}


@dataclass(frozen=True)
class Checkpoint:
    """A network with what its file says about it."""

    network: BuiltinNetwork
    tasks: tuple[str, ...]
    instructions: tuple[str, ...]
    rate_hz: float
    tensors_sha256: str

    @property
    def policy_id(self) -> str:
        """A name that changes with the weights."""
        return f"builtin-{'+'.join(self.tasks)}-{self.tensors_sha256[:12]}"


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of all tensors, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def tensors_of(network: BuiltinNetwork) -> dict[str, Tensor]:
    """The weights and statistics, contiguous, as they are saved."""
    return {k: v.detach().contiguous() for k, v in network.state_dict().items()}


def save_checkpoint(
    path: Path,
    network: BuiltinNetwork,
    tasks: tuple[str, ...],
    instructions: tuple[str, ...],
    rate_hz: float,
) -> Checkpoint:
    """Write the weights atomically and return what a reader will see."""
    tensors = tensors_of(network)
    digest = tensors_sha256(tensors)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "tasks": tasks,
        "instructions": instructions,
        "rate_hz": rate_hz,
        "network": asdict(network.config),
        "sha256": digest,
    }
    write_bytes_atomically(path, save(tensors, metadata={"pld": json.dumps(header)}))
    return Checkpoint(network, tasks, instructions, rate_hz, digest)


def load_checkpoint(path: Path, task: str | None = None) -> Checkpoint:
    """Read weights; raises ConfigError for a broken file or one that does not fit.

    `task`, when given, must be one of the tasks that the weights were trained for.
    """
    header, tensors = _read(path)
    _refuse_misfits(path, header, task)
    network = BuiltinNetwork(_config(header["network"]))
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    if expected != found:
        wrong = sorted(k for k in expected | found if expected.get(k) != found.get(k))
        raise ConfigError(f"{str(path)!r}: tensors {wrong} do not fit the sizes in its header")
    digest = tensors_sha256(tensors)
    if digest != header["sha256"]:
        raise ConfigError(f"{str(path)!r} was changed after it was written; copy or train it again")
    refuse_not_finite(path, tensors)
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return Checkpoint(
        network,
        tuple(header["tasks"]),
        tuple(header["instructions"]),
        float(header["rate_hz"]),
        digest,
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ConfigError(f"no weights at {str(path)!r}; train them with `pld train base`")
    try:
        with safe_open(path, framework="pt") as stream:
            said = stream.metadata() or {}
            header = {"kind": said.get("kind"), **json.loads(said.get("pld", "{}"))}
            tensors = {name: torch.clone(stream.get_tensor(name)) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} is no whole safetensors file ({error}); copy or train it again"
        ) from error
    return header, tensors


def _refuse_misfits(path: Path, header: dict[str, Any], task: str | None) -> None:
    name = repr(str(path))
    if header.get("format") != FORMAT:
        other = OTHER_KINDS.get(header["kind"], "")
        raise ConfigError(f"{name} has format {header.get('format')!r}; need {FORMAT!r}{other}")
    if header.get("version") != VERSION:
        raise ConfigError(
            f"{name} has version {header.get('version')!r}; this code reads {VERSION}"
        )
    if missing := sorted({k for k in HEADER_FIELDS if header.get(k) is None}):
        raise ConfigError(f"{name} says nothing of {missing} in its header; copy or train it again")
    if task is not None and task not in header["tasks"]:
        tasks = ", ".join(header["tasks"])
        raise ConfigError(f"{name} was trained for {tasks}, not for {task!r}; train a base for it")
    contract = {
        "cameras": list(CAMERAS),
        "image_px": POLICY_IMAGE_PX,
        "proprio_dim": PROPRIO_DIM,
        "action_dim": ACTION_DIM,
    }
    for field, value in contract.items():
        if header["network"].get(field) != value:
            given = header["network"].get(field)
            raise ConfigError(f"{name} has {field} {given!r}; the contract says {value!r}")


def _config(network: dict[str, Any]) -> NetworkConfig:
    known = {f.name for f in fields(NetworkConfig)}
    if unknown := sorted(set(network) - known):
        raise ConfigError.unknown("network field", unknown[0], sorted(known))
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in network.items()}
    return NetworkConfig(**plain)
