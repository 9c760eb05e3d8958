"""One round and the parameters of a process."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from problems import loop_of, oracle_inputs

import dynamics as dyn
from dynamics._parameters import parameters, replace, resolve


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_one_round_matches_the_oracle(objective, alpha, lam):
    loop = loop_of(objective, alpha=alpha, lam=lam)
    log_pi = problems.log_policy(4, 9, 2.0)
    got = jax.nn.log_softmax(loop(jnp.asarray(log_pi)))
    np.testing.assert_allclose(got, oracles.mrs_round(log_pi=log_pi, **oracle_inputs(loop)), atol=1e-12)


@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_a_round_ignores_the_gauge_and_the_names_of_responses(objective):
    loop = loop_of(objective)
    z = jnp.asarray(problems.log_policy(4, 3))
    np.testing.assert_allclose(loop(z + 7.0), loop(z), atol=1e-13)
    order = np.array([3, 1, 0, 2])
    moved = problems.relabelled(loop, order)
    np.testing.assert_allclose(moved(z[order]), loop(z)[order], atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["ipo", "dpo"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_gradients_by_every_share_are_finite_and_right(objective, lam):
    """At lam = 0 and 1 the mixture's logarithm has an infinite slope term that must cancel."""

    def leading(alpha, lam):
        base = loop_of(objective)
        return dyn.SelfSampling(base.preference, base.objective, alpha, lam, base.log_reference, base.log_offline)(
            jnp.asarray(problems.log_policy(4, 5))
        )[0]

    for argument in (0, 1):
        slope = jax.grad(leading, argument)(0.5, lam)
        h = 1e-6
        shift = [(h, 0.0), (0.0, h)][argument]
        back = [(0.0, 0.0)] if argument == 1 and lam == 0 else [(-shift[0], -shift[1])]
        ahead = (0.0, 0.0) if argument == 1 and lam == 1 else shift
        width = (ahead[argument] - back[0][argument]) or h
        numeric = (leading(0.5 + ahead[0], lam + ahead[1]) - leading(0.5 + back[0][0], lam + back[0][1])) / width
        np.testing.assert_allclose(slope, numeric, rtol=1e-4, atol=1e-5)  # one-sided differences at the ends


def test_the_slope_by_lam_survives_deep_policies():
    """At lam = 1 a response of mass e^-300 gains mass at once: f changes at a rate that does not depend on the depth."""
    from dynamics._numerics import log_mixture

    P = dyn.preferences.cyclic(3, 0.4)

    def leading(lam, depth):
        log_mu = log_mixture(lam, jnp.array([-depth, 0.0, -2 * depth]), jnp.full(3, -np.log(3.0)))
        return dyn.DPO(0.3).implicit_reward(P, log_mu)[0]

    h = 1e-6
    for depth in (30.0, 100.0, 300.0):
        one = jnp.asarray(1.0)
        numeric = (leading(one, depth) - leading(one - h, depth)) / h
        np.testing.assert_allclose(jax.grad(leading)(one, depth), numeric, rtol=1e-5)


def test_dpo_refuses_only_where_the_sampler_needs_the_missing_optimum():
    P = problems.from_upper([1.0, 1.0], [0.7])
    with pytest.raises(ValueError, match="beat every other sampled response"):
        dyn.SelfSampling(P, dyn.DPO(0.1), 0.5, 1.0)
    assert dyn.SelfSampling(P, dyn.IPO(0.1), 0.5, 1.0).num_responses == 3


def test_parameters_by_path_and_by_unique_tail():
    loop = loop_of("ipo")
    assert resolve(loop, "objective.beta") == resolve(loop, "beta") == "objective.beta"
    assert set(parameters(loop)) == {"preference", "objective.beta", "alpha", "lam", "log_reference", "log_offline"}
    changed = replace(loop, {"objective.beta": jnp.asarray(3.0)})
    assert float(changed.objective.beta) == 3.0
    assert float(loop.objective.beta) == 0.2
    with pytest.raises(ValueError, match="did you mean 'alpha'"):
        resolve(loop, "alhpa")


def test_another_size_needs_uniform_references():
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.1), 0.5, 1.0)
    assert loop.with_preference(problems.matrix(5, 0)).log_reference.shape == (5,)
    with pytest.raises(ValueError, match="log_reference is not uniform"):
        loop_of("ipo").with_preference(problems.matrix(5, 0))


def test_float32_works_and_warns_once():
    code = (
        "import warnings, dynamics as dyn\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    for objective in (dyn.IPO(5.0), dyn.DPO(5.0)):\n"
        "        loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.3), objective, 0.5, 1.0)\n"
        "        sol = dyn.iterate(loop, 50, initial=__import__('numpy').log([.2, .3, .5]), measure=['entropy'])\n"
        "        assert str(sol.log_policy.dtype) == 'float32' and abs(float(sol.entropy[-1]) - 1.0986) < 1e-3\n"
        "print(sum('float32' in str(w.message) for w in seen))\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1", done.stderr
