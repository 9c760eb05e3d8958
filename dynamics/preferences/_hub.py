"""Scored responses from the Hugging Face hub, through the package `datasets` where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PREFIX = "datasets:"


def split_name(path: str) -> tuple[str, str]:
    """NAME and SPLIT of ``datasets:NAME[:SPLIT]``; a split may contain colons, as in ``train[:100]``."""
    name, _, split = path.removeprefix(PREFIX).partition(":")
    if not name.strip():
        raise ValueError(f"{path} names no data set; pass datasets:NAME, such as datasets:nvidia/HelpSteer2.")
    return name, split or "train"


def hub_rows(name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with the label `row N`, counted from 0 as in `datasets`."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("the package datasets is not installed; run pip install datasets.") from None
    try:
        found = datasets.load_dataset(name, split=split)
    # Connections, names, splits, files and caches each raise exceptions of their own.
    except Exception as error:
        why = " ".join(str(error).split()).removesuffix(".")
        why = f"{type(error).__name__}: {why if len(why) <= 160 else f'{why[:159]}…'}" if why else type(error).__name__
        raise ValueError(
            f"split {split!r} cannot be loaded ({why}); check the name, the split and the network."
        ) from None
    return ((f"row {n}", row) for n, row in enumerate(found))
