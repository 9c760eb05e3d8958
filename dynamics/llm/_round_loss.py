"""The population loss of a round as a torch function of the K candidates' log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..feedback import Masses
from ..objectives import DPO, MarginLoss, Objective
from ._loss import KNOWN, of_margin

if TYPE_CHECKING:
    import torch


def round_loss(objective: Objective, seen: Any, log_reference: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    """K log-probabilities, unnormalised, ``(K,)`` in float64 → the objective's value on what a round sees, times a constant.

    Constants added to the log-probabilities or to the reference change nothing. The constant is 1/(beta |f'(0)|) of a margin
    loss, beta for IPO and 2/beta for DPO, so that the gradient has the same size whatever beta is.

    Losses of margins that torch knows are Σ_ij Pr(i beat j) f(beta (h_i - h_j)) in torch; the value and the gradient of any
    other objective are those of its own ``value``, by JAX.
    """
    if isinstance(objective, MarginLoss) and type(objective) in KNOWN:
        return _of_margins(objective, _rates(objective, seen), log_reference)
    return _of_value(objective, seen, log_reference)


def scale(objective: Objective) -> float:
    """What the value is divided by."""
    beta, gamma = (float(getattr(objective, name, 0.0)) for name in ("beta", "gamma"))
    if isinstance(objective, MarginLoss):
        return beta * (abs(float(objective.slope(jnp.zeros(())))) or 1.0)
    return beta + gamma or 1.0


def _rates(objective: Objective, seen: Any) -> np.ndarray:
    """Pr(i beat j), with the pseudo-wins that DPO's optimum counts in."""
    rates = np.asarray(seen.rates(), np.float64)
    if type(objective) is DPO and isinstance(seen, Masses):
        rates = rates + float(seen.smoothing) / float(seen.total) * (rates + rates.T > 0)
    return rates


def _of_margins(
    objective: MarginLoss, rates: np.ndarray, log_reference: np.ndarray
) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    beta, divisor = float(objective.beta), scale(objective)

    def loss(log_probs: torch.Tensor) -> torch.Tensor:
        to = lambda x: torch.tensor(x, dtype=log_probs.dtype, device=log_probs.device)
        h = log_probs - to(log_reference)
        return (to(rates) * of_margin(objective, beta * (h[:, None] - h[None, :]))).sum() / divisor

    return loss


def _of_value(objective: Objective, seen: Any, log_reference: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    reference, divisor = jnp.asarray(log_reference), scale(objective)

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, log_probs: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            logits = jnp.asarray(log_probs.detach().cpu().numpy())
            value, slope = _value(objective, logits - logits.mean(), reference, seen)
            ctx.save_for_backward(torch.as_tensor(np.array(slope)).to(log_probs))
            return torch.as_tensor(np.array(value)).to(log_probs)

        @staticmethod
        def backward(ctx: Any, outer: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return outer * ctx.saved_tensors[0]

    return lambda log_probs: Bridge.apply(log_probs) / divisor


@eqx.filter_jit
def _value(objective: Objective, logits: Any, log_reference: Any, seen: Any) -> tuple[Any, Any]:
    return jax.value_and_grad(lambda z: objective.value(jax.nn.log_softmax(z), log_reference, seen))(logits)
