"""Entries of a trainer's configuration: a mapping, a JSON or YAML file, or the trainer's own object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def fields_of(config: Any) -> dict[str, Any]:
    """The entries of a mapping, a file, or an object."""
    if isinstance(config, Mapping):
        return dict(config)
    if isinstance(config, str | Path):
        return _read(Path(config))
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if hasattr(config, "__dict__") and not isinstance(config, type):
        return dict(vars(config))
    raise ValueError(
        f"config is {type(config).__name__}; pass a mapping, the path of a JSON or YAML file, or the trainer's object."
    )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"config {path} is no .json, .yaml or .yml file; pass one of them, or a mapping.")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            found = json.loads(text)
        else:
            import yaml

            found = yaml.safe_load(text)
    except Exception as error:
        raise ValueError(f"config {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"config {path} holds {type(found).__name__}, not names with values.")
    return found


def section(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = fields.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is {found!r}; pass a section with names and values.")
    return dict(found)


def number(
    fields: Mapping[str, Any],
    name: str,
    default: float,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    given = fields.get(name)
    given = default if given is None else given
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {given!r} is not a number; pass one.") from None
    inside = low <= value <= high and not (open_low and value == low) and not (open_high and value == high)
    if isinstance(given, bool) or not inside:
        ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or high == np.inf else ']'}"
        raise ValueError(f"{name} = {given!r} is outside {ends}; pass a value inside.")
    return value


def entries_set(fields: Mapping[str, Any], plain: Mapping[str, Any]) -> tuple[str, ...]:
    """Entries that differ from the value at which they change nothing."""
    return tuple(
        f"{name} = {fields[name]!r}" for name, value in plain.items() if name in fields and fields[name] != value
    )
