"""Reward margins under training of the last layer: the margins close on themselves, so no layer is needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from .._checks import as_numbers
from .._numerics import concrete
from ..diagnostics import Variable
from ..objectives import MarginLoss, SLiC
from . import _hinge, _linear, _tokens, _unseen
from ._base import Flow
from ._samples import all_identical, as_features, as_tokens, as_weights

DUAL_BYTES = 8 * 2**30  # the largest Gram matrix that the dual form builds
EVALUATIONS = 400  # of the velocity in a typical solve: what building the Gram matrix is weighed against


class MarginState(eqx.Module):
    """Where margins stand: r = beta² C a, carried along so that a solver's tolerance is one on margins.

    Attributes:
        coefficient: a_i = w_i ∫ -f'(r_i) dt, ``(N,)``, in units of tau.
        margin: r, ``(N,)``, dimensionless.
    """

    coefficient: Float[Array, "*flows N"]
    margin: Float[Array, "*flows N"]


class MarginFlow(Flow):
    """da_i/dt = -w_i f'(r_i),  r = beta² C a,  C_ij = (y_w,i - y_l,i)·(y_w,j - y_l,j) <g_i, g_j>;  tau = 1, r(0) = 0.

    The reward margins of N preference pairs while a last layer W on fixed features is trained from the reference, one-token
    responses. Vocabulary and W never appear: W(t) - W(0) = beta Σ a_i (e_w,i - e_l,i) g_iᵀ.

    Args:
        features: g, ``(N, d)``, finite; float32 is kept and accumulated in float64. ``(B, N, d)`` makes B flows of one call.
        chosen: token ids y_w, ``(N,)`` ints ≥ 0 (``(B, N)`` allowed with B flows).
        rejected: token ids y_l, likewise; y_l ≠ y_w.
        objective: f and beta: ``DPO``, ``SquaredMargin``, ``SLiC`` or ``IPO``.
        weights: w, ``(N,)``, ≥ 0, normalised to sum 1; 1/N unless given.
        form: "dual" steps with C, N² numbers; "primal" with the features, N·d; by default the cheaper.
        vocabulary: number of tokens, to refuse ids outside; unlimited unless given.

    Raises:
        ValueError: a bad entry, named; a dual form beyond 8 GiB.

    Source: [paper] ImLi25, Lemma 4.1; weights and both forms follow from it [derived].
    """

    features: Float[Array, "*flows N d"]
    chosen: Int[Array, "*flows N"]
    rejected: Int[Array, "*flows N"]
    tokens: Int[Array, " R"]
    weights: Float[Array, "*flows N"]
    objective: MarginLoss
    form: Literal["dual", "primal"] = eqx.field(static=True)

    def __init__(
        self,
        features: Float[ArrayLike, "*flows N d"],
        chosen: Int[ArrayLike, "*#flows N"],
        rejected: Int[ArrayLike, "*#flows N"],
        objective: MarginLoss,
        weights: Float[ArrayLike, "*#flows N"] | None = None,
        form: Literal["dual", "primal"] | None = None,
        vocabulary: int | None = None,
    ):
        if not isinstance(objective, MarginLoss):
            raise ValueError(f"objective is {objective!r}; pass dyn.DPO(beta=...), SquaredMargin, SLiC or IPO.")
        self.features = as_features(features)
        shape = self.features.shape[:-1]
        self.tokens, self.chosen, self.rejected = as_tokens(chosen, rejected, shape, vocabulary)
        self.weights = as_weights(weights, shape)
        self.objective = objective
        self.form = self._chosen_form(form)
        self._warn_identical()

    def _chosen_form(self, form: str | None) -> Literal["dual", "primal"]:
        N, d = self.features.shape[-2:]
        size = 8 * N * N
        if form == "dual" and size > DUAL_BYTES:
            raise ValueError(f"form='dual' needs {size / 2**30:.0f} GiB for {N}² numbers; pass form='primal'.")
        if form not in (None, "dual", "primal"):
            raise ValueError(f"form = {form!r} is unknown; pass 'dual', 'primal' or None.")
        if form is not None:
            return form
        dual = N * N * (d + EVALUATIONS)
        return "dual" if size <= DUAL_BYTES and dual < 4 * EVALUATIONS * N * d else "primal"

    def _warn_identical(self) -> None:
        g = self.features
        if concrete(g) and g.shape[-2] > 1 and bool(all_identical(g)):
            warnings.warn(
                "features are identical for all examples, so no behaviour can be told from another (distinguishability "
                "0): only how often each token is chosen is learned.",
                stacklevel=4,
            )

    @property
    def is_batch(self) -> bool:
        """Whether this is B flows rather than one."""
        return self.features.ndim == 3

    def parts(self) -> tuple[Any, Any, Any, Any]:
        """What differs between the flows of a batch: features, chosen, rejected, weights."""
        return self.features, self.chosen, self.rejected, self.weights

    def with_parts(self, parts: tuple[Any, Any, Any, Any]) -> MarginFlow:
        """The same flow with other ``parts``."""
        return eqx.tree_at(lambda f: f.parts(), self, parts)

    def over_batch(self, f: Callable[..., Any], *arguments: Any) -> Any:
        """f(flow, *arguments) for every flow of a batch at once, arguments batched along their first axis."""
        return jax.vmap(lambda parts, *rest: f(self.with_parts(parts), *rest))(self.parts(), *arguments)

    def numbers(self) -> int:
        """Numbers that solving one flow of a batch keeps at hand."""
        N, d = self.features.shape[-2:]
        return 20 * N + (2 * N * N if self.form == "dual" else N * d)

    def apply(self, head: Float[Array, "R d"]) -> Float[Array, " N"]:
        """X head: (head[w_i] - head[l_i])·g_i, ``(N,)``."""
        return _tokens.apply(head, self.features, self.chosen, self.rejected)

    def combine(self, a: Float[Array, " N"]) -> Float[Array, "R d"]:
        """Xᵀ a: Σ a_i (e_w,i - e_l,i) ⊗ g_i, one row per occurring token."""
        return _tokens.combine(a, self.features, self.chosen, self.rejected, self.tokens.shape[0])

    def gram(self) -> Float[Array, "N N"]:
        """C, ``(N, N)``."""
        own = (self.features, self.chosen, self.rejected)
        return _tokens.gram(*own, *own)

    def prepare(self) -> Array | None:
        return self.gram() if self.form == "dual" else None

    def start(self, initial: Any) -> MarginState:
        if isinstance(initial, MarginState):
            if initial.coefficient.shape != self.weights.shape:
                raise ValueError(
                    f"initial is of {initial.coefficient.shape} examples, the flow of {self.weights.shape}."
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
        da = -self.weights * self.objective.slope(state.margin)
        pushed = self.apply(self.combine(da)) if prepared is None else prepared @ da
        return MarginState(da, self.objective.beta**2 * pushed)

    def rows(self, state: MarginState) -> dict[str, Array]:
        # ||W(t)-W(0)||² is also r·a, but where labels conflict that cancels.
        return self._row(state, self.trainable(state))

    def _row(self, state: MarginState, head: Float[Array, "R d"]) -> dict[str, Array]:
        r = state.margin
        own = {"reward_margin": r, "coefficient": state.coefficient}
        return own | self.summary(r) | {"head_change": jnp.linalg.norm(head)}

    def summary(self, margin: Float[Array, " N"]) -> dict[str, Array]:
        """Loss and accuracy of margins; a margin of 0 counts as half right."""
        right = 0.5 * (1.0 + jnp.sign(margin))
        return {"loss": self.weights @ self.objective.loss(margin), "accuracy": self.weights @ right}

    def variables(self) -> dict[str, Variable]:
        return {
            "reward_margin": Variable(("example",), "1", "reward margin r = beta (h_w - h_l)"),
            "coefficient": Variable(("example",), "tau", "coefficient a_i = w_i ∫ -f'(r_i) dt"),
            "loss": Variable((), "1", "mean loss f(r)"),
            "accuracy": Variable((), "1", "share of examples with a positive margin"),
            "head_change": Variable((), "1", "Frobenius norm of W(t) - W(0)"),
        }

    def solve_exactly(self, state: MarginState, times: Array, span: Array) -> tuple[dict[str, Array], Any] | None:
        if self.objective.parabola() is not None:
            return _linear_rows(self, state, times, span) if _linear.feasible(self) else None
        return _hinge_rows(self, state, times, span) if isinstance(self.objective, SLiC) else None

    def advice(self) -> str:
        if isinstance(self.objective, SLiC):
            return (
                "margins slide along SLiC's kink at 1, where no solver takes long steps: up to "
                f"{_hinge.LARGEST} examples leave out solver= and event= for the exact solution, or use dyn.descend"
            )
        other = "dual" if self.form == "primal" else "primal"
        return (
            f"conflicting labels make long flows stiff: pass a smaller t1, solver=diffrax.Kvaerno5() or build the flow "
            f"with form={other!r}"
        )

    def predict(
        self,
        solution: Any,
        features: Float[ArrayLike, "M d"],
        chosen: Int[ArrayLike, " M"],
        rejected: Int[ArrayLike, " M"],
    ) -> Float[Array, "T M"]:
        """r of unseen examples under the same training: beta² Σ_i a_i(t) C_ji, at every saved time, ``(T, M)``.

        Args:
            solution: of this flow, from ``gradient_flow`` or ``descend``, with its coefficients or heads saved.
            features: ``(M, d)``.
            chosen, rejected: token ids, ``(M,)``; tokens that training never saw do not move.

        Raises:
            ValueError: malformed examples, or a solution that lacks what this needs (a ``SaveAt`` with ``fn=``).
        """
        return _unseen.predict(self, solution, features, chosen, rejected)

    def response_rewards(
        self,
        solution: Any,
        head: Float[ArrayLike, "V d"],
        features: Float[ArrayLike, "M d"] | None = None,
        chosen: Int[ArrayLike, " M"] | None = None,
        rejected: Int[ArrayLike, " M"] | None = None,
    ) -> _unseen.ResponseRewards:
        """beta (log p_t(y) - log p_0(y)) of the chosen and of the rejected response, each ``(T, M)``; p = softmax(W g).

        Their difference is the reward margin; how far each falls by itself is likelihood displacement. Here W(0) and the
        vocabulary do enter, W(t) is still not formed.

        Args:
            solution: as in ``predict``.
            head: W(0), ``(V, d)``.
            features, chosen, rejected: examples as in ``predict``; the training examples unless given.
        """
        return _unseen.response_rewards(self, solution, head, features, chosen, rejected)

    def trainable(self, state: MarginState) -> Float[Array, "R d"]:
        return self.objective.beta * self.combine(state.coefficient)

    def gradient(
        self, weights: Float[Array, "R d"], key: PRNGKeyArray | None, batch: int | None
    ) -> Float[Array, "R d"]:
        beta, f = self.objective.beta, self.objective.slope
        if batch is None:
            return beta * self.combine(self.weights * f(beta * self.apply(weights)))
        assert key is not None
        pick = jax.random.choice(key, self.weights.shape[0], (batch,), p=self.weights)
        g, w, l = self.features[pick], self.chosen[pick], self.rejected[pick]
        push = f(beta * _tokens.apply(weights, g, w, l)) / batch
        return beta * _tokens.combine(push, g, w, l, self.tokens.shape[0])

    def trained_rows(self, weights: Float[Array, "R d"]) -> dict[str, Array]:
        r = self.objective.beta * self.apply(weights)
        change = jnp.sqrt(jnp.sum(weights**2))
        return {"reward_margin": r, "head": weights} | self.summary(r) | {"head_change": change}


@eqx.filter_jit
def _start(flow: MarginFlow, a: Float[Array, " N"]) -> MarginState:
    return MarginState(a, flow.objective.beta**2 * flow.apply(flow.combine(a)))


@eqx.filter_jit
def _linear_rows(
    flow: MarginFlow, state: MarginState, times: Array, span: Array
) -> tuple[dict[str, Array], MarginState]:
    at = _linear.solution(flow, state)
    return jax.lax.map(lambda s: flow._row(*at(s)), times), at(span)[0]


def _hinge_rows(
    flow: MarginFlow, state: MarginState, times: Array, span: Array
) -> tuple[dict[str, Array], MarginState] | None:
    if not concrete(flow, state, times):
        return None
    kinks = _hinge.solution(flow, np.asarray(state.coefficient), np.asarray(state.margin), float(span))
    if kinks is None:
        return None
    ts, a, r = kinks
    states = MarginState(jnp.asarray(_hinge.between(times, ts, a)), jnp.asarray(_hinge.between(times, ts, r)))
    return _rows_of(flow, states), MarginState(jnp.asarray(a[-1]), jnp.asarray(r[-1]))


@eqx.filter_jit
def _rows_of(flow: MarginFlow, states: MarginState) -> dict[str, Array]:
    return jax.lax.map(flow.rows, states)
