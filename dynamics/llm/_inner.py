"""The inner solve of a round: the weights of a model moved until K log-probabilities minimise a loss."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._checks import check_count

if TYPE_CHECKING:
    import torch

KINDS = ("lbfgs", "adam")
MOMENTS = ("reset", "kept")
SCHEDULES = ("constant", "cosine")
TOLERANCE = 1e-6  # of the gradient in the K log-probabilities


class _Settled(Exception):
    """The gradient is within its tolerance at the weights that the optimizer has just set."""


@dataclasses.dataclass(frozen=True)
class Inner:
    """How a round's loss is minimised.

    Attributes:
        kind: "lbfgs" or "adam".
        tolerance: largest entry of the loss's gradient in the K log-probabilities at which L-BFGS stops.
        evaluations: of loss and gradient at most, for L-BFGS.
        history: pairs of vectors that L-BFGS keeps; it needs 2 · history copies of the trained weights.
        steps, lr, schedule: of Adam.
        moments: whether Adam's moments are "reset" at the start of every round or "kept".
    """

    kind: str
    tolerance: float
    evaluations: int = 120
    history: int = 10
    steps: int = 200
    lr: float = 1e-3
    schedule: str = "cosine"
    moments: str = "reset"

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("schedule", SCHEDULES), ("moments", MOMENTS)):
            if getattr(self, name) not in allowed:
                label = "inner" if name == "kind" else name
                raise ValueError(f"{label} = {getattr(self, name)!r}; pass one of {', '.join(allowed)}.")
        for name in ("evaluations", "history", "steps"):
            check_count(getattr(self, name), name, 1)
        for name in ("tolerance", "lr"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} = {value!r}; pass a positive number.")


def adam(inner: Inner, weights: list[Any]) -> Any:
    """Adam with empty moments; None for L-BFGS, which begins anew in every round."""
    import torch

    return torch.optim.Adam(weights, lr=inner.lr) if inner.kind == "adam" else None


def minimise(
    inner: Inner,
    weights: list[Any],
    log_probs: Callable[[], torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    optimizer: Any = None,
) -> tuple[int, float]:
    """Moves the weights; returns the evaluations of the gradient and its largest entry in the last of them.

    Args:
        inner: how.
        weights: those that move.
        log_probs: of the K candidates under the model as it is, ``(K,)``, float64.
        loss: a function of them.
        optimizer: Adam with the moments to go on from; new ones unless given.

    Raises:
        FloatingPointError: loss or gradient is not finite.
    """
    import torch

    count, largest = 0, math.inf

    def closure() -> torch.Tensor:
        nonlocal count, largest
        for p in weights:
            p.grad = None
        with torch.enable_grad():
            logs = log_probs()
            leaf = logs.detach().requires_grad_()
            value = loss(leaf)
            (slope,) = torch.autograd.grad(value, leaf)
            count, largest = count + 1, float(slope.abs().max())
            if not (math.isfinite(largest) and math.isfinite(float(value.detach()))):
                raise FloatingPointError
            if inner.kind == "lbfgs" and largest <= inner.tolerance:
                raise _Settled
            logs.backward(slope)
        return value.detach()

    if inner.kind == "adam":
        optimizer = adam(inner, weights) if optimizer is None else optimizer
        for step in range(inner.steps):
            share = 0.5 * (1.0 + math.cos(math.pi * step / inner.steps)) if inner.schedule == "cosine" else 1.0
            for group in optimizer.param_groups:
                group["lr"] = inner.lr * share
            optimizer.step(closure)
    else:
        with contextlib.suppress(_Settled):
            _lbfgs(inner, weights).step(closure)
    return count, largest


def _lbfgs(inner: Inner, weights: list[Any]) -> Any:
    import torch

    # Its own tolerances are of the weights, whose scale is the model's; what stops it is the gradient in log-probabilities.
    return torch.optim.LBFGS(
        weights,
        lr=1.0,
        max_iter=inner.evaluations,
        max_eval=inner.evaluations,
        history_size=inner.history,
        tolerance_grad=0.0,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )
