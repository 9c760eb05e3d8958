"""A language model for the experiments on real models, and its features, which are computed once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ._framework import Status, Tick, decide
from ._store import load, save

if TYPE_CHECKING:
    from dynamics import llm

MADE = "made"  # the name of a model made on the spot
KEYS = ("model_sha256", "tokenizer_sha256", "data_sha256", "schema")  # what features depend on


def features_of(
    language: llm.Language, source: str, behaviours: Sequence[str], rows: int, tick: Tick, cache: Path | None = None
) -> list[xr.Dataset]:
    """Features of the first ``rows`` statements of each behaviour, read back where they are stored.

    They are stored behaviour by behaviour, by the SHA-256 of model, tokenizer and pairs, so that a run that was stopped goes
    on where it was and a change of the experiments' source recomputes nothing.
    """
    from dynamics import llm

    folder = llm.cache_folder(cache) / "features"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for i, behaviour in enumerate(behaviours):
        tick(i / len(behaviours), f"features of {behaviour}")
        pairs = llm.read(source, behaviours=[behaviour], rows=rows)
        origin = llm.origin(language, pairs)
        path = folder / ("-".join(str(origin[key])[:16] for key in KEYS) + ".zarr")
        ds = load(path)
        if ds is None:
            ds = llm.features(language, pairs, progress=False)
            save(ds, path)
        if any(str(ds.attrs[key]) != str(origin[key]) for key in KEYS):
            raise ValueError(f"{path} holds features of something else; remove it.")
        found.append(ds)
    return found


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Features of several behaviours in one Dataset; their occurring tokens have to be the same."""
    tokens = parts[0].token.values
    for ds in parts:
        if not np.array_equal(ds.token.values, tokens):
            raise ValueError("behaviours differ in their answer tokens; pass behaviours that share their answers.")
    rows = parts[0].unembedding
    examples = xr.concat([ds.drop_vars("unembedding") for ds in parts], "example", combine_attrs="override")
    return examples.assign(unembedding=rows)


def model_of(model: str, scratch: Path, source: str | Sequence[str], steps: int = 200) -> tuple[llm.Language, bool]:
    """The model asked for, else the packaged one where it is installed; else, or for "made", a made one, and True.

    A made one learns from ``source``, statements or texts, in ``steps``.
    """
    from dynamics import llm

    if not model or model == MADE:
        packaged = llm.packaged() if not model else None
        if packaged is None:
            given = isinstance(source, str)
            texts = [p.prompt + p.chosen for p in llm.read(source, rows=32)] if given else source
            return llm.load(llm.make_model(scratch, texts, steps=steps)), True
        model = str(packaged)
    return llm.load(model), False


def store_key(config: Any, schema: int) -> str:
    """A digest of the configuration, the contents of the model and of the data, and the schema of the result.

    Not of the source code: the features of a large model are dear.
    """
    parts = [dataclasses.asdict(config), schema, identity(config.model), data_identity(getattr(config, "data", ""))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def told(features: xr.Dataset, made: bool, data: str) -> dict[str, Any]:
    """What a result says of its model and data; ``made`` and an empty ``data`` leave its findings undecided."""
    kept = ("model_sha256", "tokenizer_sha256", "vocabulary", "version_torch", "version_transformers")
    model = MADE if made else short_name(features.attrs["model"])
    return {name: features.attrs[name] for name in kept} | {
        "model": model,
        "made_model": int(made),
        "made_data": int(not data),
    }


def decide_of(ds: xr.Dataset, holds: bool | np.bool_, decided: bool | np.bool_ = True) -> Status:
    """The status of a claim on language models: nothing is decided by a made model or made statements."""
    return decide(holds, bool(decided) and not ds.attrs["made_model"] and not ds.attrs["made_data"])


def identity(model: str) -> str:
    """A digest of the weights and of the tokenizer of the model that ``model_of`` loads, or "made"."""
    from dynamics import llm

    folder = None if model == MADE else model or llm.packaged()
    if folder is None:
        return MADE
    return "-".join(llm.digests(llm.locate(folder)))


def data_identity(source: str) -> str:
    """A digest of the file, or of the files of ``persona:DIR``, or "made"."""
    if not source:
        return MADE
    place, digest = Path(source.partition(":")[2] or source), hashlib.sha256()
    for path in sorted(place.glob("*.json*")) if place.is_dir() else [place] if place.is_file() else []:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def short_name(name: str) -> str:
    """The last part of a path, without the digest and the version that conversions add."""
    return re.sub(r"-[0-9a-f]{12}-v\d+$", "", Path(name).name)
