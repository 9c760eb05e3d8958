"""Preference matrices from `.npz` archives, without unpickling and within limits of size."""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any

import numpy as np

from ._sets import PreferenceSet

MAX_RESPONSES = 4096
_MAX_TOTAL_BYTES = 2**30
_MAX_UNCHECKED_BYTES = 2**26  # unpacked, up to which any ratio of compression is accepted
_MAX_RATIO = 200  # of unpacked to packed bytes
_MAX_MATRICES = 100_000

_INDEXED = re.compile(r"(P|N|names)_(0|[1-9][0-9]{0,6})\.npy")


def read_npz(stream: BufferedIOBase, source: str) -> PreferenceSet:
    """One (K, K) array; P, (K, K) or (M, K, K), with N, names and n_voters; or P_0, P_1, … with N_i, names_i."""
    with _damage("the archive"):
        archive = zipfile.ZipFile(stream)
    with archive:
        return _read_archive(archive, stream.seek(0, io.SEEK_END), source)


def _read_archive(archive: zipfile.ZipFile, file_size: int, source: str) -> PreferenceSet:
    members = {info.filename: info for info in archive.infolist()}
    indexed = [m for m in map(_INDEXED.fullmatch, members) if m]
    matrices = sorted(int(m[2]) for m in indexed if m[1] == "P")
    if "P.npy" in members and matrices:
        raise ValueError("it holds both P and P_0, P_1, …; keep one of the two forms.")
    if matrices:
        wanted = [m[0] for m in indexed]
    elif "P.npy" in members:
        wanted = [name for name in ("P.npy", "N.npy", "names.npy") if name in members]
    elif len(members) == 1 and next(iter(members)).endswith(".npy"):
        wanted = list(members)
    else:
        raise ValueError(
            f"it holds {_listed(members)}; pass one (K, K) array, a stack (M, K, K) named P, or matrices P_0, P_1, …"
        )
    voters = [name for name in ("n_voters.npy",) if name in members and (matrices or "P.npy" in members)]
    _check_sizes([members[name] for name in wanted + voters], file_size)
    arrays = {name.removesuffix(".npy"): _read_array(archive, members[name]) for name in wanted + voters}
    if matrices:
        return _from_indexed(arrays, matrices, source)
    return _from_stack(arrays, source)


def _from_indexed(arrays: dict[str, np.ndarray], found: list[int], source: str) -> PreferenceSet:
    size = len(found)
    if found != list(range(size)):
        gap = next(m for m, number in enumerate(found) if m != number)
        raise ValueError(f"it holds P_{found[-1]} but no P_{gap}; number the matrices P_0, P_1, … without a gap.")
    stray = next((k for k in arrays if "_" in k and k != "n_voters" and int(k.rpartition("_")[2]) >= size), None)
    if stray:
        raise ValueError(f"it holds {stray} but no matrix of that number; the last one is P_{size - 1}.")
    for m in range(size):
        _check_matrix(arrays[f"P_{m}"], f"P_{m}", (2,))
    return PreferenceSet(
        [arrays[f"P_{m}"] for m in range(size)],
        [arrays.get(f"N_{m}") for m in range(size)],
        [_text(arrays.get(f"names_{m}"), f"names_{m}") for m in range(size)],
        _voters(arrays, size),
        source,
    )


def _from_stack(arrays: dict[str, np.ndarray], source: str) -> PreferenceSet:
    key = "P" if "P" in arrays else next(iter(arrays))
    P = arrays[key]
    _check_matrix(P, key, (2, 3) if key == "P" else (2,))
    stack = P if P.ndim == 3 else P[None]
    N = arrays.get("N")
    if N is not None and N.shape != P.shape:
        raise ValueError(f"N has shape {N.shape} beside P of shape {P.shape}; store one count per entry of P.")
    names = arrays.get("names")
    if names is not None and names.shape not in (stack.shape[1:2], stack.shape[:2]):
        raise ValueError(f"names has shape {names.shape}; store (K,) names for all matrices or (M, K).")
    rows = None if names is None else np.broadcast_to(names, stack.shape[:2])
    return PreferenceSet(
        list(stack),
        None if N is None else list(N.reshape(stack.shape)),
        None if rows is None else [_text(row, f"names[{m}]") for m, row in enumerate(rows)],
        _voters(arrays, len(stack)),
        source,
    )


