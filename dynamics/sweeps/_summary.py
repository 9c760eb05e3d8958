"""What a store of a sweep holds, and how far it has come."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._places import place_of
from ._blocks import damaged, finished
from ._store import identity_of


def summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content and progress of a store: finished blocks, damaged ones, grid, variables, versions.

    Every file is compared with its checksum. A block that is damaged does not count as done: the sweep, repeated, computes
    it again.

    Args:
        path: of a store that ``dyn.sweep(..., store=path)`` made, or its address.

    Raises:
        ValueError: ``path`` is not the store of a sweep, or a file that is written once is missing or damaged.
    """
    import zarr

    place = place_of(path, "path")
    identity = identity_of(place)
    group = zarr.open_group(place.store(read_only=True), mode="r", zarr_format=2)
    arrays = {name: array for name, array in group.arrays() if array.ndim >= len(identity["shape"])}
    done = finished(place)
    lost = damaged(place, done)
    sides = zip(identity["shape"], identity["chunk"], strict=True)
    return {
        "path": str(place),
        "kind": "sweep",
        "blocks": int(np.prod([-(-n // c) for n, c in sides], dtype=object)),
        "blocks_done": len(done) - len(lost),
        "damaged": sorted(lost.values()),
        "over": dict(zip(identity["over"], identity["shape"], strict=True)),
        "runs": int(np.prod(identity["shape"], dtype=object)),
        "rounds": identity["rounds"],
        "variables": {n: str(array.dtype) for n, array in sorted(arrays.items()) if n not in identity["over"]},
        "process": identity["process"],
        "versions": identity["versions"],
        "bytes": sum(place.sizes().values()),
    }
