"""Results of stages on disk: an npz file a stage, rewritten after each case, so that nothing finished is ever lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

FACTS = "facts"  # the entry of a stage's file that holds JSON
MIB = 1 << 20


class Kept:
    """The cases of one stage, in ``sN.npz``: arrays named "case/variable", and facts as JSON.

    Args:
        folder: of the results.
        stage: "s0", "s1", …
        limit: bytes that the file may have.
    """

    def __init__(self, folder: Path, stage: str, limit: int):
        self.path, self.limit = folder / f"{stage}.npz", limit
        self.arrays: dict[str, np.ndarray] = {}
        self.facts: dict[str, Any] = {"stage": stage, "cases": {}, "notes": []}
        self.write()

    def case(
        self, name: str, facts: dict[str, Any], ds: xr.Dataset | None = None, arrays: dict[str, Any] | None = None
    ) -> None:
        """Adds a finished case and writes the file; arrays that would make it too large are left out, with a note."""
        told = dict(facts)
        found = {key: np.asarray(value) for key, value in (arrays or {}).items()}
        if ds is not None:
            values, told["dataset"] = flat(ds)
            found |= values
        self.facts["cases"][name] = told
        before = self.arrays
        self.arrays = before | {f"{name}/{key}": value for key, value in found.items()}
        self.write()
        if self.path.stat().st_size > self.limit:
            self.arrays = before
            self.facts["cases"][name].pop("dataset", None)
            self.note(f"the arrays of {name} were left out: the file would be larger than {self.limit} bytes")

    def note(self, text: str) -> None:
        """Adds a remark."""
        self.facts["notes"].append(text)
        self.write()

    def write(self) -> None:
        """Writes the file, completely or not at all."""
        scratch = self.path.with_name(f".{self.path.name}")
        text = json.dumps(self.facts, default=_plain)
        with scratch.open("wb") as file:
            np.savez_compressed(file, **self.arrays, **{FACTS: np.array(text)})  # pyright: ignore[reportArgumentType]
        os.replace(scratch, self.path)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(facts, arrays) of a stage."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop(FACTS))), arrays


def flat(ds: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and what else a Dataset holds, as JSON."""
    arrays, header = {}, {"attrs": {k: _json(v) for k, v in ds.attrs.items()}, "variables": {}}
    for name, x in ds.variables.items():
        value = x.values
        value = value.astype(str) if value.dtype.kind in "OT" else value
        arrays[str(name)] = value
        kept = {k: _json(v) for k, v in x.attrs.items()}
        header["variables"][str(name)] = {"dims": list(map(str, x.dims)), "attrs": kept, "coord": name in ds.coords}
    return arrays, header


def dataset_of(facts: dict[str, Any], arrays: dict[str, np.ndarray], case: str) -> xr.Dataset:
    """The Dataset of a case."""
    header = facts["cases"][case]["dataset"]
    build = lambda name, told: (told["dims"], arrays[f"{case}/{name}"], told["attrs"])
    parts: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for name, told in header["variables"].items():
        parts[bool(told["coord"])][name] = build(name, told)
    return xr.Dataset(parts[False], parts[True], header["attrs"])


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_plain))
