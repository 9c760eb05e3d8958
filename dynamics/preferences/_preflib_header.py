"""The headers of PrefLib's files, in the older and in the newer style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ._npz import MAX_RESPONSES
from ._wins import short

_NUMBERS = ("NUMBER ALTERNATIVES", "NUMBER VOTERS", "NUMBER UNIQUE ORDERS")
_OTHER_NAMES = {"NUMBER UNIQUE PREFERENCES": "NUMBER UNIQUE ORDERS"}  # in files of categories
REMEDY = "correct it, or download the file again"

Line = tuple[int, str]


class Header(NamedTuple):
    names: list[str]
    voters: int
    total: int  # the sum of the counts of all orders
    orders: int
    separator: str  # between a count and its order
    line: int  # which states the number of orders
    voters_line: int
    categories: tuple[str, ...] = ()


def new_header(first: Line, lines: Iterator[Line]) -> tuple[Header, Line | None]:
    """The header of lines `# KEY: value`, and the line after it."""
    numbers: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    categories: dict[int, str] = {}
    line: Line | None = first
    while line is not None and line[1].startswith("#"):
        number, text = line
        key, _, value = (part.strip() for part in text[1:].partition(":"))
        key = _OTHER_NAMES.get(key, key)
        if key in _NUMBERS:
            _put(numbers, key, (whole(value, number, f"a value of {key}"), number), number)
        elif key.startswith("ALTERNATIVE NAME "):
            _put(names, whole(key.removeprefix("ALTERNATIVE NAME "), number, "an alternative"), value, number)
        elif key.startswith("CATEGORY NAME "):
            _put(categories, whole(key.removeprefix("CATEGORY NAME "), number, "a category"), value, number)
        line = next(lines, None)
    absent = next((key for key in _NUMBERS if key not in numbers), None)
    if absent is not None:
        raise ValueError(f"its header has no line '# {absent}: …'; {REMEDY}.")
    (K, _), (voters, voters_line), (orders, orders_line) = (numbers[key] for key in _NUMBERS)
    kinds = tuple(categories[k] for k in sorted(categories))
    return Header(_in_order(names, _size(K)), voters, voters, orders, ":", orders_line, voters_line, kinds), line


def old_header(first: Line, lines: Iterator[Line], weighted: bool) -> tuple[Header, Line | None]:
    """The header of the number of alternatives, a line `id,name` for each, `voters,sum of counts,orders`; and the next line.

    ``weighted`` files, such as pairwise graphs, have more counts than voters.
    """
    if not first[1].isdigit():
        raise ValueError(
            f"line {first[0]} is {short(first[1])}; pass a PrefLib file, which starts with '# KEY: value' lines or with the "
            f"number of alternatives."
        )
    K = _size(whole(first[1], first[0], "the number of alternatives"))
    names: dict[int, str] = {}
    for _ in range(K):
        number, text = next(lines, (0, ""))
        if not number:
            raise ValueError(f"it ends after {len(names)} of {K} alternatives; {REMEDY}.")
        key, _, name = text.partition(",")
        alternative = whole(key, number, "the number of an alternative", least=1)
        if alternative > K:
            raise ValueError(
                f"line {number} names alternative {alternative} of the {K} that line {first[0]} states; {REMEDY}."
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
    voters, total, orders = (whole(part, number, "a number of voters or orders") for part in parts)
    if voters != total and not weighted:
        raise ValueError(
            f"line {number} has {voters} voters but counts that sum to {total}; pass a file without weighted votes."
        )
    return Header(in_order, voters, total, orders, ",", number, number), next(lines, None)


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
            f"its header states {K} alternatives and names {len(names)}, but not number {absent}; {REMEDY}."
        )
    if len(names) > K:
        raise ValueError(f"its header states {K} alternatives and names {len(names)}; {REMEDY}.")
    return [names[k] for k in range(1, K + 1)]


def _size(K: int) -> int:
    if not 2 <= K <= MAX_RESPONSES:
        raise ValueError(f"its header states {K} alternatives; pass a file of 2 to {MAX_RESPONSES}.")
    return K


def whole(text: str, line: int, what: str, least: int = 0) -> int:
    text = text.strip()
    # Longer numbers exceed every limit, and Python refuses to read very long ones.
    if not (text.isascii() and text.isdigit() and len(text) <= 15) or int(text) < least:
        raise ValueError(f"line {line}: {short(text)} is not {what}; write a whole number ≥ {least} below 10^15.")
    return int(text)
