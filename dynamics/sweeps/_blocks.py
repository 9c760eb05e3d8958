"""The blocks of a store: each is one chunk of every result, and a small file with their checksums, which is written last."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .._places import Folder, Place
from .._seal import CHECKS, checksum
from ._plan import Plan

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

STILL = "still"


class Block(NamedTuple):
    """What is recorded of a finished block: checksums of its chunks by file, and how many runs began at a fixed point."""

    files: dict[str, int | None]
    still: int


def write(place: Place, group: Any, plan: Plan, at: tuple[int, ...], found: dict[str, np.ndarray]) -> None:
    """Writes the results of one block, then its checksums."""
    block, names = plan.block(at), [name for name in found if name != STILL]
    place.remove(_record(at))
    for name in names:
        place.remove(_chunk(group[name], at))  # zarr would read a damaged chunk before it writes a part of it
        group[name][block] = found[name]
    files = {_chunk(group[name], at): checksum(place.read(_chunk(group[name], at))) for name in names}
    told: dict[str, Any] = {"files": files, STILL: int(found[STILL].sum())}
    place.write(_record(at), json.dumps(told | {"crc": _crc(told)}).encode())


def finished(place: Place) -> dict[tuple[int, ...], Block]:
    """The blocks that were finished, by their place among the blocks; those whose record is damaged are left out."""
    known: dict[tuple[int, ...], Block] = {}
    for name in place.names(CHECKS):
        parts = name.split(".")
        if parts[0] == "block" and parts[-1] == "json" and all(p.isdigit() for p in parts[1:-1]):
            found = _read(place, f"{CHECKS}/{name}")
            if found is not None:
                known[tuple(map(int, parts[1:-1]))] = found
    return known


def damaged(place: Place, known: dict[tuple[int, ...], Block]) -> dict[tuple[int, ...], str]:
    """The finished blocks that have lost a chunk, or whose chunk is not as it was written, with the file's name."""
    lost: dict[tuple[int, ...], str] = {}
    for at, block in known.items():
        for name, crc in block.files.items():
            if checksum(place.read(name)) != crc:
                lost[at] = name
                break
    return lost


@contextmanager
def claimed(place: Place, at: tuple[int, ...]) -> Iterator[bool]:
    """Whether this process may compute a block: no other that writes to the same folder is at it.

    A claim is a lock of the operating system on a small file, which ends with the process that holds it, however that ends.
    Elsewhere than in a folder nothing is claimed, and two processes compute the same block to the same numbers.
    """
    if fcntl is None or not isinstance(place, Folder):
        yield True
        return
    path = place.path / CHECKS / f"claim.{'.'.join(map(str, at))}"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            yield True
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def is_finished(place: Place, at: tuple[int, ...]) -> bool:
    """Whether one block is finished and whole."""
    found = _read(place, _record(at))
    return found is not None and not damaged(place, {at: found})


def _record(at: tuple[int, ...]) -> str:
    return f"{CHECKS}/block.{'.'.join(map(str, at))}.json"


def _chunk(array: Any, at: tuple[int, ...]) -> str:
    """The file of a block's chunk; trailing dims are whole in it. Only chunks that are all blank have none."""
    return f"{array.path}/{'.'.join(map(str, at + (0,) * (array.ndim - len(at))))}"


def _read(place: Place, name: str) -> Block | None:
    try:
        told = json.loads(place.read(name) or b"")
        crc = told.pop("crc")
        return Block(dict(told["files"]), int(told[STILL])) if crc == _crc(told) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _crc(told: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(told, sort_keys=True).encode())
