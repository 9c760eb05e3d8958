"""Statements 4.1 to 4.3 and 7.8 of docs/theory/generalization.md, where no theorem object states them."""

from __future__ import annotations

import math

import margin_oracles
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2

import dynamics as dyn
from dynamics import theorems

LOG3 = math.log(3.0)


@pytest.mark.parametrize(("K", "root"), [(1, 1.43e5), (10, 1.60e5)])
def test_the_published_probability_is_vacuous_below_its_root_whatever_c_is(K, root):
    excess = lambda Q: math.log(8 * K) + 2.25 * math.log(Q) - Q**0.75 / 256
    found = brentq(excess, 1e4, 1e7)
    assert root <= found < root + 1e3
    Q = np.arange(1, int(root))
    assert (np.log(8 * K) + 2.25 * np.log(Q) - Q**0.75 / 256 > 0).all()


def worst_noise(Q, d):
    """The eps of 7.8 C at delta = N exp(-32 Q), for one pair and the largest v of 7.8 D."""
    v, N = 1 / (32 * math.sqrt(Q)), 2 * Q
    delta = N * math.exp(-32 * Q)
    return theorems.noise_norm(v, d, N, delta), v


@pytest.mark.parametrize("Q", [1, 2, 7, 20])
@pytest.mark.parametrize("l_b", [0.0, 0.25, math.sqrt(1 / 8)])
@pytest.mark.parametrize("share", [1e-6, 0.5, 1.0])
def test_the_corollary_of_noisy_margins_and_noisy_error(Q, l_b, share):
    """Statement 7.8 D from A, B and C, at the largest noise that it allows."""
    beta = 0.4
    eps, v = worst_noise(Q, 5 * Q)
    assert eps < 0.32
    noise = np.zeros((2 * Q, 3))
    noise[:, 2] = eps
    time = share * LOG3 / (5 * beta**2)
    unit = beta**2 * time
    margins = theorems.noisy_margins(pairs=1, l_b=l_b, noise=noise, beta=beta, time=time)
    assert margins.applicable
    assert (margins.lower >= 0.19 * unit).all()
    assert (margins.upper <= 1.79 * unit).all()
    error = theorems.noisy_error(pairs=1, l_b=l_b, noise=noise, v=v, beta=beta, time=time).upper.max()
    assert error <= 0.5 * math.exp(-112 * Q)
    assert error <= 2 * Q**2 * math.exp(-Q / 45)


@pytest.mark.parametrize("seed", range(4))
def test_drawn_clusters_keep_the_corollary(seed):
    """Simulated margins and errors within 7.8 D at the ends of its assumptions."""
    rng = np.random.default_rng(seed)
    K, Q = int(rng.integers(1, 3)), int(rng.integers(1, 6))
    x = {
        "pairs": K,
        "Q": Q,
        "d": max(K + 1, 5 * Q),
        "l_b": math.sqrt(1 / 8),
        "v": 1 / (32 * math.sqrt(Q)),
        "seed": seed,
    }
    x |= {"beta": 10.0 ** rng.uniform(-1, 1)}
    for share in (0.01, 1.0):
        time = share * K * LOG3 / (5 * x["beta"] ** 2)
        r = margin_oracles.published_margins({**x, "time": time}) * K / (x["beta"] ** 2 * time)
        assert 0.19 < r.min() <= r.max() < 1.79
        assert margin_oracles.published_error({**x, "time": time}) <= 0.5 * math.exp(-112 * Q)


def test_half_the_exponential_bounds_the_normal_tail():
    x = np.geomspace(1e-6, 37, 400)
    assert (ndtr(-x) <= 0.5 * np.exp(-(x**2) / 2)).all()


@pytest.mark.parametrize("d", [1, 2, 30, 1000])
def test_norms_of_normal_vectors_exceed_root_d_by_x_with_probability_below_exp(d):
    x = np.geomspace(1e-3, 20, 50)
    tail = chi2.logsf((np.sqrt(d) + x) ** 2, d)
    assert (tail <= -(x**2) / 2 + 1e-9).all()


@pytest.mark.parametrize("delta", [0.0, 0.3, 0.49])
def test_pairs_with_tokens_of_their_own_do_not_see_each_others_centres(delta):
    """Statement 4.3: margins of pairs that share no token do not depend on the angle between centres."""
    x = {"pairs": 3, "Q": 2, "d": 6, "l_b": 0.3, "v": 0.0, "seed": 0, "beta": 1.0}
    bent = theorems.generalization.published_features(
        **{k: x[k] for k in ("pairs", "Q", "d", "l_b", "v", "seed")}, delta=delta
    )
    flow = dyn.MarginFlow(*bent, dyn.DPO(1.0))
    r = np.asarray(dyn.gradient_flow(flow, 2.0).reward_margin[-1])
    mean_field = float(theorems.mean_field(rate=2 / 3, time=2.0, beta=1.0).lower)
    np.testing.assert_allclose(r, mean_field, rtol=1e-7)
