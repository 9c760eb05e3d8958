"""Preference pairs from files: persona statements, hh dialogues, rows of JSON."""

from __future__ import annotations

import difflib
import gzip
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import check_count, check_key
from ._pairs import Pair, Pairs, fault_of, identify

SUFFIXES = (".jsonl", ".jsonl.gz")


def read(
    source: str,
    *,
    behaviours: Sequence[str] | None = None,
    rows: int | None = None,
    flip: float = 0.0,
    key: Any = None,
    skip_bad: bool = False,
) -> Pairs:
    """Preference pairs of a file or folder, in its order.

    Args:
        source: "persona:DIR", a folder with a file of statements per behaviour (fields question, answer_matching_behavior,
            answer_not_matching_behavior); "hh:FILE" or any FILE.jsonl or FILE.jsonl.gz with rows of prompt, chosen,
            rejected and, optionally, id and behaviour.
        behaviours: only these, in this order; all unless given.
        rows: only the first rows of each behaviour; all unless given.
        flip: share of each behaviour's pairs, in [0, 1], whose answers are exchanged (rounded to whole pairs).
        key: draws the pairs that are exchanged; needed with ``flip``.
        skip_bad: leave out pairs with an empty answer or equal answers, with a warning that counts them.

    Raises:
        ValueError: a missing file or field, an unknown behaviour, or a pair of no use.

    >>> pairs = dyn.llm.read("persona:DIR", behaviours=["agreeableness"], rows=100)  # doctest: +SKIP
    """
    if rows is not None:
        check_count(rows, "rows", 1)
    if not 0.0 <= flip <= 1.0:
        raise ValueError(f"flip = {flip:g} is outside [0, 1]; pass the share of pairs to exchange.")
    if flip > 0.0:
        if key is None:
            raise ValueError("flip needs key=jax.random.key(seed), which draws the pairs.")
        check_key(key)
    grouped = _by_behaviour(source, behaviours)
    good: list[Pair] = []
    bad: list[str] = []
    for group in grouped.values():
        for where, pair in group[:rows]:
            fault = fault_of(pair.prompt, pair.chosen, pair.rejected)
            if fault and not skip_bad:
                raise ValueError(f"{where} {fault}; drop the row, or pass skip_bad=True.")
            (bad if fault else good).append(where.removesuffix(",") if fault else pair)  # pyright: ignore[reportArgumentType]
    if bad:
        warnings.warn(f"{len(bad)} of {len(bad) + len(good)} pairs were left out, first {bad[0]}.", stacklevel=2)
    if not good:
        raise ValueError(f"{source} holds no pair to use; pass another file.")
    pairs = Pairs(*map(tuple, zip(*good, strict=True)))
    return _flipped(pairs, flip, key) if flip > 0.0 else pairs


def _by_behaviour(source: str, behaviours: Sequence[str] | None) -> dict[str, list[tuple[str, Pair]]]:
    kind, _, rest = source.partition(":")
    if kind == "persona":
        return {name: list(_persona(path)) for name, path in _chosen(_files(rest), behaviours, source).items()}
    path = Path(rest if kind == "hh" else source)
    if path.is_dir() or not path.name.endswith(SUFFIXES):
        raise ValueError(f"{source} is not a file of rows; pass persona:DIR, hh:FILE, FILE.jsonl or FILE.jsonl.gz.")
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pass persona:DIR, hh:FILE, FILE.jsonl or FILE.jsonl.gz.")
    grouped: dict[str, list[tuple[str, Pair]]] = {}
    for where, pair in _plain(path, "hh" if kind == "hh" else ""):
        grouped.setdefault(pair.behaviour, []).append((where, pair))
    return _chosen(grouped, behaviours, source)


def _chosen(known: dict[str, Any], behaviours: Sequence[str] | None, source: str) -> dict[str, Any]:
    if isinstance(behaviours, str):
        raise ValueError(f"behaviours is the text {behaviours!r}; pass a list, [{behaviours!r}].")
    for name in behaviours or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise ValueError(f"behaviour {name!r} is not in {source}; did you mean {''.join(near)!r}?")
    return known if behaviours is None else {name: known[name] for name in behaviours}


def _files(folder: str) -> dict[str, Path]:
    found = {p.name.partition(".jsonl")[0]: p for p in sorted(Path(folder).glob("*")) if p.name.endswith(SUFFIXES)}
    if not found:
        raise ValueError(f"{folder or 'the folder'} holds no .jsonl or .jsonl.gz file; pass persona:DIR.")
    return found


def _rows(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number},"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where} is not JSON ({error.msg}); pass one object per line.") from None
            for field in fields:
                if not isinstance(row, dict) or not isinstance(row.get(field), str):
                    raise ValueError(f"{where} has no text {field!r}; pass rows with {', '.join(fields)}.")
            yield where, row


def _persona(path: Path) -> Iterator[tuple[str, Pair]]:
    fields = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    name = path.name.partition(".jsonl")[0]
    for where, row in _rows(path, fields):
        prompt, chosen, rejected = (row[field] for field in fields)
        yield where, Pair(prompt, chosen, rejected, identify(prompt, chosen, rejected), name)


def _plain(path: Path, behaviour: str) -> Iterator[tuple[str, Pair]]:
    fields = ("prompt", "chosen", "rejected")
    for where, row in _rows(path, fields):
        prompt, chosen, rejected = (row[field] for field in fields)
        own = str(row.get("id", identify(prompt, chosen, rejected)))
        yield where, Pair(prompt, chosen, rejected, own, str(row.get("behaviour", behaviour)))


def _flipped(pairs: Pairs, flip: float, key: Any) -> Pairs:
    import jax

    flipped = np.zeros(len(pairs), bool)
    behaviour = np.array(pairs.behaviour)
    for name in dict.fromkeys(pairs.behaviour):
        key, own = jax.random.split(key)
        members = np.flatnonzero(behaviour == name)
        order = np.asarray(jax.random.permutation(own, len(members)))
        flipped[members[order[: round(flip * len(members))]]] = True
    both = list(zip(pairs.chosen, pairs.rejected, flipped, strict=True))
    chosen, rejected = (
        tuple((l if f else w) if first else (w if f else l) for w, l, f in both) for first in (True, False)
    )
    fresh = [identify(*texts) for texts in zip(pairs.prompt, chosen, rejected, strict=True)]
    names = tuple(new if f else old for old, new, f in zip(pairs.id, fresh, flipped, strict=True))
    return Pairs(pairs.prompt, chosen, rejected, names, pairs.behaviour)
