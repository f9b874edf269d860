"""Tensors and their description in one safetensors file that is either whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch as th
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pld.errors import ConfigError
from pld.files import write_bytes_atomically


def write_tensors(
    path: Path,
    kind: str,
    schema: int,
    task: str,
    described: dict[str, Any],
    tensors: dict[str, th.Tensor],
) -> str:
    """Write a file that is never half there; returns the content hash.

    A process killed at any moment leaves the file that was there before. The same content is the
    same file, to the last byte.
    """
    text = described_text(described)
    digest = content_hash(text, tensors)
    header = {"kind": kind, "schema": str(schema), "task": task, "hash": digest, "described": text}
    whole = save({k: v.contiguous() for k, v in tensors.items()}, metadata=header)
    write_bytes_atomically(path, _in_order(whole))
    return digest


def _in_order(whole: bytes) -> bytes:
    """A safetensors file with its header's keys in order; the library writes them in any.

    The header is JSON behind its length (8 bytes, little-endian), padded with spaces; tensors are
    addressed from its end on.
    """
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.dumps(json.loads(whole[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + whole[start:]


def read_tensors(
    path: Path, kind: str, schema: int, task: str | None
) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """The description and tensors of a file, verified; ConfigError says what is wrong with it."""
    if not path.exists():
        raise ConfigError(f"there is no {kind} file {str(path)!r}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is half-written or damaged ({error}); delete it and use an older one"
        ) from error
    _check_header(path, header, kind, schema, task)
    if content_hash(header["described"], tensors) != header["hash"]:
        raise ConfigError(f"{path} is damaged: its content hash does not match; use an older one")
    return json.loads(header["described"]), tensors


def refuse_not_finite(path: Path, tensors: dict[str, th.Tensor]) -> None:
    """Raise ConfigError for weights with a number that is not finite: they answer nothing."""
    for name in sorted(tensors):
        if not bool(th.isfinite(tensors[name]).all()):
            raise ConfigError(
                f"{str(path)!r}: tensor {name!r} holds numbers that are not finite; use older "
                "weights or train them again"
            )


def described_text(described: dict[str, Any]) -> str:
    """A description as the file holds it."""
    return json.dumps(described, sort_keys=True)


def content_hash(text: str, tensors: dict[str, th.Tensor]) -> str:
    """SHA-256 over the description and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _check_header(
    path: Path, header: dict[str, str], kind: str, schema: int, task: str | None
) -> None:
    if header.get("kind") != kind:
        raise ConfigError(f"{str(path)!r} is no {kind} file; give one that is")
    wanted = {"kind": kind, "schema": str(schema)} | ({} if task is None else {"task": task})
    for name, value in wanted.items():
        if header.get(name) != value:
            raise ConfigError(
                f"{path} has {name} {header.get(name)!r}, not {value!r}; choose a file of this "
                f"{name} or train a new one"
            )
