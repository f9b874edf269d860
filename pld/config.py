"""Strict configuration: YAML into frozen dataclasses; an unknown key lists the valid ones."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pld.errors import ConfigError

T = TypeVar("T")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a field that stands twice; YAML itself would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise yaml.YAMLError(f"field {twice[0]!r} stands twice")
        return super().construct_mapping(node, deep)


def load_yaml(path: Path, kind: type[T]) -> T:
    """Read `path` into the dataclass `kind`; raises ConfigError that names file and field."""
    return from_mapping(read_yaml(path), kind, where=str(path))


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The fields of `path`; raises ConfigError for a file that is none, or names a field twice."""
    try:
        content = yaml.load(path.read_text(), _StrictLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: malformed YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text file ({error.reason}); give a YAML file") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected a mapping of fields, got {type(content).__name__}")
    return content


def from_mapping(content: Mapping[str, Any], kind: type[T], *, where: str = "config") -> T:
    """Build the dataclass `kind` from a mapping, checking names and types; all fields checked."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in content:
        if name not in fields:
            raise ConfigError(f"{where}: unknown field {name!r}; valid: {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in content
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing field {', '.join(map(repr, missing))}")
    values = {n: coerce(v, hints[n], where=f"{where}: {n}") for n, v in content.items()}
    return kind(**values)


def coerce(value: Any, hint: Any, *, where: str) -> Any:
    """`value` as type `hint`, or a ConfigError; text is read as the type asks."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _coerce_optional(value, hint, where)
    if origin is tuple:
        return _coerce_tuple(value, typing.get_args(hint), where)
    if origin is Mapping and isinstance(value, Mapping):
        inner = typing.get_args(hint)[1]
        return {str(k): coerce(v, inner, where=f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(value, typing.cast(type, hint), where=where)
    if hint is bool:
        return _coerce_bool(value, where)
    if hint in (int, float):
        return _coerce_number(value, hint, where)
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    raise ConfigError(f"{where}: {value!r} is not a {getattr(hint, '__name__', hint)}")


def _coerce_optional(value: Any, hint: Any, where: str) -> Any:
    if value is None or value == "none":
        return None
    inner = next(a for a in typing.get_args(hint) if a is not type(None))
    return coerce(value, inner, where=where)


def _coerce_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: {value!r} is not a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ConfigError(f"{where}: expected {len(arguments)} values, got {len(value)}")
    return tuple(
        coerce(v, a, where=f"{where}[{i}]")
        for i, (v, a) in enumerate(zip(value, arguments, strict=True))
    )


def _coerce_bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ConfigError(f"{where}: {value!r} is not a bool; valid: true, false")


def _coerce_number(value: Any, hint: type, where: str) -> Any:
    if isinstance(value, bool):
        raise ConfigError(f"{where}: {value!r} is not a number")
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: {value!r} is not a {hint.__name__}") from error
    if not math.isfinite(number):
        raise ConfigError(f"{where}: {value!r} is not finite")
    if hint is int and not isinstance(value, (int, str)):
        raise ConfigError(f"{where}: {value!r} is not an integer")
    return number
