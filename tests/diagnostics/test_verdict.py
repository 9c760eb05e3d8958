"""Verdicts on iterated IPO, simulated here in NumPy, at, near and far from onset, and at the vertices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import diagnostics as diag

COLLAPSED, CONVERGED, OSCILLATING, UNDECIDED = diag.VERDICTS
EDGE = 0.4
CYCLE = 0.5 + EDGE * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
LOPSIDED = np.array([[0.5, 0.55, 0.05], [0.45, 0.5, 0.55], [0.95, 0.45, 0.5]])
DOMINATED = np.array([[0.5, 0.8, 0.9], [0.2, 0.5, 0.7], [0.1, 0.3, 0.5]])
CRITICAL = EDGE / np.sqrt(3 * 0.75)  # beta at which alpha² + a²/(3 beta²) = 1, alpha = 1/2, lambda = 1

judge = diag.verdict


def iterate_ipo(preferences, beta, alpha, rounds, start=(0.3, 0.1, 0.0)):
    z, rows = np.array(start), []
    for _ in range(rounds + 1):
        z = z - z.max()
        log_policy = z - np.log(np.exp(z).sum())
        rows.append(log_policy)
        z = alpha * log_policy + preferences @ np.exp(log_policy) / beta
    return np.array(rows)


def say(log_policy):
    found = judge(jnp.asarray(log_policy))
    return diag.VERDICTS[int(found["verdict"])], found


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("ratio", "rounds", "expected"),
    [
        (0.9, 10, UNDECIDED),
        pytest.param(0.9, 300, CONVERGED, marks=pytest.mark.slow),
        (0.9, 3000, CONVERGED),
        pytest.param(0.99, 300, UNDECIDED, marks=pytest.mark.slow),
        (0.99, 1000, UNDECIDED),
        (0.99, 3000, CONVERGED),
        pytest.param(1.01, 300, OSCILLATING, marks=pytest.mark.slow),
        (1.01, 1000, OSCILLATING),
        (1.01, 30000, OSCILLATING),
        pytest.param(1.5, 300, OSCILLATING, marks=pytest.mark.slow),
        (1.5, 3000, OSCILLATING),
        (4.0, 1000, OSCILLATING),
    ],
)
def test_around_the_onset_on_the_three_cycle(ratio, rounds, expected):
    word, found = say(iterate_ipo(CYCLE, CRITICAL / ratio, 0.5, rounds))
    assert word == expected
    if expected == OSCILLATING and rounds >= 1000:
        assert diag.KINDS[int(found["period_kind"])] in ("periodic", "quasi-periodic")


def test_onset_frequency_is_the_eigenvalue_argument():
    _, found = say(iterate_ipo(CYCLE, CRITICAL / 1.002, 0.5, 30000))
    expected = 2 * np.pi / np.arctan2(EDGE / (np.sqrt(3) * CRITICAL / 1.002), 0.5)
    np.testing.assert_allclose(found["period"], expected, rtol=2e-3)


@pytest.mark.parametrize("rounds", [1000, pytest.param(3000, marks=pytest.mark.slow), 30000])
@pytest.mark.parametrize(("preferences", "beta"), [(CYCLE, 0.1), (CYCLE, 0.5), (LOPSIDED, 0.5)])
def test_heteroclinic_orbits_at_alpha_one_oscillate_at_every_length(preferences, beta, rounds):
    word, found = say(iterate_ipo(preferences, beta, 1.0, rounds))
    assert word == OSCILLATING
    assert found["switches"] >= 3


@pytest.mark.thorough
def test_a_dwell_near_a_vertex_is_no_collapse():
    rows = iterate_ipo(CYCLE, 0.1, 1.0, 30000)
    top = rows.argmax(axis=1)
    stays = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(top)) + 1)
    # From the middle of the last long dwells on, a tail of a tenth would fit only in dwells that grow fast enough.
    longest = max(stays, key=len)
    end = longest[0] + 2 * len(longest) // 3
    start = end - 4 * len(longest)
    cut = rows[max(start, 0) : end]
    found = judge(jnp.asarray(cut))
    assert found["tail_entropy"] < 0.01
    assert found["tail_switches"] == 0
    assert diag.VERDICTS[int(found["verdict"])] in (OSCILLATING, UNDECIDED)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("beta", "alpha", "rounds", "expected"),
    [
        pytest.param(0.5, 1.0, 300, COLLAPSED, marks=pytest.mark.slow),
        (0.5, 1.0, 1000, COLLAPSED),
        (0.5, 1.0, 100_000, COLLAPSED),
        (0.1, 0.9, 10, COLLAPSED),
        (0.1, 0.9, 3000, COLLAPSED),
        pytest.param(0.1, 0.99, 300, COLLAPSED, marks=pytest.mark.slow),
        (2.0, 0.9, 1000, CONVERGED),
        pytest.param(2.0, 0.9, 10, UNDECIDED, marks=pytest.mark.slow),
    ],
)
def test_dominated_preferences_collapse_or_converge(beta, alpha, rounds, expected):
    word, found = say(iterate_ipo(DOMINATED, beta, alpha, rounds))
    assert word == expected
    if expected == COLLAPSED:
        assert found["tail_entropy"] < 0.01


def test_the_numbers_behind_a_verdict():
    rows = iterate_ipo(CYCLE, CRITICAL / 1.5, 0.5, 1000)
    _, found = say(rows)
    p, tail = np.exp(rows), slice(-101, None)
    np.testing.assert_allclose(found["tail_entropy"], (-(p * rows).sum(1))[tail].max(), rtol=1e-12)
    np.testing.assert_allclose(found["tail_step"], np.abs(np.diff(p, axis=0)).max(axis=1)[-100:].max(), rtol=1e-12)
    switched = np.diff(p.argmax(axis=1)) != 0
    assert int(found["switches"]) == switched.sum()
    assert int(found["tail_switches"]) == switched[-100:].sum()
    period = diag.period(rows)
    for key, value in (("period", period.period), ("period_kind", period.kind), ("amplitude", period.amplitude)):
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.thorough
def test_thresholds_are_arguments():
    rows = iterate_ipo(CYCLE, CRITICAL / 0.99, 0.5, 1000)
    assert diag.VERDICTS[int(diag.verdict(rows, tolerance=1e-3)["verdict"])] == CONVERGED
    rows = iterate_ipo(DOMINATED, 2.0, 0.9, 1000)
    assert diag.VERDICTS[int(diag.verdict(rows, entropy_floor=1.0)["verdict"])] == COLLAPSED
    rows = iterate_ipo(CYCLE, CRITICAL / 4, 0.5, 300)
    assert diag.VERDICTS[int(diag.verdict(rows, window=32)["verdict"])] == OSCILLATING


@pytest.mark.thorough
def test_leaving_a_saddle_is_not_converging():
    t = np.arange(201.0)
    z = np.stack([1e-15 * 1.1**t, -1e-15 * 1.1**t, 0 * t], axis=1)
    word, found = say(np.asarray(jax.nn.log_softmax(jnp.asarray(z))))
    assert 1e-9 < found["tail_step"] < 1e-7
    assert word == UNDECIDED


@pytest.mark.thorough
def test_batched_and_permuted_verdicts_agree():
    betas = CRITICAL / np.array([0.9, 1.01, 1.5])
    rows = jnp.asarray(np.stack([iterate_ipo(CYCLE, beta, 0.5, 300) for beta in betas]))
    both = jnp.concatenate([rows, rows[:, :, jnp.array([2, 0, 1])]])
    found = jax.jit(jax.vmap(diag.verdict))(both)
    batched, permuted = (jax.tree.map(lambda x, k=k: x[3 * k : 3 * k + 3], found) for k in (0, 1))
    assert [diag.VERDICTS[k] for k in batched["verdict"]] == [CONVERGED, OSCILLATING, OSCILLATING]
    np.testing.assert_array_equal(batched["verdict"], permuted["verdict"])
    np.testing.assert_array_equal(batched["period_kind"], permuted["period_kind"])


@pytest.mark.thorough
def test_float32():
    for ratio, expected in ((0.9, CONVERGED), (1.5, OSCILLATING)):
        rows = iterate_ipo(CYCLE, CRITICAL / ratio, 0.5, 1000).astype(np.float32)
        found = judge(jnp.asarray(rows))
        assert diag.VERDICTS[int(found["verdict"])] == expected
        assert found["amplitude"].dtype == jnp.float32
