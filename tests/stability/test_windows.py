"""Windows of instability between two stable ranges of beta, and the rates at which distances are proven to shrink."""

import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics.stability import analyze, contraction_rates, critical_betas, first_crossing, spectral_radii

WINDOWS = [
    (dyn.IPO, [[0.5, 0.2911, 0.986], [0.7089, 0.5, 0.5535], [0.014, 0.4465, 0.5]], 0.059663),
    (dyn.DPO, [[0.5, 0.5279, 0.9672], [0.4721, 0.5, 0.1141], [0.0328, 0.8859, 0.5]], 0.378317),
]


@pytest.mark.parametrize(("kind", "P", "value"), WINDOWS, ids=["IPO", "DPO"])
def test_a_window_is_found_and_rounds_inside_it_oscillate(kind, P, value):
    P = np.array(P)
    (found,) = critical_betas(P[None], kind, [0.0], [1.0]).beta.ravel()
    assert found == pytest.approx(value, abs=6e-7)
    radii = [spectral_radii(P[None], kind(found * factor), 0.0, 1.0).radius[0] for factor in (1.001, 0.999)]
    assert radii[0] < 1 < radii[1]
    crossing = first_crossing(
        dyn.SelfSampling(P, kind(found), 0.0, 1.0), "beta", (0.2 * found, 50 * found), downward=True
    )
    assert crossing is not None
    assert crossing.value == pytest.approx(found, rel=1e-8)
    if kind is dyn.IPO:
        assert analyze(dyn.SelfSampling(P, kind(0.055), 0.0, 1.0), starts=2).verdict == "oscillating"


def _settled(loop):
    return dyn.iterate(loop, 20_000, initial=jnp.log(jnp.array([0.5, 0.2, 0.3]))).log_policy[-1]


def _mixed(rng, count, size):
    """Matrices of which half have entries near 0 and 1, where windows are found most often."""
    logits = rng.normal(0, np.where(np.arange(count) % 2 == 0, 1.0, 3.0)[:, None, None], (count, size, size))
    logits = np.triu(logits, 1)
    P = 1 / (1 + np.exp(-(logits - np.swapaxes(logits, 1, 2))))
    P[:, np.arange(size), np.arange(size)] = 0.5
    return P


def _scan(stack, alpha, floor):
    """The ends of the step in which each matrix's spectral radius first passes 1 as beta falls, (NaN, NaN) where it does not:
    a scan of IPO's rounds (lam = 1) in steps of .004 in log beta, with fixed points by Newton's method in NumPy, and spectral
    radii by statement 7.1.
    """
    K = stack.shape[-1]
    A, C, one = stack - 0.5, np.eye(K) - 1 / K, np.eye(K)
    z, ends, above = np.zeros(stack.shape[:2]), np.full((len(stack), 2), np.nan), np.nan
    for log_s in np.arange(-1.0, -np.log(floor * (1 - alpha)), 0.004):
        s = np.exp(log_s)
        for _ in range(60):
            pi = np.exp(z - z.max(axis=1, keepdims=True))
            pi /= pi.sum(axis=1, keepdims=True)
            sigma = pi[:, :, None] * one - pi[:, :, None] * pi[:, None, :]
            drive = (C @ A @ pi[:, :, None])[..., 0]
            change = np.linalg.solve(one - s * C @ A @ sigma, (s * drive - z)[..., None])[..., 0]
            z = z + change
            if np.abs(change).max() < 1e-12 * (1 + np.abs(z).max()):
                break
        root = np.sqrt(pi)
        R = root[:, :, None] * (one - root[:, :, None] * root[:, None, :])
        w = s * np.linalg.norm(np.swapaxes(R, 1, 2) @ A @ R, 2, axis=(1, 2))
        below, new = np.exp(-log_s) / (1 - alpha), np.hypot(alpha, (1 - alpha) * w) >= 1
        ends = np.where((new & np.isnan(ends[:, 0]))[:, None], [above, below], ends)
        above = below
    return ends


@pytest.mark.parametrize(("size", "alpha"), [(3, 0.0), (4, 0.5), (5, 0.0)])
def test_no_window_is_missed_that_a_fine_scan_finds(size, alpha):
    stack = _mixed(np.random.default_rng(size), 60, size)
    found = critical_betas(stack, dyn.IPO, [alpha], [1.0], floor=5e-3).beta.ravel()
    above, below = _scan(stack, alpha, 5e-3).T
    lost = ~np.isnan(above)
    assert lost.sum() >= 10
    assert (found[lost] <= above[lost] * (1 + 1e-9)).all()
    assert (found[lost] >= below[lost] * (1 - 1e-9)).all()


def _distance(name, z, z_star):
    p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (z_star, z))
    return {
        "centred-logit 2-norm": lambda: np.linalg.norm(z - z.mean() - z_star + z_star.mean()),
        "span of the logits": lambda: np.ptp(z - z_star),
        "square root of KL(pi*‖pi)": lambda: np.sqrt(max(float((p * (np.log(p) - np.log(q))).sum()), 0.0)),
    }[name]()


@pytest.mark.parametrize(
    ("P", "alpha", "beta"),
    [
        (dyn.preferences.cyclic(3, 0.3), 0.5, 0.5),
        (dyn.preferences.cyclic(3, 0.3), 0.9, 2.0),
        (np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.7], [0.7, 0.3, 0.5]]), 0.3, 0.5),
    ],
)
def test_distances_shrink_at_every_rate_that_is_listed(P, alpha, beta):
    loop = dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0)
    rates = contraction_rates(loop)
    assert any("KL" in rate.distance for rate in rates)
    z_star = np.asarray(_settled(loop), np.float64)
    far = jnp.array([0.6, -0.9, 0.3])
    for rate in rates:
        for start in (far, jnp.asarray(z_star) + 1e-3 * far):
            z, worst = start, 0.0
            for _ in range(12):
                after = loop(z)
                before, now = (_distance(rate.distance, np.asarray(x), z_star) for x in (z, after))
                worst, z = max(worst, now / before), after
                if now < 1e-6:
                    break
            assert worst <= rate.rate * (1 + 1e-6), rate
