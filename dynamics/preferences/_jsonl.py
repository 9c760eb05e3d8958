"""Scored responses from `.jsonl` and `.jsonl.gz` files, one JSON object per line."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import IO, Any

from ._responses import BadRow

_LARGEST_TEXT = 2**31
_LONGEST_LINE = 2**24
_MOST_LINES = 2_000_000  # blank ones too
_LARGEST_UNSUSPECTED = 2**26
_LARGEST_RATIO = 200


def jsonl_rows(stream: IO[bytes], packed: bool) -> Iterator[tuple[str, bytes]]:
    """Lines that are not blank, each with the label `line N`; a packed file is unpacked no further than it may be."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    text = io.BufferedReader(gzip.GzipFile(fileobj=stream)) if packed else stream  # pyright: ignore[reportArgumentType]
    number = total = 0
    while line := _line(text, packed):
        number, total = number + 1, total + len(line)
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"line {number} has more than {_LONGEST_LINE // 2**20} MiB; write an object on each line.")
        if number > _MOST_LINES:
            raise ValueError(f"it has more than {_MOST_LINES} lines; pass fewer.")
        if total > _LARGEST_TEXT:
            raise ValueError(f"it holds more than {_LARGEST_TEXT // 2**20} MiB of text; pass fewer lines.")
        if packed and total > _LARGEST_UNSUSPECTED and total > _LARGEST_RATIO * size:
            raise ValueError(
                f"its {size} bytes unpack to more than {total // 2**20} MiB, as a file made to exhaust memory would; pass it "
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
        raise BadRow(f"is no JSON ({error.msg}, column {error.colno}); write one object on each line") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets nested as deep.
        raise BadRow("is no JSON that can be read (numbers or nesting beyond all bounds); correct it") from None


def _line(text: Any, packed: bool) -> bytes:
    try:
        return text.readline(_LONGEST_LINE + 1)
    except (OSError, EOFError, zlib.error) as error:
        if not packed:
            raise
        raise ValueError(f"it is damaged or no gzip content ({type(error).__name__}); pack it anew.") from None
