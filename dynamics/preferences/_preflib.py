"""Preference matrices from PrefLib's files of orders: `.soc`, `.soi`, `.toc` and `.toi`, with either style of header."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

from ._npz import MAX_RESPONSES
from ._orders import Above, parse_order
from ._sets import PreferenceSet
from ._wins import Missing, from_table, short

SUFFIXES = (".soc", ".soi", ".toc", ".toi")
_MAX_FILE_BYTES = 2**28
_MAX_LINE_BYTES = 2**20
_MAX_COMPARISONS = 2**38  # orders times K², which take minutes

_NUMBERS = ("NUMBER ALTERNATIVES", "NUMBER VOTERS", "NUMBER UNIQUE ORDERS")
_REMEDY = "correct it, or download the file again"

Line = tuple[int, str]


class _Header(NamedTuple):
    names: list[str]
    voters: int
    orders: int
    separator: str  # between a count and its order
    line: int  # which states the number of orders
    voters_line: int


def read_preflib(stream: IO[bytes], source: str, suffix: str, missing: Missing) -> PreferenceSet:
    """P_ij is the share of voters with i above j among those who rank both, ties counted half to each."""
    size = stream.seek(0, io.SEEK_END)
    if size > _MAX_FILE_BYTES:
        raise ValueError(f"it has {size / 2**20:.0f} MiB; pass orders of at most {_MAX_FILE_BYTES // 2**20} MiB.")
    stream.seek(0)
    lines = _lines(stream)
    first = next(lines, None)
    if first is None:
        raise ValueError("it is empty; pass a PrefLib file of orders.")
    header, first = _new_header(first, lines) if first[1].startswith("#") else _old_header(first, lines)
    K = len(header.names)
    if header.orders * K * K > _MAX_COMPARISONS:
        raise ValueError(
            f"it has {header.orders} orders of {K} alternatives; orders times alternatives squared may be "
            f"at most {_MAX_COMPARISONS:.2g}, so pass fewer."
        )
    above = _count(header, first, lines, suffix)
    return from_table(above.wins, header.names, missing, source, header.voters, above.ties)


def _lines(stream: IO[bytes]) -> Iterator[Line]:
    """Lines that are not blank, trimmed, with their numbers; a line that is not UTF-8 is read as Latin-1, as in older files."""
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"line {number} has more than {_MAX_LINE_BYTES} bytes; pass a PrefLib file of orders.")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        if text := text.strip():
            yield number, text


def _new_header(first: Line, lines: Iterator[Line]) -> tuple[_Header, Line | None]:
    """The header of lines `# KEY: value`, and the line after it."""
    numbers: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    line: Line | None = first
    while line is not None and line[1].startswith("#"):
        number, text = line
        key, _, value = (part.strip() for part in text[1:].partition(":"))
        if key in _NUMBERS:
            _put(numbers, key, (_whole(value, number, f"a value of {key}"), number), number)
        elif key.startswith("ALTERNATIVE NAME "):
            _put(names, _whole(key.removeprefix("ALTERNATIVE NAME "), number, "an alternative"), value, number)
        line = next(lines, None)
    absent = next((key for key in _NUMBERS if key not in numbers), None)
    if absent is not None:
        raise ValueError(f"its header has no line '# {absent}: …'; {_REMEDY}.")
    (K, _), (voters, voters_line), (orders, orders_line) = (numbers[key] for key in _NUMBERS)
    return _Header(_in_order(names, _size(K)), voters, orders, ":", orders_line, voters_line), line


def _old_header(first: Line, lines: Iterator[Line]) -> tuple[_Header, Line | None]:
    """The header of the number of alternatives, a line `id,name` for each, `voters,sum of counts,orders`; and the next line."""
    if not first[1].isdigit():
        raise ValueError(
            f"line {first[0]} is {short(first[1])}; pass a PrefLib file, which starts with '# KEY: value' lines or with the "
            f"number of alternatives."
        )
    K = _size(_whole(first[1], first[0], "the number of alternatives"))
    names: dict[int, str] = {}
    for _ in range(K):
        number, text = next(lines, (0, ""))
        if not number:
            raise ValueError(f"it ends after {len(names)} of {K} alternatives; {_REMEDY}.")
        key, _, name = text.partition(",")
        alternative = _whole(key, number, "the number of an alternative", least=1)
        if alternative > K:
            raise ValueError(
                f"line {number} names alternative {alternative} of the {K} that line {first[0]} states; {_REMEDY}."
            )
        _put(names, alternative, name.strip(), number)
    in_order = _in_order(names, K)
    number, text = next(lines, (0, ""))
    parts = text.split(",")
    if not number or len(parts) != 3:
        what = f"line {number} is {short(text)}" if number else "it ends"
        raise ValueError(
            f"{what} where voters,sum of counts,orders should follow {K} alternatives; correct the header."
        )
    voters, total, orders = (_whole(part, number, "a number of voters or orders") for part in parts)
    if voters != total:
        raise ValueError(
            f"line {number} has {voters} voters but counts that sum to {total}; pass a file without weighted votes."
        )
    return _Header(in_order, voters, orders, ",", number, number), next(lines, None)


def _count(header: _Header, line: Line | None, lines: Iterator[Line], suffix: str) -> Above:
    """Counts every order, and compares the totals with the header."""
    K = len(header.names)
    index = {str(k + 1): k for k in range(K)}
    above, orders, voters = Above(K), 0, 0
    while line is not None:
        number, text = line
        where = f"line {number}"
        count, separator, order = text.partition(header.separator)
        if not separator:
            raise ValueError(f"{where} is {short(text)}; write an order as count{header.separator}a,b,{{c,d}}.")
        weight = _whole(count, number, "the count of an order", least=1)
        alternatives, ranks = parse_order(order.strip(), index, where)
        _check_kind(suffix, where, K, ranks)
        orders, voters = orders + 1, voters + weight
        if orders > header.orders:
            raise ValueError(
                f"{where} is order {orders} of the {header.orders} that line {header.line} states; {_REMEDY}."
            )
        above.add(weight, alternatives, ranks)
        line = next(lines, None)
    if orders < header.orders:
        raise ValueError(
            f"it ends after {orders} of the {header.orders} orders that line {header.line} states; {_REMEDY}."
        )
    if voters != header.voters:
        raise ValueError(
            f"its counts sum to {voters} where line {header.voters_line} states {header.voters} voters; {_REMEDY}."
        )
    above.close()
    return above


def _check_kind(suffix: str, where: str, K: int, ranks: Sequence[int]) -> None:
    """Checks what the suffix promises: strict or tied (s, t), complete or incomplete (c, i) orders."""
    if suffix[-1] == "c" and len(ranks) < K:
        raise ValueError(
            f"{where} ranks {len(ranks)} of {K} alternatives, but orders in a {suffix} file are complete; rank them all, "
            f"or name the file {suffix[:-1]}i."
        )
    if suffix[1] == "s" and ranks[-1] + 1 < len(ranks):
        raise ValueError(
            f"{where} has a tie, but orders in a {suffix} file are strict; break it, or name the file .t{suffix[2:]}."
        )


def _put(table: dict[Any, Any], key: Any, value: Any, line: int) -> None:
    if key in table:
        what = f"alternative {key}" if isinstance(key, int) else key
        raise ValueError(f"line {line} gives {what} a second time; keep one of the lines.")
    table[key] = value


def _in_order(names: dict[int, str], K: int) -> list[str]:
    """The names of alternatives 1 to K."""
    absent = next((k for k in range(1, K + 1) if k not in names), None)
    if absent is not None:
        raise ValueError(
            f"its header states {K} alternatives and names {len(names)}, but not number {absent}; {_REMEDY}."
        )
    if len(names) > K:
        raise ValueError(f"its header states {K} alternatives and names {len(names)}; {_REMEDY}.")
    return [names[k] for k in range(1, K + 1)]


def _size(K: int) -> int:
    if not 2 <= K <= MAX_RESPONSES:
        raise ValueError(f"its header states {K} alternatives; pass a file of 2 to {MAX_RESPONSES}.")
    return K


def _whole(text: str, line: int, what: str, least: int = 0) -> int:
    text = text.strip()
    # Longer numbers exceed every limit, and Python refuses to read very long ones.
    if not (text.isascii() and text.isdigit() and len(text) <= 15) or int(text) < least:
        raise ValueError(f"line {line}: {short(text)} is not {what}; write a whole number ≥ {least} below 10^15.")
    return int(text)
