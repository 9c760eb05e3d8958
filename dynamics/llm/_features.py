"""Last-layer features of prompts with one-token answers: all that the theory and the training of a last layer need."""

from __future__ import annotations

import hashlib
import inspect
import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_count
from .._progress import progress as bar
from .._provenance import provenance
from ..schema import Variable, dataset
from ._models import Language, unembedding
from ._pairs import Batch, Pairs, encode

if TYPE_CHECKING:
    import xarray as xr

SCHEMA = 1  # of the Dataset
TOLERANCE = 1e-5  # of the identity, relative to the largest logit; float32 rounds at about 1e-6
COMPARED = 4  # examples of the first batch that are computed again, alone and with the model's own logits
ROWS = 4096  # of the unembedding that are multiplied at once
PACKAGES = ("torch", "transformers", "tokenizers")
VARIABLES = {
    "feature": Variable(("example", "width"), "1", "g, with which logit y is <unembedding y, g>"),
    "chosen_token": Variable(("example",), "1", "token id of the chosen answer"),
    "rejected_token": Variable(("example",), "1", "token id of the rejected answer"),
    "unembedding": Variable(("token", "width"), "1", "row of the last layer, for each token that is an answer"),
    "log_prob_chosen": Variable(("example",), "nats", "log pi of the chosen answer"),
    "log_prob_rejected": Variable(("example",), "nats", "log pi of the rejected answer"),
    "log_normaliser": Variable(("example",), "nats", "log of the sum of exp(logit) over all tokens"),
    "log_rest": Variable(("example",), "nats", "the same sum over tokens that are nobody's answer"),
}


def features(language: Language, pairs: Pairs, *, batch: int = 32, progress: bool = True) -> xr.Dataset:
    """logit_y = <unembedding_y, feature>: the last layer's input at the end of each prompt, and its answers' rows.

    The output scale c and a bias b are part of it: feature = c (g, 1) and unembedding = (W, b), so that the theory of linear
    last layers holds without either. The first batch is compared with the model's own logits.

    Args:
        language: from ``load`` or ``adapt``.
        pairs: N pairs whose answers are one token each.
        batch: prompts in a forward pass, int ≥ 1.
        progress: whether to show a bar after two seconds, at a terminal.

    Returns:
        A Dataset of the dims example (labelled by id, with ``behaviour``), width and token, in float64: feature,
        chosen_token, rejected_token, unembedding (rows of occurring tokens), log_prob_chosen, log_prob_rejected,
        log_normaliser (of all logits) and log_rest (of the tokens that do not occur).

    Raises:
        ValueError: a soft cap; features that do not reproduce the logits; an answer of several tokens; a prompt longer than
            the model's context.

    >>> ds = dyn.llm.features(language, pairs)  # doctest: +SKIP
    >>> flow = dyn.llm.margin_flow(ds, dyn.DPO(beta=0.1))  # doctest: +SKIP
    """
    check_count(batch, "batch", 1)
    check_uncapped(language)
    encoded = encode(pairs, language.tokenizer, eos=False, max_length=language.context)
    chosen, rejected = one_token_answers(pairs, encoded, language.tokenizer)
    ids, attention = prompts_of(encoded)
    length = attention.sum(axis=1)
    order = np.argsort(-length, kind="stable")  # prompts of similar length share a batch
    found: list[np.ndarray] = []
    with bar("prompts", len(pairs), enabled=progress) as advance:
        for start in range(0, len(pairs), batch):
            rows = order[start : start + batch]
            width = int(length[rows].max())
            inputs = ids[rows, :width], attention[rows, :width]
            g = prompt_features(language, *inputs)
            if start == 0:
                check_identity(language, *inputs, g)
            found.append(g)
            advance(len(rows))
    feature = np.empty((len(pairs), found[0].shape[1]))
    feature[order] = np.concatenate(found)
    arrays = {"feature": feature, "chosen_token": chosen, "rejected_token": rejected}
    return _dataset(language, pairs, arrays, batch)


