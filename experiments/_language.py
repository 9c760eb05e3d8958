"""A language model for the experiments on real models, and its features, which are computed once and kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from dynamics import llm

from ._framework import Tick

KEYS = ("model_sha256", "tokenizer_sha256", "data_sha256", "schema")  # what features depend on


def features_of(
    language: llm.Language, source: str, behaviours: Sequence[str], rows: int, tick: Tick, cache: Path | None = None
) -> list[xr.Dataset]:
    """Features of the first ``rows`` statements of each behaviour, read back where they are stored.

    They are stored behaviour by behaviour, by the SHA-256 of model, tokenizer and pairs, so that a run that was stopped goes
    on where it was and a change of the experiments' source recomputes nothing.
    """
    folder = llm.cache_folder(cache) / "features"
    found = []
    for i, behaviour in enumerate(behaviours):
        tick(i / len(behaviours), f"features of {behaviour}")
        pairs = llm.read(source, behaviours=[behaviour], rows=rows)
        origin = llm.origin(language, pairs)
        path = folder / ("-".join(str(origin[key])[:16] for key in KEYS) + ".zarr")
        if not path.is_dir():
            _store(llm.features(language, pairs, show_progress=False), path)
        ds = xr.open_zarr(path).load()
        if any(str(ds.attrs[key]) != str(origin[key]) for key in KEYS):
            raise ValueError(f"{path} holds features of something else; remove it.")
        found.append(ds)
    return found


def _store(ds: xr.Dataset, path: Path) -> None:
    """Writes beside the place, then renames, so that a store is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        ds.to_zarr(scratch / "ds.zarr")
        os.replace(scratch / "ds.zarr", path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Features of several behaviours in one Dataset; their occurring tokens have to be the same."""
    tokens = parts[0].token.values
    for ds in parts:
        if not np.array_equal(ds.token.values, tokens):
            raise ValueError("behaviours differ in their answer tokens; pass behaviours that share their answers.")
    rows = parts[0].unembedding
    examples = xr.concat([ds.drop_vars("unembedding") for ds in parts], "example", combine_attrs="override")
    return examples.assign(unembedding=rows)
