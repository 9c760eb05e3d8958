"""Pairs with weights of each response and a beta of each pair, against dense one-hot labels and a head with its softmax."""

import ast
import graphlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import margin_oracles as oracles
import numpy as np
import optax
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

import dynamics as dyn
from dynamics.flows import PairFeatures

FLOWS = Path(dyn.flows.__file__).parent
RNG = np.random.default_rng


def drawn(seed, N=6, d=3, used=4, weighted=True):
    """Raw pairs by name; with different weights of the two responses where ``weighted``."""
    rng = RNG(seed)
    chosen = rng.integers(0, used, N)
    pairs = {
        "features": rng.normal(size=(N, d)),
        "chosen": 3 * chosen + 1,  # ids with gaps
        "rejected": 3 * ((chosen + rng.integers(1, used, N)) % used) + 1,
        "weights": rng.uniform(0.2, 1.0, N),
        "scale": rng.uniform(0.5, 2.0, N),
    }
    if weighted:
        pairs |= {name: rng.uniform(0.3, 1.5, N) for name in ("chosen_weight", "rejected_weight")} | {"reward": "logit"}
    return pairs


def directions(x, V):
    """x_i = s_i (w_c e_c - w_r e_r) ⊗ g_i as dense (N, V, d)."""
    y = np.eye(V)[x["chosen"]] * np.reshape(x.get("chosen_weight", np.ones(len(x["chosen"]))), (-1, 1))
    y = y - np.eye(V)[x["rejected"]] * np.reshape(x.get("rejected_weight", np.ones(len(x["chosen"]))), (-1, 1))
    return np.reshape(x.get("scale", np.ones(len(x["chosen"]))), (-1, 1, 1)) * y[:, :, None] * x["features"][:, None, :]


def dense_flow(x, kind, beta, time, reward, V=12):
    """Margins and W(t) - W(0) of a V × d head, trained through its softmax where the reward is a log-probability."""
    g, N = x["features"], len(x["chosen"])
    W0 = 0.4 * RNG(99).normal(size=(V, g.shape[1]))
    y_w, y_l = np.eye(V)[x["chosen"]], np.eye(V)[x["rejected"]]
    w_c, w_r = (np.broadcast_to(x.get(f"{name}_weight", 1.0), N)[:, None] for name in ("chosen", "rejected"))
    share = x["weights"] / x["weights"].sum()
    betas = beta * x.get("scale", np.ones(N))
    values = (lambda z: log_softmax(z, axis=1)) if reward == "log_probability" else (lambda z: z)
    start = values(g @ W0.T)

    def margins(W):
        h = values(g @ W.T) - start
        return betas * ((w_c * y_w - w_r * y_l) * h).sum(1)

    def velocity(_, flat):
        W = flat.reshape(V, -1)
        p = softmax(g @ W.T, axis=1) if reward == "log_probability" else 0.0
        direction = w_c * (y_w - p) - w_r * (y_l - p)
        push = share * oracles.loss_slope(kind, margins(W), betas) * betas
        return -((push[:, None] * direction).T @ g).reshape(-1)

    out = scipy.integrate.solve_ivp(velocity, (0, time), W0.reshape(-1), "DOP853", rtol=1e-13, atol=1e-14)
    W = out.y[:, -1].reshape(V, -1)
    return margins(W), W - W0, W0


def solved(x, kind, beta, time, **options):
    flow = dyn.MarginFlow(PairFeatures(**x), objective=getattr(dyn, kind)(beta), **options)
    return flow, dyn.gradient_flow(flow, time, saveat=diffrax.SaveAt(t1=True), rtol=1e-12, atol=1e-13)


