"""One row of a file: its columns by name, and which of them a format made use of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ._csv import Cell
from ._options import normal
from ._wins import short


class BadRow(ValueError):
    """What is wrong with a row and the remedy, as a sentence without its subject."""


class UnknownForm(BadRow):
    """The row's columns are those of no known format."""


class Record(Mapping[str, Any]):
    """A row; what is asked for by name goes into ``used``. Names are compared in lower case, with _ for spaces."""

    def __init__(self, row: Any, used: set[str]):
        if not isinstance(row, Mapping):
            raise BadRow("is not an object; write columns with names")
        self._values: dict[str, Any] = {}
        for name, value in row.items():
            plain = normal(str(name))
            if plain in self._values:
                raise BadRow(f"has two columns that are both named {short(plain)}; keep one")
            self._values[plain] = None if isinstance(value, Cell) and not value else value
        self._used = used

    def __getitem__(self, name: str) -> Any:
        self._used.add(name)
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def has(self, *names: str) -> bool:
        return all(name in self._values for name in names)

    def first(self, names: Iterable[str]) -> str | None:
        """The first of ``names`` that is a column."""
        return next((name for name in names if name in self._values), None)

    def need(self, name: str) -> Any:
        """The value of a column that the row must have."""
        if name not in self._values:
            raise BadRow(f"has no {name}; write the same columns in each row")
        return self[name]

    def name(self, column: str) -> str:
        """The name of a response: text, or a whole number."""
        value = self.need(column)
        if isinstance(value, str) and value.strip():
            return str(value).strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise BadRow(f"has {column} = {_shown(value)}, which is no name; name two different responses")

    def text(self, column: str) -> str:
        """A text, or the messages of a chat as one text."""
        value = self.need(column)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, list | dict) and value:
            return json.dumps(value, sort_keys=True, default=str)
        if value is None and column in self._values:
            raise BadRow(f"has no {column}; write a text")
        raise BadRow(f"has a {column} that is not text; write it as a string")

    def number(self, column: str) -> float:
        return as_number(column, self.need(column))

    def is_number(self, column: str) -> bool:
        """Whether a column holds a number; asking makes no use of it."""
        try:
            as_number(column, self._values[column])
        except BadRow:
            return False
        return True


def as_number(name: str, value: Any) -> float:
    """A finite number, or the text of one in a cell; raises `BadRow`."""
    try:
        if isinstance(value, Cell) and "_" not in value:
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an int beyond floats
        value = "a number beyond 1e308"
    except ValueError:
        pass
    raise BadRow(f"has {short(name)} = {_shown(value)}, which is not a finite number; write a number or null")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return short(str(value))
    return str(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
