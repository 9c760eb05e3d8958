"""Direct preference optimisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..preferences import strong_components
from . import win_odds
from ._base import Objective


class DPO(Objective):
    """Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all i, Σ f = 0; the minimiser of DPO's loss is pi* ∝ ref · exp(f / beta).

    For 0 < P < 1 such an f is unique at every mu in the simplex, its vertices included (at a vertex w: f_i - f_w =
    logit P_iw). It is found by Newton's method on the log-odds of the equation and differentiated implicitly:
    Lap df = -(S - P) dmu at mu, with S = sigma(f_i - f_j), V = S(1-S), Lap = diag(V mu) - V diag(mu) [derived].

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Raises:
        ValueError: beta not finite and positive; where P has entries 0 or 1, a group of responses that beats the rest
            with certainty on the sampler's support, so that no finite optimum exists (Ford's condition).

    Source: [paper] Chen26, one-shot optimum of DPO (their beta is 1/beta here).
    """

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def solve(
        self, P: Float[Array, "K K"], log_mu: Float[Array, " K"], guess: Float[Array, " K"] | None = None
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        return win_odds.reward(P, log_mu, guess)

    def solve_within(
        self,
        basis: Float[Array, "K m"],
        P: Float[Array, "K K"],
        log_mu: Float[Array, " K"],
        guess: Float[Array, " K"] | None = None,
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        start = jnp.zeros(P.shape[0]) if guess is None else guess
        from . import _projected  # loads on use

        return _projected.logistic(basis, P, log_mu, start)

    def solve_wins(
        self, wins: Float[Array, "K K"], smoothing: Float[Array, ""]
    ) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
        from . import _empirical  # loads on use

        return _empirical.maximum_likelihood(wins, smoothing)

    def check_exists_within(self, basis: np.ndarray, P: np.ndarray, support: np.ndarray) -> None:
        from . import _projected  # loads on use

        _projected.check_separation(basis, P, support)

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r) = -log sigma(r), entrywise."""
        return jax.nn.softplus(-margin)

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return -jax.nn.sigmoid(-margin)

    def check_exists(self, P: np.ndarray, support: np.ndarray) -> None:
        inside = np.flatnonzero(support)
        beats = P[np.ix_(inside, inside)] > 0
        label = strong_components(beats)
        count = label.max() + 1
        if count > 1:
            # Every pair has an edge, so the components form a chain; the first has edges to all and from none.
            top = next(c for c in range(count) if not beats[np.ix_(label != c, label == c)].any())
            group = [int(i) for i in inside[label == top]]
            raise ValueError(
                f"DPO has no finite optimum: responses {group} beat every other sampled response with certainty (P = 1); "
                f"smooth P away from 0 and 1, drop one of the groups, or use IPO."
            )
        for i in np.flatnonzero(~support):
            certain = P[i, inside]
            if (certain == 1).all() or (certain == 0).all():
                verb = "beats" if certain[0] == 1 else "loses to"
                raise ValueError(
                    f"DPO has no finite optimum: response {int(i)}, outside the sampler's support, {verb} every sampled "
                    f"response with certainty; smooth P away from 0 and 1, sample it, or use IPO."
                )
