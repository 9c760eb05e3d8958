"""A sweep that is stored: a zarr group of results, in which a block is one chunk of every result.

What is written once, at creation, is sealed by checksums. A block's own checksums are written after its chunks, so a block
that was interrupted by a crash, or whose chunk was lost later, counts as missing and is computed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._identity import Identity, code_of, identify
from .._places import Folder, Place
from .._provenance import provenance
from .._seal import BEGUN, CHECKS, attributes, begin, contents, damage, seal
from ..schema import attrs_of
from ._blocks import finished
from ._machine import processor
from ._plan import Plan, layout

if TYPE_CHECKING:
    import xarray as xr


class OtherSweep(ValueError):
    """Raised where a store holds another sweep than the one that is asked for.

    >>> issubclass(OtherSweep, ValueError)
    True
    """


class DamagedStore(ValueError):
    """Raised where a file that a store writes once is missing or changed, or where nothing shows that it is whole.

    >>> issubclass(DamagedStore, ValueError)
    True
    """


STORE_FORMAT = 3
KIND = "sweep"
REMEDY = "restore it from a copy, or delete the store and repeat the sweep"
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
        "names": plan.names,
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


def warn_of_another_device(place: Place) -> None:
    """Warns where a store that has been begun goes on on another kind of device, whose last bits may differ."""
    there, here = attributes(place).get("processor"), processor()
    if there is not None and there != here:
        warnings.warn(
            f"store {place} was begun on {there} and goes on on {here}; the last bits of its blocks may differ.",
            stacklevel=4,
        )


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


def opened(place: Place, plan: Plan, coords: dict[str, Any], attrs: dict[str, Any]) -> Any:
    """The store at ``place``, created if absent or an empty folder; raises ``OtherSweep`` where it holds another sweep."""
    for found in _identities(plan):
        found.check()
    if _vacant(place):
        _create(place, plan, coords, attrs)
    return own(place, plan)


def _vacant(place: Place) -> bool:
    if isinstance(place, Folder):
        return not place.path.exists() or (place.path.is_dir() and not any(place.path.iterdir()))
    # Elsewhere than in a folder, a creation that died has begun and has neither seal nor blocks.
    return not place.sizes() or place.names(CHECKS) == [BEGUN.rsplit("/", 1)[1]]


def own(place: Place, plan: Plan) -> Any:
    """The store at ``place``, writable; raises ``OtherSweep`` unless it holds this sweep as this process computes it."""
    import zarr

    there, here = identity_of(place), json.loads(json.dumps(identity(plan)))
    for name in here:
        if there.get(name) != here[name]:
            raise OtherSweep(
                f"store {place} holds another sweep: its {_difference(name, there.get(name), here[name])}; pass another "
                f"store=, or the arguments of that sweep."
            )
    return zarr.open_group(place.store(read_only=False), mode="r+", zarr_format=2)


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


def identity_of(place: Place) -> dict[str, Any]:
    """The identity of the sweep in a store, after its files are checked.

    Raises:
        ValueError: there is no store of a sweep.
        DamagedStore: one of its files that are written once is missing or changed.
    """
    told = contents(place)
    if told is None and not is_sweep(place):
        raise ValueError(
            f"{place} is not the store of a sweep; pass a new path, or one that dyn.sweep(..., store=) made."
        )
    if told is None:
        raise DamagedStore(
            f"store {place} has no checksums, so nothing shows that it is whole: it is of an earlier version or damaged; pass "
            f"another store=, or delete it and repeat the sweep."
        )
    if told and told["kind"] != KIND:
        raise ValueError(f"{place} is not the store of a sweep but of kind {told['kind']!r}; pass another path.")
    if (what := damage(place)) is not None:
        raise DamagedStore(f"store {place} is damaged: {what}; {REMEDY}.")
    return json.loads(attributes(place)["identity"])


def is_sweep(place: Place) -> bool:
    """Whether there is the store of a sweep, damaged or not."""
    if contents(place) is not None:
        return True
    return any(place.read(name) is not None for name in ("progress/done/.zarray", BEGUN)) or "identity" in attributes(
        place
    )


def _create(place: Place, plan: Plan, coords: dict[str, Any], attrs: dict[str, Any]) -> None:
    """Builds the store, so that it exists completely or counts as absent: beside a folder, then renamed; elsewhere in place,
    where the seal comes last.
    """
    if not isinstance(place, Folder):
        begin(place)
        _fill(place, plan, coords, attrs)
        return
    target = place.path
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(target)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        _fill(Folder(scratch), plan, coords, attrs)
        try:
            os.rename(scratch, target)
        except OSError:
            if contents(place) is None:  # no other process created it
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fill(place: Place, plan: Plan, coords: dict[str, Any], attrs: dict[str, Any]) -> None:
    import xarray as xr
    import zarr

    extra = {"identity": json.dumps(identity(plan)), "processor": processor()}
    to = place.store(read_only=False)
    # Every reader of zarr knows how format 2 stores text.
    xr.Dataset(coords=coords, attrs=attrs | extra).to_zarr(to, mode="a", zarr_format=2, consolidated=False)
    group = zarr.open_group(to, mode="r+", zarr_format=2)
    dims = [axis.dim for axis in plan.axes]
    for name, (variable, trailing, dtype) in layout(plan).items():
        blank = np.nan if dtype.kind == "f" else -1
        array = group.create_array(
            name,
            shape=plan.shape + trailing,
            chunks=plan.chunk + trailing,
            dtype=dtype,
            fill_value=blank,
            overwrite=True,
        )
        array.attrs.update(attrs_of(variable) | {"_ARRAY_DIMENSIONS": [*dims, *variable.dims]})
    seal(place, KIND)


def _remove_remains(target: Path) -> None:
    """Removes what processes that died while creating the store have left."""
    processes = Path("/proc")
    for left in target.parent.glob(f".{target.name}.*.*"):
        pid = left.name.removeprefix(f".{target.name}.").split(".")[0]
        if pid.isdigit() and (processes / "self").exists() and not (processes / pid).exists():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def kept(place: Place, plan: Plan) -> Iterator[None]:
    """Turns an error of writing, such as a full disk, into a sentence that says which blocks are kept."""
    try:
        yield
    except KeyError as error:  # an array of the group is gone
        raise OSError(
            errno.ENOENT,
            f"store {place} has lost {error} while it was written to; was it deleted? Repeat the call to go on or begin anew",
        ) from error
    except OSError as error:
        done = len(finished(place))
        raise OSError(
            error.errno,
            f"store {place} cannot be written to ({(error.strerror or str(error)).lower()}); {done} of "
            f"{int(np.prod(plan.grid))} blocks are kept; free space or fix the store, and repeat the call to continue",
        ) from error


def lazy(place: Place) -> xr.Dataset:
    """The Dataset of a store, read on access, in chunks through dask if that is installed."""
    import importlib.util

    import xarray as xr

    chunks: Any = {} if importlib.util.find_spec("dask") else None
    to = place.store(read_only=True)
    ds = xr.open_zarr(to, consolidated=False, chunks=chunks, zarr_format=2, mask_and_scale=False)
    ds.attrs = {k: v for k, v in ds.attrs.items() if k != "identity"}
    for variable in ds.variables.values():
        variable.attrs.pop("_FillValue", None)  # the value in blocks that are not done: NaN, or -1
    return ds
