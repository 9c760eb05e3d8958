"""A file with the prior of ``dynamics fit``: the probability of every response, by name."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

COLUMNS = ("probability", "log_probability")
HEADERS = "response,probability or response,log_probability, after prompt, where the prompts differ"
TOLERANCE = 1e-6  # of the sum of probabilities
MAX_BYTES = 2**26


class Prior:
    """log pi_0 of every prompt, from a file or, for the word "uniform", without one.

    The file is a .csv with the header ``response,probability`` or ``response,log_probability``, which holds for every prompt,
    or either with a first column ``prompt``, the number of the matrix from 0. Log-probabilities may lack a common constant.

    Raises:
        ValueError: a file of another form, or a value that is no probability above 0.
    """

    def __init__(self, path: str):
        self.path = path
        self._logs: dict[int | None, dict[str, float]] = {}
        self.is_log = False
        if path == "uniform":
            return
        file = Path(path)
        try:
            if file.stat().st_size > MAX_BYTES:
                raise ValueError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; pass a list of probabilities.")
            rows = list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(f"--prior {path} cannot be read ({why}); pass a .csv file, or the word uniform.") from None
        header = [cell.strip().lower() for cell in rows[0]] if rows else []
        prompts = header[:1] == ["prompt"]
        if header[prompts:-1] != ["response"] or header[-1] not in COLUMNS:
            raise ValueError(f"{path}: its header is {','.join(header) or 'missing'}; write {HEADERS}.")
        self.is_log = header[-1] == "log_probability"
        for line, cells in enumerate(rows[1:], start=2):
            if cells:
                self._add([cell.strip() for cell in cells], line, len(header), prompts)

    def _add(self, cells: list[str], line: int, width: int, prompts: bool) -> None:
        where = f"{self.path}: line {line}"
        if len(cells) != width:
            raise ValueError(f"{where} has {len(cells)} cells under a header of {width}; fill the row.")
        if prompts and not (cells[0].isascii() and cells[0].isdigit()):
            raise ValueError(f"{where} has prompt {cells[0]!r}; write the number of the matrix, from 0.")
        name, value = cells[-2], _number(cells[-1])
        if not math.isfinite(value) or (value <= 0 and not self.is_log):
            what = "a finite number" if self.is_log else "a probability above 0"
            raise ValueError(f"{where}: {cells[-1]!r} is not {what}; every response needs one.")
        own = self._logs.setdefault(int(cells[0]) if prompts else None, {})
        if name in own:
            raise ValueError(f"{where} names {name!r} a second time; keep one of the lines.")
        own[name] = value if self.is_log else math.log(value)

    def of(self, prompt: int, names: Sequence[str]) -> np.ndarray:
        """log pi_0 of one prompt's responses, ``(K,)``.

        Raises:
            ValueError: the file does not name exactly these responses, or the probabilities do not sum to 1.
        """
        if self.path == "uniform":
            return np.full(len(names), -np.log(len(names)))
        own = self._logs.get(prompt, self._logs.get(None, {}))
        missing = [name for name in names if name not in own]
        unknown = [name for name in own if name not in names]
        if missing or unknown:
            what = f"does not name {missing[0]!r}" if missing else f"names {unknown[0]!r}, which is not in the data"
            raise ValueError(
                f"{self.path}: the prior of prompt {prompt} {what}; name exactly the responses of the data "
                f"({', '.join(names[:6])}{', …' if len(names) > 6 else ''})."
            )
        logs = np.array([own[name] for name in names])
        total = float(np.logaddexp.reduce(logs))
        if not self.is_log and abs(math.expm1(total)) > TOLERANCE:
            raise ValueError(f"{self.path}: the probabilities of prompt {prompt} sum to {math.exp(total):.6g}, not 1.")
        return logs - total


def _number(text: str) -> float:
    try:
        return float("" if "_" in text else text)
    except ValueError:
        return math.nan
