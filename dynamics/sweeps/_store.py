"""A sweep on disk: a zarr group of results, in which a block is a set of whole chunks, with a flag for each finished block.

The flag of a block is written last, so a block that was interrupted by a crash counts as missing and is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._identity import Identity, code_of, identify
from .._provenance import provenance
from ..schema import attrs_of
from ._plan import Plan, layout

if TYPE_CHECKING:
    import xarray as xr


class OtherSweep(ValueError):
    """Raised where a store holds another sweep than the one that is asked for.

    >>> issubclass(OtherSweep, ValueError)
    True
    """


DONE, STILL = "progress/done", "progress/still"
STORE_FORMAT = 2
ENGINE_MODULES = ("dynamics.sweeps._plan",)
"""The modules whose code, with all that they import, computes a block."""
JAX_SETTINGS = ("default_matmul_precision", "numpy_dtype_promotion", "threefry_partitionable")
"""Settings of JAX that affect the numbers, and so belong to a sweep's identity."""


def identity(plan: Plan) -> dict[str, Any]:
    """Everything that determines the numbers of a sweep, as JSON; the refusal of a store names the entry that differs."""
    return _identity(plan, _identities(plan))


def _setting(name: str) -> str:
    """Strict promotion refuses some programs, and changes no number of those that run: it counts as standard."""
    value = str(getattr(jax.config, f"jax_{name}"))
    return "standard" if value == "strict" else value


def _identities(plan: Plan) -> list[Identity]:
    return [identify(plan.work.process), *(identify(m, "measure") for m in plan.work.measures)]


