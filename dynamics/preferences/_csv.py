"""Text in rows and cells: `.csv` and `.tsv`, separated by commas, semicolons, bars or tabs."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import NamedTuple

_MAX_FILE_BYTES = 2**30
_MAX_LINE_LENGTH = 2**22
_MAX_ROWS = 2_000_000
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as spreadsheets write "Unicode text"
SEPARATORS = (",", ";", "\t", "|")

Row = tuple[int, list[str]]


class Cell(str):
    """Text from a cell, which stands for a number where one is wanted."""

    __slots__ = ()


class Delimited(NamedTuple):
    """The rows that are not blank, with cells trimmed, each with the number of its last line."""

    rows: Iterator[Row]
    separator: str


@contextmanager
def read_rows(stream: BufferedIOBase, tabs: bool) -> Iterator[Delimited]:
    """Rows of a file; the separator is the one that `sep=` names, or the likeliest in the header."""
    buffered = io.BufferedReader(stream)  # pyright: ignore[reportArgumentType]
    encoding = "utf-16" if buffered.peek(2)[:2] in UTF_16 else "utf-8-sig"
    with io.TextIOWrapper(buffered, encoding=encoding, newline="") as text:  # pyright: ignore[reportArgumentType]
        yield _delimited(_lines(text), tabs)


def _delimited(lines: Iterator[str], tabs: bool) -> Delimited:
    skipped, separator, first = 0, "", ""
    for first in lines:
        named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
        if named is not None and not separator:
            separator = named[1]
        elif first.strip(" \t\r\n,;|"):
            break
        skipped, first = skipped + 1, ""
    if not first:
        raise ValueError("it is empty; start it with winner,loser[,count] or with a row of names.")
    separator = separator or ("\t" if tabs else _likeliest(first))
    if separator not in SEPARATORS:
        raise ValueError(f"line 1 names {separator!r} as the separator; separate cells by , ; | or a tab.")
    return Delimited(_rows(itertools.chain([first], lines), skipped, separator), separator)


def _likeliest(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _rows(lines: Iterator[str], skipped: int, separator: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for count, cells in enumerate(reader):
            if count > _MAX_ROWS:
                raise ValueError(f"it has more than {_MAX_ROWS} rows; add up equal pairs in a count column.")
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield reader.line_num + skipped, cells
    except csv.Error as error:
        line = reader.line_num + skipped
        raise ValueError(f"line {line}: {error}; write it as comma-separated values.") from None


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    total = 0
    try:
        for number, line in enumerate(text, start=1):
            total += len(line)
            if total > _MAX_FILE_BYTES:
                raise ValueError(f"it has more than {_MAX_FILE_BYTES / 2**20:.0f} MiB of text; pass fewer rows.")
            if len(line) > _MAX_LINE_LENGTH:
                raise ValueError(
                    f"line {number} has {len(line)} characters; write at most {_MAX_LINE_LENGTH} on a line."
                )
            yield line.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not UTF-8 text, nor UTF-16 with its mark (byte {error.start} of a block, {error.reason}); save it as UTF-8."
        ) from None
