"""Preference pairs for last-layer training: features, tokens, weights and their linear algebra."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._noun import Noun
from .._numerics import concrete
from . import _tokens
from ._samples import as_features, as_positive, as_tokens, as_weights

MAX_DUAL_BYTES = 8 * 2**30  # of the Gram matrix in the dual form
TYPICAL_EVALUATIONS = 400  # of the velocity in a solve; they decide whether building the Gram matrix pays off

Form = Literal["dual", "primal"]
Reward = Literal["log_probability", "logit"]


class PairFeatures(Noun):
    """r_i = beta <W - W(0), x_i>,  x_i = s_i (w_c,i e_c,i - w_r,i e_r,i) ⊗ g_i,  C_ij = <x_i, x_j>.

    N pairs of one-token responses c, r to a prompt with last-layer feature g. With z = W g the logits, this is the margin
    r_i = s_i beta (w_c h_c - w_r h_r) in which h_y is the change of y's logit z_y since W(0). It is also the margin of
    log-probabilities, h_y = log p(y) - log p_0(y), if and only if w_c = w_r: both responses share the normaliser log Z,
    which then cancels. With w_c ≠ w_r the term -s_i beta (w_c - w_r) (log Z - log Z(0)) remains, which depends on
    every token of the vocabulary, so margins of log-probabilities have no closed equation. Unequal weights are therefore
    accepted only with ``reward="logit"``.

    Args:
        features: g, ``(N, d)``, finite; float32 is kept and accumulated in float64. ``(B, N, d)`` are B sets of pairs, not
            responses of several tokens (which have no closed equation either; see ``dyn.margins``).
        chosen, rejected: token ids c and r, ``(N,)`` ints ≥ 0 (``(B, N)`` allowed with B sets); c ≠ r.
        weights: weight of each pair in the mean loss, ``(N,)``, ≥ 0, normalised to sum 1; 1/N unless given.
        chosen_weight, rejected_weight: w_c and w_r, ``(N,)``, > 0, such as one over each response's length; 1 unless given.
        scale: s, ``(N,)``, > 0: pair i has its own beta_i = s_i beta, here and wherever the loss uses beta (IPO drives
            w_c h_c - w_r h_r to 1/(2 beta_i)); 1 unless given.
        reward: "log_probability" or "logit", the quantity whose differences are margins. They agree for equal weights.
        vocabulary: number of tokens, to refuse ids outside; unlimited unless given.

    Raises:
        ValueError: a bad entry, named; responses of several tokens; unequal weights without ``reward="logit"``.

    Example:
        >>> g, chosen, rejected = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([0, 2]), np.array([1, 0])
        >>> pairs = dyn.flows.PairFeatures(g, chosen, rejected, scale=np.array([1.0, 2.0]))
        >>> pairs.gram().tolist()
        [[2.0, -1.2], [-1.2, 8.0]]
        >>> flow = dyn.MarginFlow(pairs, objective=dyn.DPO(0.1))

    Source: [paper] ImLi25, Lemma 4.1; weights, scale and the condition on w_c, w_r [derived].
    """

    features: Float[Array, "*flows N d"]
    chosen: Int[Array, "*flows N"]
    rejected: Int[Array, "*flows N"]
    tokens: Int[Array, " R"]
    weights: Float[Array, "*flows N"]
    chosen_weight: Float[Array, "*flows N"] | None
    rejected_weight: Float[Array, "*flows N"] | None
    scale: Float[Array, "*flows N"] | None
    reward: Reward = eqx.field(static=True)

    def __init__(
        self,
        features: Float[ArrayLike, "*flows N d"],
        chosen: Int[ArrayLike, "*#flows N"],
        rejected: Int[ArrayLike, "*#flows N"],
        *,
        weights: Float[ArrayLike, "*#flows N"] | None = None,
        chosen_weight: Float[ArrayLike, "*#flows N"] | None = None,
        rejected_weight: Float[ArrayLike, "*#flows N"] | None = None,
        scale: Float[ArrayLike, "*#flows N"] | None = None,
        reward: Reward = "log_probability",
        vocabulary: int | None = None,
    ):
        if reward not in ("log_probability", "logit"):
            raise ValueError(f"reward = {reward!r} is unknown; pass 'log_probability' or 'logit'.")
        self.features = as_features(features)
        shape = self.features.shape[:-1]
        self.tokens, self.chosen, self.rejected = as_tokens(chosen, rejected, shape, vocabulary)
        self.weights = as_weights(weights, shape)
        self.chosen_weight = as_positive(chosen_weight, "chosen_weight", shape)
        self.rejected_weight = as_positive(rejected_weight, "rejected_weight", shape)
        self.scale = as_positive(scale, "scale", shape)
        self.reward = reward
        if reward == "log_probability" and chosen_weight is not rejected_weight:
            _check_equal(self.chosen_weight, self.rejected_weight)

    @classmethod
    def fields_of(cls, holder: Any) -> PairFeatures:
        """The pairs made of the fields of ``holder`` with the same names, without checks."""
        pairs = object.__new__(cls)
        for field in dataclasses.fields(cls):
            object.__setattr__(pairs, field.name, getattr(holder, field.name))
        return pairs

    @property
    def is_batch(self) -> bool:
        """Whether these are B sets of pairs."""
        return self.features.ndim == 3

    @property
    def head_shape(self) -> tuple[int, int]:
        """(R, d): occurring tokens by features, the shape of the part of W that moves."""
        return self.tokens.shape[0], self.features.shape[-1]

    @property
    def dual_bytes(self) -> int:
        """Bytes of C."""
        return 8 * self.features.shape[-2] ** 2

    def cheaper_form(self) -> Form:
        """Whether a typical solve is cheaper with C, N² numbers, or with the features, N·d."""
        N, d = self.features.shape[-2:]
        dual = N * N * (d + TYPICAL_EVALUATIONS)
        return "dual" if self.dual_bytes <= MAX_DUAL_BYTES and dual < 4 * TYPICAL_EVALUATIONS * N * d else "primal"

    def numbers(self, form: Form) -> int:
        """How many numbers the solution of one flow keeps in memory."""
        N, d = self.features.shape[-2:]
        return 20 * N + (2 * N * N if form == "dual" else N * d)

    def parts(self) -> tuple[Any, ...]:
        """The arrays that differ between the sets of a batch: features, chosen, rejected, weights, and chosen_weight,
        rejected_weight and scale where given."""
        given = (self.chosen_weight, self.rejected_weight, self.scale)
        return (self.features, self.chosen, self.rejected, self.weights, *(x for x in given if x is not None))

    def factors(self) -> tuple[Array, ...]:
        """(s w_c, s w_r), or an empty tuple where all are 1."""
        if self.chosen_weight is None and self.rejected_weight is None and self.scale is None:
            return ()
        one = jnp.ones(self.weights.shape)
        product = lambda w: (one if w is None else w) * (one if self.scale is None else self.scale)
        return product(self.chosen_weight), product(self.rejected_weight)

    def rows(self) -> tuple[Array, ...]:
        """The arrays that make up each x_i: features, chosen, rejected and the factors."""
        return (self.features, self.chosen, self.rejected, *self.factors())

    def _each(self, f: Callable[..., Any], *arguments: Any) -> Any:
        return jax.vmap(f)(*arguments) if self.is_batch else f(*arguments)

    def apply(self, head: Float[Array, "*flows R d"]) -> Float[Array, "*flows N"]:
        """X H: s_i (w_c,i H[c_i] - w_r,i H[r_i])·g_i, ``(N,)``; H has one row per entry of ``tokens``."""
        return self._each(_tokens.apply, head, *self.rows())

    def combine(self, a: Float[Array, "*flows N"]) -> Float[Array, "*flows R d"]:
        """Xᵀ a: Σ a_i x_i, ``(R, d)``, one row per entry of ``tokens``."""
        one = lambda a, g, w, l, *factors: _tokens.combine(a, g, w, l, self.tokens.shape[0], *factors)
        return self._each(one, a, *self.rows())

    def gram(self) -> Float[Array, "*flows N N"]:
        """C_ij = s_i s_j (w_c,i e_c,i - w_r,i e_r,i)·(w_c,j e_c,j - w_r,j e_r,j) <g_i, g_j>, ``(N, N)``."""
        return self._each(lambda *rows: _tokens.gram(rows, rows), *self.rows())

    def cross(self, other: PairFeatures) -> Float[Array, "*flows M N"]:
        """C_ji of examples j of ``other`` and the examples i here, ``(M, N)``: how the training of i moves j's margin.

        Raises:
            ValueError: ``other`` with another number of features, or of sets.
        """
        if other.features.shape[-1] != self.features.shape[-1] or other.features.shape[:-2] != self.features.shape[:-2]:
            raise ValueError(
                f"other has features of shape {other.features.shape}, these pairs {self.features.shape}; "
                "pass pairs with the same d and the same number of sets."
            )
        count, own, theirs = len(other.rows()), self._with_ids(), other._with_ids()
        return self._each(lambda *both: _tokens.gram(both[:count], both[count:]), *theirs, *own)

    def _with_ids(self) -> tuple[Array, ...]:
        g, chosen, rejected, *factors = self.rows()
        return (g, self.tokens[chosen], self.tokens[rejected], *factors)


def _check_equal(chosen: Array | None, rejected: Array | None) -> None:
    remedy = (
        "so the softmax's normaliser stays in the margin, which then has no closed equation; pass reward='logit' for "
        "margins of logits, or the same array twice."
    )
    if not concrete(chosen, rejected):
        raise ValueError(f"chosen_weight and rejected_weight are traced and may differ, {remedy}")
    w, l = (np.asarray(1.0 if x is None else x) for x in (chosen, rejected))
    w, l = np.broadcast_arrays(w, l)
    bad = np.argwhere(w != l)
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        where = ", ".join(map(str, at))
        raise ValueError(
            f"chosen_weight[{where}] = {w[at]:g} and rejected_weight[{where}] = {l[at]:g} are not equal, {remedy}"
        )
