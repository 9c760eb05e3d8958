"""Optimizers are told apart by what they compute, and equal ones are compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import dynamics as dyn
from dynamics.solve._descend import _go

P = np.array([[0.5, 0.8, 0.6], [0.2, 0.5, 0.7], [0.4, 0.3, 0.5]])
SAMPLER = dyn.samplers.Fixed(np.log([0.5, 0.3, 0.2]))


def test_equal_optimizers_are_compiled_once_and_others_anew():
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    last = lambda optimizer: np.asarray(dyn.descend(flow, optimizer, 7).log_policy[-1])
    rate = [0.1]
    closed = lambda: optax.sgd(lambda step: rate[0] / (1.0 + step.astype(float)))
    makers = {
        "sgd": lambda: optax.sgd(0.1),
        "another rate": lambda: optax.sgd(0.2),
        "an array": lambda: optax.chain(optax.clip(0.01), optax.sgd(jnp.asarray(0.1))),
        "another array": lambda: optax.chain(optax.clip(0.01), optax.sgd(jnp.asarray(0.3))),
        "a schedule": closed,
    }
    seen = {name: last(make()) for name, make in makers.items()}
    assert len({tuple(x) for x in seen.values()}) == len(seen)
    count = _go._cached._cache_size()
    for name, make in makers.items():
        np.testing.assert_array_equal(last(make()), seen[name])
    assert _go._cached._cache_size() == count
    rate[0] = 0.4  # what a function closes over is a part of it
    assert not np.array_equal(last(closed()), seen["a schedule"])
    rate[0] = 0.1
    np.testing.assert_array_equal(last(closed()), seen["a schedule"])


def test_a_traced_rate_is_differentiated():
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), SAMPLER)
    value = lambda rate: dyn.descend(flow, optax.sgd(rate), 5).log_policy[-1, 0]
    step = 1e-6
    want = (value(0.1 + step) - value(0.1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(0.1), want, rtol=1e-6)
    assert abs(want) > 1e-3


def test_a_closure_that_changed_is_not_taken_for_what_it_was():
    flow = lambda K: dyn.PreferenceFlow(
        dyn.Tabular(K),
        np.asarray(dyn.preferences.bradley_terry(jnp.arange(float(K)))),
        dyn.IPO(0.3),
        dyn.samplers.OnPolicy(),
    )
    last = lambda rate, K: np.asarray(dyn.descend(flow(K), optax.sgd(lambda _: jnp.asarray(rate[0])), 7).log_policy[-1])
    first, second = [0.1], [0.1]
    last(first, 3)
    first[0] = 0.4  # the optimizer that was seen first now computes something else
    np.testing.assert_array_equal(last(second, 4), last([0.1], 4))
    assert not np.array_equal(last(second, 4), last([0.4], 4))
    want = np.asarray(dyn.descend(flow(4), optax.sgd(0.1), 7).log_policy[-1])
    np.testing.assert_allclose(last(second, 4), want, rtol=1e-14)
