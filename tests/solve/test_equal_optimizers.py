"""Optimizers are told apart by what they compute, and equal ones are compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dynamics as dyn
from dynamics._interned import interned
from dynamics.solve._descend import _go

P = np.array([[0.5, 0.8, 0.6], [0.2, 0.5, 0.7], [0.4, 0.3, 0.5]])
SCALE = 0.1
SAMPLER = dyn.samplers.Fixed(np.log([0.5, 0.3, 0.2]))


def test_equal_optimizers_are_compiled_once_and_others_anew():
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    last = lambda optimizer: np.asarray(dyn.descend(flow, optimizer, 7).log_policy[-1])
    makers = {
        "sgd": lambda: optax.sgd(0.1),
        "another rate": lambda: optax.sgd(0.2),
        "an array": lambda: optax.chain(optax.clip(0.01), optax.sgd(jnp.asarray(0.1))),
        "another array": lambda: optax.chain(optax.clip(0.01), optax.sgd(jnp.asarray(0.3))),
        "a schedule": lambda: optax.sgd(optax.constant_schedule(0.15)),
        "adam": lambda: optax.adam(0.1, b1=0.8),
    }
    seen = {name: last(make()) for name, make in makers.items()}
    assert len({tuple(x) for x in seen.values()}) == len(seen)
    count = _go._cached._cache_size()
    for name, make in makers.items():
        np.testing.assert_array_equal(last(make()), seen[name])
    assert _go._cached._cache_size() == count


class Config(dict):
    """A dictionary with an attribute, which its entries do not tell."""


def of_config(rate):
    config = Config()
    config.rate = rate
    return lambda step: jnp.asarray(config.rate)


def of_slots(rate):
    class Slots:
        __slots__ = ("__rate",)

        def __init__(self):
            self.__rate = rate

        def __call__(self, step):
            return jnp.asarray(self.__rate)

    return Slots()


def of_partial(rate):
    made = functools.partial(lambda step: jnp.asarray(made.rate))
    made.rate = rate
    return made


@pytest.mark.parametrize(
    "schedule",
    [of_config, of_slots, of_partial, lambda rate: lambda step: jnp.asarray(rate)],
    ids=["dict", "slots", "partial", "lambda"],
)
def test_what_cannot_be_told_apart_for_certain_is_not_taken_for_equal(schedule):
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    last = lambda optimizer: np.asarray(dyn.descend(flow, optimizer, 7).log_policy[-1])
    for rate in (0.1, 0.1000000001, 0.2):
        np.testing.assert_allclose(last(optax.sgd(schedule(rate))), last(optax.sgd(rate)), rtol=1e-14)
    assert not np.array_equal(last(optax.sgd(schedule(0.1))), last(optax.sgd(schedule(0.1000000001))))


def test_weak_and_strong_numbers_are_two_optimizers():
    assert interned(optax.scale(jnp.asarray(0.1))) is not interned(optax.scale(jnp.asarray(np.float64(0.1))))
    assert interned(optax.sgd(0.1)) is interned(optax.sgd(0.1))
    assert interned(optax.adam(0.1)) is interned(optax.adam(0.1))
    assert interned(optax.sgd(1)) is not interned(optax.sgd(1.0))
    deep = ()
    for _ in range(3000):
        deep = (deep,)
    assert interned(deep) is deep


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


def test_a_wrapper_of_ones_own_is_not_taken_for_a_function_of_optax(monkeypatch):
    # ``functools.wraps`` makes it look like one, and its global is no part of its content.
    def scaled():
        inner = optax.sgd(1.0)

        @functools.wraps(inner.update)
        def update(gradient, state, params=None):
            updates, state = inner.update(gradient, state, params)
            return jax.tree.map(lambda u: SCALE * u, updates), state

        return optax.GradientTransformation(inner.init, update)

    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    last = lambda: np.asarray(dyn.descend(flow, scaled(), 7).log_policy[-1])
    first = last()
    monkeypatch.setitem(globals(), "SCALE", 0.3)
    assert not np.array_equal(first, last())


def test_what_may_be_changed_later_is_equal_to_itself_alone():
    boundaries = [3]
    joined = lambda: optax.join_schedules([optax.constant_schedule(0.1), optax.constant_schedule(0.2)], boundaries)
    assert interned(optax.sgd(joined())) is not interned(optax.sgd(joined()))
    assert interned((np.zeros(2),)) is not interned((np.zeros(2),))