@pytest.mark.thorough
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(1, 2, 2), (6, 3, 4), (9, 2, 12)]), weighted=st.booleans())
def test_linear_algebra_is_that_of_dense_one_hot_labels(seed, shape, weighted):
    N, d, used = shape
    x, other = drawn(seed, N, d, used, weighted), drawn(seed + 1, N, d, used + 1, not weighted)
    V, rng = 3 * used + 5, RNG(seed)
    pairs, unseen = PairFeatures(**x), PairFeatures(**other)
    X, Y = directions(x, V), directions(other, V)
    tokens = np.unique([x["chosen"], x["rejected"]])
    np.testing.assert_array_equal(pairs.tokens, tokens)
    head, a = rng.normal(size=(len(tokens), d)), rng.normal(size=N)
    whole = np.zeros((V, d))
    whole[tokens] = head
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(pairs.apply(jnp.asarray(head)), np.einsum("nvd,vd->n", X, whole), **close)
    np.testing.assert_allclose(pairs.combine(jnp.asarray(a)), np.einsum("nvd,n->vd", X, a)[tokens], **close)
    np.testing.assert_allclose(pairs.gram(), np.einsum("nvd,mvd->nm", X, X), **close)
    np.testing.assert_allclose(pairs.cross(unseen), np.einsum("mvd,nvd->mn", Y, X), **close)
    np.testing.assert_allclose(pairs.weights, x["weights"] / x["weights"].sum(), rtol=1e-15)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_examples_in_another_order_are_the_same_examples(seed):
    x, order = drawn(seed), RNG(seed).permutation(6)
    turned = PairFeatures(**{name: value if isinstance(value, str) else value[order] for name, value in x.items()})
    pairs = PairFeatures(**x)
    head, a = RNG(seed).normal(size=pairs.head_shape), jnp.asarray(RNG(seed).normal(size=6))
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(turned.apply(jnp.asarray(head)), pairs.apply(jnp.asarray(head))[order], **close)
    np.testing.assert_allclose(turned.combine(a[order]), pairs.combine(a), **close)
    np.testing.assert_allclose(turned.gram(), pairs.gram()[order][:, order], **close)
    np.testing.assert_allclose(turned.cross(pairs), pairs.gram()[:, order], **close)


