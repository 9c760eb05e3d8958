"""A new value compiles nothing anew: rounds, rows, samples, steps and tolerances are data."""

import dataclasses
from contextlib import contextmanager

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dynamics as dyn
from dynamics import diagnostics as diag
from dynamics.engine import start
from dynamics.solve import _iterate
from dynamics.stability._orbit import judge_orbit, lyapunov_exponent

EVENT = "/jax/core/compile/backend_compile_duration"
START = np.log([0.5, 0.3, 0.2])


@pytest.fixture
def compiled():
    """Compiled programs that a ``with`` block asks for, as a list with one entry, for each block."""
    seen = []

    def listen(event, seconds, **_):
        if event == EVENT:
            seen.append(seconds)

    @contextmanager
    def counting():
        before, found = len(seen), []
        yield found
        found.append(len(seen) - before)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with counting() as some:
            jax.jit(lambda x: x + 1.0)(jnp.ones(1))
        assert some[0] > 0  # what counts nothing would pass every test below
        yield counting
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def loop_of(kind=dyn.IPO, beta=0.3, **options):
    return dyn.SelfSampling(dyn.preferences.cyclic(3, advantage=0.2), kind(beta), 0.5, 1.0, **options)


def drift(policy_round):
    """A round map of one's own that needs no compilation of an objective."""

    class Drift(dyn.RoundMap):
        preference: jax.Array

        def __call__(self, logits, key=None):
            return policy_round(logits)

    return Drift(jnp.full((3, 3), 0.5))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
def test_rounds_and_every_of_iterate(compiled, kind):
    loop, measure = loop_of(kind), list(diag.MEASURES)
    dyn.iterate(loop, 300, initial=START, measure=measure)
    with compiled() as again:
        more = dyn.iterate(loop, 301, initial=START, measure=measure)
        second = dyn.iterate(loop, 301, initial=START, measure=measure, every=2)
        third = dyn.iterate(loop, 299, initial=START, measure=measure, every=3)
    assert again == [0]
    assert len(more.coordinate) == 302
    for sol, every in ((second, 2), (third, 3)):
        rows = np.asarray(sol.coordinate)
        np.testing.assert_array_equal(rows, [*range(0, rows[-1], every), rows[-1]])
        np.testing.assert_array_equal(sol.log_policy, more.log_policy[rows])
        np.testing.assert_array_equal(sol.entropy[rows.size - 1], sol.statistics["entropy"])


def test_names_of_responses(compiled):
    dyn.iterate(loop_of(names=["a", "b", "c"]), 5, initial=START)
    dyn.sweep(loop_of(names=["a", "b", "c"]), {"alpha": [0.0]}, measure="entropy", rounds=5, initial=START)
    with compiled() as again:
        dyn.iterate(loop_of(names=["d", "e", "f"]), 5, initial=START)
        dyn.sweep(loop_of(), {"alpha": [0.0]}, measure="entropy", rounds=5, initial=START)
    assert again == [0]


@pytest.mark.thorough
def test_tolerances_and_burn_in_of_measures(compiled):
    loop = loop_of()
    measures = lambda tolerance, burn_in: [diag.Verdict(tolerance=tolerance), diag.CycleStrength(burn_in)]
    dyn.iterate(loop, 40, initial=START, measure=measures(1e-7, 0))
    with compiled() as again:
        sol = dyn.iterate(loop, 40, initial=START, measure=measures(0.5, 7))
    assert again == [0]
    assert diag.VERDICTS[int(sol.verdict)] == "converged"
    np.testing.assert_allclose(sol.cycle_strength, np.exp(sol.log_policy)[7:].var(axis=0).mean(), rtol=1e-10)


def test_long_runs_go_in_calls_of_one_loop(compiled, monkeypatch):
    process = drift(lambda z: 0.99 * z + jnp.array([0.01, 0.0, -0.01]))
    whole = dyn.iterate(process, 150, initial=START, measure="cycle_strength", every=4)
    monkeypatch.setattr(_iterate, "MAX_ROWS_PER_CALL", 8)
    dyn.iterate(process, 3, initial=START, measure="cycle_strength")
    with compiled() as again:
        parts = dyn.iterate(process, 150, initial=START, measure="cycle_strength", every=4)
        plain = dyn.iterate(process, 150, initial=START, measure="cycle_strength")
    assert again == [0]
    np.testing.assert_array_equal(parts.coordinate, [*range(0, 150, 4), 150])
    np.testing.assert_array_equal(parts.log_policy, whole.log_policy)
    np.testing.assert_array_equal(parts.log_policy, plain.log_policy[np.asarray(parts.coordinate)])
    np.testing.assert_allclose(parts.cycle_strength, whole.cycle_strength, rtol=1e-13)


