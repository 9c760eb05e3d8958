"""Reward margins while a last layer is trained, by a closed equation that does not contain the layer."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from .._checks import as_numbers
from .._numerics import concrete
from ..diagnostics import Variable
from ..objectives import MarginLoss
from . import _exact, _losses, _tokens, _unseen
from ._base import Flow
from ._pairs import MAX_DUAL_BYTES, Form, PairFeatures, Reward
from ._samples import all_identical


class MarginState(eqx.Module):
    """The state of a ``MarginFlow``; r = beta² C a is kept so that a solver's tolerance applies to margins.

    Attributes:
        coefficient: a_i = w_i ∫ -f'(r_i) dt, ``(N,)``, in units of tau.
        margin: r, ``(N,)``, dimensionless.
    """

    coefficient: Float[Array, "*flows N"]
    margin: Float[Array, "*flows N"]


class MarginFlow(Flow):
    """da_i/dt = -w_i f'(r_i),  r = beta² C a,  C_ij = (y_w,i - y_l,i)·(y_w,j - y_l,j) <g_i, g_j>;  tau = 1, r(0) = 0.

    The reward margins of N preference pairs of one-token responses while a last layer W on fixed features is trained from
    the reference. Vocabulary and W never appear: W(t) - W(0) = beta Σ a_i (e_w,i - e_l,i) g_iᵀ.

    Args:
        features: g, ``(N, d)``, finite; float32 is kept and accumulated in float64. ``(B, N, d)`` makes B flows in one call.
            Or a ``PairFeatures``, which includes tokens and weights and may weigh responses and scale beta by pair; then
            pass objective by name.
        chosen: token ids y_w, ``(N,)`` ints ≥ 0 (``(B, N)`` allowed with B flows).
        rejected: token ids y_l, likewise; y_l ≠ y_w.
        objective: f and beta: ``DPO``, ``SquaredMargin``, ``SLiC``, ``IPO`` or your own ``MarginLoss``.
        weights: w, ``(N,)``, ≥ 0, normalised to sum 1; 1/N unless given.
        form: "dual" uses C, N² numbers; "primal" the features, N·d; by default the cheaper.
        vocabulary: number of tokens, to refuse ids outside; unlimited unless given.

    Raises:
        ValueError: a bad entry, named; a dual form beyond 8 GiB; a loss whose ``parabola`` or ``hinge`` contradicts its
            slope.

    Source: [paper] ImLi25, Lemma 4.1; weights and both forms follow from it [derived].

    >>> flow = dyn.MarginFlow(np.array([[1.0]]), np.array([0]), np.array([1]), dyn.DPO(beta=1.0))
    >>> float(dyn.gradient_flow(flow, t1=1.0).accuracy[-1])
    1.0
    """

    features: Float[Array, "*flows N d"]
    chosen: Int[Array, "*flows N"]
    rejected: Int[Array, "*flows N"]
    tokens: Int[Array, " R"]
    weights: Float[Array, "*flows N"]
    chosen_weight: Float[Array, "*flows N"] | None
    rejected_weight: Float[Array, "*flows N"] | None
    scale: Float[Array, "*flows N"] | None
    objective: MarginLoss
    reward: Reward = eqx.field(static=True)
    form: Form = eqx.field(static=True)

    def __init__(
        self,
        features: Float[ArrayLike, "*flows N d"] | PairFeatures,
        chosen: Int[ArrayLike, "*#flows N"] | None = None,
        rejected: Int[ArrayLike, "*#flows N"] | None = None,
        objective: MarginLoss | None = None,
        weights: Float[ArrayLike, "*#flows N"] | None = None,
        form: Form | None = None,
        vocabulary: int | None = None,
    ):
        if isinstance(features, PairFeatures):
            extra = {"chosen": chosen, "rejected": rejected, "weights": weights, "vocabulary": vocabulary}
            for name, value in extra.items():
                if value is not None:
                    raise ValueError(f"{name} is part of the PairFeatures; pass only objective= and form= beside it.")
        if not isinstance(objective, MarginLoss):
            raise ValueError(f"objective is {objective!r}; pass dyn.DPO(beta=...), SquaredMargin, SLiC or IPO.")
        pairs = features
        if not isinstance(pairs, PairFeatures):
            if chosen is None or rejected is None:
                missing = "chosen" if chosen is None else "rejected"
                raise ValueError(f"{missing} is None; pass token ids, or a PairFeatures in place of features.")
            plain: Any = features
            pairs = PairFeatures(plain, chosen, rejected, weights=weights, vocabulary=vocabulary)
        for field in dataclasses.fields(PairFeatures):
            setattr(self, field.name, getattr(pairs, field.name))
        _losses.check(objective, self.scale)
        self.objective = objective
        self.form = _chosen_form(pairs, form)
        self._warn_identical()

    def _warn_identical(self) -> None:
        g = self.features
        if concrete(g) and g.shape[-2] > 1 and bool(all_identical(g)):
            warnings.warn(
                "features are identical for all examples (distinguishability 0), so only the frequency of each token is "
                "learned.",
                stacklevel=4,
            )

    @property
    def pairs(self) -> PairFeatures:
        """The examples: their features, tokens and weights."""
        return PairFeatures.fields_of(self)

    @property
    def is_batch(self) -> bool:
        """Whether this is a batch of B flows."""
        return self.features.ndim == 3

    def parts(self) -> tuple[Any, ...]:
        """The arrays that differ between the flows of a batch; see ``PairFeatures.parts``."""
        return self.pairs.parts()

    def with_parts(self, parts: tuple[Any, ...]) -> MarginFlow:
        """The same flow with other ``parts``."""
        return eqx.tree_at(lambda f: f.parts(), self, parts)

    def over_batch(self, f: Callable[..., Any], *arguments: Any) -> Any:
        """f(flow, *arguments) for all flows of a batch, with arguments batched along their first axis."""
        return jax.vmap(lambda parts, *rest: f(self.with_parts(parts), *rest))(self.parts(), *arguments)

    @property
    def follows_kinks(self) -> bool:
        """Whether the exact solution goes from kink to kink, on the host and for one flow at a time."""
        return _exact.goes_by_kinks(self.objective)

    def numbers(self) -> int:
        """How many numbers the solution of one flow keeps in memory."""
        return self.pairs.numbers(self.form)

    def apply(self, head: Float[Array, "R d"]) -> Float[Array, " N"]:
        """X head, ``(N,)``; see ``PairFeatures``."""
        return self.pairs.apply(head)

    def combine(self, a: Float[Array, " N"]) -> Float[Array, "R d"]:
        """Xᵀ a, one row per occurring token."""
        return self.pairs.combine(a)

    def gram(self) -> Float[Array, "N N"]:
        """C, ``(N, N)``."""
        return self.pairs.gram()

    def prepare(self) -> Array | None:
        return self.gram() if self.form == "dual" else None

    def start(self, initial: Any) -> MarginState:
        if isinstance(initial, MarginState):
            if initial.coefficient.shape != self.weights.shape:
                raise ValueError(
                    f"initial has examples of shape {initial.coefficient.shape}; pass a state of shape {self.weights.shape}."
                )
            return initial
        shape = self.weights.shape
        if initial is None:
            a = jnp.zeros(shape)
        else:
            a = as_numbers(initial, "initial")
            if a.shape != shape or (concrete(a) and not bool(jnp.all(jnp.isfinite(a)))):
                raise ValueError(f"initial has shape {a.shape} or is not finite; pass coefficients a, shape {shape}.")
        return self.over_batch(_start, a) if self.is_batch else _start(self, a)

    def velocity(self, state: MarginState, prepared: Array | None = None) -> MarginState:
        da = -self.weights * _losses.slope(self.objective, self.scale, state.margin)
        pushed = self.apply(self.combine(da)) if prepared is None else prepared @ da
        return MarginState(da, self.objective.beta**2 * pushed)

    def rows(self, state: MarginState) -> dict[str, Array]:
        # ||W(t)-W(0)||² = r·a too, but that cancels where labels conflict.
        return self._row(state.coefficient, state.margin, self.trainable(state))

    def _row(self, a: Float[Array, " N"], r: Float[Array, " N"], head: Float[Array, "R d"]) -> dict[str, Array]:
        own = {"reward_margin": r, "coefficient": a}
        return own | self.summary(r) | {"head_change": jnp.linalg.norm(head)}

    def summary(self, margin: Float[Array, " N"]) -> dict[str, Array]:
        """Loss and accuracy of margins; a margin of 0 counts as half correct."""
        right = 0.5 * (1.0 + jnp.sign(margin))
        return {
            "loss": self.weights @ _losses.loss(self.objective, self.scale, margin),
            "accuracy": jnp.minimum(self.weights @ right, 1.0),  # the weights add up to 1 but for rounding
        }

    def variables(self) -> dict[str, Variable]:
        weighted = "s beta (w_c h_c - w_r h_r)" if self.pairs.factors() else "beta (h_w - h_l)"
        of_logits = " of logits" if self.reward == "logit" else ""
        return {
            "reward_margin": Variable(("example",), "1", f"reward margin{of_logits} r = {weighted}"),
            "coefficient": Variable(("example",), "tau", "coefficient a_i = w_i ∫ -f'(r_i) dt"),
            "loss": Variable((), "1", "mean loss f(r)"),
            "accuracy": Variable((), "1", "share of examples with a positive margin"),
            "head_change": Variable((), "1", "Frobenius norm of W(t) - W(0)"),
        }

    def solve_exactly(self, state: MarginState, times: Array, span: Array) -> tuple[dict[str, Array], Any] | None:
        start = state.coefficient, state.margin
        solved = _exact.solve(self._row, self.pairs, self.form, self.objective, start, times, span)
        return None if solved is None else (solved[0], MarginState(*solved[1]))

    def advice(self) -> str:
        sliding = _exact.advice(self.objective, self.scale)
        if sliding is not None:
            return sliding
        other = "dual" if self.form == "primal" else "primal"
        return (
            f"conflicting labels make long flows stiff; pass a smaller t1, pass solver=diffrax.Kvaerno5(), or build the "
            f"flow with form={other!r}"
        )

    def predict(
        self,
        solution: Any,
        features: Float[ArrayLike, "M d"] | PairFeatures,
        chosen: Int[ArrayLike, " M"] | None = None,
        rejected: Int[ArrayLike, " M"] | None = None,
    ) -> Float[Array, "T M"]:
        """r of unseen examples under the same training: beta² Σ_i a_i(t) C_ji, at every saved time, ``(T, M)``.

        Args:
            solution: of this flow, from ``gradient_flow`` or ``descend``, with saved coefficients or heads.
            features: ``(M, d)``; or a ``PairFeatures``, whose response weights and scale apply (1 for plain arrays).
            chosen, rejected: token ids, ``(M,)``; tokens that do not occur in training do not move.

        Raises:
            ValueError: malformed examples, or a solution without coefficients or heads (a ``SaveAt`` with ``fn=``).
        """
        return _unseen.predict(self.pairs, self.objective.beta, solution, features, chosen, rejected)

    def response_rewards(
        self,
        solution: Any,
        head: Float[ArrayLike, "V d"],
        features: Float[ArrayLike, "M d"] | PairFeatures | None = None,
        chosen: Int[ArrayLike, " M"] | None = None,
        rejected: Int[ArrayLike, " M"] | None = None,
    ) -> _unseen.ResponseRewards:
        """s beta w_y (log p_t(y) - log p_0(y)) of the chosen and of the rejected response, each ``(T, M)``; p = softmax(W g).

        The fall of each is likelihood displacement. W(0) and the vocabulary enter here, but W(t) is not formed. The
        difference of the two is the reward margin where a pair's two weights w_y are equal, as by default; otherwise the
        margin is one of logits.

        Args:
            solution: as in ``predict``.
            head: W(0), ``(V, d)``.
            features, chosen, rejected: examples as in ``predict``; the training examples unless given.
        """
        return _unseen.response_rewards(self.pairs, self.objective.beta, solution, head, features, chosen, rejected)

    def trainable(self, state: MarginState) -> Float[Array, "R d"]:
        return self.objective.beta * self.combine(state.coefficient)

    def gradient(
        self, weights: Float[Array, "R d"], key: PRNGKeyArray | None, batch: int | None
    ) -> Float[Array, "R d"]:
        beta = self.objective.beta
        f = lambda r, scale: _losses.slope(self.objective, scale, r)
        if batch is None:
            return beta * self.combine(self.weights * f(beta * self.apply(weights), self.scale))
        assert key is not None
        pick = jax.random.choice(key, self.weights.shape[0], (batch,), p=self.weights)
        g, w, l, *factors = (x[pick] for x in self.pairs.rows())
        scale = None if self.scale is None else self.scale[pick]
        push = f(beta * _tokens.apply(weights, g, w, l, *factors), scale) / batch
        return beta * _tokens.combine(push, g, w, l, self.tokens.shape[0], *factors)

    def trained_rows(self, weights: Float[Array, "R d"]) -> dict[str, Array]:
        r = self.objective.beta * self.apply(weights)
        change = jnp.sqrt(jnp.sum(weights**2))
        return {"reward_margin": r, "head": weights} | self.summary(r) | {"head_change": change}


@eqx.filter_jit
def _start(flow: MarginFlow, a: Float[Array, " N"]) -> MarginState:
    return MarginState(a, flow.objective.beta**2 * flow.apply(flow.combine(a)))


def _chosen_form(pairs: PairFeatures, form: str | None) -> Form:
    size, N = pairs.dual_bytes, pairs.features.shape[-2]
    if form == "dual" and size > MAX_DUAL_BYTES:
        raise ValueError(f"form='dual' needs {size / 2**30:.0f} GiB for {N}² numbers; pass form='primal'.")
    if form not in (None, "dual", "primal"):
        raise ValueError(f"form = {form!r} is unknown; pass 'dual', 'primal' or None.")
    return pairs.cheaper_form() if form is None else form
