"""A sweep is the same as its runs one by one."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from problems import loop_of

import dynamics as dyn
from dynamics._parameters import replace
from dynamics.engine import as_measures
from dynamics.sweeps import _grid, _plan
from dynamics.sweeps._axes import axes_of

pytestmark = pytest.mark.usefixtures("optimised")


def one_by_one(loop, name, values, rounds, measure, **options):
    runs = [dyn.iterate(replace(loop, {name: jnp.asarray(v)}), rounds, measure=measure, **options) for v in values]
    return np.array([float(run.statistics[measure]) for run in runs])


@pytest.mark.thorough
@pytest.mark.parametrize("objective", ["ipo", "dpo"])
def test_each_point_is_a_run(objective):
    loop = loop_of(objective, K=3)
    alphas, betas = np.linspace(0, 1, 4), np.array([0.1, 0.5, 2.0])
    ds = dyn.sweep(
        loop, {"alpha": alphas, "objective.beta": betas}, rounds=40, measure=["cycle_strength", "final_entropy"]
    )
    assert ds["cycle_strength"].dims == ("alpha", "objective.beta")
    assert (ds["result"] == 0).all()
    for j, beta in enumerate(betas):
        at = replace(loop, {"objective.beta": jnp.asarray(beta)})
        want = one_by_one(at, "alpha", alphas, 40, "cycle_strength")
        np.testing.assert_allclose(ds["cycle_strength"].values[:, j], want, rtol=1e-10, atol=1e-15)
    np.testing.assert_array_equal(ds["alpha"], alphas)
    assert float(ds["final_entropy"].sel(alpha=0.0, **{"objective.beta": 0.5})) > 0


@pytest.mark.thorough
def test_blocks_do_not_show_and_values_do_not_recompile(monkeypatch):
    loop = loop_of("ipo", K=3)
    ask = lambda low: dyn.sweep(loop, {"alpha": np.linspace(low, 1, 23)}, rounds=30, measure="cycle_strength")
    whole, compiled = ask(0.0), _grid._compiled("cpu")._cached
    for platform in _grid.MAX_LANES:
        monkeypatch.setitem(_grid.MAX_LANES, platform, 8)
    before = compiled._cache_size()
    parts = ask(0.0)
    assert compiled._cache_size() == before + 1
    ask(0.1)
    assert compiled._cache_size() == before + 1
    np.testing.assert_allclose(parts["cycle_strength"], whole["cycle_strength"], rtol=1e-12)


def bytes_needed(rounds):
    """What a compiled block needs beside its arguments and results."""
    loop = loop_of("ipo", K=4)
    work = _grid.Work(loop, as_measures(["cycle_strength", "final_entropy"]), rounds, None, None)
    plan = _plan.Plan(work, axes_of(loop, {"alpha": np.linspace(0, 1, 64)}), 64, (64,))
    work, part = _plan._part(plan, [np.arange(64)])
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("device",))
    shapes, places = (jnp.array([64]), jnp.array([64]), jnp.array(1)), [jnp.arange(64)]
    run = jax.jit(lambda tables: _grid._run(work, tables, places, shapes, jnp.zeros(2, int), 64, mesh, True))
    return run.lower(part.tables).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.thorough
def test_memory_does_not_grow_with_rounds():
    assert bytes_needed(10) == bytes_needed(1_000_000) < 1_000_000


@pytest.mark.thorough
def test_zipped_axes_matrices_and_starts():
    loop = loop_of("ipo", K=3)
    matrices = np.stack([problems.matrix(3, s) for s in range(4)])
    starts = np.stack([problems.log_policy(3, s) for s in range(2)])
    ds = dyn.sweep(
        loop,
        {"preference": matrices, ("alpha", "lam"): ([0.1, 0.2, 0.3], [0.9, 0.8, 0.7]), "initial": starts},
        rounds=20,
        measure=["entropy", "reward_margin"],
    )
    assert ds["reward_margin"].dims == ("preference", "alpha_lam", "initial", "pair")
    assert ds["alpha"].dims == ds["lam"].dims == ("alpha_lam",)
    at = dyn.SelfSampling(matrices[2], loop.objective, 0.2, 0.8, loop.log_reference, loop.log_offline)
    run = dyn.iterate(at, 20, initial=starts[1], measure=["entropy", "reward_margin"])
    np.testing.assert_allclose(ds["entropy"][2, 1, 1], run.entropy[-1], atol=1e-13)
    np.testing.assert_allclose(ds["reward_margin"][2, 1, 1], run.reward_margin[-1], atol=1e-13)


@pytest.mark.thorough
def test_matrices_of_several_sizes_are_grouped():
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.2), 0.5, 1.0)
    matrices = [problems.matrix(K, K) for K in (3, 5, 2, 5)]
    ds = dyn.sweep(loop, {"preference": matrices, "alpha": [0.2, 0.9]}, rounds=25, measure="final_entropy")
    for i, P in enumerate(matrices):
        at = dyn.SelfSampling(P, dyn.IPO(0.2), 0.9, 1.0)
        want = dyn.iterate(at, 25, measure="final_entropy").final_entropy
        np.testing.assert_allclose(ds["final_entropy"][i, 1], want, atol=1e-13)
    with pytest.raises(ValueError, match="one size at a time"):
        dyn.sweep(loop, {"preference": matrices}, rounds=2, measure="reward_margin")


@pytest.mark.thorough
def test_a_missing_optimum_is_flagged_and_the_rest_goes_on():
    bad = problems.from_upper([1.0, 1.0], [0.7])
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.DPO(0.2), 0.5, 1.0)
    with pytest.warns(UserWarning, match="fixed point of these rounds for 1 of 2 runs"):
        ds = dyn.sweep(
            loop,
            {"preference": np.stack([problems.matrix(3, 1), bad])},
            rounds=5,
            measure=["final_entropy", "top_response"],
        )
    assert ds["result"].values.tolist() == [0, 2]
    assert ds["result"].attrs["flag_meanings"][2] == "unsolved"
    assert np.isfinite(ds["final_entropy"][0])
    assert np.isnan(ds["final_entropy"][1])
    assert int(ds["top_response"][1]) == -1


@pytest.mark.thorough
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_matrices_does_not_matter(order):
    stack = np.stack([problems.matrix(3, 1), problems.from_upper([1.0, 1.0], [0.7])])[list(order)]
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.DPO(0.2), 0.5, 1.0)
    ds = dyn.sweep(loop, {"preference": stack}, rounds=2, measure="final_entropy", initial=problems.log_policy(3, 0))
    assert ds["result"].values.tolist() == [2 * i for i in order]


def test_a_start_without_full_support_is_refused_before_running():
    empty = np.array([-np.inf, np.log(0.5), np.log(0.5)])
    loop = dyn.SelfSampling(problems.matrix(3, 0), dyn.IPO(0.3), 0.5, 0.5)
    with pytest.raises(ValueError, match="zero mass somewhere and cannot be the start"):
        dyn.sweep(loop, {"log_offline": np.stack([problems.log_policy(3, 0), empty])}, rounds=2, measure="entropy")


@pytest.mark.thorough
def test_a_user_map_and_a_random_one():
    class Noisy(dyn.RoundMap):
        preference: jax.Array
        rate: jax.Array
        stochastic = True

        def __call__(self, logits, key=None):
            return 0.5 * logits + self.rate * jax.random.normal(key, logits.shape)

    noisy = Noisy(jnp.asarray(problems.matrix(3, 0)), jnp.asarray(0.1))
    key = jax.random.key(0)
    ds = dyn.sweep(noisy, {"rate": [0.1, 0.1, 0.3]}, rounds=10, measure="final_entropy", key=key)
    assert float(ds["final_entropy"][0]) != float(ds["final_entropy"][1])
    assert ds.attrs["seed"] == "[0, 0]"
    run = dyn.iterate(noisy, 10, key=jax.random.fold_in(key, 1), measure="final_entropy")
    np.testing.assert_allclose(ds["final_entropy"][1], run.final_entropy, atol=1e-14)
    with pytest.raises(ValueError, match="is random"):
        dyn.sweep(noisy, {"rate": [0.1]}, rounds=10, measure="final_entropy")


@pytest.mark.thorough
def test_a_start_that_does_not_move_is_pointed_out_once():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), 0.5, 1.0)
    with pytest.warns(UserWarning, match="for 3 of 3 runs"):
        dyn.sweep(loop, {"alpha": [0.1, 0.2, 0.3]}, rounds=3, measure="entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dyn.sweep(loop, {"alpha": [0.1, 0.2]}, rounds=3, measure="entropy", initial=problems.log_policy(3, 0))


class Seen(dyn.diagnostics.Measure[jax.Array]):
    """How many rounds were shown, and the sum of their numbers."""

    def variables(self, num_responses):
        return {"seen": dyn.schema.Variable(("which",), "1", "rounds shown, and the sum of their numbers")}

    def init(self, snapshot, rounds):
        return jnp.zeros(2)

    def update(self, state, snapshot):
        return state + jnp.stack([jnp.ones(()), snapshot.round.astype(float)])

    def finalize(self, state):
        return {"seen": state}


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_a_measure_sees_every_round_once(rounds):
    loop = loop_of("ipo", K=3)
    ds = dyn.sweep(
        loop,
        {"alpha": np.linspace(0, 0.9, 5)},
        rounds=rounds,
        measure=Seen(name="seen"),
        initial=problems.log_policy(3, 0),
    )
    np.testing.assert_array_equal(ds.seen.values, [[rounds, rounds * (rounds + 1) / 2]] * 5)


def test_a_run_that_moves_only_in_its_first_round_did_not_begin_at_a_fixed_point():
    # alpha = lam = 0: the first round ends at the optimum, and all others stay there. A warning is an error here.
    loop = dyn.SelfSampling(dyn.preferences.bradley_terry(jnp.array([0.0, 0.5, 1.0])), dyn.IPO(0.3), 0.0, 0.0)
    ds = dyn.sweep(loop, {"objective.beta": [0.2, 0.5]}, rounds=9, measure="final_entropy")
    assert (ds.final_entropy.values < np.log(3)).all()


@pytest.mark.thorough
def test_several_prompts_of_dpo_are_swept():
    P = np.stack([np.asarray(dyn.preferences.cyclic(3, a)) for a in (0.1, 0.2)])
    loop = dyn.SelfSampling(P, dyn.DPO(0.3), 0.5, 0.8)
    start = problems.log_policy(3, 0)
    betas = np.linspace(0.1, 0.4, 20)
    ds = dyn.sweep(loop, {"objective.beta": betas}, measure="final_entropy", rounds=3, initial=start)
    for beta in betas[[0, 7, 19]]:
        one = dyn.SelfSampling(P, dyn.DPO(beta), 0.5, 0.8)
        want = dyn.iterate(one, 3, initial=start, measure="final_entropy").final_entropy
        got = ds.final_entropy.sel({"objective.beta": beta}).values
        np.testing.assert_allclose(got, np.asarray(want).reshape(got.shape), rtol=1e-12)
