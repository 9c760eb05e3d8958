"""s0: is it the same function here? Log-probabilities and features against those that the CPU computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynamics import llm

from . import _pack
from ._context import Context, device_facts, free

TOLERANCE = 1e-4  # float32, relative to the largest


def run(context: Context) -> None:
    """Float32 and float64 weights, and float32 weights under bf16 autocast."""
    import torch

    expected = context.pack.expected()
    everything = context.pack.pairs()
    at = {name: i for i, name in enumerate(everything.id)}
    pairs = everything[[at[name] for name in expected["id"].tolist()]]
    facts: dict[str, Any] = {"device": device_facts(context.device), "statements": len(pairs)}
    for dtype in ("float32", "float64"):
        with context.case(dtype):
            language = context.load(dtype=dtype)
            found = _pack.measure(language, pairs, 64)
        told = facts | _differences(found, expected) | {"tolerance": TOLERANCE}
        told["within"] = bool(max(told["log_prob_relative"], told["feature_relative"]) <= TOLERANCE)
        context.kept.case(dtype, told, arrays=found)
        context.say(f"    log-prob {told['log_prob']:.2e} nats, feature {told['feature_relative']:.2e} relative")
        if dtype == "float32":
            with context.case("bf16"), torch.autocast(context.device, dtype=torch.bfloat16):
                found = {"log_prob": _pack.log_probs(language.model, language.tokenizer, pairs)}
            told = _differences(found, expected)
            context.kept.case("bf16", told, arrays=found)
            context.say(f"    under bf16 autocast: log-prob {told['log_prob']:.2e} nats")
            _parts(context, language, pairs)
        del language
        free(context.device)


def _differences(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of each array, and relative to its largest entry."""
    told = {}
    for name in found.keys() & {"log_prob", "feature"}:
        apart = float(np.abs(found[name] - expected[name]).max())
        told |= {name: apart, f"{name}_relative": apart / float(np.abs(expected[name]).max())}
    margin = lambda x: x["log_prob"][0] - x["log_prob"][1]
    return told | {"margin": float(np.abs(margin(found) - margin(expected)).max())}


def _parts(context: Context, language: llm.Language, pairs: llm.Pairs) -> None:
    """Seconds of a forward pass by the number of statements, which tells what later stages can afford."""
    import time

    for count in (1, 16, len(pairs)):
        some = pairs[:count]
        _pack.log_probs(language.model, language.tokenizer, some)
        context.wait()
        start = time.monotonic()
        _pack.log_probs(language.model, language.tokenizer, some)
        context.wait()
        context.kept.case(f"forward of {count}", {"pairs": count, "seconds": time.monotonic() - start})
