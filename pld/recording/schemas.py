"""Schema text and type hash of installed message types, from the share folders of packages.

Needs no rclpy. A package's folder is looked for in each prefix of AMENT_PREFIX_PATH, which ROS
installations set, and in `sys.prefix`, where the wheels put it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from pathlib import Path

from pld.errors import ConfigError

_SEPARATOR = "=" * 80
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_PRIMITIVES = _INTEGERS | {"bool", "byte", "char", "float32", "float64", "string", "wstring"}


@cache
def schema_text(type_name: str) -> str:
    """The definition of `pkg/msg/Name` followed by those that it uses, as rosbag2 joins them."""
    texts: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        current = waiting.pop(0)
        if current in texts:
            continue
        texts[current] = _share_file(current, ".msg").read_text(encoding="utf-8")
        waiting += dependencies(texts[current], current.split("/")[0])
    parts = [texts.pop(type_name)]
    parts += [f"{_SEPARATOR}\nMSG: {_short(name)}\n{text}" for name, text in texts.items()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


@cache
def type_hash(type_name: str) -> str:
    """The RIHS01 hash that the type's package was installed with."""
    description = json.loads(_share_file(type_name, ".json").read_text(encoding="utf-8"))
    for entry in description["type_hashes"]:
        if entry["type_name"] == type_name:
            return str(entry["hash_string"])
    raise ConfigError(f"the installed description of {type_name!r} holds no hash of it")


def installed_hash(type_name: str) -> str:
    """`type_hash`, or an empty string when the type is not installed here."""
    try:
        return type_hash(type_name)
    except ConfigError:
        return ""


def dependencies(definition: str, package: str) -> list[str]:
    """The message types that a definition uses, as `pkg/msg/Name`, in order, each once."""
    found: dict[str, None] = {}
    for line in definition.splitlines():
        match = _FIELD.match(line.split("#", 1)[0])
        if match is None or match.group(1) in _PRIMITIVES:
            continue
        parts = match.group(1).split("/")
        found["/".join([parts[0] if len(parts) > 1 else package, "msg", parts[-1]])] = None
    return list(found)


def _short(type_name: str) -> str:
    package, _, name = type_name.split("/")
    return f"{package}/{name}"


def _share_file(type_name: str, suffix: str) -> Path:
    parts = type_name.split("/")
    if len(parts) != 3 or parts[1] != "msg":
        raise ConfigError(f"message type {type_name!r} is not of the form package/msg/Name")
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        path = Path(prefix) / "share" / parts[0] / "msg" / (parts[2] + suffix)
        if path.is_file():
            return path
    raise ConfigError(
        f"message type {type_name!r} is not installed: no share/{parts[0]}/msg/{parts[2]}{suffix} "
        f"in {', '.join(filter(None, prefixes))}; install {parts[0]} or source its workspace"
    )
