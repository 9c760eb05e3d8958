"""Series, summaries and the registry, against NumPy; streaming, replay and functions must agree."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import diagnostics as diag


def random_trajectory(rounds, num_responses, seed=0, scale=1.0):
    z = np.random.default_rng(seed).normal(size=(rounds, num_responses)) * scale
    return np.asarray(jax.nn.log_softmax(jnp.asarray(z)))


def entropies(log_policy):
    return -(np.exp(log_policy) * log_policy).sum(-1)


REFERENCE = np.log([0.1, 0.2, 0.3, 0.4])
OF_WINDOW = ("amplitude", "rotation_number")  # the code of "period", which stands for them where compiling is slow
ALL = [diag.resolve(name) for name in diag.MEASURES]


def test_series_against_numpy():
    lp = random_trajectory(40, 4)
    p = np.exp(lp)
    np.testing.assert_allclose(diag.entropy(lp), entropies(lp), rtol=1e-13)
    np.testing.assert_allclose(diag.effective_responses(lp), np.exp(entropies(lp)), rtol=1e-13)
    np.testing.assert_allclose(diag.kl_to_reference(lp, REFERENCE), (p * (lp - REFERENCE)).sum(1), rtol=1e-12)
    forward = (np.exp(REFERENCE) * (REFERENCE - lp)).sum(1)
    np.testing.assert_allclose(diag.forward_kl(REFERENCE, lp), forward, rtol=1e-12)
    np.testing.assert_array_equal(diag.top_response(lp), p.argmax(1))
    h = lp - REFERENCE
    i, j = diag.pair_indices(4)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    np.testing.assert_allclose(diag.reward_margin(lp, REFERENCE, 0.3), 0.3 * (h[:, i] - h[:, j]), rtol=1e-13)
    second, best = np.sort(h, axis=1)[:, -2:].T
    np.testing.assert_allclose(diag.reward_margin(lp, REFERENCE, 0.3, "best"), 0.3 * (best - second), rtol=1e-12)


@pytest.mark.thorough
@given(rounds=st.integers(2, 60), burn_in=st.integers(0, 30), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_cycle_strength_is_the_population_variance_from_burn_in_on(rounds, burn_in, seed):
    lp = random_trajectory(rounds, 3, seed, scale=3.0)
    if burn_in >= rounds:
        with pytest.raises(ValueError, match="burn_in"):
            diag.cycle_strength(lp, burn_in)
        return
    expected = np.exp(lp)[burn_in:].var(axis=0).mean()
    np.testing.assert_allclose(diag.cycle_strength(lp, burn_in), expected, rtol=1e-12, atol=1e-15)


def test_cycle_strength_keeps_its_digits_on_a_tiny_cycle():
    wobble = 1e-7 * np.array([1.0, -1.0]) * np.cos(np.arange(5000))[:, None]
    expected = wobble.var(axis=0).mean()
    # The policies themselves carry 1e-16, that is 1e-9 of the wobble.
    np.testing.assert_allclose(diag.cycle_strength(np.log(0.5 + wobble)), expected, rtol=1e-8)


def test_collapse_round():
    h = np.array([0.5, 0.009, 0.5, 0.02, 0.008, 0.007])
    flat = np.log(np.full(2, 0.5))
    sharp = np.asarray(jax.nn.log_softmax(jnp.array([9.0, 0.0])))
    lp = np.where((h < 0.01)[:, None], sharp, flat)
    assert diag.entropy(sharp) < 0.01
    assert diag.collapse_round(lp) == 4
    assert diag.collapse_round(lp[:3]) == -1
    assert diag.collapse_round(lp[1:2]) == 0
    assert diag.collapse_round(lp, threshold=1.0) == 0
    assert diag.collapse_round(lp, threshold=1e-9) == -1


@pytest.mark.parametrize("rounds", [1, 2, 3, 10, 999, 1500])
@pytest.mark.parametrize("window", [2, 64, 1024])
def test_collapse_rate_is_a_least_squares_slope(rounds, window):
    t = np.arange(rounds + 1)
    z = np.stack([np.zeros(rounds + 1), -0.003 * t + np.sin(t), -0.004 * t], axis=1)
    lp = np.asarray(jax.nn.log_softmax(jnp.asarray(z)))
    count = min(max(min(window, rounds + 1) // 2, 2), rounds + 1)
    expected = -np.polyfit(t[-count:], np.log(entropies(lp[-count:])), 1)[0]
    np.testing.assert_allclose(diag.collapse_rate(lp, window), expected, rtol=1e-7, atol=1e-10)


def test_collapse_rate_beyond_underflow():
    t = np.arange(2001.0)
    # H ~ 50 t e^{-50 t} from log1p(e^-50t) + 50t e^-50t: log H falls by 50 - 1/t per round.
    lp = jax.nn.log_softmax(jnp.stack([jnp.zeros(2001), -50.0 * t], axis=1))
    assert diag.final_entropy(lp) == 0.0
    middle = 1.0 / np.arange(1490, 2001)
    np.testing.assert_allclose(diag.collapse_rate(lp), 50.0 - middle.mean(), rtol=1e-6)


def linear_run(matrix, start, rounds):
    """Centred logits of z_{t+1} = z* + M (z_t - z*) in a basis of the plane that sums to 0."""
    size = matrix.shape[0] + 1
    basis = np.linalg.qr(np.c_[np.ones(size), np.random.default_rng(1).normal(size=(size, size - 1))])[0][:, 1:]
    y, rows = np.array(start, float), []
    for _ in range(rounds + 1):
        rows.append(basis @ (y + 0.3))
        y = matrix @ y
    return np.array(rows)


def skewed(block):
    shear = np.array([[2.0, 0.7, 0.1], [0.0, 0.5, 0.2], [0.0, 0.0, 1.0]])
    full = np.diag([0.0, 0.0, 0.3 * abs(np.linalg.eigvals(block)).max()])
    full[:2, :2] = block
    return shear @ full @ np.linalg.inv(shear)


@pytest.mark.parametrize("rounds", [100, 3000])
@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("turn", [0.0, np.pi, 2 * np.pi / 300, 0.3, 2.0])
def test_convergence_rate_of_linear_maps(rounds, rate, turn):
    if turn in (0.0, np.pi):
        block = np.diag([rate, 0.5 * rate]) * np.cos(turn)
    else:
        block = rate * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    rows = linear_run(skewed(block), [1.0, -2.0, 0.5], rounds)
    np.testing.assert_allclose(diag.convergence_rate(jax.nn.log_softmax(jnp.asarray(rows))), rate, atol=1e-3)


def test_convergence_rate_of_runs_that_do_not_converge():
    t = np.arange(1000.0)
    block = np.tile(random_trajectory(7, 3), (143, 1))
    circle = np.stack([np.cos(0.3 * t), np.sin(0.3 * t), 0 * t], axis=1)
    drift = np.stack([t, 2 * t, -3 * t], axis=1)
    growth = 1.01 ** t[:, None] * np.array([1.0, -1.0, 0.0]) * 1e-3
    for rows, rate in ((block, 1.0), (circle, 1.0), (drift, 1.0), (growth, 1.01)):
        np.testing.assert_allclose(diag.convergence_rate(jax.nn.log_softmax(jnp.asarray(rows))), rate, atol=1e-4)
    assert diag.convergence_rate(np.tile(REFERENCE, (50, 1))) == 0.0
    three_steps = np.concatenate([block[:3], np.tile(block[3], (50, 1))])
    assert diag.convergence_rate(three_steps) == 0.0


@pytest.mark.thorough
@pytest.mark.parametrize("measure", [m for m in ALL if m.name not in OF_WINDOW], ids=lambda m: m.name)
def test_measures_work_under_jit_and_vmap_and_name_all_they_yield(measure):
    stack = jnp.stack([jnp.asarray(random_trajectory(30, 4, seed)) for seed in range(3)])

    def run(lp):
        return diag.replay(measure, lp, REFERENCE, 0.2)

    batched = jax.jit(jax.vmap(run))(stack)
    variables = measure.variables(4)
    assert set(batched) == set(variables)
    for k, lp in enumerate(stack):
        for key, value in run(lp).items():
            assert value.shape == tuple({"pair": 6, "response": 4}[dim] for dim in variables[key].dims)
            np.testing.assert_allclose(batched[key][k], value, rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("measure", [m for m in ALL if m.name not in OF_WINDOW], ids=lambda m: m.name)
def test_measures_stay_in_float32(measure):
    lp = random_trajectory(30, 4).astype(np.float32)
    single = diag.replay(measure, lp, REFERENCE.astype(np.float32), 0.2)
    double = diag.replay(measure, lp.astype(float), REFERENCE, 0.2)
    for key in single:
        assert single[key].dtype in (jnp.float32, jnp.int32)
        np.testing.assert_allclose(single[key], double[key], rtol=2e-4, atol=1e-5)  # 7 digits, some cancelled


BY_RESPONSE = ("top_response", "reward_margin", "log_average_policy")


@pytest.mark.parametrize("name", [name for name in diag.MEASURES if name not in BY_RESPONSE])
def test_summaries_do_not_depend_on_the_order_of_responses(name):
    lp, order = random_trajectory(30, 4), [2, 0, 3, 1]
    given_order = diag.replay(diag.resolve(name), lp, REFERENCE, 0.2)
    permuted = diag.replay(diag.resolve(name), lp[:, order], REFERENCE[order], 0.2)
    for key in given_order:
        np.testing.assert_allclose(permuted[key], given_order[key], rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
def test_streaming_equals_the_function():
    lp = random_trajectory(30, 4)
    for name in ("cycle_strength", "final_entropy", "collapse_round", "collapse_rate", "convergence_rate"):
        np.testing.assert_allclose(diag.replay(diag.resolve(name), lp)[name], getattr(diag, name)(lp), rtol=1e-14)
    for name in ("entropy", "effective_responses", "top_response"):
        np.testing.assert_allclose(diag.replay(diag.resolve(name), lp)[name], getattr(diag, name)(lp)[-1], rtol=1e-14)
    found = diag.period(lp)
    for name in ("period", "amplitude", "rotation_number"):
        streamed = diag.replay(diag.resolve(name), lp, REFERENCE, 0.2)
        np.testing.assert_array_equal(streamed[name], getattr(found, name))
        assert streamed["period_kind"] == found.kind
    np.testing.assert_allclose(
        diag.replay(diag.RewardMargin("best"), lp, REFERENCE, 0.2)["reward_margin"],
        diag.reward_margin(lp[-1], REFERENCE, 0.2, "best"),
        rtol=1e-14,
    )


def test_resolve():
    assert isinstance(diag.resolve("cycle_strength"), diag.CycleStrength)
    mine = diag.CycleStrength(burn_in=7, name="late")
    assert diag.resolve(mine) is mine
    with pytest.raises(ValueError, match="did you mean 'cycle_strength'"):
        diag.resolve("cycle_strenght")
    with pytest.raises(ValueError, match=r"pass an instance, Entropy\(\)"):
        diag.resolve(diag.Entropy)
    with pytest.raises(ValueError, match="neither a name nor a Measure"):
        diag.resolve(3)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: diag.CycleStrength(burn_in=-1), "burn_in"),
        (lambda: diag.CollapseRound(threshold=0.0), "threshold"),
        (lambda: diag.CollapseRate(window=1), "window"),
        (lambda: diag.OrbitPeriod(window=1), "window"),
        (lambda: diag.Verdict(tolerance=-1.0), "tolerance"),
        (lambda: diag.Verdict(entropy_floor=float("nan")), "entropy_floor"),
        (lambda: diag.period(np.zeros((3, 1))), "log_policy has shape"),
        (lambda: diag.replay(diag.RewardMargin(), random_trajectory(5, 3)), "states none"),
    ],
)
def test_bad_input_is_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()


@pytest.mark.parametrize(
    ("kind", "missing"), [(diag.Measure, ["init", "update", "finalize"]), (diag.Series, ["observe"])]
)
def test_a_measure_without_its_methods_is_refused(kind, missing):
    class Unfinished(kind):
        name: str = eqx.field(static=True, kw_only=True, default="unfinished")

    for method in missing:
        with pytest.raises(TypeError, match=rf"abstract class Unfinished .*\b{method}\b"):
            Unfinished()


def test_a_measure_of_ones_own():
    class TopProbability(diag.Series):
        name: str = eqx.field(static=True, kw_only=True, default="top_probability")

        def observe(self, snapshot):
            return jnp.exp(jnp.max(snapshot.log_policy))

    class LargestStep(diag.Measure):
        name: str = eqx.field(static=True, kw_only=True, default="largest_step")

        def init(self, snapshot, rounds):
            return snapshot.logits, jnp.zeros_like(snapshot.logits[0])

        def update(self, state, snapshot):
            last, largest = state
            return snapshot.logits, jnp.maximum(largest, jnp.max(jnp.abs(snapshot.logits - last)))

        def finalize(self, state):
            return state[1]

    lp = random_trajectory(20, 3)
    z = lp - lp.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(diag.replay(TopProbability(), lp)["top_probability"], np.exp(lp[-1].max()))
    np.testing.assert_allclose(diag.replay(LargestStep(), lp)["largest_step"], np.abs(np.diff(z, axis=0)).max())