def _check_matrix(array: np.ndarray, name: str, dimensions: tuple[int, ...]) -> None:
    if array.ndim not in dimensions:
        also = " or a stack (M, K, K)" if 3 in dimensions else ", or a stack (M, K, K) under the name P"
        raise ValueError(f"{name} has shape {array.shape}; store a matrix (K, K){also}.")
    if array.shape[-1] > MAX_RESPONSES:
        raise ValueError(f"{name} has K = {array.shape[-1]} responses; store at most {MAX_RESPONSES}.")
    if array.ndim == 3 and not 1 <= len(array) <= _MAX_MATRICES:
        raise ValueError(f"{name} holds {len(array)} matrices; store 1 to {_MAX_MATRICES} in a file.")


def _voters(arrays: dict[str, np.ndarray], size: int) -> list[Any] | None:
    voters = arrays.get("n_voters")
    if voters is None:
        return None
    if voters.shape != (size,) or voters.dtype.kind not in "iu":
        raise ValueError(
            f"n_voters has shape {voters.shape} and dtype {voters.dtype}; store whole numbers, shape ({size},)."
        )
    return voters.tolist()


def _text(names: np.ndarray | None, key: str) -> list[str] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{key} has shape {names.shape} and dtype {names.dtype}; store a vector of K strings.")
    try:
        texts = names.tolist()
        "".join(texts).encode()
    except ValueError:
        raise ValueError(f"{key} holds characters that are not Unicode text; store the names as strings.") from None
    return texts


def _check_sizes(infos: list[zipfile.ZipInfo], file_size: int) -> None:
    """Refuses archives that are too large, before unpacking: zipfile never yields more than an entry declares."""
    if len(infos) > 3 * _MAX_MATRICES + 1:
        raise ValueError(f"it holds {len(infos)} arrays; store at most {_MAX_MATRICES} matrices in a file.")
    for info in infos:
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{info.filename} is encrypted or compressed in an unknown way; write it with numpy.savez."
            )
    total = sum(info.file_size for info in infos)
    if total > _MAX_TOTAL_BYTES:
        raise ValueError(f"it unpacks to {total / 2**20:.0f} MiB; pass at most {_MAX_TOTAL_BYTES // 2**20} MiB.")
    if total > _MAX_UNCHECKED_BYTES and total > _MAX_RATIO * file_size:
        raise ValueError(
            f"it unpacks {file_size} bytes to {total / 2**20:.0f} MiB, like an archive made to exhaust memory; "
            f"write it with numpy.savez, without compression."
        )


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    name = info.filename
    with _damage(name):
        member = archive.open(info)
    with member:
        return _array(member, name, info.file_size)


def read_npy(stream: BufferedIOBase) -> np.ndarray:
    """The array of a `.npy` file."""
    size = stream.seek(0, io.SEEK_END)
    if size > _MAX_TOTAL_BYTES:
        raise ValueError(f"it has {size / 2**20:.0f} MiB; pass at most {_MAX_TOTAL_BYTES // 2**20} MiB.")
    stream.seek(0)
    return _array(stream, "the array", size, ".npy")


def _array(member: Any, name: str, size: int, kind: str = ".npz") -> np.ndarray:
    with _damage(name, kind):
        shape, fortran, dtype = _header(member)
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        raise ValueError(f"{name} has dtype {dtype}; store arrays of numbers or of strings.")
    need = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or need > size:
        raise ValueError(f"{name} claims shape {shape} but has {size} bytes; write the file again.")
    with _damage(name, kind):
        # Reading one byte more reaches the end of the entry, where zipfile compares the checksum.
        data = member.read(need + 1)
    if len(data) != need:
        raise ValueError(f"{name} claims {need} bytes of data but has {len(data)}; write the file again.")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    with warnings.catch_warnings():
        # Python parses the header as a literal and warns about odd ones, which are refused later.
        warnings.simplefilter("ignore")
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(member)
        return np.lib.format.read_array_header_2_0(member)


@contextmanager
def _damage(what: str, kind: str = ".npz") -> Iterator[None]:
    """Turns any exception that a damaged file raises into one sentence."""
    try:
        yield
    # zipfile and numpy raise a dozen kinds of exception: struct, zlib, seek, key and syntax errors, and more.
    except Exception as error:
        why = type(error).__name__
        writer = "numpy.savez" if kind == ".npz" else "numpy.save"
        raise ValueError(f"{what} is damaged or not {kind} content ({why}); write it with {writer}.") from None


def _listed(members: Iterable[str]) -> str:
    names = [name.removesuffix(".npy")[:40] for name in members]
    if not names:
        return "nothing"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(map(repr, names[:8])) + more
