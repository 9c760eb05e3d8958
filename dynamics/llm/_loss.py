"""Log-probabilities of answers under a causal language model, and the library's losses of their margins, in torch."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from ..objectives import DPO, IPO, MarginLoss, SLiC, SquaredMargin

if TYPE_CHECKING:
    import torch

KNOWN = (DPO, IPO, SquaredMargin, SLiC)


def log_probs(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """log pi(y | x) = Σ_t log pi(y_t | x, y_<t) of the chosen and of the rejected answers, each ``(N,)``, in nats.

    Logits are turned to float32 (float64 stays), and gradients flow as torch's mode says.

    Args:
        model: a causal language model of transformers, with or without an adapter or a wrapper for several processes.
        batch: N encoded pairs, from ``llm.encode``: rows 0..N-1 chosen, N..2N-1 rejected, padded on the right.

    Raises:
        ValueError: an answer without a token, or padding on the left.

    >>> w, l = dyn.llm.log_probs(language.model, dyn.llm.encode(pairs, language.tokenizer, eos=True))  # doctest: +SKIP
    """
    ids, attention, completion = (np.asarray(x) for x in (batch.ids, batch.attention, batch.completion))
    _check(attention.astype(bool), completion.astype(bool))
    sums = token_log_probs(model, ids, attention, completion).sum(-1)
    return sums[: len(ids) // 2], sums[len(ids) // 2 :]


def token_log_probs(model: Any, ids: np.ndarray, attention: np.ndarray, completion: np.ndarray) -> torch.Tensor:
    """log pi(y_t | x, y_<t) of the tokens that are counted, ``(rows, most counted)``, 0 where a row has fewer."""
    import torch

    logits, counted = answer_logits(model, ids, attention, completion)
    rows = torch.log_softmax(logits, -1).gather(-1, counted.target[..., None])[..., 0]
    return torch.where(counted.mask, rows, torch.zeros((), dtype=rows.dtype, device=rows.device))


class Counted:
    """Which logits count: the token that each predicts and whether it is one of the answer, both ``(rows, positions)``."""

    def __init__(self, target: torch.Tensor, mask: torch.Tensor):
        self.target, self.mask = target, mask


def answer_logits(
    model: Any, ids: np.ndarray, attention: np.ndarray, completion: np.ndarray
) -> tuple[torch.Tensor, Counted]:
    """The logits, in float32 or wider, at the positions before the tokens that are counted, ``(rows, most counted, V)``.

    The last layer is given these positions only. Most of a prompt's logits are never needed, and with a vocabulary of 262,144
    they would cost more than all other layers, and fill the memory.
    """
    import torch

    place = next(iter(model.parameters())).device
    to = lambda x: torch.as_tensor(np.ascontiguousarray(x), device=place)
    count = completion.sum(axis=1)
    # Column k of row i is its k-th counted token; a row with fewer repeats its last one, and the mask leaves it out.
    order = np.argsort(~completion, axis=1, kind="stable")
    k = np.arange(count.max())
    token = np.take_along_axis(order, np.minimum(k, count[:, None] - 1), axis=1)
    before, rows = to(token - 1), torch.arange(len(ids), device=place)[:, None]

    given: list[bool] = []

    def only_needed(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        given.append(True)
        return (inputs[0][rows, before], *inputs[1:])

    inner = getattr(model, "module", model)  # out of the wrapper for several processes
    hook = inner.get_output_embeddings().register_forward_pre_hook(only_needed)
    try:
        inputs = {"input_ids": to(ids.astype(np.int64)), "attention_mask": to(attention.astype(np.int64))}
        logits = model(**inputs, use_cache=False).logits
    finally:
        hook.remove()
    logits = (
        logits if given else logits[rows, before]
    )  # a trainer's own forward pass may take the weight without the layer
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits, Counted(inputs["input_ids"].gather(1, before + 1), to(k < count[:, None]))


def takes(model: Any, name: str) -> bool:
    """Whether the model's forward pass has an argument of this name."""
    inner = getattr(model, "module", model)  # out of the wrapper for several processes
    inner = inner.get_base_model() if hasattr(inner, "peft_config") else inner
    return name in inspect.signature(type(inner).forward).parameters


