"""Periods 2 to 500 within 1%, quasi-periodic orbits named so, and none for drift, chirp, noise and spirals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import diagnostics as diag

CONSTANT, PERIODIC, QUASI, NONE = range(4)
T = np.arange(1024)
BATCH = 60  # one size, so that the batched analysis compiles once for each length of window

analyse = jax.jit(jax.vmap(diag.period))


def policies(x, size=0.1):
    """Log-policies that wobble about (0.2, 0.3, 0.5) along the columns of x (or along one direction)."""
    x = np.asarray(x, float)
    if x.ndim == 1:
        x = x[:, None] * np.array([1.0, -0.4, -0.6])
    x = x - x.mean(axis=1, keepdims=True)
    return np.log(np.array([0.2, 0.3, 0.5]) + size * x / np.abs(x).max())


def wave(period, phase=0.3, t=T):
    return np.cos(2 * np.pi * t / period + phase)


def loop(period, sharpness, t=T):
    """The orbit of a policy that is drawn to three responses in turn."""
    z = sharpness * np.cos(2 * np.pi * (t[:, None] / period + np.arange(3) / 3))
    return np.asarray(jax.nn.log_softmax(jnp.asarray(z)))


def test_kinds_are_the_flags():
    assert diag.KINDS == ("constant", "periodic", "quasi-periodic", "not determinable")
    variables = diag.OrbitPeriod().variables(3)
    assert variables["period_kind"].flags == diag.KINDS
    assert "NaN" in variables["period"].long_name


def test_period_two_is_exact():
    found = diag.period(policies((-1.0) ** T))
    assert (found.period, found.kind, found.rotation_number) == (2.0, PERIODIC, 0.5)
    np.testing.assert_allclose(found.amplitude, 0.1, rtol=1e-12)


@pytest.mark.parametrize("length", [2, 3, 4, 7, 16, 101, 250, 499, 500, 511])
def test_blocks_repeat_exactly(length):
    block = np.random.default_rng(length).normal(size=(length, 3))
    found = diag.period(policies(np.tile(block, (1024 // length + 1, 1))[:1024]))
    assert (found.period, found.kind) == (length, PERIODIC)
    spectrum = (np.abs(np.fft.rfft(block - block.mean(1, keepdims=True), axis=0)) ** 2).sum(axis=1)[1:]
    np.testing.assert_allclose(found.rotation_number, (1 + spectrum.argmax()) / length, rtol=1e-12)


@pytest.mark.parametrize("length", [2.5, 17.3, 5.3, 204.8])
def test_sinusoids_that_repeat_after_several_turns(length):
    found = diag.period(policies(wave(length)))
    assert found.kind == (PERIODIC if length != 204.8 else QUASI)
    np.testing.assert_allclose(found.period, length, rtol=1e-3)
    np.testing.assert_allclose(found.rotation_number, 1 / length, rtol=1e-3)


def test_period_doubled_orbit_keeps_its_weak_subharmonic():
    found = diag.period(policies(np.array([1.0, -1.0, 1.01, -1.01])[T % 4]))
    assert (found.period, found.kind) == (4.0, PERIODIC)
    assert found.rotation_number == 0.5


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 4.0])
def test_real_valued_periods_within_one_percent(sharpness):
    lengths = np.exp(np.random.default_rng(3).uniform(np.log(20.0), np.log(505.0), size=BATCH))
    runs = jnp.stack([jnp.asarray(loop(length, sharpness)) for length in lengths])
    found = analyse(runs)
    assert np.isin(found.kind, [PERIODIC, QUASI]).all()
    np.testing.assert_allclose(found.period, lengths, rtol=0.01)
    np.testing.assert_allclose(found.rotation_number, 1 / lengths, rtol=0.01)


def test_fast_rotations_within_one_percent():
    lengths = np.concatenate(
        [np.random.default_rng(4).uniform(2.05, 20.0, size=BATCH - 4), [np.pi, 2.618034, 4.994, 3.0029]]
    )
    runs = jnp.stack([jnp.asarray(policies(wave(length))) for length in lengths])
    found = analyse(runs)
    np.testing.assert_allclose(found.period, lengths, rtol=0.01)
    assert (np.asarray(found.kind) == QUASI)[-4:].all()


@pytest.mark.parametrize("length", [515.0, 600.0, 900.0, 5000.0])
def test_less_than_two_periods_are_not_determinable(length):
    found = diag.period(policies(wave(length)))
    assert found.kind == NONE
    assert np.isnan(found.period)
    assert np.isnan(found.rotation_number)


def test_two_periods_of_five_hundred_rounds_are_enough():
    t = np.arange(1001)
    assert diag.period(policies(wave(500.0, t=t))).period == 500.0
    assert diag.period(policies(wave(500.0, t=t[:990]))).kind == NONE


def test_two_frequencies_are_quasi_periodic_without_a_period():
    rng = np.random.default_rng(5)
    first, second = 17.3, 10 / np.sqrt(2)
    one = diag.period(policies(np.stack([wave(first), wave(second), 0 * T], axis=1)))
    assert one.kind == QUASI
    assert np.isnan(one.period)
    assert np.abs(np.array([1 / first, 1 / second]) - one.rotation_number).min() < 1e-3
    lengths = rng.uniform(2.3, 60.0, size=(BATCH, 2))
    runs = jnp.stack([jnp.asarray(policies(wave(a) + wave(b, 1.0))) for a, b in lengths])
    found = analyse(runs)
    # Two phases must come back together within 512 rounds: rarely they do not, and rarely they do so too well.
    assert np.mean(np.asarray(found.kind) == QUASI) > 0.8
    assert np.mean(np.isnan(found.period)) > 0.9


def no_period_cases(rounds):
    rng, t = np.random.default_rng(6), np.arange(rounds)
    cases = {"noise": rng.normal(size=(BATCH, rounds, 3)), "walk": rng.normal(size=(BATCH, rounds, 3)).cumsum(axis=1)}
    red = np.zeros((BATCH, rounds, 3))
    for k in range(1, rounds):
        red[:, k] = 0.95 * red[:, k - 1] + rng.normal(size=(BATCH, 3))
    cases["red noise"] = red
    powers = rng.uniform(0.3, 3.0, size=(BATCH, 1, 1))
    cases["drift"] = ((t + 1) / rounds)[None, :, None] ** powers * rng.normal(size=(BATCH, 1, 3))
    cases["relaxation"] = np.exp(-t[None, :, None] / rng.uniform(1, rounds, size=(BATCH, 1, 1))) * rng.normal(
        size=(BATCH, 1, 3)
    )
    start = rng.uniform(5, 60, size=(BATCH, 1))
    change = rng.uniform(0.03, 1.0, size=(BATCH, 1))
    phase = 2 * np.pi / start * (t + change / 2 * t**2 / rounds)
    cases["chirp"] = np.stack([np.cos(phase), np.sin(phase), 0 * phase], axis=2)
    decay = rng.uniform(0.1, 6.0, size=(BATCH, 1))
    spiral = np.exp(-decay * t / rounds) * np.cos(2 * np.pi * t / start)
    cases["spiral"] = np.stack([spiral, -spiral, 0 * spiral], axis=2)
    cases["spiral out"] = cases["spiral"][:, ::-1]
    return cases


@pytest.mark.thorough
@pytest.mark.parametrize("rounds", [1024, 300])
def test_drift_chirp_noise_and_spirals_never_have_a_period(rounds):
    for name, runs in no_period_cases(rounds).items():
        found = analyse(jnp.stack([jnp.asarray(policies(x)) for x in runs]))
        assert np.isin(found.kind, [NONE, CONSTANT] if name == "relaxation" else [NONE]).all(), name
        assert np.isnan(found.period).all(), name


def test_rest_is_constant():
    found = diag.period(policies(np.cos(T), size=1e-10))
    assert found.kind == CONSTANT
    assert np.isnan(found.period)
    assert diag.period(policies(wave(7.0), size=1e-6)).period == 7.0


def test_a_transient_does_not_hide_the_orbit():
    x = np.tile([1.0, -0.5, 0.2, 0.4, 0.1], 205)[:1000] + 2.0 * 0.9 ** np.arange(1000.0)
    found = diag.period(policies(x))
    assert (found.period, found.kind) == (5.0, PERIODIC)


@pytest.mark.parametrize("rounds", [1, 3, 4, 10])
def test_short_runs_give_an_answer(rounds):
    found = diag.period(policies(np.tile([1.0, -1.0], 50)[: rounds + 1]))
    assert found.kind == (PERIODIC if rounds >= 4 else NONE)
    assert diag.period(policies(np.tile([1.0, -1.0], 50)[: rounds + 1]))[0] == 2.0 or rounds < 4


@pytest.mark.thorough
@pytest.mark.parametrize("window", [100, 1024])
def test_streaming_sees_the_last_rounds(window):
    lp = policies(np.concatenate([np.random.default_rng(0).normal(size=100), np.tile([1.0, 0.2, -0.7], 70)]))
    expected = diag.period(lp[-window:])
    got = diag.replay(diag.OrbitPeriod(window), lp)
    assert got["period_kind"] == expected.kind
    np.testing.assert_array_equal(got["period"], expected.period)
    if window <= 100:
        assert (expected.period, expected.kind) == (3.0, PERIODIC)
    assert diag.amplitude(lp, window) == expected.amplitude
    np.testing.assert_array_equal(diag.rotation_number(lp, window), expected.rotation_number)


def test_float32():
    for length in (2.0, 7.0, 17.3, 333.3):
        found = diag.period(policies(wave(length, 0.0)).astype(np.float32))
        assert found.period.dtype == jnp.float32
        np.testing.assert_allclose(found.period, length, rtol=0.01)
    noise = np.random.default_rng(0).normal(size=(1024, 3))
    assert diag.period(policies(noise).astype(np.float32)).kind == NONE


def test_order_of_responses_does_not_matter():
    lp = loop(37.7, 2.0)
    a, b = diag.period(lp), diag.period(lp[:, [2, 0, 1]])
    np.testing.assert_allclose([*a], [*b], rtol=1e-9)
