"""Hugging Face causal language models: what the simulators predict, measured on models, in the same schema.

Torch is imported at the first call, so ``import dynamics.llm`` costs little; it needs the extra ``llm``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "Alarm": "_alarms",
    "Batch": "_pairs",
    "Card": "_check",
    "FAMILIES": "_make_model",
    "Language": "_models",
    "Levelled": "_level",
    "Pair": "_pairs",
    "Pairs": "_pairs",
    "Record": "_record",
    "Recorder": "_recorder",
    "WrongReference": "_probe",
    "adapt": "_adapt",
    "alarms": "_alarms",
    "cache_folder": "_gguf",
    "check": "_check",
    "convert": "_gguf",
    "digests": "_models",
    "encode": "_pairs",
    "features": "_features",
    "level": "_level",
    "load": "_models",
    "locate": "_models",
    "log_probs": "_loss",
    "loss": "_loss",
    "make_model": "_make_model",
    "margin_flow": "_theory",
    "origin": "_features",
    "pack": "_record",
    "packaged": "_packaged",
    "packaged_reason": "_packaged",
    "read": "_read",
    "read_record": "_record",
    "self_sample": "_rounds",
    "train": "_train",
    "train_head": "_last_layer",
    "unembedding": "_models",
    "value_diversity": "_theory",
}

__all__ = [
    "FAMILIES",
    "Alarm",
    "Batch",
    "Card",
    "Language",
    "Levelled",
    "Pair",
    "Pairs",
    "Record",
    "Recorder",
    "WrongReference",
    "adapt",
    "alarms",
    "cache_folder",
    "check",
    "convert",
    "digests",
    "encode",
    "features",
    "level",
    "load",
    "locate",
    "log_probs",
    "loss",
    "make_model",
    "margin_flow",
    "origin",
    "pack",
    "packaged",
    "packaged_reason",
    "read",
    "read_record",
    "self_sample",
    "train",
    "train_head",
    "unembedding",
    "value_diversity",
]

if TYPE_CHECKING:
    from ._adapt import adapt
    from ._alarms import Alarm, alarms
    from ._check import Card, check
    from ._features import features, origin
    from ._gguf import cache_folder, convert
    from ._last_layer import train_head
    from ._level import Levelled, level
    from ._loss import log_probs, loss
    from ._make_model import FAMILIES, make_model
    from ._models import Language, digests, load, locate, unembedding
    from ._packaged import packaged, packaged_reason
    from ._pairs import Batch, Pair, Pairs, encode
    from ._probe import WrongReference
    from ._read import read
    from ._record import Record, pack, read_record
    from ._recorder import Recorder
    from ._rounds import self_sample
    from ._theory import margin_flow, value_diversity
    from ._train import train


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