def _check(attention: np.ndarray, completion: np.ndarray) -> None:
    if (attention[:, 1:] & ~attention[:, :-1]).any() or not attention[:, 0].all():
        raise ValueError("a row is padded on the left, which moves positions; pad on the right, as llm.encode does.")
    empty = np.flatnonzero(~completion[:, 1:].any(axis=1))
    if len(empty):
        side = "rejected" if empty[0] >= len(completion) // 2 else "chosen"
        raise ValueError(f"the {side} answer of pair {empty[0] % (len(completion) // 2)} has no tokens; drop the pair.")
    if completion[:, 0].any():
        raise ValueError("an answer begins at the first token, which nothing predicts; begin the prompt with a token.")


def check_objective(objective: Any) -> None:
    """Raises ``ValueError`` unless the objective is one that torch computes here."""
    if type(objective) not in KNOWN:
        names = ", ".join(f"dyn.{kind.__name__}" for kind in KNOWN)
        what = type(objective).__name__ if isinstance(objective, MarginLoss) else repr(objective)
        raise ValueError(f"objective is {what}, which is not written in torch; pass one of {names}.")


def margin(objective: Any, w: Any, l: Any, ref_w: Any, ref_l: Any, lengths: tuple[Any, Any] | None = None) -> Any:
    """r = beta ((w - ref_w) - (l - ref_l)), ``(N,)``; with lengths each log-ratio is divided by its own, as by TRL's ipo."""
    h_w, h_l = w - ref_w, l - ref_l
    if lengths is not None:
        h_w, h_l = h_w / lengths[0], h_l / lengths[1]
    return float(objective.beta) * (h_w - h_l)


def of_margin(objective: Any, r: torch.Tensor) -> torch.Tensor:
    """f(r), ``(N,)``, of the library's objectives."""
    import torch

    check_objective(objective)
    match objective:
        case DPO():
            return torch.nn.functional.softplus(-r)
        case IPO():
            return ((r - 0.5) / float(objective.beta)) ** 2
        case SquaredMargin():
            return (r - 1.0) ** 2
        case _:
            return torch.relu(1.0 - r)


def loss(
    objective: MarginLoss,
    w: torch.Tensor,
    l: torch.Tensor,
    ref_w: torch.Tensor,
    ref_l: torch.Tensor,
    *,
    normalise: bool = False,
    lengths: tuple[Any, Any] | None = None,
) -> torch.Tensor:
    """f(r) with r = beta ((w - ref_w) - (l - ref_l)), one number per pair, ``(N,)``; its mean is the training loss.

    Args:
        objective: ``dyn.DPO``, ``dyn.IPO``, ``dyn.SquaredMargin`` or ``dyn.SLiC``; its beta is the KL coefficient (TRL's
            beta; IPO's tau).
        w, l: log pi of chosen and rejected answers, ``(N,)``, summed over tokens, in nats.
        ref_w, ref_l: the same under the reference.
        normalise: True is TRL's ``loss_type="ipo"``: each log-ratio is divided by the number of its tokens. It is another
            loss, with another optimum, and for IPO only.
        lengths: tokens of chosen and rejected answers, ``(N,)`` each, for ``normalise``.

    Raises:
        ValueError: another objective; ``normalise`` without lengths or with another objective than IPO.

    Source: [paper] Chen26, ImLi25; see the objectives.

    >>> w, l = torch.tensor([-3.0]), torch.tensor([-5.0])  # doctest: +SKIP
    >>> dyn.llm.loss(dyn.IPO(0.25), w, l, w, l)  # (0 - 1/(2 beta))²  # doctest: +SKIP
    tensor([4.])
    """
    if not normalise:
        return of_margin(objective, margin(objective, w, l, ref_w, ref_l))
    if type(objective) is not IPO:
        raise ValueError("normalise=True is TRL's form of IPO; pass dyn.IPO, or leave normalise out.")
    if lengths is None:
        raise ValueError("normalise=True divides by lengths; pass lengths=(chosen, rejected) in tokens.")
    return of_margin(objective, margin(objective, w, l, ref_w, ref_l, lengths))
