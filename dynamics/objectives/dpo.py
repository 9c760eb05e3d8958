"""Direct preference optimisation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..preferences import Masses, Pairs, Seen, strong_components, unbeaten
from . import _odds_newton, _odds_reward
from ._exact import register
from ._margin_loss import MarginLoss


class DPO(MarginLoss):
    """Σ_j mu_j sigma(f_i - f_j) = (P mu)_i for all i, Σ f = 0; the minimiser of DPO's loss is pi* ∝ ref · exp(f / beta).

    For 0 < P < 1 this f is unique at every mu in the simplex, including its vertices (at a vertex w, f_i - f_w =
    logit P_iw). It is found by Newton's method on the log-odds of the equation and differentiated implicitly:
    Lap df = -(S - P) dmu at mu, with S = sigma(f_i - f_j), V = S(1-S), Lap = diag(V mu) - V diag(mu) [derived].

    Args:
        beta: beta, scalar in (0, ∞): the KL coefficient.

    Raises:
        ValueError: beta not finite and positive; where P has entries 0 or 1, a group of responses that beats the rest
            with certainty on the sampler's support, so that no finite optimum exists (Ford's condition).

    Source: [paper] Chen26, one-shot optimum of DPO (their beta is 1/beta here).

    >>> uniform = -jnp.log(2.0) * jnp.ones(2)
    >>> log_policy = dyn.DPO(1.0).optimum(jnp.array([[0.5, 0.8], [0.2, 0.5]]), uniform, uniform)
    >>> round(float(jnp.exp(log_policy[0])), 6)
    0.8
    """

    def __init__(self, beta: ArrayLike):
        super().__init__(beta)  # spelt out: type checkers would build the signature from the field, and refuse a float

    def loss(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """f(r) = -log sigma(r), entrywise."""
        return jax.nn.softplus(-margin)

    def slope(self, margin: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return -jax.nn.sigmoid(-margin)

    def check_optimum(self, seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None) -> None:
        check_finite_odds(seen, support, basis, "DPO has no finite optimum", "use IPO")


def check_finite_odds(
    seen: Seen, support: Bool[np.ndarray, "*contexts K"], basis: np.ndarray | None, trouble: str, instead: str
) -> None:
    """Raises ``ValueError`` where the Bradley–Terry scores of what is seen are infinite, naming a group of responses.

    Args:
        seen: what feedback shows, concrete.
        support: which responses the sampler can draw, ``(K,)``.
        basis: columns that span the scores, ``(K, m)``; None: all scores.
        trouble: what does not exist, for the message.
        instead: what else to do, for the message.
    """
    if isinstance(seen, Masses):
        _check_wins(np.asarray(seen.compared()), float(np.min(seen.smoothing)), basis, trouble, instead)
    elif not isinstance(seen, Pairs):
        return
    elif basis is None:
        _check_ford(np.asarray(seen.preference), support, trouble, instead)
    else:
        from . import _projected  # loads on use

        _projected.check_separation(basis, np.asarray(seen.preference), support)


def _check_ford(P: np.ndarray, support: np.ndarray, trouble: str, instead: str) -> None:
    """Raises ``ValueError`` unless Ford's condition holds on the sampled responses and each of the others has a finite f."""
    inside = np.flatnonzero(support)
    beats = P[np.ix_(inside, inside)] > 0
    label = strong_components(beats)
    count = label.max() + 1
    if count > 1:
        # Every pair has an edge, so the components form a chain; the first one beats all others and loses to none.
        top = next(c for c in range(count) if not beats[np.ix_(label != c, label == c)].any())
        group = [int(i) for i in inside[label == top]]
        raise ValueError(
            f"{trouble}: responses {group} beat every other sampled response with certainty (P = 1); "
            f"smooth P away from 0 and 1, drop one of the groups, or {instead}."
        )
    for i in np.flatnonzero(~support):
        certain = P[i, inside]
        if (certain == 1).all() or (certain == 0).all():
            verb = "beats" if certain[0] == 1 else "loses to"
            raise ValueError(
                f"{trouble}: response {int(i)}, outside the sampler's support, {verb} every sampled "
                f"response with certainty; smooth P away from 0 and 1, sample it, or {instead}."
            )


def _check_wins(wins: np.ndarray, smoothing: float, basis: np.ndarray | None, trouble: str, instead: str) -> None:
    """Raises ``ValueError`` unless Ford's condition holds: of responses linked by comparisons, each reaches each by wins."""
    if smoothing > 0:
        return
    if basis is not None:
        from . import _projected  # loads on use

        met = wins + np.swapaxes(wins, -1, -2)
        *x, i, j = np.nonzero(np.triu(met, 1))
        rows = basis[(*x, i)] - basis[(*x, j)]
        if _projected.separating_direction(rows, wins[(*x, i, j)] / met[(*x, i, j)]) is not None:
            raise ValueError(
                f"{trouble} within these features: some direction of phi contradicts no comparison; add smoothing= or more "
                f"comparisons, or {instead}."
            )
        return
    if group := unbeaten(wins):
        raise ValueError(
            f"{trouble}: responses {group} lost no comparison with those outside the group; add "
            f"smoothing= or more comparisons, or {instead}."
        )


def win_odds(objective: Any, pairs: Pairs, basis: None, guess: Any) -> tuple[Array, Array]:
    """Newton's method on the equation, and on its log-odds where that is not enough."""
    return _odds_reward.reward(pairs, guess)


def log_odds(objective: Any, pairs: Pairs, basis: None) -> Array:
    """The log-odds that P asks for: f itself next to a vertex, and the start of Newton's method everywhere."""
    return _odds_newton.first_guess(pairs.preference, pairs.log_mu)


def logistic(objective: Any, pairs: Pairs, basis: Array, guess: Any) -> tuple[Array, Array]:
    """The convex programme within the span of a basis."""
    from . import _projected  # loads on use

    start = zero(objective, pairs, basis) if guess is None else guess
    return _projected.logistic(basis, pairs.preference, pairs.log_mu, start)


def zero(objective: Any, pairs: Pairs, basis: Array) -> Array:
    """f = 0, the log-ratios of the reference."""
    return jnp.zeros_like(pairs.log_mu)


def maximum_likelihood(objective: Any, seen: Masses, basis: None, guess: Any) -> tuple[Array, Array]:
    """Bradley–Terry scores of the counts, of least norm where comparisons leave them undetermined."""
    from . import _empirical  # loads on use

    return _empirical.maximum_likelihood(seen.compared(), seen.smoothing)


def smoothed_within(objective: Any, seen: Masses, basis: Array, guess: Any) -> tuple[Array, Array]:
    """Bradley–Terry scores of the counts within the span of a basis."""
    from ._convex import solve_convex  # loads on use

    wins = seen.compared()
    met = (wins + jnp.swapaxes(wins, -1, -2)) > 0
    wins = wins + seen.smoothing[..., None, None] * met.astype(wins.dtype)
    return solve_convex(objective, Masses(wins, jnp.sum(wins, axis=(-2, -1))), basis)


register(DPO, Pairs, free=True, warm=True, first=log_odds)(win_odds)
register(DPO, Pairs, free=False, warm=True, first=zero)(logistic)
register(DPO, Masses, free=True)(maximum_likelihood)
register(DPO, Masses, free=False)(smoothed_within)
