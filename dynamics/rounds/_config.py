"""Entries of a trainer's configuration: a mapping, a JSON or YAML file, or the trainer's own object."""

from __future__ import annotations

import argparse
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OF_TRAINING = ("learning_rate", "num_train_epochs", "max_steps", "optim")


def fields_of(
    config: Any, known: Sequence[str] = (), foreign: Mapping[str, str] | None = None, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """The entries of a mapping, a file, an ``argparse.Namespace``, or an object of one of ``classes``.

    Raises ``ValueError`` where entries that are not ``known`` are close to one that is, or belong to a ``foreign`` trainer,
    where there are entries but none that is known, and for an object of another class.
    """
    if isinstance(config, Mapping):
        return _checked(dict(config), known, foreign or {})
    if isinstance(config, str | Path):
        return _checked(_read(Path(config)), known, foreign or {})
    if isinstance(config, argparse.Namespace):
        return _checked(dict(vars(config)), known, foreign or {})
    if is_of(config, classes):
        return dict(vars(config))
    objects = f" or an object of {' or '.join(classes)}" if classes else ""
    raise ValueError(
        f"config is {type(config).__name__}; pass a mapping, the path of a JSON or YAML file, parsed arguments{objects}."
    )


def is_of(config: Any, classes: Sequence[str]) -> bool:
    """Whether an object's class, or one that it is derived from, has one of the names."""
    return any(kind.__name__ in classes for kind in type(config).__mro__)


def _checked(fields: dict[str, Any], known: Sequence[str], foreign: Mapping[str, str]) -> dict[str, Any]:
    if not known:
        return fields
    for name in fields:
        if name in foreign:
            raise ValueError(f"{name} belongs to the configuration of {foreign[name]}; pass one of this trainer.")
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.85)
        if near and name not in known:
            raise ValueError(f"{name} is unknown; did you mean {near[0]!r}?")
    if fields and not set(fields) & set(known):
        raise ValueError(
            f"config holds none of the entries that are read ({', '.join(known)}); pass the trainer's own section."
        )
    return fields


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A yes or no, also as a word; absent is no."""
    value = fields.get(name)
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "none": False, "": False}
    found = words.get(str(value).lower())
    if found is None:
        raise ValueError(f"{name} = {value!r} is neither true nor false; pass one of them.")
    return found


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"config {path} is no .json, .yaml or .yml file; pass one of them, or a mapping.")
    if not path.is_file():
        raise ValueError(f"config {path} does not exist; check the path.")
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
    """A part of nested entries; empty where there is none."""
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
    """An entry as a number within an interval, or the default where it is absent."""
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


def whole(fields: Mapping[str, Any], name: str, default: int, low: int) -> int:
    """An entry as a whole number of at least ``low``, or the default where it is absent."""
    value = number(fields, name, float(default), float(low), math.inf)
    if value != int(value):
        raise ValueError(f"{name} = {value:g} is not whole; pass a whole number ≥ {low}.")
    return int(value)


def of_training(fields: Mapping[str, Any]) -> list[str]:
    """What the entries that decide how near a round comes to its optimum amount to here; empty where there are none."""
    named = ", ".join(name for name in OF_TRAINING if fields.get(name) is not None)
    return [f"{named}: a round here goes to its optimum; pass optimizer= to rounds() for steps"] if named else []


def entries_set(fields: Mapping[str, Any], plain: Mapping[str, Any]) -> tuple[str, ...]:
    """Entries that differ from the value at which they change nothing."""
    return tuple(
        f"{name} = {fields[name]!r}" for name, value in plain.items() if name in fields and fields[name] != value
    )
