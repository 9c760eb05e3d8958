"""Training of a model's last layer by torch's own optimizers, on stored features: the practice beside the theory."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_count, check_number
from ..objectives import MarginLoss
from ..schema import dataset
from ._loss import check_objective, of_margin
from ._models import Language
from ._probe import variables_of, versions

if TYPE_CHECKING:
    import xarray as xr

OPTIMIZERS = ("sgd", "adam")
DTYPES = ("float64", "float32")


def train_head(
    ds: xr.Dataset,
    language: Language | None,
    objective: MarginLoss,
    *,
    steps: int,
    lr: float,
    optimizer: str = "sgd",
    held_out: xr.Dataset | None = None,
    every: int = 1,
    dtype: str = "float64",
    throw: bool = True,
) -> xr.Dataset:
    """W ← W - u(∂/∂W (1/N) Σ f(r_i)), r_i = beta <W - W(0), (e_w - e_l) g_iᵀ>: full-batch steps of torch from W(0).

    Only rows of W that are some pair's answer have a gradient, so only they are trained; all other logits stay, and enter as
    the one number that they sum up to. ``dyn.descend`` on ``llm.margin_flow(ds, objective)`` takes the same steps in JAX,
    and n steps of SGD at rate eta approach its gradient flow at time n eta.

    Args:
        ds: from ``llm.features``: ``feature``, ``chosen_token``, ``rejected_token``, ``unembedding``, ``log_rest``.
        language: the model that ds was made of, or None to go without the check that it is.
        objective: ``dyn.DPO``, ``dyn.IPO``, ``dyn.SquaredMargin`` or ``dyn.SLiC``.
        steps: int ≥ 0.
        lr: learning rate, > 0.
        optimizer: "sgd" (plain) or "adam" (torch's defaults).
        held_out: features of further pairs of the same model, measured and not trained on (coord ``split``).
        every: steps between rows; step 0 and the last are always saved.
        dtype: of the trained rows; sums are float64.
        throw: raise where a step leaves the finite numbers; otherwise the rows before it are returned.

    Returns:
        Dataset along ``step`` and ``example`` with the names of ``dyn.descend``: ``reward_margin``, ``loss``, ``accuracy``,
        ``head_change``; also ``log_prob_*``, ``log_reference_*`` and ``kl_to_reference``, the mean over training prompts.

    Raises:
        ValueError: a bad argument, or features of another model.
        RuntimeError: a step left the finite numbers.

    Source: [paper] ImLi25, Lemma 4.1.

    >>> head = dyn.llm.train_head(ds, language, dyn.DPO(0.1), optimizer="adam", lr=1e-3, steps=200)  # doctest: +SKIP
    """
    steps, every = check_count(steps, "steps", 0), check_count(every, "every", 1)
    rate = float(check_number(lr, "lr", 0.0, math.inf, open_low=True))
    check_objective(objective)
    if optimizer not in OPTIMIZERS or dtype not in DTYPES:
        raise ValueError(f"optimizer = {optimizer!r}, dtype = {dtype!r}; pass 'sgd' or 'adam', 'float64' or 'float32'.")
    _check(ds, language, "ds")
    if held_out is not None:
        _check(held_out, language, "held_out")
    head = _Head.of(ds, held_out, language)
    marks, rows, failed = _descend(head, objective, optimizer, rate, steps, every, dtype)
    if failed is not None and throw:
        raise RuntimeError(
            f"step {failed} left the finite numbers; use a smaller lr, or pass throw=False for its start."
        )
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    known = {name: variable.over("step") for name, variable in variables_of(arrays).items()}
    base = head.log_probs(np.zeros(head.rows.shape))
    fixed = {"log_reference_chosen": base.chosen, "log_reference_rejected": base.rejected}
    config = {
        "measurement": "train_head",
        "objective": f"{type(objective).__name__}({float(objective.beta)!r})",
        "lr": rate,
    }
    config |= {
        "optimizer": optimizer,
        "steps": steps,
        "every": every,
        "dtype": dtype,
        "features": ds.attrs.get("config", ""),
    }
    attrs = {
        name: ds.attrs[name]
        for name in ("model", "model_sha256", "tokenizer_sha256", "data_sha256")
        if name in ds.attrs
    }
    attrs |= {"config": json.dumps(config), "beta": float(objective.beta), "dtype": dtype} | versions()
    attrs |= {"result": "successful" if failed is None else "nonfinite"}
    coords = {"step": np.array(marks)} | head.coords
    return dataset(arrays | fixed, known | variables_of(fixed), coords=coords, attrs=attrs)


@dataclasses.dataclass(frozen=True)
class _LogProbs:
    """Of the chosen and rejected answers and the divergence from the reference, each ``(N,)``."""

    chosen: np.ndarray
    rejected: np.ndarray
    kl: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Head:
    """Features g, ``(N, d)``, the rows of W(0) that may move, ``(R, d)``, and which of them are each example's answers."""

    g: np.ndarray
    rows: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    log_rest: np.ndarray
    train: int
    coords: dict[str, Any]

    @classmethod
    def of(cls, ds: xr.Dataset, held_out: xr.Dataset | None, language: Language | None) -> _Head:
        parts = [ds] if held_out is None else [ds, held_out]
        g, chosen, rejected = (
            np.concatenate([p[name].values for p in parts]) for name in ("feature", "chosen_token", "rejected_token")
        )
        tokens = np.unique(np.concatenate([chosen, rejected]))
        if all(np.array_equal(p.token.values, tokens) for p in parts):
            rows, rest = ds.unembedding.values, np.concatenate([p.log_rest.values for p in parts])
        elif language is None:
            raise ValueError(
                "held_out has other answers than ds, so the rest of the vocabulary differs; pass the language."
            )
        else:
            from ._features import _logits

            rows, _, rest = _logits(language, g, tokens)
        coords: dict[str, Any] = {"example": np.concatenate([_labels(p, i) for i, p in enumerate(parts)])}
        split = ["train"] * ds.sizes["example"] + ["held_out"] * (len(g) - ds.sizes["example"])
        coords |= {"split": ("example", np.array(split))}
        if all("behaviour" in p.coords for p in parts):
            coords |= {"behaviour": ("example", np.concatenate([p.behaviour.values for p in parts]))}
        at = lambda ids: np.searchsorted(tokens, ids)
        f64 = lambda x: np.asarray(x, np.float64)
        return cls(f64(g), f64(rows), at(chosen), at(rejected), f64(rest), ds.sizes["example"], coords)

    def log_probs(self, change: np.ndarray) -> _LogProbs:
        """At W(0) + change."""
        z0, shift = self.g @ self.rows.T, self.g @ change.T
        total = lambda z: np.logaddexp(np.logaddexp.reduce(z, axis=1), self.log_rest)
        z, before, after = z0 + shift, total(z0), total(z0 + shift)
        each, p = np.arange(len(z)), np.exp(z - after[:, None])
        kl = np.maximum((p * shift).sum(axis=1) - (after - before), 0.0)  # the other tokens' logits do not move
        return _LogProbs(z[each, self.chosen] - after, z[each, self.rejected] - after, kl)

    def margins(self, change: np.ndarray, beta: float) -> np.ndarray:
        """r, ``(N,)``."""
        return beta * ((change[self.chosen] - change[self.rejected]) * self.g).sum(axis=1)


def _descend(
    head: _Head, objective: MarginLoss, optimizer: str, lr: float, steps: int, every: int, dtype: str
) -> tuple[list[int], list[dict[str, Any]], int | None]:
    """(steps, rows, step that left the finite numbers) of the descent."""
    import torch

    kind = getattr(torch, dtype)
    train = slice(0, head.train)
    g = torch.as_tensor(head.g[train], dtype=kind)
    chosen, rejected = (torch.as_tensor(x[train]) for x in (head.chosen, head.rejected))
    change = torch.zeros(head.rows.shape, dtype=kind, requires_grad=True)
    takes = torch.optim.SGD([change], lr=lr) if optimizer == "sgd" else torch.optim.Adam([change], lr=lr)
    beta = float(objective.beta)
    marks, rows = [0], [_row(head, objective, np.zeros(head.rows.shape))]
    for step in range(steps):
        takes.zero_grad()
        r = beta * ((change[chosen] - change[rejected]) * g).sum(dim=1)
        of_margin(objective, r).mean().backward()
        takes.step()
        if not bool(torch.isfinite(change).all()):
            return marks, rows, step
        if (step + 1) % every == 0 or step + 1 == steps:
            with np.errstate(over="ignore", invalid="ignore"):
                row = _row(head, objective, change.detach().double().numpy())
            if not all(np.isfinite(value).all() for value in row.values()):
                return marks, rows, step
            marks.append(step + 1)
            rows.append(row)
    return marks, rows, None


def _row(head: _Head, objective: MarginLoss, change: np.ndarray) -> dict[str, Any]:
    import torch

    r, log_p = head.margins(change, float(objective.beta)), head.log_probs(change)
    losses, right = of_margin(objective, torch.as_tensor(r)).numpy(), 0.5 * (1.0 + np.sign(r))
    train, held = slice(0, head.train), slice(head.train, None)
    found = {
        "reward_margin": r,
        "log_prob_chosen": log_p.chosen,
        "log_prob_rejected": log_p.rejected,
        "loss": losses[train].mean(),
        "accuracy": right[train].mean(),
        "head_change": np.linalg.norm(change),
        "kl_to_reference": log_p.kl[train].mean(),
    }
    if len(r) > head.train:
        found |= {"held_out_loss": losses[held].mean(), "held_out_accuracy": right[held].mean()}
    return found


def _labels(ds: xr.Dataset, part: int) -> np.ndarray:
    found = ds.example.values if "example" in ds.coords else np.arange(ds.sizes["example"])
    return np.array([str(x) if "example" in ds.coords else f"{part}.{x}" for x in found])


def _check(ds: xr.Dataset, language: Language | None, name: str) -> None:
    for needed in ("feature", "chosen_token", "rejected_token", "unembedding", "log_rest"):
        if needed not in ds:
            raise ValueError(f"{name} has no {needed}; pass a Dataset from llm.features.")
    there = ds.attrs.get("model_sha256")
    if language is not None and there is not None and there != language.sha256:
        raise ValueError(
            f"{name} holds features of {ds.attrs.get('model')}, not of {language.name}; compute them anew."
        )
