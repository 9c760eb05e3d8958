"""Bradley–Terry fits per second at K = 10 beside a plain Newton solve under ``vmap``, in turn, seven times over.

    python -m pytest tests/benchmarks/bench_rewards.py -c tests/benchmarks/pytest.ini

Compiling is done before anything is timed, and both have to give the same rewards.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.rewards import bradley_terry

K, FITS, STEPS = 10, 20_000, 50
REPETITIONS = range(7)


@functools.cache
def wins():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.5, (FITS, K))
    p = 1 / (1 + np.exp(scores[:, None, :] - scores[:, :, None]))
    first = np.triu(rng.binomial(40, p), 1)
    second = np.triu(40 - first, 1)
    made = first + np.swapaxes(second, 1, 2) + 1.0
    return jnp.asarray(made * (1 - np.eye(K)))


@jax.jit
@jax.vmap
def plain_newton(wins):
    met = wins + wins.T

    def step(carry):
        f, _, count = carry
        p = jax.nn.sigmoid(f[:, None] - f[None, :])
        weight = met * p * (1 - p)
        gradient = jnp.sum(wins - met * p, axis=1)
        laplacian = jnp.diag(jnp.sum(weight, axis=1)) - weight
        change = jnp.linalg.solve(laplacian + 1.0, gradient)
        return f + change, jnp.max(jnp.abs(change)), count + 1

    going = lambda carry: (carry[1] > 1e-8) & (carry[2] < STEPS)
    f = jax.lax.while_loop(going, step, (jnp.zeros(K), jnp.asarray(jnp.inf), 0))[0]
    return f - jnp.mean(f)


CONTENDERS = {
    "dyn.rewards.bradley_terry": lambda: bradley_terry(wins()).reward.block_until_ready(),
    "vmap of a plain Newton solve": lambda: plain_newton(wins()).block_until_ready(),
}


@pytest.fixture(scope="session")
def compiled():
    ours, plain = (run() for run in CONTENDERS.values())
    np.testing.assert_allclose(ours, plain, atol=1e-10)


@pytest.mark.parametrize("who", CONTENDERS)
@pytest.mark.parametrize("repetition", REPETITIONS)
def test_fits_per_second(benchmark, compiled, repetition, who):
    base = "dyn.rewards.bradley_terry"
    benchmark.extra_info.update(
        table="Bradley–Terry, K = 10, float64", who=who, amount=FITS, unit="fits per second", base=base
    )
    benchmark.pedantic(CONTENDERS[who], rounds=1)
