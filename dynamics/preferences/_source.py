"""Where preferences come from: a file, a packed file or standard input, and what kind of content that is."""

from __future__ import annotations

import io
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from ._csv import UTF_16
from ._preflib import SUFFIXES as PREFLIB
from ._unpack import MAGIC, PACKED, unpacked

STDIN = "-"
KINDS = (".npz", ".npy", ".csv", ".tsv", ".json", ".jsonl", ".parquet", *PREFLIB)
SUFFIXES = (*KINDS, *(kind + packing for kind in KINDS for packing in PACKED))
_MAX_BYTES = 2**30  # of content held in memory
_HEAD = 2**16
_ELSEWHERE = {
    ".xlsx": "is an Excel workbook; save the sheet as .csv",
    ".xls": "is an Excel workbook; save the sheet as .csv",
    ".ods": "is a spreadsheet; save the sheet as .csv",
    ".wmg": "holds PrefLib's weighted majority graph, whose margins do not tell how often a pair was compared; pass the "
    "orders it came from, or a .pwg file",
    ".wmd": "holds PrefLib's weighted matching data, which are no comparisons; pass a file of orders",
    ".mjg": "holds PrefLib's majority graph, which does not tell how often a pair was compared; pass the orders it came from",
    ".pkl": "is a pickle, which may run code when it is read; save the matrix as .npz",
    ".pickle": "is a pickle, which may run code when it is read; save the matrix as .npz",
    ".pt": "is a pickle of torch, which may run code when it is read; save the matrix as .npz",
    ".bz2": f"is packed with bzip2; pack it as one of {', '.join(PACKED)}, or unpack it",
    ".zip": "is an archive; unpack it and pass one of its files",
    ".tar": "is an archive; unpack it and pass one of its files",
    ".tgz": "is an archive; unpack it and pass one of its files",
}


class Content(NamedTuple):
    """A stream of bytes at its start, whether it can be sought, and the suffix that tells how to read it."""

    stream: BufferedIOBase
    kind: str


def kind_of(name: str) -> tuple[str, str]:
    """The suffix without packing, and the packing or ""."""
    lower = name.lower()
    packing = next((p for p in PACKED if lower.endswith(p)), "")
    kind = Path(lower.removesuffix(packing)).suffix
    if kind in KINDS:
        return kind, packing
    if kind in _ELSEWHERE:
        raise ValueError(f"{name} {_ELSEWHERE[kind]}.")
    raise ValueError(
        f"{name} has suffix {Path(name).suffix!r}; pass one of {', '.join(KINDS)}, packed as {', '.join(PACKED)} or not, or "
        f"'-' for standard input (docs/files.md lists what each may hold)."
    )


@contextmanager
def opened(path: str) -> Iterator[Content]:
    """The content of a file, or of standard input for "-"; closed at the end."""
    if path == STDIN:
        with _standard_input() as stream:
            yield _content(stream, None, "", len(stream.getbuffer()))
        return
    file = Path(path)
    try:
        mode = file.stat().st_mode
        # Opening a pipe or a device could block for ever.
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ValueError(f"{file} is {what}; pass a file, or '-' for standard input.")
        kind, packing = kind_of(path)
        with file.open("rb") as stream:
            found = _content(stream, kind, packing, file.stat().st_size)
            with found.stream:
                yield found
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; check the path.") from None
    except PermissionError:
        raise PermissionError(f"{file} may not be read; check its permissions.") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}); check the path and the disk.") from None


def _standard_input() -> io.BytesIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("'-' is standard input, but nothing is piped into it; write dynamics classify - < FILE.")
    data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"standard input has more than {_MAX_BYTES // 2**20} MiB; pass a file.")
    return io.BytesIO(data)


def _content(stream: BufferedIOBase, kind: str | None, packing: str, size: int) -> Content:
    head = _head(stream)
    packing = packing or (
        "" if kind in (".npz", ".npy") else next((p for m, p in MAGIC.items() if head.startswith(m)), "")
    )
    if packing:
        stream = unpacked(stream, packing, size)
        if kind in (None, ".npz", ".npy", ".parquet"):
            stream = _held(stream)
            head = _head(stream)
        else:
            head = b""
    if kind is None:
        return Content(stream, sniffed(head))
    if kind not in (".npz", ".npy", ".parquet"):
        for magic, what in ((b"PK\x03\x04", "a zip archive or Excel workbook"), (b"PAR1", "Parquet content")):
            if head.startswith(magic):
                raise ValueError(f"it is {what}, not {kind} text; save it as {kind}, or give it the suffix it has.")
    return Content(stream, kind)


def _held(stream: BufferedIOBase) -> io.BytesIO:
    with stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it unpacks to more than {_MAX_BYTES // 2**20} MiB; pass a smaller file.")
    return io.BytesIO(data)


def _head(stream: BufferedIOBase) -> bytes:
    head = stream.read(_HEAD)
    stream.seek(0)
    return head


def sniffed(head: bytes) -> str:
    """The kind of content that starts with ``head``."""
    for magic, kind in ((b"PK\x03\x04", ".npz"), (b"\x93NUMPY", ".npy"), (b"PAR1", ".parquet")):
        if head.startswith(magic):
            return kind
    if head.startswith(UTF_16):
        return ".csv"
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith(("{", "[")):
        return ".json"  # which may also be a line for each object
    if text.startswith("#"):
        named = re.search(r"^# *DATA TYPE: *(\w+)", text, re.MULTILINE)
        if named is not None and f".{named[1].lower()}" in PREFLIB:
            return f".{named[1].lower()}"
        if named is None and re.search(r"^# *NUMBER ALTERNATIVES:", text, re.MULTILINE):
            return ".cat" if re.search(r"^# *NUMBER CATEGORIES:", text, re.MULTILINE) else ".toi"
        raise ValueError(
            "it starts with '#' but names no '# DATA TYPE:' of PrefLib; pass it as a file with its suffix."
        )
    if re.match(r"\d+\s*\n\s*1\s*,[^\n]*\n\s*2\s*,", text):
        return ".toi"  # the older header, which does not tell what orders follow
    return ".csv"