def test_a_batch_of_pairs_is_its_members():
    many = [drawn(seed) for seed in range(3)]
    names = [name for name in many[0] if name != "reward"]
    batch = PairFeatures(**{name: np.stack([x[name] for x in many]) for name in names}, reward="logit")
    assert batch.is_batch
    a = jnp.asarray(RNG(0).normal(size=(3, 6)))
    heads = jnp.asarray(RNG(1).normal(size=(3, *batch.head_shape)))
    for b, x in enumerate(many):
        one = PairFeatures(**x)
        own = np.searchsorted(batch.tokens, one.tokens)
        np.testing.assert_allclose(batch.apply(heads)[b], one.apply(heads[b][own]), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(batch.combine(a)[b][own], one.combine(a[b]), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(batch.gram()[b], one.gram(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(batch.cross(batch)[b], one.gram(), rtol=1e-12, atol=1e-13)
    flow = dyn.MarginFlow(batch, objective=dyn.IPO(0.7))
    sol = dyn.gradient_flow(flow, 2.0, saveat=diffrax.SaveAt(t1=True))
    for b, x in enumerate(many):
        np.testing.assert_allclose(sol.reward_margin[b], solved(x, "IPO", 0.7, 2.0)[1].reward_margin, rtol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("reward", ["log_probability", "logit"])
@pytest.mark.parametrize("kind", ["DPO", "IPO", "SquaredMargin"])
def test_weights_and_betas_against_a_dense_head(kind, reward):
    x = drawn(3, weighted=reward == "logit")
    if (
        reward == "log_probability"
    ):  # equal weights of a pair's responses, such as 1/length, keep log-probabilities closed
        own = RNG(5).uniform(0.3, 1.5, 6)
        x |= {"chosen_weight": own, "rejected_weight": own.copy(), "reward": reward}
    expected, moved, W0 = dense_flow(x, kind, 0.7, 1.5, reward)
    flow, sol = solved(x, kind, 0.7, 1.5)
    np.testing.assert_allclose(sol.reward_margin[-1], expected, rtol=1e-10, atol=1e-11)
    assert float(sol.head_change[-1]) == pytest.approx(np.linalg.norm(moved), rel=1e-9)
    betas = 0.7 * x["scale"]
    loss = oracles.loss(kind, expected, betas) @ (x["weights"] / x["weights"].sum())
    assert float(sol.loss[-1]) == pytest.approx(loss, rel=1e-9)
    # Every response by itself, and examples that were not trained on: one with plain weights, one with its own.
    g, at = x["features"], np.arange(6)
    h = log_softmax(g @ (W0 + moved).T, axis=1) - log_softmax(g @ W0.T, axis=1)
    responses = flow.response_rewards(sol, W0)
    for mine, name in zip(responses, ("chosen", "rejected"), strict=True):
        np.testing.assert_allclose(mine[-1], betas * x[f"{name}_weight"] * h[at, x[name]], rtol=1e-8, atol=1e-10)
    other = {**drawn(4, used=3), "reward": "logit"}
    for unseen, theirs in (
        (other, PairFeatures(**other)),
        ({k: other[k] for k in ("features", "chosen", "rejected")}, None),
    ):
        margin = 0.7 * np.einsum("mvd,vd->m", directions(unseen, 12), moved)
        given = (theirs,) if theirs is not None else tuple(unseen.values())
        np.testing.assert_allclose(flow.predict(sol, *given)[-1], margin, rtol=1e-8, atol=1e-10)
        own = flow.response_rewards(sol, W0, *given)
        h = log_softmax(unseen["features"] @ (W0 + moved).T, axis=1) - log_softmax(unseen["features"] @ W0.T, axis=1)
        weight = unseen.get("scale", 1.0) * unseen.get("rejected_weight", 1.0)
        np.testing.assert_allclose(own.rejected[-1], 0.7 * weight * h[at, unseen["rejected"]], rtol=1e-8, atol=1e-10)


def test_unequal_weights_of_log_probabilities_are_another_flow():
    """What is refused would have been wrong: log Z moves the margin by more than rounding."""
    x = drawn(3)
    of_logits, _, _ = dense_flow(x, "DPO", 0.7, 1.5, "logit")
    of_probabilities, _, _ = dense_flow(x, "DPO", 0.7, 1.5, "log_probability")
    assert np.abs(of_logits - of_probabilities).max() > 1e-2
    with pytest.raises(ValueError, match=r"chosen_weight\[0\] = .* not equal, .* pass reward='logit'"):
        PairFeatures(**{**x, "reward": "log_probability"})
    with pytest.raises(ValueError, match=r"rejected_weight\[0\] = 1 are not equal"):
        PairFeatures(x["features"], x["chosen"], x["rejected"], chosen_weight=np.full(6, 0.5))


@pytest.mark.parametrize("shape", [(40, 2), (6, 8)], ids=["more examples than weights", "fewer"])
def test_both_forms_with_a_beta_of_each_pair_are_the_same_flow(shape):
    x = drawn(6, *shape, used=3)
    margins = [solved(x, "IPO", 0.7, 2.0, form=form)[1].reward_margin for form in ("dual", "primal")]
    np.testing.assert_allclose(*margins, rtol=1e-10, atol=1e-11)


@pytest.mark.thorough
def test_a_scale_of_one_and_weights_of_one_change_nothing():
    plain = {name: value for name, value in drawn(7, weighted=False).items() if name != "scale"}
    ones = plain | dict.fromkeys(("chosen_weight", "rejected_weight", "scale"), np.ones(6))
    for kind in ("DPO", "IPO", "SLiC"):
        a, b = (solved(x, kind, 0.7, 2.0)[1] for x in (plain, ones))
        np.testing.assert_allclose(a.reward_margin, b.reward_margin, rtol=1e-12, atol=1e-13)
    whole = dyn.MarginFlow(*list(plain.values())[:3], dyn.IPO(0.7), weights=plain["weights"])
    np.testing.assert_array_equal(
        dyn.gradient_flow(whole, 2.0, saveat=diffrax.SaveAt(t1=True)).reward_margin,
        solved(plain, "IPO", 0.7, 2.0)[1].reward_margin,
    )


def test_descent_with_weights_and_betas_is_that_of_the_dense_head():
    x, beta, V = drawn(8), 0.7, 12
    flow = dyn.MarginFlow(PairFeatures(**x), objective=dyn.IPO(beta))
    X, W = directions(x, V), np.zeros((V, 3))
    for _ in range(5):
        r = beta * np.einsum("nvd,vd->n", X, W)
        push = x["weights"] / x["weights"].sum() * oracles.loss_slope("IPO", r, beta * x["scale"])
        W = W - 0.1 * beta * np.einsum("n,nvd->vd", push, X)
    sol = dyn.descend(flow, optax.sgd(0.1), steps=5)
    np.testing.assert_allclose(sol.head[-1], W[np.asarray(flow.tokens)], rtol=1e-11, atol=1e-12)
    head = jnp.asarray(RNG(0).normal(size=flow.pairs.head_shape))
    draws = jax.vmap(lambda k: flow.gradient(head, k, 8))(jax.random.split(jax.random.key(0), 3000))
    error = np.abs(draws.mean(0) - flow.gradient(head, None, None)) / (draws.std(0) / np.sqrt(3000) + 1e-12)
    assert error.max() < 4.5


class Kinked(dyn.objectives.MarginLoss):
    """A loss of one's own: slope ``below`` up to ``kink`` and ``above`` after it."""

    kink: float = 2.0
    below: float = -3.0
    above: float = 0.0

    def __init__(self, beta, kink=2.0, below=-3.0, above=0.0):
        super().__init__(beta)
        self.kink, self.below, self.above = kink, below, above

    def loss(self, margin):
        return jnp.where(margin < self.kink, self.below, self.above) * (margin - self.kink)

    def slope(self, margin):
        return jnp.where(margin < self.kink, self.below, self.above)

    def hinge(self):
        return self.kink, self.below, self.above


@pytest.mark.thorough
@pytest.mark.parametrize(("above", "kink"), [(0.0, 2.0), (1.5, 0.75), (-0.5, 1.25)])
def test_an_own_piecewise_linear_loss_against_small_explicit_steps(above, kink):
    x = drawn(9, N=14, d=2, used=3)
    flow = dyn.MarginFlow(PairFeatures(**x), objective=Kinked(0.9, kink, -3.0, above))
    ts = jnp.linspace(0.0, 6.0, 25)
    sol = dyn.gradient_flow(flow, 6.0, saveat=diffrax.SaveAt(ts=ts))
    assert int(sol.stats["steps"]) == 0  # exactly
    X = directions(x, 12).reshape(14, -1)
    C, w = 0.81 * X @ X.T, x["weights"] / x["weights"].sum()
    errors = []
    for steps in (30_000, 120_000):
        r = np.zeros(14)
        for _ in range(steps):
            r = r - 6.0 / steps * C @ (w * np.where(r < kink, -3.0, above))
        errors.append(np.abs(r - np.asarray(sol.reward_margin[-1])).max())
    assert errors[1] < 2e-3
    assert errors[1] < 0.5 * errors[0]
    # Between saved times every coefficient moves within its two slopes, and at the lower one where it stays below the kink.
    r, speed = np.asarray(sol.reward_margin), np.diff(np.asarray(sol.coefficient), axis=0) / 0.25
    assert (speed <= 3.0 * w + 1e-12).all()
    assert (speed >= -above * w - 1e-12).all()
    low = (np.maximum(r[1:], r[:-1]) < kink - 1e-9) & (np.abs(np.diff(r, axis=0)) > 0)
    np.testing.assert_allclose(speed[low], np.broadcast_to(3.0 * w, speed.shape)[low], rtol=1e-9)
    if above == 0.0:
        assert (np.abs(r[-1] - kink) < 1e-9).sum() >= 2  # some slide


def test_own_kinks_in_a_batch_and_in_words():
    x = drawn(9, N=14, d=2, used=3)
    one = dyn.MarginFlow(PairFeatures(**x), objective=Kinked(0.9))
    names = [name for name in x if name != "reward"]
    twice = PairFeatures(**{name: np.stack([x[name]] * 2) for name in names}, reward="logit")
    both = dyn.gradient_flow(dyn.MarginFlow(twice, objective=Kinked(0.9)), 3.0)
    assert int(both.stats["steps"][1]) == 0
    np.testing.assert_array_equal(both.reward_margin[1], dyn.gradient_flow(one, 3.0).reward_margin)
    assert "slide along Kinked's kink at 2," in one.advice()
    assert "SLiC's kink at 1," in eqx.tree_at(lambda f: f.objective, one, dyn.SLiC(1.0)).advice()
    assert "conflicting labels" in dyn.MarginFlow(PairFeatures(**x), objective=dyn.DPO(1.0)).advice()


class Bowl(dyn.objectives.MarginLoss):
    """f(r) = 2 (r - 3)², or says so."""

    def __init__(self, beta, says=(2.0, 3.0), power=1):
        super().__init__(beta)
        self.says, self.power = says, power

    says: tuple = eqx.field(static=True)
    power: int = eqx.field(static=True)

    def slope(self, margin):
        return 4.0 * (margin - 3.0) ** self.power

    def loss(self, margin):
        return 4.0 / (self.power + 1) * (margin - 3.0) ** (self.power + 1)

    def parabola(self):
        return self.says


def test_an_own_squared_loss_is_solved_exactly():
    x = drawn(10, N=5, d=4)
    flow = dyn.MarginFlow(PairFeatures(**x), objective=Bowl(0.6))
    sol = dyn.gradient_flow(flow, 1.0, saveat=diffrax.SaveAt(t1=True))
    assert int(sol.stats["steps"]) == 0
    X = directions(x, 12).reshape(5, -1)
    B, w = 0.36 * X @ X.T, x["weights"] / x["weights"].sum()
    rhs = lambda _, r: -4 * B @ (w * (r - 3))
    expected = scipy.integrate.solve_ivp(rhs, (0, 1.0), np.zeros(5), "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(sol.reward_margin[-1], expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (Bowl(1.0, (2.0, 2.5)), r"Bowl.parabola\(\) says f\(r\) = 2 \(r - 2.5\)², but its slope at r = .* correct one"),
        (Bowl(1.0, (1.0, 3.0)), r"Bowl.parabola\(\) says f\(r\) = 1 \(r - 3\)², but"),
        (Bowl(1.0, (2.0, 3.0), power=3), r"Bowl.parabola\(\) says .* but its slope"),
        (Bowl(1.0, (-2.0, 3.0)), r"Bowl.parabola\(\) says s = -2, which has no minimum; return s > 0"),
        (Bowl(1.0, (2.0,)), r"Bowl.parabola\(\) returns \(2.0,\); return finite numbers \(s, r0\)"),
        (Bowl(1.0, (2.0, np.nan)), r"return finite numbers"),
        (Kinked(1.0, 2.0, -1.0, -2.0), r"Kinked.hinge\(\) says .* not convex"),
    ],
)
def test_a_declared_shape_that_is_not_the_slopes_is_refused(objective, words):
    with pytest.raises(ValueError, match=words):
        dyn.MarginFlow(PairFeatures(**drawn(0)), objective=objective)


@pytest.mark.parametrize("wrong", [{"kink": 2.001}, {"below": -3.01}, {"above": 0.1}])
def test_a_declared_hinge_that_is_not_the_slopes_is_refused(wrong):
    class Misdeclared(dyn.objectives.MarginLoss):
        def loss(self, margin):
            return Kinked(1.0).loss(margin)

        def hinge(self):
            return tuple(wrong.get(name, getattr(Kinked(1.0), name)) for name in ("kink", "below", "above"))

    with pytest.raises(
        ValueError, match=r"Misdeclared.hinge\(\) says .* but its slope at r = .* correct one of the two"
    ):
        dyn.MarginFlow(PairFeatures(**drawn(0)), objective=Misdeclared(1.0))


def test_labels_say_what_the_margins_are_margins_of():
    label = lambda **x: dyn.MarginFlow(PairFeatures(**x), objective=dyn.DPO(1.0)).variables()["reward_margin"].long_name
    plain = {name: drawn(0)[name] for name in ("features", "chosen", "rejected")}
    assert label(**plain) == "reward margin r = beta (h_w - h_l)"
    assert label(**drawn(0)) == "reward margin of logits r = s beta (w_c h_c - w_r h_r)"


def test_costs_decide_the_form():
    few, many = (PairFeatures(RNG(0).normal(size=(N, 2)), np.zeros(N, int), np.ones(N, int)) for N in (6, 5000))
    assert (few.cheaper_form(), many.cheaper_form()) == ("dual", "primal")
    assert few.dual_bytes == 8 * 36
    assert many.numbers("dual") > many.numbers("primal")
    assert dyn.MarginFlow(many, objective=dyn.DPO(1.0)).form == "primal"


def test_pairs_are_final():
    with pytest.raises(TypeError, match=r"PairFeatures is final.*hold an instance of it in your own class"):
        type("Mine", (PairFeatures,), {})


def test_traced_weights_that_may_differ_are_refused():
    x = drawn(0)
    build = lambda w, l, **rest: PairFeatures(
        x["features"], x["chosen"], x["rejected"], chosen_weight=w, rejected_weight=l, **rest
    )
    with pytest.raises(ValueError, match=r"are traced and may differ, .* reward='logit'"):
        jax.eval_shape(build, jnp.ones(6), jnp.ones(6))
    same = jax.eval_shape(lambda w: build(w, w).gram(), jnp.ones(6))
    other = jax.eval_shape(lambda w, l: build(w, l, reward="logit").gram(), jnp.ones(6), jnp.ones(6))
    assert same.shape == other.shape == (6, 6)


def test_no_module_of_flows_imports_another_in_a_circle():
    """Imports for the type checker count."""
    names = {path.stem for path in FLOWS.glob("_*.py")} - {"__init__"}
    graph = {}
    for name in names:
        found = [n for n in ast.walk(ast.parse((FLOWS / f"{name}.py").read_text())) if isinstance(n, ast.ImportFrom)]
        own = [node for node in found if node.level == 1]
        graph[name] = (
            set(itertools.chain(*([n.module] if n.module else [a.name for a in n.names] for n in own))) & names
        )
    assert graph["_margin"] >= {"_pairs", "_exact", "_unseen"}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names the circle


SETUP = """
import json, sys, warnings
warnings.simplefilter("ignore")
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import dynamics as dyn
g, w, l = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 0, 2]), np.array([1, 0, 2, 0])
def pairs(features=g, chosen=w, rejected=l, **options):
    return dyn.flows.PairFeatures(features, chosen, rejected, **options)
def flow(features=None, **options):
    return dyn.MarginFlow(pairs() if features is None else features, objective=dyn.DPO(1.0), **options)
sol = dyn.gradient_flow(flow(), 1.0)
replies = dyn.margins.Responses(np.ones((2, 1, 3)), np.ones((2, 1, 3)), np.zeros((2, 1), int), np.ones((2, 1), int))
batch, padded = np.stack([g, g]), np.array([[0, 1, 0, -1], [1, 0, 2, -1]])
out = {}
for code in json.load(sys.stdin):
    try:
        eval(code)
        out[code] = "no error"
    except Exception as error:
        out[code] = f"{type(error).__name__}: {error}"
print(json.dumps(out))
"""
SEVERAL = "responses of several tokens have no closed equation for margins.*multi_token_rate"
REFUSED = {
    "pairs(replies)": f"features is a Responses; {SEVERAL}",
    "dyn.MarginFlow(replies, w, l, dyn.DPO(1.0))": f"features is a Responses; {SEVERAL}",
    "pairs(batch, padded, padded)": f"chosen has shape .* and -1 for padding; {SEVERAL}",
    "dyn.MarginFlow(batch, w, padded, dyn.DPO(1.0))": f"rejected has shape .* and -1 for padding; {SEVERAL}",
    "pairs(g, padded.T, padded.T)": f"chosen has shape .*; {SEVERAL}",
    "pairs((batch, batch))": f"features have shape .*; {SEVERAL}",
    "pairs(chosen=[0, -1, 0, 2])": r"chosen\[1\] = -1 is not a token id",
    "pairs(rejected=w)": "are both token 0",
    "pairs(g[:, :0])": "features have shape",
    "pairs(weights=[1, 2])": "weights have shape",
    "pairs(weights=[-1, 1, 1, 1])": "negative",
    "pairs(vocabulary=2)": "is not a token id; pass ids in 0 … 1",
    "pairs(chosen_weight=np.ones(3))": r"chosen_weight has shape \(3,\); pass one number per example",
    "pairs(chosen_weight=[1, 0, 1, 1], reward='logit')": r"chosen_weight\[1\] = 0; pass finite numbers above 0",
    "pairs(rejected_weight=[1, 1, np.inf, 1], reward='logit')": r"rejected_weight\[2\] = inf; pass finite",
    "pairs(scale=[1, 1, 1, -2])": r"scale\[3\] = -2; pass finite numbers above 0",
    "pairs(scale='x')": "scale is 'x'; pass numbers",
    "pairs(batch, scale=np.full((2, 4), np.nan))": r"scale\[0, 0\] = nan",
    "pairs(reward='prob')": "reward = 'prob' is unknown; pass 'log_probability' or 'logit'",
    "pairs(rejected_weight=np.full(4, 0.5))": r"chosen_weight\[0\] = 1 and rejected_weight\[0\] = 0.5 are not equal",
    "dyn.MarginFlow(pairs(), w, objective=dyn.DPO(1.0))": "chosen is part of the PairFeatures",
    "flow(rejected=l)": "rejected is part of the PairFeatures",
    "flow(weights=np.ones(4))": "weights is part of the PairFeatures",
    "flow(vocabulary=9)": "vocabulary is part of the PairFeatures",
    "dyn.MarginFlow(pairs(), dyn.DPO(1.0))": "chosen is part of the PairFeatures.*objective=",
    "dyn.MarginFlow(pairs())": "objective is None; pass",
    "flow(g)": "chosen is None; pass token ids",
    "pairs().cross(pairs(g[:, :2]))": "pass pairs with the same d",
    "pairs().cross(pairs(batch))": "same number of sets",
    "flow().predict(sol, pairs(), w, l)": "are part of the PairFeatures",
    "flow().predict(sol, pairs(g[:, :2]))": r"pass shape \(M, 3\)",
    "flow().predict(sol, pairs(batch))": r"pass shape \(M, 3\)",
    "flow().predict(sol, g, w)": "pass all three, or one PairFeatures",
    "flow().response_rewards(sol, np.zeros((4, 3)), pairs(rejected=[9, 9, 9, 9]))": r"rejected\[0\] = 9 is not a token id",
}


@pytest.fixture(scope="module")
def messages():
    code = [sys.executable, "-c", SETUP]
    done = subprocess.run(code, input=json.dumps(list(REFUSED)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.thorough
@pytest.mark.parametrize("code", REFUSED)
def test_one_sentence_names_the_entry(messages, code):
    assert messages[code].startswith("ValueError: "), messages[code]
    assert re.search(REFUSED[code], messages[code]), messages[code]
    assert "\n" not in messages[code]