@pytest.mark.parametrize("every", [1, 4, 50])
def test_rows_after_a_failure_repeat_the_last_good_one(every):
    process = drift(lambda z: jnp.where(jnp.max(z) > 2.0, jnp.nan, 1.1 * z))
    sol = dyn.iterate(process, 50, initial=START, every=every, measure=["cycle_strength"], throw=False)
    at, rows = int(sol.stats["failed_round"]), np.asarray(sol.coordinate)
    z = START - START.mean()
    for _ in range(at - 1):
        z = 1.1 * z
    assert z.max() > 2.0
    last = np.asarray(jax.nn.log_softmax(z))
    np.testing.assert_allclose(sol.log_policy[rows >= at], np.broadcast_to(last, (sum(rows >= at), 3)), rtol=1e-12)
    assert np.isnan(sol.cycle_strength)


@pytest.mark.thorough
def test_no_rounds_and_derivatives_of_rests(compiled):
    process = drift(lambda z: 0.9 * z)
    assert dyn.iterate(process, 0, initial=START).log_policy.shape == (1, 3)
    assert dyn.iterate(process, 0, initial=START, measure=["verdict", "period"]).coordinate.tolist() == [0]

    def last(beta):
        return dyn.iterate(loop_of(beta=beta), 11, initial=START, every=4).log_policy[:, 0]

    np.testing.assert_allclose(jax.jit(last)(0.3), last(0.3), rtol=1e-12)
    np.testing.assert_allclose(jax.jacrev(last)(0.3), jax.jacfwd(last)(0.3), rtol=1e-10)
    slope = (last(0.3 + 1e-5) - last(0.3 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jacrev(last)(0.3), slope, rtol=1e-6, atol=1e-9)


@pytest.mark.thorough
def test_a_tolerance_may_be_traced_where_the_process_is_not():
    process = drift(lambda z: 0.99 * z)
    sol = lambda tolerance: dyn.iterate(process, 20, initial=START, measure=[diag.Verdict(tolerance=tolerance)]).verdict
    codes = jax.vmap(sol)(jnp.array([1e-9, 0.5]))
    assert [diag.VERDICTS[int(code)] for code in codes] == ["undecided", "converged"]


class Newest(diag.Measure):
    """The last rounds' first probability: as many as there are, up to ``size``."""

    size: int = eqx.field(static=True, default=1000)
    name: str = eqx.field(static=True, kw_only=True, default="newest")

    def for_rounds(self, rounds):
        if rounds < 2:
            raise ValueError("newest needs 2 rounds; pass rounds=2 or more.")
        return dataclasses.replace(self, size=min(self.size, rounds))

    def init(self, snapshot, rounds):
        return jnp.zeros(self.size), rounds

    def update(self, state, snapshot):
        values, rounds = state
        here = jnp.arange(self.size) == snapshot.round - rounds + self.size - 1
        return jnp.where(here, snapshot.policy[0], values), rounds

    def finalize(self, state):
        return state[0]


def test_a_measure_sizes_itself_on_the_host():
    process = drift(lambda z: 0.9 * z)
    sol = dyn.iterate(process, 12, initial=START, measure=Newest())
    np.testing.assert_allclose(sol.newest, np.exp(sol.log_policy[1:, 0]))
    np.testing.assert_allclose(diag.replay(Newest(5), sol.log_policy)["newest"], np.exp(sol.log_policy[-5:, 0]))
    with pytest.raises(ValueError, match="needs 2 rounds"):
        dyn.iterate(process, 1, initial=START, measure=Newest())
    with pytest.raises(ValueError, match="needs 2 rounds"):
        dyn.sweep(loop_of(), {"alpha": [0.1]}, measure=Newest(), rounds=1, initial=START)
    with pytest.raises(ValueError, match="burn_in = 9 leaves none of the 8 rounds"):
        dyn.sweep(loop_of(), {"alpha": [0.1]}, measure=diag.CycleStrength(9), rounds=8, initial=START)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
def test_rounds_of_a_sweep(compiled, kind):
    loop, measure = loop_of(kind), ["cycle_strength", "collapse_rate", "verdict"]
    sweep = lambda rounds: dyn.sweep(loop, {"alpha": [0.0, 0.4, 1.0]}, measure=measure, rounds=rounds, initial=START)
    sweep(40)
    with compiled() as again:
        ds = sweep(39)
    assert again == [0]
    for i, alpha in enumerate([0.0, 0.4, 1.0]):
        one = dyn.iterate(eqx.tree_at(lambda p: p.alpha, loop, jnp.asarray(alpha)), 39, initial=START, measure=measure)
        assert int(ds.verdict[i]) == int(one.verdict)
        np.testing.assert_allclose(ds.collapse_rate[i], one.collapse_rate, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ds.cycle_strength[i], one.cycle_strength, rtol=1e-9, atol=1e-15)
    still = sweep(0)
    np.testing.assert_allclose(still.cycle_strength, 0.0, atol=1e-15)


@pytest.mark.thorough
def test_samples_smoothing_and_steps_of_a_sweep(compiled):
    optimizer = optax.sgd(0.1)  # its functions are a part of what is compiled

    def run(samples, smoothing, steps, rounds):
        options = {"samples": samples, "smoothing": smoothing}
        options |= {} if steps is None else {"inner": dyn.Descend(optimizer, steps=steps)}
        loop, key = loop_of(**options), jax.random.key(0)
        return dyn.sweep(loop, {"alpha": [0.2, 0.7]}, measure="final_entropy", rounds=rounds, key=key, initial=START)

    for steps, other in ((None, None), (5, 9)):
        first = run(20, 0.5, steps, 6)
        with compiled() as again:
            second = run(30, 0.7, other, 7)
        assert again == [0]
        assert not np.allclose(first.final_entropy, second.final_entropy)


@pytest.mark.thorough
def test_rounds_of_stability(compiled):
    loop = loop_of()
    dyn.stability.analyze(loop, rounds=300)
    with compiled() as again:
        dyn.stability.analyze(loop, rounds=299)
    assert again == [0]


@pytest.mark.thorough
def test_stretches_of_an_orbit_and_its_lyapunov_exponent(compiled):
    loop, judge = loop_of(), diag.Verdict()
    state = start(loop, jnp.asarray(START))
    judge_orbit(loop, state, judge, 20, 20, 4, None)
    growth = lyapunov_exponent(loop, state, 60)
    with compiled() as again:
        judge_orbit(loop, state, judge, 19, 19, 4, None)
        longer = lyapunov_exponent(loop, state, 61)
    assert again == [0]
    logs, z, v = [], state.logits, np.cos(1.0 + np.arange(3)) - np.cos(1.0 + np.arange(3)).mean()
    for _ in range(60):
        v = v / np.linalg.norm(v)
        z, v = jax.jvp(loop, (z,), (jnp.asarray(v),))
        v = np.asarray(v - v.mean())
        logs.append(np.log(np.linalg.norm(v)))
    np.testing.assert_allclose(growth, np.mean(logs[20:]), rtol=1e-9)
    assert longer != growth


@pytest.mark.thorough
def test_times_and_tolerances_of_a_flow(compiled):
    P, sampler = dyn.preferences.cyclic(3, advantage=0.2), dyn.samplers.Fixed(START)
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), sampler)
    dyn.gradient_flow(flow, 3.0)
    with compiled() as again:
        a, b = dyn.gradient_flow(flow, 4.0), dyn.gradient_flow(flow, 4.0, rtol=1e-5, atol=1e-6)
    assert again == [0]
    assert a.coordinate[-1] == b.coordinate[-1] == 4.0
    times = diffrax.SaveAt(ts=jnp.linspace(0.0, 4.0, 7))
    assert dyn.gradient_flow(flow, 4.0, saveat=times).coordinate.shape == (7,)


@pytest.mark.thorough
def test_rows_beyond_a_window_do_not_matter():
    from dynamics.diagnostics._period import _analyse

    t = np.arange(100)
    turn = np.exp(0.3 * np.cos(2 * np.pi * (t[:, None] / 17.3 + np.arange(3) / 3)))
    rows = turn / turn.sum(axis=1, keepdims=True)
    zeros, noise = np.zeros((128, 3)), np.random.default_rng(0).uniform(size=(128, 3))
    for n in (4, 5, 9, 10, 11, 64, 100):
        filled = [jnp.asarray(np.concatenate([rows[:n], rest[n:]])) for rest in (zeros, noise)]
        one, other = (_analyse(window, jnp.asarray(n)) for window in filled)
        np.testing.assert_array_equal([*one], [*other])
    alone = _analyse(jnp.asarray(rows[:100]), jnp.asarray(100))
    assert alone.kind == one.kind == diag.KINDS.index("quasi-periodic")
    np.testing.assert_allclose([*alone], [*one], rtol=1e-9)
