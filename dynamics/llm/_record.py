"""The record of a training run: a zarr group in the library's schema that grows row by row and survives a crash."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..schema import Variable, attrs_of, dataset

if TYPE_CHECKING:
    import xarray as xr

LENGTH = "rows"  # attribute that counts the finished rows; it is written last
SUMS = "checksums"  # attribute with a CRC-32 of every column's finished rows, and of every fixed value; written with LENGTH
ROWS = 64  # rows in a chunk
STEP = Variable((), "1", "steps of the optimizer since the start")


class Record:
    """Rows of named values along the dim ``step``, kept in memory and, where a path is given, on disk too.

    A row is finished once the count of rows is written, which happens last; what a crash left of the next row is ignored.

    Args:
        path: a folder that does not exist, conventionally *.zarr; None keeps the rows in memory only.
        variables: of a row by name, without ``step``.
        fixed: values that hold for all rows by name, such as the reference's log-probabilities.
        fixed_variables: their variables.
        coords: labels along the dims.
        attrs: configuration, versions, seeds.

    Raises:
        ValueError: something is at ``path`` already.

    >>> record = dyn.llm.Record(None, {"loss": dyn.schema.VARIABLES["loss"]})
    >>> record.append(0, {"loss": 0.5})
    >>> record.dataset().loss.values.tolist()
    [0.5]
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        variables: Mapping[str, Variable],
        *,
        fixed: Mapping[str, Any] | None = None,
        fixed_variables: Mapping[str, Variable] | None = None,
        coords: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ):
        self.path = None if path is None else Path(path)
        self.variables, self.fixed_variables = dict(variables), dict(fixed_variables or {})
        self.fixed = {name: np.asarray(value) for name, value in (fixed or {}).items()}
        self.coords, self.attrs = dict(coords or {}), dict(attrs or {})
        self.steps: list[int] = []
        self.rows: list[dict[str, np.ndarray]] = []
        self.sums: dict[str, int] = {}
        if self.path is not None:
            self._create(self.path)

    def __len__(self) -> int:
        """The number of finished rows."""
        return len(self.steps)

    def append(self, step: int, row: Mapping[str, Any]) -> None:
        """Adds the values at ``step``, later than all before.

        Raises:
            ValueError: other names than ``variables``, other dims, or a step that is not later.
        """
        if self.steps and step <= self.steps[-1]:
            raise ValueError(f"step {step} does not come after {self.steps[-1]}; append rows in order.")
        if set(row) != set(self.variables):
            raise ValueError(f"the row at step {step} holds {sorted(row)}; pass {sorted(self.variables)}.")
        values = {name: np.asarray(value, np.float64) for name, value in row.items()}
        for name, value in values.items():
            sizes = [self._size(dim) for dim in self.variables[name].dims]
            if value.ndim != len(sizes) or any(s not in (None, n) for s, n in zip(sizes, value.shape, strict=True)):
                raise ValueError(f"{name} has shape {value.shape} at step {step}; pass {sizes}.")
        if self.path is not None:
            self._write(self.path, len(self), step, values)
        self.steps.append(int(step))
        self.rows.append(values)

    def truncate(self, length: int) -> None:
        """Forgets the rows from ``length`` on."""
        if length > len(self):
            raise ValueError(f"the record holds {len(self)} rows; {length} cannot be kept.")
        del self.steps[length:], self.rows[length:]
        if self.path is not None:
            self.sums |= {"step": _sum(np.array(self.steps, np.int64))}
            self.sums |= {n: _sum(np.array([row[n] for row in self.rows], np.float64)) for n in self.variables}
            _group(self.path, "r+").attrs.update({LENGTH: length, SUMS: self.sums})

    def note(self, **attrs: Any) -> None:
        """Adds attributes, such as how the run ended."""
        self.attrs |= attrs
        if self.path is not None:
            _group(self.path, "r+").attrs.update(attrs)

    def dataset(self) -> xr.Dataset:
        """The finished rows in the library's schema."""
        names = self.variables if self.rows else {}
        arrays = {name: np.stack([row[name] for row in self.rows]) for name in names} | self.fixed
        known = {name: variable.over("step") for name, variable in self.variables.items()} | self.fixed_variables
        coords = self.coords | {"step": ("step", np.array(self.steps, np.int64), attrs_of(STEP))}
        return dataset(arrays, known, coords=coords, attrs=self.attrs)

    def _size(self, dim: str) -> int | None:
        return len(self.coords[dim]) if dim in self.coords else None

    def _create(self, place: Path) -> None:
        import zarr

        if place.exists():
            raise ValueError(f"{place} exists; pass another path, or remove it.")
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_name(f".{place.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            start = dataset(self.fixed, self.fixed_variables, coords=self.coords, attrs=self.attrs | {LENGTH: 0})
            start.to_zarr(scratch, mode="w", zarr_format=2, consolidated=False)
            group = zarr.open_group(str(scratch), mode="r+", zarr_format=2)
            columns = {"step": STEP} | self.variables
            for name, variable in columns.items():
                inner = tuple(self._size(dim) or 1 for dim in variable.dims)
                kind, blank = ("i8", -1) if name == "step" else ("f8", np.nan)
                array = group.create_array(name, shape=(0, *inner), chunks=(ROWS, *inner), dtype=kind, fill_value=blank)
                array.attrs.update(attrs_of(variable) | {"_ARRAY_DIMENSIONS": ["step", *variable.dims]})
            self.sums = {name: _sum(np.asarray(array[:])) for name, array in group.arrays()}
            group.attrs[SUMS] = self.sums
            os.rename(scratch, place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _write(self, place: Path, at: int, step: int, values: dict[str, np.ndarray]) -> None:
        group = _group(place, "r+")
        for name, value in ({"step": np.int64(step)} | values).items():
            array: Any = group[name]
            if array.shape[0] != at + 1:
                array.resize((at + 1, *array.shape[1:]))
            array[at] = value
            self.sums[name] = _sum(np.asarray(value), self.sums[name])
        group.attrs.update({LENGTH: at + 1, SUMS: self.sums})


def _sum(values: np.ndarray, before: int = 0) -> int:
    """CRC-32 of numbers or texts that follow others whose checksum is ``before``."""
    plain = values.dtype.kind in "fiub"
    return zlib.crc32(np.ascontiguousarray(values).tobytes() if plain else json.dumps(values.tolist()).encode(), before)


def _group(place: Path, mode: Any) -> Any:
    import zarr

    return zarr.open_group(str(place), mode=mode, zarr_format=2)


def open_record(path: str | os.PathLike[str]) -> Record:
    """The record at ``path``, to go on with.

    Raises:
        ValueError: there is none.
    """
    ds = read_record(path)
    record = Record(None, {})
    record.path = _folder(path)
    variable = lambda x, dims: Variable(dims, str(x.attrs["units"]), str(x.attrs["long_name"]))
    names = [str(name) for name in ds.data_vars]
    along = [name for name in names if "step" in ds[name].dims]
    record.variables = {n: variable(ds[n], tuple(map(str, ds[n].dims[1:]))) for n in along}
    record.fixed_variables = {n: variable(ds[n], tuple(map(str, ds[n].dims))) for n in names if n not in along}
    record.fixed = {n: ds[n].values for n in record.fixed_variables}
    record.coords = {str(n): c.values if n in ds.dims else (c.dims[0], c.values) for n, c in ds.coords.items()}
    del record.coords["step"]
    record.attrs = dict(ds.attrs)
    record.sums = dict(_group(_folder(path), "r").attrs.get(SUMS, {})) or {str(n): 0 for n in [*along, "step"]}
    record.steps = [int(step) for step in ds.step.values]
    record.rows = [{n: ds[n].values[t] for n in along} for t in range(len(record.steps))]
    return record


def read_record(path: str | os.PathLike[str]) -> xr.Dataset:
    """The Dataset of a record: from ``llm.Recorder``, ``llm.train(out=)`` or ``llm.pack``.

    Args:
        path: of a record, of a packed one (*.zarr.zip), or of the ``out`` folder of a run, which holds record.zarr.

    Raises:
        ValueError: there is no record, or one of its columns is damaged.
    """
    import xarray as xr
    import zarr
    from zarr.errors import BaseZarrError
    from zarr.storage import ZipStore

    place = _folder(path)
    try:
        store: Any = ZipStore(place, mode="r") if place.suffix == ".zip" else str(place)
        group = zarr.open_group(store, mode="r", zarr_format=2)
        length = int(group.attrs[LENGTH])  # pyright: ignore[reportArgumentType]
        sums: Any = group.attrs.get(SUMS, {})
    except (OSError, KeyError, ValueError, TypeError, BaseZarrError, zipfile.BadZipFile):
        if any((place / name).exists() for name in ("step/.zarray", "step/0")):
            raise ValueError(_damaged(place, ".zattrs or .zgroup")) from None
        raise ValueError(f"{place} holds no record; pass what llm.Recorder or llm.train(out=...) wrote.") from None
    found, name = {}, "a .zarray or .zattrs file"
    try:
        with warnings.catch_warnings():  # about a column without metadata, which is refused below
            warnings.simplefilter("ignore")
            arrays = dict(group.arrays())
        for name in sorted({*arrays, *sums}):
            found[name] = _variable(arrays[name], length)
            # Records of earlier versions have no checksums.
            if sums and _sum(found[name][1]) != sums.get(name):
                raise ValueError
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, BaseZarrError, zipfile.BadZipFile):
        raise ValueError(_damaged(place, name)) from None
    attrs = {name: value for name, value in group.attrs.items() if name not in (LENGTH, SUMS)}
    if place.suffix == ".zip":
        store.close()
    coords = {name: value for name, value in found.items() if "units" not in value[2] or name == "step"}
    return xr.Dataset({name: value for name, value in found.items() if name not in coords}, coords, attrs)


def _folder(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    return place / "record.zarr" if (place / "record.zarr").is_dir() else place


def _damaged(place: Path, name: str) -> str:
    return (
        f"record {place} is damaged: its {name} is missing or not as it was written; restore it from a copy, or delete the "
        "record and repeat the run."
    )


def _variable(array: Any, length: int) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    """Dims, values and attributes; of rows those that are finished, for a crash may leave some columns longer."""
    attrs = {name: value for name, value in array.attrs.items() if name != "coordinates"}
    dims = list(attrs.pop("_ARRAY_DIMENSIONS"))
    return dims, np.asarray(array[:length] if dims[:1] == ["step"] else array[:]), attrs


def pack(path: str | os.PathLike[str]) -> Path:
    """One file of a record, ``path`` + ".zip", in place of its folder; ``llm.read_record`` and ``llm.alarms`` read it.

    Raises:
        ValueError: there is no record, or the file exists.
    """
    read_record(path)
    place = Path(path)
    target = place.with_name(f"{place.name}.zip")
    if target.exists():
        raise ValueError(f"{target} exists; remove it.")
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as file:
        for inner in sorted(place.rglob("*")):
            if inner.is_file():
                file.write(inner, inner.relative_to(place).as_posix())
    os.replace(scratch, target)
    return target


def as_json(value: Any) -> str:
    """A configuration as an attribute."""
    return json.dumps(value, sort_keys=True)
