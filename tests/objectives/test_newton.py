"""The fallback's Newton method against SciPy, exact solvers, differences, and functions without a minimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import dynamics as dyn
from dynamics import preferences
from dynamics._options import EMITTERS, quick_flags
from dynamics.objectives import _newton
from dynamics.objectives._newton import solve_least
from dynamics.sweeps import spread, vectorise

minimise = jax.jit(_newton.minimise, static_argnums=0)

LOSSES = {"logistic": lambda r: jax.nn.softplus(-r), "square": lambda r: (r - 0.5) ** 2}


def margins(loss, x, arguments):
    W, beta = arguments
    return W * loss(beta * (x[:, None] - x[None, :]))


VALUES = {name: functools.partial(margins, loss) for name, loss in LOSSES.items()}
OBJECTIVES = {"logistic": dyn.DPO, "square": dyn.IPO}
# As users compile it: tolerances are at the last digits.
FULL = {"xla_backend_optimization_level": 3} | ({EMITTERS: True} if EMITTERS in quick_flags("") else {})
FULL |= {"xla_llvm_disable_expensive_passes": False}
SOLVE = {name: jax.jit(functools.partial(minimise, value), compiler_options=FULL) for name, value in VALUES.items()}


def instance(seed, K, size=1.0):
    rng = np.random.default_rng(seed)
    A = size * rng.normal(size=(K, K))
    P = 1 / (1 + np.exp(A.T - A))
    return jnp.asarray(P), jnp.asarray(rng.dirichlet(np.ones(K)))


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("K", [2, 5])
@pytest.mark.parametrize("beta", [0.01, 2.0])
@pytest.mark.parametrize("far", [0.0, 50.0])
def test_it_is_the_exact_optimum(name, K, beta, far):
    for size in (0.1, 4.0):
        P, mu = instance(K, K, size)
        start = jnp.asarray(far * np.random.default_rng(1).normal(size=K) / beta)
        start -= start.mean()
        x, found = SOLVE[name](start, (preferences.win_rates(P, mu), jnp.asarray(beta)))
        expected = OBJECTIVES[name](beta).implicit_reward(P, jnp.log(mu)) / beta
        assert bool(found)
        np.testing.assert_allclose(x, expected, 1e-12, 1e-12 / beta * max(1.0, far / 5))


@pytest.mark.parametrize("name", LOSSES)
def test_masses_of_different_size_do_not_drown_each_other(name):
    P, _ = instance(3, 6)
    log_mu = jax.nn.log_softmax(-np.log(10.0) * jnp.linspace(0.0, 30.0, 6))
    W = preferences.win_rates(P, jnp.exp(log_mu))
    x, found = SOLVE[name](jnp.zeros(6), (W, jnp.asarray(1.0)))
    assert bool(found)
    np.testing.assert_allclose(x, OBJECTIVES[name](1.0).implicit_reward(P, log_mu), 1e-11, 1e-11)


def test_it_is_the_minimum_that_scipy_finds():
    """Convex functions of dense terms, unlike any loss of margins."""
    rng = np.random.default_rng(0)
    value = lambda x, a: jnp.logaddexp(a[0] @ x - a[1], -(a[0] @ x) + 0.3) + 0.01 * jnp.sum(x**4) / len(a[1])
    solve = jax.jit(functools.partial(minimise, value))
    for _ in range(5):
        A, b = jnp.asarray(rng.normal(size=(12, 4))), jnp.asarray(rng.normal(size=12))
        x, found = solve(jnp.asarray(10 * rng.normal(size=4)), (A, b))
        total = jax.jit(lambda x, A=A, b=b: jnp.sum(value(x, (A, b))))
        best = minimize(total, np.zeros(4), jac=jax.grad(total), method="BFGS", options={"gtol": 1e-10})
        assert bool(found)
        np.testing.assert_allclose(x, best.x, 1e-6, 1e-6)
        assert float(total(x)) <= best.fun + 1e-14 * abs(best.fun)


def test_a_scalar_will_do():
    """Without terms the scale of rounding is unknown; the step then says when it is done."""
    P, mu = instance(4, 4)
    W = preferences.win_rates(P, mu)
    x, found = minimise(lambda x, a: jnp.sum(VALUES["logistic"](x, a)), jnp.zeros(4), (W, jnp.asarray(1.0)))
    assert bool(found)
    np.testing.assert_allclose(x, dyn.DPO(1.0).implicit_reward(P, jnp.log(mu)), 1e-12, 1e-13)


def test_a_local_minimum_of_a_function_that_is_not_convex():
    double = lambda x, a: (x**2 - a) ** 2
    for start, end in ((0.1, 1.5), (-0.1, -1.5), (30.0, 1.5)):
        x, found = minimise(double, jnp.array([start]), jnp.asarray(2.25))
        assert bool(found)
        np.testing.assert_allclose(x, [end], 1e-13)


SEPARATED = {
    "one beats another": [[0.0, 1.0], [0.0, 0.0]],
    "one beats two that beat each other": [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.3, 0.0]],
    "hardly any mass": [[0.0, 1e-9, 0.0], [0.0, 0.0, 1.0], [0.0, 0.3, 0.0]],
}


@pytest.mark.parametrize("name", SEPARATED)
@pytest.mark.parametrize("far", [0.0, 40.0])
def test_without_a_minimum_nothing_is_found(name, far):
    W = jnp.asarray(SEPARATED[name])
    start = far * jnp.linspace(-1.0, 1.0, len(W))
    x, found = SOLVE["logistic"](start, (W, jnp.asarray(1.0)))
    assert not bool(found)
    assert bool(jnp.isfinite(x).all())


def test_a_function_without_bound_is_not_minimised():
    for value in (lambda x, a: a * x, lambda x, a: -a * x**2, lambda x, a: a / (1.0 + jnp.exp(x)) + 0.0 * x):
        x, found = minimise(value, jnp.array([1.0]), jnp.asarray(1.0))
        assert not bool(found)
        assert bool(jnp.isfinite(x).all())


@pytest.mark.parametrize("name", LOSSES)
def test_what_was_not_compared_stays(name):
    """Two components and a response by itself: each keeps its mean, so the start moves as little as may be."""
    W = jnp.zeros((5, 5)).at[0, 1].set(2.0).at[1, 0].set(1.0).at[2, 3].set(1e-3).at[3, 2].set(3e-3)
    start = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
    x, found = SOLVE[name](start, (W, jnp.asarray(1.0)))
    gaps = [np.log(2), -np.log(3)] if name == "logistic" else [(2 - 1) / 3 / 2, (1 - 3) / 4 / 2]
    assert bool(found)
    expected = [1.5 + gaps[0] / 2, 1.5 - gaps[0] / 2, 3.5 + gaps[1] / 2, 3.5 - gaps[1] / 2, 5.0]
    np.testing.assert_allclose(x, expected, 1e-13)
    turned = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    value = lambda z, a: VALUES[name](turned @ z, a)
    z, found = minimise(value, jnp.asarray(turned.T @ start), (W, jnp.asarray(1.0)))
    assert bool(found)
    np.testing.assert_allclose(turned @ z, expected, 1e-9)


def test_nothing_compared_leaves_the_start():
    x, found = SOLVE["logistic"](jnp.array([1.0, -2.0, 0.5]), (jnp.zeros((3, 3)), jnp.asarray(1.0)))
    assert bool(found)
    np.testing.assert_array_equal(x, [1.0, -2.0, 0.5])


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_are_those_of_the_exact_solver(name):
    P, mu = instance(5, 4)
    rng = np.random.default_rng(3)
    (d, e), dP = rng.normal(size=(2, 4)), rng.normal(size=(4, 4))
    d, e, dP = jnp.asarray(d), jnp.asarray(e), jnp.asarray(dP - dP.T)
    log_mu = lambda s, t: jax.nn.log_softmax(jnp.log(mu) + s * d + t * e)

    def fitted(s, t):
        W = preferences.win_rates(P + t * dP, jnp.exp(log_mu(s, t)))
        return minimise(VALUES[name], jnp.zeros(4), (W, jnp.asarray(1.0)))[0]

    def exact(s, t):
        pairs = preferences.Pairs(P + t * dP, log_mu(s, t), jnp.exp(log_mu(s, t)))
        f = OBJECTIVES[name](1.0).solve(pairs, jnp.zeros(4))[0]
        return f - f.mean()

    for argument in (0, 1):
        got, want = (jax.jit(jax.jacfwd(f, argument))(0.0, 0.0) for f in (fitted, exact))
        np.testing.assert_allclose(got, want, 1e-10, 1e-12)
    second = lambda f: jax.jit(jax.jacfwd(jax.jacfwd(f, 0), 1))
    np.testing.assert_allclose(second(fitted)(0.0, 0.0), second(exact)(0.0, 0.0), 1e-9, 1e-11)
    if name == "logistic":
        first = jax.jit(jax.jacfwd(fitted, 0))
        difference = (first(0.0, 1e-5) - first(0.0, -1e-5)) / 2e-5
        np.testing.assert_allclose(second(fitted)(0.0, 0.0), difference, atol=1e-7 * np.abs(difference).max())
    else:
        np.testing.assert_allclose(jax.jit(jax.jacrev(fitted, 1))(0.0, 0.0), want, 1e-10, 1e-12)


def test_flat_directions_follow_the_start():
    W = jnp.zeros((3, 3)).at[0, 1].set(2.0).at[1, 0].set(1.0)
    moved = jax.jacfwd(lambda start: SOLVE["logistic"](start, (W, jnp.asarray(1.0)))[0])(jnp.array([0.3, 0.1, -2.0]))
    np.testing.assert_allclose(moved, [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], atol=1e-13)


def test_least_solutions_are_numpys():
    rng = np.random.default_rng(6)
    A = rng.normal(size=(5, 3))
    H, b = A @ A.T, A @ rng.normal(size=3)
    np.testing.assert_allclose(solve_least(jnp.asarray(H), jnp.asarray(b)), np.linalg.pinv(H, 1e-12) @ b, 1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOSSES)
def test_transformations(name):
    lanes, K = 4, 3
    P, mu = (jnp.stack(x, axis=-1) for x in zip(*(instance(seed, K) for seed in range(lanes)), strict=True))
    start = jnp.asarray(20 * np.random.default_rng(0).normal(size=(K, lanes)))

    def one(P, mu, start):
        return minimise(VALUES[name], start - jnp.mean(start), (preferences.win_rates(P, mu), jnp.asarray(0.7)))

    once = jax.jit(one)
    singly = [once(P[..., k], mu[:, k], start[:, k]) for k in range(lanes)]
    assert all(bool(found) for _, found in singly)
    expected = jnp.stack([x for x, _ in singly], axis=-1)
    x, found = jax.jit(jax.vmap(one, -1, (-1, -1)))(P, mu, start)
    assert bool(found.all())
    np.testing.assert_allclose(x, expected, 1e-12, 1e-12)
    (x, found), flags = jax.jit(vectorise(one, (True, True, True), lanes))(P, mu, start)
    assert flags == (True, True) or all(bool(flag) for flag in flags)
    assert bool(found.all())
    np.testing.assert_allclose(spread(x, True, lanes), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_single_precision(name):
    P, mu = instance(8, 4)
    W = preferences.win_rates(P, mu).astype(jnp.float32)
    x, found = minimise(VALUES[name], jnp.zeros(4, jnp.float32), (W, jnp.float32(1.0)))
    assert bool(found)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, OBJECTIVES[name](1.0).implicit_reward(P, jnp.log(mu)), 2e-5, 2e-6)
    bad = jnp.asarray(SEPARATED["one beats two that beat each other"], jnp.float32)
    assert not bool(minimise(VALUES["logistic"], jnp.zeros(3, jnp.float32), (bad, jnp.float32(1.0)))[1])


def test_few_steps_suffice(monkeypatch):
    """Newton's method from the reference: a quadratic needs one step, the logistic loss a handful."""
    P, mu = instance(9, 5)
    W = preferences.win_rates(P, mu)
    for name, steps in (("square", 3), ("logistic", 9)):
        monkeypatch.setattr(_newton, "MAX_ITERATIONS", steps)
        assert bool(_newton.minimise(VALUES[name], jnp.zeros(5), (W, jnp.asarray(1.0)))[1])
