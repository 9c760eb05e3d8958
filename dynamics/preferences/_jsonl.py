"""Scored responses from `.jsonl` and `.jsonl.gz` files, one JSON object per line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import IO, Any

from ._responses import BadRow

_MAX_TEXT_BYTES = 2**31
_MAX_LINE_BYTES = 2**24
_MAX_LINES = 2_000_000  # including blank ones
_MAX_UNCHECKED_BYTES = 2**26  # unpacked, up to which any ratio of compression is accepted
_MAX_RATIO = 200  # of unpacked to packed bytes


def jsonl_rows(stream: IO[bytes], packed: bool) -> Iterator[tuple[str, bytes]]:
    """Lines that are not blank, each with the label `line N`; a packed file is unpacked only up to the limits."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    unpacked: Any = io.BufferedReader(gzip.GzipFile(fileobj=stream)) if packed else None  # pyright: ignore[reportArgumentType]
    with unpacked or contextlib.nullcontext(stream) as text:
        yield from _lines(text, packed, size)


def _lines(text: Any, packed: bool, size: int) -> Iterator[tuple[str, bytes]]:
    number = total = 0
    while line := _line(text, packed):
        number, total = number + 1, total + len(line)
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(
                f"line {number} has more than {_MAX_LINE_BYTES // 2**20} MiB; write one object on each line."
            )
        if number > _MAX_LINES:
            raise ValueError(f"it has more than {_MAX_LINES} lines; pass fewer.")
        if total > _MAX_TEXT_BYTES:
            raise ValueError(f"it holds more than {_MAX_TEXT_BYTES // 2**20} MiB of text; pass fewer lines.")
        if packed and total > _MAX_UNCHECKED_BYTES and total > _MAX_RATIO * size:
            raise ValueError(
                f"its {size} bytes unpack to more than {total // 2**20} MiB, like a file made to exhaust memory; pass it "
                f"unpacked."
            )
        if line.strip():
            yield f"line {number}", line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def parse_json(line: bytes) -> Any:
    try:
        return json.loads(line.decode().strip())
    except UnicodeDecodeError:
        raise BadRow("is not UTF-8 text; write it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"is not JSON ({error.msg}, column {error.colno}); write one object on each line") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or thousands of nested brackets.
        raise BadRow("is not readable JSON (a number too long or brackets nested too deeply); correct it") from None


def _line(text: Any, packed: bool) -> bytes:
    try:
        return text.readline(_MAX_LINE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        if not packed:
            raise
        raise ValueError(f"it is damaged or not gzip content ({type(error).__name__}); pack it again.") from None
