"""Trajectories against independent ones, restarts, failures as values, and runs that are long or close to a vertex."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from problems import loop_of, oracle_inputs

import dynamics as dyn
from dynamics.solve import RESULTS


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
@pytest.mark.parametrize("K", [2, 3, 6])
def test_trajectory_matches_the_oracle(objective, K):
    loop = loop_of(objective, K=K, beta=0.5)
    start = problems.log_policy(K, 8)
    sol = dyn.iterate(loop, 60, initial=start)
    want = oracles.mrs_run(log_pi=start, rounds=60, **oracle_inputs(loop))
    np.testing.assert_allclose(sol.log_policy, want, atol=1e-10)
    assert sol.result == RESULTS.successful


def test_saved_rows_are_the_first_every_and_the_last():
    loop = loop_of("ipo")
    full = dyn.iterate(loop, 17, measure=["entropy"])
    part = dyn.iterate(loop, 17, every=5, measure=["entropy"])
    assert part.coordinate.tolist() == [0, 5, 10, 15, 17]
    np.testing.assert_array_equal(part.log_policy, full.log_policy[np.array([0, 5, 10, 15, 17])])
    np.testing.assert_array_equal(part.entropy, full.entropy[np.array([0, 5, 10, 15, 17])])
    none = dyn.iterate(loop, 0)
    assert none.log_policy.shape == (1, 4)


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_a_restart_continues_bit_for_bit(objective):
    loop = loop_of(objective)
    whole = dyn.iterate(loop, 90)
    rest = dyn.iterate(loop, 50, initial=dyn.iterate(loop, 40).final)
    np.testing.assert_array_equal(rest.log_policy[-1], whole.log_policy[-1])
    assert rest.coordinate.tolist()[::50] == [40, 90]


def test_measures_of_a_restarted_run_are_those_of_its_own_rows():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    names = ["period", "cycle_strength", "amplitude", "collapse_rate", "collapse_round", "convergence_rate", "verdict"]
    half = dyn.iterate(loop, 300, initial=problems.log_policy(3, 0))
    gone_on = dyn.iterate(loop, 300, initial=half.final, measure=names)
    anew = dyn.iterate(loop, 300, initial=half.log_policy[-1], measure=names)
    for name, value in anew.statistics.items():
        np.testing.assert_allclose(gone_on.statistics[name], value, rtol=1e-9, err_msg=name)


def test_chunks_of_a_long_run_do_not_show(monkeypatch):
    loop = loop_of("dpo")
    whole = dyn.iterate(loop, 100, every=3, measure=["cycle_strength"])
    monkeypatch.setattr("dynamics.solve._iterate.ROUNDS_PER_CALL", 16)
    pieces = dyn.iterate(loop, 100, every=3, measure=["cycle_strength"])
    np.testing.assert_array_equal(pieces.log_policy, whole.log_policy)
    assert pieces.coordinate.tolist() == whole.coordinate.tolist()
    assert pieces.cycle_strength == whole.cycle_strength


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_a_hundred_thousand_rounds_far_below_the_smallest_float(objective):
    """At alpha = 1 with a matched link the rounds are linear: z_T = z_0 + T x/beta (statement 7.6)."""
    x = np.array([0.2, 0.05, -0.25])
    P = 0.5 + x[:, None] - x[None, :] if objective == "ipo" else np.asarray(dyn.preferences.bradley_terry(x))
    kind = dyn.IPO if objective == "ipo" else dyn.DPO
    loop = dyn.SelfSampling(P, kind(0.05), 1.0, 1.0)
    sol = dyn.iterate(loop, 100_000, every=20_000, measure=["entropy"])
    want = np.arange(0, 100_001, 20_000)[:, None] * x / 0.05
    want = want - want.max(axis=1, keepdims=True) + sol.log_policy.max(axis=1, keepdims=True)
    np.testing.assert_allclose(sol.log_policy, want, rtol=2e-11, atol=1e-11)  # 1e5 roundings of 1e5·eps, at random
    assert float(sol.log_policy[-1].min()) < -1e5
    assert np.isfinite(sol.log_policy).all()
    assert float(sol.entropy[-1]) == 0.0


def test_a_user_map_a_random_map_and_a_map_that_blows_up():
    class Momentum(dyn.RoundMap):
        preference: jax.Array
        beta: float

        def __call__(self, logits, key=None):
            return 0.9 * logits + (self.preference - 0.5) @ jax.nn.softmax(logits) / self.beta

    P = jnp.asarray(problems.matrix(3, 1))
    sol = dyn.iterate(Momentum(P, 2.0), 500, measure=["entropy", "kl_to_reference", "reward_margin"])
    z = np.zeros(3)
    for _ in range(500):
        z = 0.9 * z + (np.asarray(P) - 0.5) @ np.exp(oracles.log_softmax(z)) / 2.0
    np.testing.assert_allclose(sol.log_policy[-1], oracles.log_softmax(z), atol=1e-12)

    class Noisy(dyn.RoundMap):
        preference: jax.Array
        stochastic = True

        def __call__(self, logits, key=None):
            return Momentum(self.preference, 2.0)(logits) + 0.1 * jax.random.normal(key, (3,))

    noisy = Noisy(P)
    with pytest.raises(ValueError, match=r"pass key=jax.random.key"):
        dyn.iterate(noisy, 5)
    key = jax.random.key(3)
    whole = dyn.iterate(noisy, 30, key=key)
    rest = dyn.iterate(noisy, 10, key=key, initial=dyn.iterate(noisy, 20, key=key).final)
    np.testing.assert_array_equal(rest.log_policy[-1], whole.log_policy[-1])
    assert not np.array_equal(whole.log_policy[-1], dyn.iterate(noisy, 30, key=jax.random.key(4)).log_policy[-1])

    class Explodes(dyn.RoundMap):
        preference: jax.Array

        def __call__(self, logits, key=None):
            return 1e200 * (logits + jnp.arange(3.0))

    with pytest.raises(RuntimeError, match=r"stopped at round 2: .*not finite.*throw=False"):
        dyn.iterate(Explodes(P), 5)
    kept = dyn.iterate(Explodes(P), 5, throw=False)
    assert np.isfinite(kept.log_policy).all()
    assert kept.result == RESULTS.nonfinite
    assert int(kept.stats["failed_round"]) == 2


def test_a_traced_missing_optimum_is_a_result():
    """Under jit the matrix cannot be looked at: the run says so and stands still."""

    @jax.jit
    def run(P):
        sol = dyn.iterate(dyn.SelfSampling(P, dyn.DPO(0.1), 0.5, 1.0), 4, throw=False)
        return sol.log_policy, sol.result == RESULTS.unsolved

    log_policy, failed = run(jnp.asarray(problems.from_upper([1.0, 1.0], [0.7])))
    assert bool(failed)
    assert np.isfinite(log_policy).all()


@pytest.mark.parametrize(("alpha", "beta", "entry"), [(2.0, 0.25, 0.7), (0.5, -1.0, 0.7), (0.5, 0.25, 3.0)])
def test_traced_values_out_of_range_are_a_result(alpha, beta, entry):
    @jax.jit
    def run(alpha, beta, entry):
        P = jnp.array([[0.5, entry], [1 - entry, 0.5]])
        sol = dyn.iterate(dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0), 5, throw=False)
        return sol.log_policy, sol.result == RESULTS.successful

    log_policy, succeeded = run(alpha, beta, entry)
    assert not bool(succeeded)
    assert np.isfinite(log_policy).all()


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_works_under_jit_vmap_and_grad(objective):
    base = loop_of(objective)

    def last(beta):
        kind = dyn.IPO if objective == "ipo" else dyn.DPO
        loop = dyn.SelfSampling(base.preference, kind(beta), base.alpha, base.lam, base.log_reference, base.log_offline)
        return dyn.iterate(loop, 12).log_policy[-1]

    plain = last(0.3)
    np.testing.assert_allclose(jax.jit(last)(0.3), plain, atol=1e-13)
    np.testing.assert_allclose(jax.vmap(last)(jnp.array([0.3, 0.6]))[0], plain, atol=1e-13)
    h = 1e-5
    central = (last(0.3 + h) - last(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.jacfwd(last)(0.3), central, rtol=1e-6)
    np.testing.assert_allclose(jax.jacrev(last)(0.3), central, rtol=1e-6)


def test_new_values_do_not_recompile():
    from dynamics import engine

    dyn.iterate(loop_of("ipo", beta=0.2), 33, measure=["entropy"])
    traces = engine.jit_go_filling._cached._cache_size()
    dyn.iterate(loop_of("ipo", beta=0.9, alpha=0.1, lam=0.2, seed=5), 33, measure=["entropy"])
    assert engine.jit_go_filling._cached._cache_size() == traces


def test_dataset_names_dims_units_and_provenance():
    sol = dyn.iterate(loop_of("ipo"), 9, every=2, measure=["entropy", "reward_margin", "final_entropy"])
    ds = sol.to_dataset()
    assert ds["log_policy"].dims == ("round", "response")
    assert ds["reward_margin"].dims == ("round", "pair")
    assert ds["pair"].values.tolist()[:2] == ["0>1", "0>2"]
    assert ds["entropy"].attrs["units"] in ("nat", "nats")
    assert float(ds["final_entropy"]) == float(ds["entropy"][-1]) == float(ds["entropy_final"])
    assert "objective.beta" in ds.attrs["config"]
    assert ds.attrs["version_jax"] == jax.__version__
    with pytest.raises(AttributeError, match="no 'entropie'"):
        _ = sol.entropie


def test_config_is_json_even_with_zero_mass():
    loop = dyn.SelfSampling(
        problems.matrix(3, 0), dyn.IPO(0.3), 0.5, 0.5, log_offline=np.array([-np.inf, np.log(0.5), np.log(0.5)])
    )
    config = dyn.iterate(loop, 2, initial=problems.log_policy(3, 0)).to_dataset().attrs["config"]
    assert float(json.loads(config)["log_offline"][0]) == -np.inf
    assert "Infinity" not in config


def test_an_unmoving_default_start_is_pointed_out():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), 0.5, 1.0)
    with pytest.warns(UserWarning, match="default start is a fixed point"):
        dyn.iterate(loop, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dyn.iterate(loop, 3, initial=problems.log_policy(3, 0))
