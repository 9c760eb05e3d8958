"""Rows from `.jsonl` files, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from ._record import BadRow
from ._wins import short

_MAX_TEXT_BYTES = 2**31
_MAX_LINE_BYTES = 2**24
_MAX_LINES = 2_000_000  # including blank ones


def jsonl_rows(stream: BufferedIOBase) -> Iterator[tuple[str, bytes]]:
    """Lines that are not blank, each with the label `line N`."""
    number = total = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number, total = number + 1, total + len(line)
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(
                f"line {number} has more than {_MAX_LINE_BYTES // 2**20} MiB; write one object on each line."
            )
        if number > _MAX_LINES:
            raise ValueError(f"it has more than {_MAX_LINES} lines; pass fewer.")
        if total > _MAX_TEXT_BYTES:
            raise ValueError(f"it holds more than {_MAX_TEXT_BYTES // 2**20} MiB of text; pass fewer lines.")
        if line.strip():
            yield f"line {number}", line.removeprefix(b"\xef\xbb\xbf")


def parse_json(line: bytes) -> Any:
    try:
        return json.loads(line.decode().strip(), object_pairs_hook=_object)
    except BadRow:
        raise
    except UnicodeDecodeError:
        raise BadRow("is not UTF-8 text; write it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"is not JSON ({error.msg}, column {error.colno}); write one object on each line") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or thousands of nested brackets.
        raise BadRow("is not readable JSON (a number too long or brackets nested too deeply); correct it") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for n, (name, _) in enumerate(pairs) if name in [other for other, _ in pairs[:n]])
        raise BadRow(f"has the name {short(twice)} twice in one object; keep one")
    return found
