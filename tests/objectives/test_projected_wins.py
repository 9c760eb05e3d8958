"""Log-linear optima of a finite number of comparisons: against SciPy, the unrestricted ones, and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from dynamics import DPO, IPO
from dynamics._numerics import gauge_basis
from dynamics.preferences import Masses
from dynamics.sweeps import spread, vectorise


def within(objective, basis, wins, smoothing=0.0):
    wins, basis = jnp.asarray(wins), None if basis is None else jnp.asarray(basis)
    return objective.solve(Masses(wins, jnp.sum(wins), smoothing), jnp.zeros(len(wins)), basis)


def check_separation_wins(basis, wins):
    DPO(1.0).check_optimum(Masses(wins, wins.sum()), np.ones(len(wins), bool), basis)


least_squares_wins = jax.jit(lambda basis, wins: within(IPO(1.0), basis, wins))
logistic_wins = jax.jit(lambda basis, wins, smoothing: within(DPO(1.0), basis, wins, smoothing))
ZERO = jnp.asarray(0.0)


def counts(seed, K, most=9):
    wins = np.random.default_rng(seed).integers(1, most, size=(K, K)).astype(float)
    np.fill_diagonal(wins, 0.0)
    return wins


def basis_of(seed, K, m):
    features = np.random.default_rng(seed).normal(size=(K, m))
    return np.linalg.qr(features - features.mean(0))[0]


def test_they_are_the_minima_that_scipy_finds():
    K, m = 6, 3
    for seed in range(4):
        wins, B = counts(seed, K), basis_of(seed, K, m)
        wins[0, 1] = wins[1, 0] = 0.0
        gap = lambda w, B=B: (B @ w)[:, None] - (B @ w)[None, :]
        square = lambda w, wins=wins, gap=gap: np.sum(wins * (gap(w) - 0.5) ** 2)
        logistic = lambda w, wins=wins, gap=gap: np.sum((wins + 0.3 * (wins + wins.T > 0)) * np.logaddexp(0.0, -gap(w)))
        for loss, (f, found) in (
            (square, least_squares_wins(B, wins)),
            (logistic, logistic_wins(B, wins, jnp.asarray(0.3))),
        ):
            best = minimize(loss, np.zeros(m), method="BFGS", options={"gtol": 1e-9})
            assert bool(found)
            np.testing.assert_allclose(f, B @ best.x, atol=2e-6)
            assert loss(B.T @ np.asarray(f)) <= best.fun * (1 + 1e-12)


@pytest.mark.parametrize("components", [[[0, 1, 2, 3, 4]], [[0, 1], [2, 3], [4]], [[0], [1], [2], [3], [4]]])
def test_the_whole_gauge_gives_the_unrestricted_optimum(components):
    wins = np.zeros((5, 5))
    for group in components:
        wins[np.ix_(group, group)] = counts(1, 5)[np.ix_(group, group)]
    B, wins = jnp.asarray(gauge_basis(5)), jnp.asarray(wins)
    for smoothing in (0.0, 0.5):
        f, found = logistic_wins(B, wins, jnp.asarray(smoothing))
        assert bool(found)
        expected, _ = within(DPO(1.0), None, wins, smoothing)
        np.testing.assert_allclose(f, expected, 1e-10, 1e-11)
    f, found = least_squares_wins(B, wins)
    assert bool(found)
    np.testing.assert_allclose(f, within(IPO(1.0), None, wins)[0], 1e-10, 1e-11)


def test_directions_left_open_have_least_norm():
    """Responses 0 and 1 alone were compared: of a class of two directions one is open, and f has no part along it."""
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 0] = 3.0, 1.0
    B = basis_of(4, 5, 2)
    row = B[0] - B[1]
    for gap, (f, found) in ((0.25, least_squares_wins(B, wins)), (np.log(3), logistic_wins(B, wins, ZERO))):
        assert bool(found)
        np.testing.assert_allclose(f, B @ (row * gap / (row @ row)), 1e-11, 1e-13)


def test_masses_of_very_different_size():
    """The heavy pairs are met as if alone; what they leave open is decided by light ones."""
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 0], wins[1, 2], wins[2, 1] = 3.0, 1.0, 1e-250, 5e-250
    f, found = logistic_wins(gauge_basis(3), wins, ZERO)
    assert bool(found)
    np.testing.assert_allclose([f[0] - f[1], f[1] - f[2]], [np.log(3), -np.log(5)], 1e-11)


SEPARATED = {
    "the top never lost": ([[0, 2, 1], [0, 0, 1], [0, 3, 0]], 2, False),
    "a chain": ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], 2, False),
    "a circle": ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], 2, True),
    "only where the class cannot follow": ([[0, 4, 1], [0, 0, 1], [3, 3, 0]], 1, True),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_what_separates_is_not_found_and_refused(name):
    wins, m, exists = SEPARATED[name]
    wins, B = np.array(wins, float), gauge_basis(3) if SEPARATED[name][1] == 2 else gauge_basis(3)[:, 1:]
    assert B.shape[1] == m
    f, found = logistic_wins(B, wins, ZERO)
    assert bool(jnp.isfinite(f).all())
    assert bool(found) == exists
    if exists:
        check_separation_wins(B, wins)
    else:
        with pytest.raises(ValueError, match="DPO has no finite optimum within these features: some direction"):
            check_separation_wins(B, wins)
    assert bool(logistic_wins(B, wins, jnp.asarray(0.1))[1])
    check_separation_wins(B, wins + 0.1 * (wins + wins.T > 0))


def test_nothing_compared():
    check_separation_wins(gauge_basis(3), np.zeros((3, 3)))
    for f, found in (
        least_squares_wins(gauge_basis(3), np.zeros((3, 3))),
        logistic_wins(gauge_basis(3), np.zeros((3, 3)), ZERO),
    ):
        assert bool(found)
        np.testing.assert_array_equal(f, 0.0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["square", "logistic"])
def test_derivatives(name):
    K, B = 4, jnp.asarray(basis_of(2, 4, 2))
    wins = jnp.asarray(counts(5, K))
    d, e = (jnp.asarray(x * (1 - np.eye(K))) for x in np.random.default_rng(0).normal(size=(2, K, K)))
    fit = (
        (lambda W: least_squares_wins(B, W)[0])
        if name == "square"
        else (lambda W: logistic_wins(B, W, jnp.asarray(0.2))[0])
    )
    value = jax.jit(lambda s, t: fit(wins + s * d + t * e))
    first, second = jax.jit(jax.jacfwd(value, 0)), jax.jit(jax.jacfwd(jax.jacfwd(value, 0), 1))
    np.testing.assert_allclose(first(0.0, 0.0), (value(1e-5, 0.0) - value(-1e-5, 0.0)) / 2e-5, 1e-6, 1e-9)
    np.testing.assert_allclose(second(0.0, 0.0), (first(0.0, 1e-5) - first(0.0, -1e-5)) / 2e-5, 1e-5, 1e-8)


@pytest.mark.thorough
def test_transformations():
    lanes, B = 3, jnp.asarray(basis_of(2, 4, 2))
    wins = jnp.stack([jnp.asarray(counts(seed, 4)) for seed in range(lanes)], axis=-1)
    one = lambda W: (least_squares_wins(B, W), logistic_wins(B, W, jnp.asarray(0.1)))
    once = jax.jit(one)
    expected = jax.tree.map(lambda *x: jnp.stack(x, axis=-1), *(once(wins[..., k]) for k in range(lanes)))
    got = jax.jit(jax.vmap(one, -1, -1))(wins)
    flat, flags = jax.jit(vectorise(one, (True,), lanes))(wins)
    flat = jax.tree.map(lambda x, flag: spread(x, flag, lanes) if x.shape[-1:] != (lanes,) else x, flat, flags)
    for found in (got, flat):
        for (a, ok), (b, _) in zip(found, expected, strict=True):
            assert bool(ok.all())
            np.testing.assert_allclose(a, b, 1e-11, 1e-12)
