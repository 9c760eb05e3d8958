"""Loops compiled whole, and threads: the same numbers, whatever does the work."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics.sweeps import _grid, _machine

START = np.log([0.5, 0.3, 0.2])
OVER = {"alpha": np.linspace(0.0, 1.0, 17), "lam": np.linspace(0.0, 1.0, 19)}


def asked(loop, over=OVER, **options):
    return dyn.sweep(
        loop, over, **{"rounds": 60, "measure": ["cycle_strength", "final_entropy"], "initial": START} | options
    )


P = dyn.preferences.cyclic(3, 0.4)
LOOPS = {
    "IPO": lambda: (dyn.SelfSampling(P, dyn.IPO(0.1), 0.5, 1.0), {}),
    "DPO": lambda: (dyn.SelfSampling(P, dyn.DPO(0.4), 0.5, 1.0), {}),
    "samples": lambda: (dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, samples=30), {"key": jax.random.key(3)}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOOPS)
def test_threads_do_not_show(name):
    loop, options = LOOPS[name]()
    one, several = asked(loop, cores=1, **options), asked(loop, cores=5, **options)
    for variable in one.data_vars:
        np.testing.assert_array_equal(one[variable].values, several[variable].values)


@pytest.mark.thorough
def test_threads_compute_in_the_precision_of_the_caller():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    double = asked(loop, cores=3)
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that JAX runs in float32, said once a process
        single = dyn.SelfSampling(np.asarray(loop.preference), dyn.IPO(0.1), 0.5, 1.0)
        half = [asked(single, cores=cores) for cores in (1, 3)]
    assert double.final_entropy.dtype == np.float64
    assert {ds.final_entropy.dtype for ds in half} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(*(ds.final_entropy.values for ds in half))


@pytest.mark.thorough
def test_threads_keep_the_settings_of_the_caller():
    # Without threefry_partitionable other numbers are drawn; a thread would not know of the setting.
    loop, options = LOOPS["samples"]()
    with jax.threefry_partitionable(False):
        one, several = (asked(loop, cores=cores, **options) for cores in (1, 4))
    np.testing.assert_array_equal(one.final_entropy.values, several.final_entropy.values)
    assert not np.array_equal(one.final_entropy.values, asked(loop, cores=4, **options).final_entropy.values)


def test_what_one_thread_raises_is_raised_and_ends_the_rest():
    begun = []

    def work(i):
        begun.append(i)
        if i == 3:
            raise OSError("disk full")
        return i

    with pytest.raises(OSError, match="disk full"):
        list(_machine.on_threads(work, 10_000, 2))
    assert len(begun) < 10_000


def test_bad_numbers_of_cores_are_refused():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    for cores in (0, -2):
        with pytest.raises(ValueError, match="cores"):
            asked(loop, cores=cores)


def text_of(loop, over=OVER, **options):
    """The compiled program of a sweep."""
    kept = []
    run = _grid._compiled("cpu")

    class Stop(Exception):
        pass

    def look(*args):
        kept.append(run.lower(*args).compile().compiled.as_text())
        raise Stop

    original, _grid._compiled = _grid._compiled, lambda platform: look
    try:
        with pytest.raises(Stop):
            asked(loop, over, **options)
    finally:
        _grid._compiled = original
    return kept[0]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU runs kernels")
@pytest.mark.parametrize("name", LOOPS)
def test_the_loop_of_rounds_is_one_function(name):
    loop, options = LOOPS[name]()
    text = text_of(loop, **options)
    called = [line for line in text.splitlines() if " call(" in line and 'xla_cpu_small_call="true"' in line]
    assert len(called) >= 1, (
        "XLA no longer keeps the attribute: sweeps are several times slower; see _machine.compiled_whole"
    )


def test_the_installed_version_of_jax_was_tried():
    """A newer JAX compiles loops in pieces until ``KNOWN`` is extended: run this file and the benchmark with it first."""
    assert _machine.is_known(jax.__version__) or tuple(map(int, jax.__version__.split(".")[:2])) < _machine.KNOWN[0]


class Dotted(dyn.RoundMap):
    """A product of matrices, which XLA hands to a library."""

    preference: jax.Array
    rate: jax.Array

    def __call__(self, logits, key=None):
        return jnp.einsum("ij,j->i", self.preference, jnp.sort(logits)) * self.rate


def test_programs_that_call_libraries_are_compiled_in_pieces():
    loop = Dotted(jnp.asarray(dyn.preferences.cyclic(3, 0.4)), jnp.asarray(0.5))
    over = {"rate": np.linspace(0.1, 1.0, 9)}
    assert "xla_cpu_small_call" not in text_of(loop, over)
    got = asked(loop, over, measure="final_entropy").final_entropy.values
    alone = [dyn.iterate(Dotted(loop.preference, jnp.asarray(r)), 60, initial=START) for r in over["rate"]]
    want = [float(-jnp.sum(jnp.exp(run.log_policy[-1]) * run.log_policy[-1])) for run in alone]
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_program_that_xla_cannot_compile_whole_is_compiled_in_pieces(monkeypatch):
    monkeypatch.setattr(_machine, "is_whole", lambda program: True)
    loop = Dotted(jnp.asarray(dyn.preferences.cyclic(5, 0.3)), jnp.asarray(0.5))
    before = set(_grid._not_whole)
    options = {"measure": "final_entropy", "initial": np.log([0.3, 0.3, 0.2, 0.1, 0.1])}
    got = asked(loop, {"rate": np.linspace(0.1, 1.0, 9)}, **options)
    assert len(_grid._not_whole - before) == 1
    assert np.isfinite(got.final_entropy.values).all()
    again = asked(loop, {"rate": np.linspace(0.1, 1.0, 9)}, **options)
    np.testing.assert_array_equal(got.final_entropy.values, again.final_entropy.values)


@pytest.mark.thorough
@pytest.mark.parametrize("rounds", [0, 1, 2, 5, 300])
@pytest.mark.parametrize("measure", ["period", "verdict", "final_entropy", "log_average_policy"])
def test_arguments_that_simplification_leaves_unused_do_no_harm(rounds, measure):
    # A window longer than the run, a count that is a constant: XLA would end the process at such an argument.
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.3), 0.5, 1.0)
    if measure in ("period", "verdict") and rounds == 0:
        return
    ds = asked(loop, {"alpha": np.linspace(0, 0.9, 5)}, rounds=rounds, measure=measure)
    assert (ds.result.values == 0).all()


def test_use_machine_says_that_it_does_nothing():
    with pytest.warns(DeprecationWarning, match="pass cores=2 to dyn.sweep"):
        dyn.sweeps.use_machine(2)


def test_other_grids_and_rounds_are_not_compiled_anew():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.DPO(0.4), 0.5, 1.0)
    ask = lambda a, b, rounds: asked(loop, {"alpha": np.linspace(0, 1, a), "lam": np.linspace(0, 1, b)}, rounds=rounds)
    ask(30, 31, 40)
    count = _grid._compiled("cpu")._cached._cache_size()
    for a, b, rounds in ((32, 32, 40), (17, 29, 64), (25, 18, 33)):
        ask(a, b, rounds)
    assert _grid._compiled("cpu")._cached._cache_size() == count


UPDATED = lambda table, i, row: jax.lax.dynamic_update_slice_in_dim(table, row[None], jnp.maximum(i - 2, 0), 0)
PROGRAMS = {
    "a constant beside": lambda m, r, x, k, T: (jax.lax.fori_loop(1, m, lambda _, c: c * r, x), jnp.zeros((), int)),
    "an argument handed on": lambda m, r, x, k, T: (jax.lax.fori_loop(1, m, lambda _, c: c * r, x), T, k),
    "one result twice": lambda m, r, x, k, T: 2 * (jax.lax.fori_loop(1, m, lambda _, c: c * r, x),),
    "a count from a constant": lambda m, r, x, k, T: jax.lax.fori_loop(
        1, m, lambda _, c: (c[0] * r, c[1] + 1, UPDATED(c[2], c[1], c[0])), (x, jnp.zeros((), int), T)
    ),
    "branches that ignore their operands": lambda m, r, x, k, T: jax.lax.fori_loop(
        1, m, lambda i, c: jax.lax.switch(i % 3, [jnp.ones_like, lambda c: c * r, jnp.zeros_like], c), x
    ),
    "an inner loop that ignores its state": lambda m, r, x, k, T: jax.lax.fori_loop(
        1, m, lambda i, c: jax.lax.fori_loop(0, i, lambda _, d: jnp.ones_like(d), c), x
    ),
    "keys, booleans and small integers": lambda m, r, x, k, T: jax.lax.fori_loop(
        1, m, lambda i, c: c + jax.random.uniform(jax.random.fold_in(KEY, i), x.shape), x
    ),
}
KEY = jax.random.key(5)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("several", [True, False], ids=["all results used", "one result used"])
def test_no_program_ends_the_process(name, several):
    # XLA would end it at an argument without a use. The calls lie inside a loop over blocks, as those of a sweep do.
    r, x, k, T = 0.9 * jnp.ones((1, 64)), jnp.ones((3, 64)), jnp.asarray(3), jnp.zeros((8, 3, 64))
    keep = lambda tree: jax.tree.leaves(tree) if several else jax.tree.leaves(tree)[:1]

    def blocks(call, m):
        def one(i, kept):
            out, count = call(PROGRAMS[name], m, r, x * i, k, T)
            return jax.tree.map(lambda a, b: a.at[i].set(b), kept, (keep(out), count))

        out, count = jax.eval_shape(lambda: call(PROGRAMS[name], m, r, x, k, T))
        blank = jax.tree.map(lambda s: jnp.zeros((3, *s.shape), s.dtype), (keep(out), count))
        return jax.lax.fori_loop(0, 3, one, blank)

    whole = jax.jit(lambda m: blocks(_machine.compiled_whole, m))
    got, needed = whole(jnp.asarray(5))
    want, _ = jax.jit(lambda m: blocks(lambda f, *a: (f(*a), 0), m))(jnp.asarray(5))
    assert "xla_cpu_small_call" in whole.lower(jnp.asarray(5)).as_text()
    assert needed.shape == (3,)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_packed_arrays_come_back():
    leaves = [
        jnp.asarray([[1.5, -0.0], [jnp.nan, jnp.inf]]),
        jnp.asarray([2**31 + 7, 5], jnp.uint32),
        jnp.asarray(True),
        jax.random.split(jax.random.key(3), 4),
        jnp.asarray([-7, 2**40]),
        jnp.asarray([1.25], jnp.float32),
        jnp.zeros((0, 3), jnp.int8),
        jnp.asarray([1 + 2j]),
    ]
    packs = _machine.Packs.of(leaves)
    for x, y in zip(leaves, packs.unpacked(packs.packed(leaves)), strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        plain = jax.random.key_data if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else lambda z: z
        np.testing.assert_array_equal(plain(x), plain(y))


class Unused(dyn.RoundMap):
    """A map with a field that XLA finds to have no effect."""

    preference: jax.Array
    table: jax.Array
    rate: jax.Array
    how: object = eqx.field(static=True)

    def __call__(self, logits, key=None):
        return self.rate * logits + self.how(self, logits)


EFFECTLESS = {
    "times 0": lambda loop, z: 0.1 * jax.nn.softmax(z) + 0 * loop.table.astype(float),
    "never selected": lambda loop, z: jnp.where(jnp.arange(3) < 5, 0.1 * jnp.sin(z), loop.table.astype(float)),
    "in a loop that does not run": lambda loop, z: jax.lax.while_loop(
        lambda c: c[0] < 0, lambda c: (c[0] + 1, c[1] * loop.table.astype(float)), (0, 0.1 * z)
    )[1],
}


@pytest.mark.parametrize("name", EFFECTLESS)
def test_a_field_without_an_effect_does_not_end_the_process(name):
    loop = Unused(jnp.asarray(P), jnp.arange(3), jnp.asarray(0.5), EFFECTLESS[name])
    rates = np.linspace(0.1, 0.9, 5)
    got = asked(loop, {"rate": rates}, rounds=20, measure="final_entropy").final_entropy.values
    for rate, value in zip(rates, got, strict=True):
        one = Unused(loop.preference, loop.table, jnp.asarray(rate), loop.how)
        want = dyn.iterate(one, 20, initial=START).log_policy[-1]
        np.testing.assert_allclose(value, float(-jnp.sum(jnp.exp(want) * want)), rtol=1e-12)
