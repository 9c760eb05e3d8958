"""Windows of instability between two stable ranges of beta, and the rates at which distances are proven to shrink."""

import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics.stability import analyze, contraction_rates, critical_betas, first_crossing, spectral_radii
from experiments.calibration._radii import critical

SCAN = 0.004  # in log beta
WINDOWS = [
    (dyn.IPO, [[0.5, 0.2911, 0.986], [0.7089, 0.5, 0.5535], [0.014, 0.4465, 0.5]], 0.059663),
    (dyn.DPO, [[0.5, 0.5279, 0.9672], [0.4721, 0.5, 0.1141], [0.0328, 0.8859, 0.5]], 0.378317),
]


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.parametrize(("size", "alpha"), [(3, 0.0), (4, 0.5), (5, 0.0)])
def test_no_window_is_missed_that_a_fine_scan_finds(size, alpha):
    stack = _mixed(np.random.default_rng(size), 60, size)
    found = critical_betas(stack, dyn.IPO, [alpha], [1.0], floor=5e-3).beta.ravel()
    # An independent NumPy walk along the curve of fixed points, which interpolates crossings within a step.
    scanned = critical(stack, alpha, 5e-3, step=SCAN)
    lost = scanned > 0
    assert lost.sum() >= 10
    np.testing.assert_allclose(np.log(found[lost] / scanned[lost]), 0.0, atol=1e-4)


def _distance(name, z, z_star):
    p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (z_star, z))
    return {
        "centred-logit 2-norm": lambda: np.linalg.norm(z - z.mean() - z_star + z_star.mean()),
        "span of the logits": lambda: np.ptp(z - z_star),
        "square root of KL(pi*‖pi)": lambda: np.sqrt(max(float((p * (np.log(p) - np.log(q))).sum()), 0.0)),
    }[name]()


@pytest.mark.thorough
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