def check_uncapped(language: Language) -> None:
    """Raises ``ValueError`` for a model with a soft cap."""
    if language.cap is not None:
        raise ValueError(
            f"{language.name} caps its logits softly (final_logit_softcapping = {language.cap:g}), so they are not linear in "
            "the last layer and margins do not close; use another model, or llm.train, which needs no features."
        )


def one_token_answers(pairs: Pairs, encoded: Batch, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of the chosen and the rejected answers, ``(N,)`` each; raises where an answer has several."""
    counts = encoded.completion.sum(axis=1)
    if (counts != 1).any():
        row = int(np.argmax(counts != 1))
        i, answers = row % len(pairs), pairs.chosen if row < len(pairs) else pairs.rejected
        pieces = tokenizer.convert_ids_to_tokens(encoded.ids[row][encoded.completion[row]][:6].tolist())
        raise ValueError(
            f"pair {pairs.id[i]}: the answer {answers[i][:40]!r} is {counts[row]} tokens, {pieces}, but a last-layer feature "
            "belongs to one token; pass answers of one token (often with a leading space), or use llm.train."
        )
    ids = encoded.ids[encoded.completion]
    return ids[: len(pairs)], ids[len(pairs) :]


def prompts_of(encoded: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(ids, attention) of the prompts alone, ``(N, T)`` each, padded on the right."""
    count = len(encoded)
    return encoded.ids[:count], (encoded.attention & ~encoded.completion)[:count]


def prompt_features(language: Language, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """c (g, 1) in float64, ``(N, width)``: what the last layer reads at each row's last token; without the 1 if it has no bias.

    Raises:
        ValueError: rows that are padded on the left, whose positions many models would count from the padding.
    """
    import torch

    if (np.diff(attention.astype(np.int8), axis=1) > 0).any():
        raise ValueError("the rows are padded on the left, where positions are counted wrongly; pad them on the right.")
    # No logits are computed here: a vocabulary of 262,144 would make them the largest array of all.
    with torch.no_grad():
        inputs = _inputs(language, ids, attention)
        hidden = _without_adapter(language.model).base_model(**inputs, use_cache=False).last_hidden_state
        last = inputs["attention_mask"].sum(dim=1) - 1
        g = hidden[torch.arange(len(ids), device=hidden.device), last]
    g = g.double().cpu().numpy()
    if not np.isfinite(g).all():
        raise ValueError(f"{language.name} gives features that are not finite; check its weights.")
    return language.scale * (np.concatenate([g, np.ones((len(g), 1))], axis=1) if language.bias else g)


def identity_error(language: Language, ids: np.ndarray, attention: np.ndarray, feature: np.ndarray) -> float:
    """The largest |<unembedding, feature> - logit| over the largest |logit|, with the model's own logits of each row alone.

    A row alone has no padding, so that the number tells wrong positions as well as a wrong layer, scale or bias.
    """
    import torch

    length = attention.sum(axis=1)
    compared = np.unique(np.argsort(length, kind="stable")[np.linspace(0, len(ids) - 1, COMPARED).astype(int)])
    # Only the last position's logits, where the model can be asked for them: all would be the largest array of all.
    last = "logits_to_keep" in inspect.signature(_without_adapter(language.model).forward).parameters
    only: dict[str, Any] = {"use_cache": False} | ({"logits_to_keep": 1} if last else {})
    found = []
    for row in compared:
        alone = slice(row, row + 1), slice(0, int(length[row]))
        with torch.no_grad():
            logits = language.model(**_inputs(language, ids[alone], attention[alone]), **only).logits[0, -1]
        found.append(logits.double().cpu().numpy())
    theirs = np.stack(found)
    ours = np.concatenate([feature[compared] @ rows.T for _, rows in unembedding_rows(language)], axis=1)
    return float((np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)).max())


def check_identity(language: Language, ids: np.ndarray, attention: np.ndarray, feature: np.ndarray) -> None:
    """Raises ``ValueError`` unless the features reproduce the logits."""
    error = identity_error(language, ids, attention, feature)
    if not error <= TOLERANCE:
        raise ValueError(
            f"{language.name}: the last layer times the feature differs from the model's logits by {error:.2g} of the largest "
            f"logit, above {TOLERANCE:g}; the model does something between them (a second norm, a cap, a scale) that is not "
            "understood, so its features are refused."
        )


def unembedding_rows(language: Language) -> Any:
    """(first row, rows) of (W, b) in float64, a few thousand at a time."""
    weight, bias = unembedding(language)
    for start in range(0, len(weight), ROWS):
        rows = weight[start : start + ROWS].detach().double().cpu().numpy()
        if bias is not None:
            extra = bias[start : start + ROWS].detach().double().cpu().numpy()
            rows = np.concatenate([rows, extra[:, None]], axis=1)
        yield start, rows


def _without_adapter(model: Any) -> Any:
    """The causal language model inside PEFT's wrapper, whose layers hold the adapter; its ``base_model`` is the body."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _inputs(language: Language, ids: np.ndarray, attention: np.ndarray) -> dict[str, Any]:
    import torch

    put = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(language.device)
    return {"input_ids": put(ids), "attention_mask": put(attention.astype(np.int64))}


def _logits(language: Language, feature: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows of ``tokens``, their logits, log-sum-exp of the logits of all others), in float64."""
    picked = np.empty((len(tokens), feature.shape[1]))
    rest = np.full(len(feature), -np.inf)
    for start, rows in unembedding_rows(language):
        here = np.flatnonzero((tokens >= start) & (tokens < start + len(rows)))
        picked[here] = rows[tokens[here] - start]
        z = feature @ rows.T
        z[:, tokens[here] - start] = -np.inf
        top = np.maximum(rest, z.max(axis=1))
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            rest = top + np.log(np.exp(rest - top) + np.exp(z - top[:, None]).sum(axis=1))
    return picked, feature @ picked.T, rest


def _dataset(language: Language, pairs: Pairs, arrays: dict[str, np.ndarray], batch: int) -> xr.Dataset:
    chosen, rejected = arrays["chosen_token"], arrays["rejected_token"]
    tokens = np.unique(np.concatenate([chosen, rejected]))
    rows, logits, rest = _logits(language, arrays["feature"], tokens)
    normaliser = np.logaddexp(np.logaddexp.reduce(logits, axis=1), rest)
    each = np.arange(len(pairs))
    of = lambda ids: logits[each, np.searchsorted(tokens, ids)] - normaliser
    arrays = arrays | {
        "unembedding": rows,
        "log_prob_chosen": of(chosen),
        "log_prob_rejected": of(rejected),
        "log_normaliser": normaliser,
        "log_rest": rest,
    }
    coords = {"example": list(pairs.id), "behaviour": ("example", list(pairs.behaviour)), "token": tokens}
    return dataset(arrays, VARIABLES, coords=coords, attrs=origin(language, pairs, batch))


def origin(language: Language, pairs: Pairs, batch: int) -> dict[str, Any]:
    """What a Dataset of features was made of; without the batch, it is what a store of features is looked up by."""
    data = hashlib.sha256(
        "\n".join(f"{a} {b}" for a, b in zip(pairs.id, pairs.behaviour, strict=True)).encode()
    ).hexdigest()
    config = {"measurement": "features", "model": language.name, "pairs": len(pairs), "batch": batch}
    found = {
        "config": json.dumps(config),
        "schema": SCHEMA,
        "model": language.name,
        "model_sha256": language.sha256,
        "tokenizer_sha256": language.tokenizer_sha256,
        "data_sha256": data,
        "dtype": language.dtype,
        "device": str(language.device),
        "attention": str(getattr(language.model.config, "_attn_implementation", "")),
        "scale": language.scale,
        "bias": int(language.bias),
        "vocabulary": len(unembedding(language)[0]),
    }
    return found | provenance() | {f"version_{name}": metadata.version(name) for name in PACKAGES}