def _identity(plan: Plan, known: list[Identity]) -> dict[str, Any]:
    work = plan.work
    return {
        "process": known[0].described,
        "over": {"×".join(axis.names): _digest(axis.values) for axis in plan.axes},
        "shape": list(plan.shape),
        "measures": [found.described for found in known[1:]],
        "rounds": work.rounds,
        "initial": None if work.initial is None else _digest([work.initial]),
        "key": None if work.key is None else np.asarray(jax.random.key_data(work.key)).tolist(),
        "generator": None if work.key is None else _generator(work.key),
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
        "platform": jax.default_backend(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "jax": {name: _setting(name) for name in JAX_SETTINGS},
        "lanes": plan.lanes,
        "chunk": list(plan.chunk),
        "versions": {k: v for k, v in provenance().items() if k.startswith("version")},
        "source of": {name: digest for found in known for name, digest in found.sources.items()},
        "code of": code_of(*known, start=ENGINE_MODULES),
        "content of": known[0].exact
        | {f"measure {i} {k}": v for i, m in enumerate(known[1:]) for k, v in m.exact.items()},
        "format": STORE_FORMAT,
    }


def _generator(key: Any) -> str:
    typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    return str(jax.random.key_impl(key)) if typed else str(getattr(jax.config, "jax_default_prng_impl"))  # noqa: B009


def _digest(values: Any) -> str:
    digest = hashlib.sha256()
    for value in jax.tree.leaves(values):
        array = np.ascontiguousarray(value)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()[:16]


def opened(path: str | os.PathLike[str], plan: Plan, coords: dict[str, Any], attrs: dict[str, Any]) -> Any:
    """The store at ``path``, created if absent; raises ``OtherSweep`` where it holds another sweep."""
    place = Path(path)
    for found in _identities(plan):
        found.check()
    if not place.exists():
        _create(place, plan, coords, attrs)
    return own(place, plan)


def own(place: Path, plan: Plan) -> Any:
    """The store at ``place``, writable; raises ``OtherSweep`` unless it holds this sweep as this process computes it."""
    import zarr

    there, here = json.loads(str(read_group(place).attrs["identity"])), json.loads(json.dumps(identity(plan)))
    for name in here:
        if there.get(name) != here[name]:
            raise OtherSweep(
                f"store {place} holds another sweep: its {_difference(name, there.get(name), here[name])}; pass another "
                f"store=, or the arguments of that sweep."
            )
    return zarr.open_group(str(place), mode="r+")


def _difference(name: str, there: Any, here: Any) -> str:
    if name == "over" and list(there) == list(here):
        return f"values of {next(k for k in here if there[k] != here[k])} differ"
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            if there.get(key) != here.get(key):
                return f"{name} {key} is {_short(there.get(key))}, here {_short(here.get(key))}"
    return f"{name} is {_short(there)}, here {_short(here)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_group(path: Path) -> Any:
    """The group of a store, read-only; raises ``ValueError`` where there is none."""
    import zarr
    from zarr.errors import BaseZarrError

    try:
        group = zarr.open_group(str(path), mode="r")
        known = {"identity"} <= set(group.attrs) and DONE in group
    except (OSError, KeyError, ValueError, BaseZarrError):
        known, group = False, None
    if not known:
        raise ValueError(
            f"{path} is not the store of a sweep; pass a new path, or one that dyn.sweep(..., store=) made."
        )
    return group


def _create(place: Path, plan: Plan, coords: dict[str, Any], attrs: dict[str, Any]) -> None:
    """Builds the store beside ``place`` and renames it, so that it exists completely or not at all."""
    import xarray as xr
    import zarr

    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(place)
    scratch = place.with_name(f".{place.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        extra = {"identity": json.dumps(identity(plan)), "processor": platform.processor() or platform.machine()}
        # Every reader of zarr knows how format 2 stores text.
        xr.Dataset(coords=coords, attrs=attrs | extra).to_zarr(scratch, mode="w", zarr_format=2, consolidated=False)
        group = zarr.open_group(str(scratch), mode="r+", zarr_format=2)
        dims = [axis.dim for axis in plan.axes]
        for name, (variable, trailing, dtype) in layout(plan).items():
            blank = np.nan if dtype.kind == "f" else -1
            array = group.create_array(
                name, shape=plan.shape + trailing, chunks=plan.chunk + trailing, dtype=dtype, fill_value=blank
            )
            array.attrs.update(attrs_of(variable) | {"_ARRAY_DIMENSIONS": [*dims, *variable.dims]})
        ones = (1,) * len(plan.grid)
        group.create_array(DONE, shape=plan.grid, chunks=ones, dtype="u1", fill_value=0)
        group.create_array(STILL, shape=plan.grid, chunks=ones, dtype="i8", fill_value=0)
        try:
            os.rename(scratch, place)
        except OSError:
            if not place.exists():  # another process created it
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_remains(place: Path) -> None:
    """Removes what processes that died while creating the store have left."""
    processes = Path("/proc")
    for left in place.parent.glob(f".{place.name}.*.*"):
        pid = left.name.removeprefix(f".{place.name}.").split(".")[0]
        if pid.isdigit() and (processes / "self").exists() and not (processes / pid).exists():
            shutil.rmtree(left, ignore_errors=True)


def write(group: Any, plan: Plan, place: tuple[int, ...], found: dict[str, np.ndarray]) -> None:
    """Writes the results of one block, then its flag."""
    block = plan.block(place)
    for name, values in found.items():
        if name == "still":
            group[STILL][place] = int(values.sum())
        else:
            group[name][block] = values
    group[DONE][place] = 1


def waiting(group: Any, plan: Plan) -> list[tuple[int, ...]]:
    """The blocks that are not done."""
    done = np.asarray(group[DONE][...])
    return [place for place in plan.places() if not done[place]]


@contextmanager
def kept(path: str | os.PathLike[str], group: Any, plan: Plan) -> Iterator[None]:
    """Turns an error of writing, such as a full disk, into a sentence that says which blocks are kept."""
    try:
        yield
    except OSError as error:
        done = int(np.asarray(group[DONE][...]).sum())
        raise OSError(
            error.errno,
            f"store {path} cannot be written to ({(error.strerror or str(error)).lower()}); {done} of "
            f"{int(np.prod(plan.grid))} blocks are kept; free space or fix the store, and repeat the call to continue",
        ) from error


def lazy(path: str | os.PathLike[str]) -> xr.Dataset:
    """The Dataset of a store, read on access, in chunks through dask if that is installed."""
    import importlib.util

    import xarray as xr

    chunks: Any = {} if importlib.util.find_spec("dask") else None
    ds = xr.open_zarr(str(path), consolidated=False, chunks=chunks, zarr_format=2, mask_and_scale=False)
    ds.attrs = {k: v for k, v in ds.attrs.items() if k != "identity"}
    for variable in ds.variables.values():
        variable.attrs.pop("_FillValue", None)  # the value in blocks that are not done: NaN, or -1
    return ds


def summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content and progress of a store: finished blocks, grid, variables, versions.

    Args:
        path: of a store that ``dyn.sweep(..., store=path)`` made.

    Raises:
        ValueError: ``path`` is not the store of a sweep.
    """
    place = Path(path)
    group = read_group(place)
    known = json.loads(str(group.attrs["identity"]))
    done = np.asarray(group[DONE][...])
    arrays = {name: array for name, array in group.arrays() if array.ndim >= len(known["shape"])}
    return {
        "path": str(place),
        "blocks": int(done.size),
        "blocks_done": int(done.sum()),
        "over": dict(zip(known["over"], known["shape"], strict=True)),
        "runs": int(np.prod(known["shape"], dtype=object)),
        "rounds": known["rounds"],
        "variables": {name: str(array.dtype) for name, array in sorted(arrays.items()) if name not in known["over"]},
        "process": known["process"],
        "versions": known["versions"],
        "bytes": sum(f.stat().st_size for f in place.rglob("*") if f.is_file()),
    }
