"""The batch along the last axis gives what ``jax.vmap`` gives, whatever a round is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics._where_needed import where_needed
from dynamics.sweeps import spread, vectorise

LANES, K = 16, 3
TABLE = jnp.arange(12.0).reshape(4, 3)


def looped(x, a):
    return jax.lax.while_loop(lambda c: c[0] < a, lambda c: (c[0] + 0.3, jnp.sin(c[1])), (a - 1.0, x))[1]


def counted(x, a):
    # The count has no batch before the first step and has one after it.
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + (c[1][0] > 0).astype(int) + 1, c[1] + a), (0, x))


FUNCTIONS = {
    "softmax of a scaled vector": lambda x, a: jax.nn.softmax(a * x),
    "a scalar beside a constant vector": lambda x, a: a * jnp.arange(3.0) + x,
    "constant matrix times vector": lambda x, a: TABLE @ x + a,
    "vector times constant matrix": lambda x, a: x @ TABLE.T,
    "matrix times vector": lambda x, a: (x[:, None] * TABLE.T) @ jnp.arange(4.0),
    "batched matrix times vector": lambda x, a: jnp.outer(x, x) @ (a * x),
    "batched product of matrices": lambda x, a: jnp.outer(x, x) @ jnp.outer(x, x + a),
    "a solve": lambda x, a: jnp.linalg.solve(jnp.outer(x, x) + jnp.eye(3), x),
    "argmax, sort, cumsum": lambda x, a: (jnp.argmax(x), jnp.sort(x), jnp.cumsum(x)),
    "reductions": lambda x, a: (jnp.max(x), jnp.mean(x), jnp.all(x > a), jnp.linalg.norm(x)),
    "reading at a computed place": lambda x, a: x[jnp.argmin(x)] + jnp.take_along_axis(x, jnp.array([2, 0]), 0),
    "writing at a common place": lambda x, a: jnp.zeros((5, 3)).at[2].set(x),
    "writing at a computed place": lambda x, a: jnp.zeros(3).at[jnp.argmax(x)].set(a),
    "reshape, transpose, concatenate": lambda x, a: jnp.concatenate([x, x * a]).reshape(2, 3).T[1:, ::-1],
    "select by a scalar": lambda x, a: jnp.where(a > 0, x, jnp.zeros(3)),
    "clip and integer powers": lambda x, a: jnp.clip(x, -(a**2), 0.5) ** 3,
    "nothing of the batch": lambda x, a: (TABLE[0], 1),
    "logsumexp": lambda x, a: jax.scipy.special.logsumexp(x, b=jnp.abs(a)),
    "a condition": lambda x, a: jax.lax.cond(a > 0, lambda: x, lambda: -x),
    "a scan": lambda x, a: jax.lax.scan(lambda c, y: (c * a + y, c), x, TABLE),
    "a loop of its own length": looped,
    "a loop whose count is spread": counted,
    "a fixed loop": lambda x, a: jax.lax.fori_loop(0, 4, lambda i, y: jnp.cos(y) + a * i, x),
    "a custom derivative": lambda x, a: jax.nn.softplus(x) + jax.nn.log_sigmoid(a),
    "random numbers": lambda x, a: x + jax.random.normal(jax.random.key(3), (3,)) * a,
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_vmap(name):
    function = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x, a = jnp.asarray(rng.normal(size=(K, LANES))), jnp.asarray(rng.normal(size=LANES))
    want = jax.vmap(function, in_axes=-1, out_axes=-1)(x, a)
    got, flags = vectorise(function, (True, True), LANES)(x, a)
    got = jax.tree.map(lambda y, flag: spread(jnp.asarray(y), flag, LANES), got, flags)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for found, expected in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
        assert found.dtype == expected.dtype


def test_keys_are_lanes_too():
    keys = jax.vmap(jax.random.key)(jnp.arange(LANES))
    draw = lambda key: jax.random.uniform(jax.random.fold_in(key, 2), (K,))
    got, _ = vectorise(draw, (True,), LANES)(keys)
    np.testing.assert_array_equal(got, jax.vmap(draw, out_axes=-1)(keys))


def test_what_has_no_batch_stays_without():
    got, flags = vectorise(lambda x, t: (x * t, t + 1), (True, False), LANES)(jnp.ones((K, LANES)), jnp.array(2.0))
    assert flags == (True, False)
    assert got[1].shape == ()


def test_what_few_runs_need_is_computed_for_them():
    lanes = 64
    slow = lambda given: jnp.sin(given[0]) * given[1]
    function = lambda x, a: where_needed(a > 1.0, slow, (x, a), x)
    rng = np.random.default_rng(1)
    for share in (0.0, 0.1, 1.0):
        x = jnp.asarray(rng.normal(size=(3, lanes)))
        a = jnp.asarray(np.where(rng.random(lanes) < share, 2.0, 0.5))
        got, flag = vectorise(function, (True, True), lanes)(x, a)
        assert flag
        want = np.where(np.asarray(a) > 1, np.sin(np.asarray(x)) * np.asarray(a), np.asarray(x))
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(jax.vmap(function, in_axes=-1, out_axes=-1)(x, a), want)


def test_what_no_run_needs_is_not_computed():
    # A function that never ends shows whether it is begun.
    endless = lambda x: jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] * 0, c[1]), (jnp.sum(x) * 0, x))[1]
    function = lambda x, a: where_needed(a > 1.0, endless, x, x)
    x, a = jnp.ones((3, 32)), jnp.zeros(32)
    np.testing.assert_array_equal(jax.jit(vectorise(function, (True, True), 32))(x, a)[0], x)
    np.testing.assert_array_equal(jax.vmap(function, in_axes=-1, out_axes=-1)(x, a), x)
    np.testing.assert_array_equal(jax.jit(function)(x[:, 0], a[0]), x[:, 0])
