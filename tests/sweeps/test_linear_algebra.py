"""LAPACK in sweeps: no batch of matrices reaches it, so that devices cannot wait for each other for ever."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.sweeps import vectorise

ROOT = Path(__file__).resolve().parents[2]
LANES = 6
LIMIT = 180  # seconds; the sweep takes about 15, and waited for ever while batches were passed

ONES = jnp.ones(4)
PROGRAMS = {
    "solve": lambda A: jnp.linalg.solve(A, ONES),
    "inverse of a batch": lambda A: jnp.linalg.solve(jnp.stack([A, A + 1, 2 * A]), jnp.ones((3, 4, 2))),
    "without the run": lambda A: A + jnp.sum(jnp.linalg.inv(2 * jnp.eye(4)[None] + jnp.ones((3, 4, 4))), 0),
    "pseudo-inverse": jnp.linalg.pinv,
    "qr": jnp.linalg.qr,
    "eigenvalues": lambda A: jnp.sort(jnp.abs(jnp.linalg.eigvals(A))),
    "symmetric": lambda A: jnp.linalg.eigvalsh(A + A.T),
    "cholesky": lambda A: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(A @ A.T + jnp.eye(4)), True), ONES),
    "derivative": jax.jacfwd(lambda A: jnp.linalg.solve(A, ONES)),
    "gradient": jax.grad(lambda A: jnp.sum(jnp.linalg.solve(A, ONES))),
    "scan": lambda A: jax.lax.scan(lambda c, t: (jnp.linalg.solve(A, c) + t, jnp.sum(c)), ONES, jnp.arange(3.0)),
    "choice": lambda A: jax.lax.cond(A[0, 0] > 0, lambda a: jnp.linalg.solve(a, ONES), lambda a: a[0], A),
    "loop": lambda A: jax.lax.while_loop(
        lambda c: c[1] < 4 * A[0, 0], lambda c: (jnp.linalg.solve(A, c[0]), c[1] + 1.0), (ONES, 0.0)
    ),
    "batch of loops": lambda A: jax.vmap(
        lambda t: jax.lax.fori_loop(0, 2, lambda _, c: t * jnp.linalg.solve(A, c), ONES)
    )(jnp.arange(1.0, 4.0)),
}
# Calls with more than one matrix, in the text of a lowered program: an operand with axes in front of the last two.
CALL = re.compile(r"(?:custom_call @lapack_|\"?stablehlo\.(?:cholesky|triangular_solve))[^\n]*: \((.*?)\) ->")


def batches(lowered: str) -> list[str]:
    """The operands, in calls of LAPACK, that hold more than one matrix."""
    found = []
    for operands in CALL.findall(lowered):
        first = re.findall(r"tensor<([\dx]*)x?[a-z]", operands)[0]
        sizes = [int(n) for n in first.split("x") if n]
        found += [first] if np.prod(sizes[:-2], dtype=int) > 1 else []
    return found


def calls(lowered: str) -> int:
    return len(CALL.findall(lowered))


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_vmap_without_batches(name):
    program = PROGRAMS[name]
    A = np.random.default_rng(0).normal(size=(LANES, 4, 4)) + 3 * np.eye(4)
    A[1, 0, 0] = -1.0
    marks = []

    def run(last):
        out, found = vectorise(program, True, LANES)(last)
        marks[:] = [found]
        return out

    compiled = jax.jit(run).lower(jnp.moveaxis(jnp.asarray(A), 0, -1))
    got, want = jax.jit(run)(jnp.moveaxis(jnp.asarray(A), 0, -1)), jax.vmap(program)(jnp.asarray(A))
    for x, y, runs in zip(*map(jax.tree.leaves, (got, want, marks[0])), strict=True):
        np.testing.assert_allclose(np.moveaxis(x, -1, 0) if runs else np.broadcast_to(x, y.shape), y, atol=1e-9)
    assert calls(compiled.as_text()) > 0
    assert batches(compiled.as_text()) == []


def test_the_text_of_vmap_shows_batches():
    """The check above can fail."""
    text = jax.jit(jax.vmap(PROGRAMS["solve"])).lower(jnp.ones((LANES, 4, 4))).as_text()
    assert batches(text)


SWEEP = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import jax.numpy as jnp, numpy as np, dynamics as dyn
K = int(sys.argv[2])
rng = np.random.default_rng(0)
upper = np.triu(rng.uniform(0.3, 0.7, (K, K)), 1)
P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)
loop = dyn.SelfSampling(P, dyn.DPO(0.5), 0.5, 1.0)
start = jax.nn.log_softmax(jnp.asarray(rng.normal(size=K)))
over = {"alpha": np.linspace(0, 0.9, 64), "lam": np.linspace(0, 1, 64)}
ds = dyn.sweep(loop, over, measure="final_entropy", rounds=5, initial=start, progress=False)
assert np.isfinite(ds["final_entropy"].values).all()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("devices", "K"), [(2, 9), (4, 16)])
def test_a_sweep_of_dpo_on_several_devices_ends(devices, K):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "false"
    }
    command = [sys.executable, "-c", SWEEP, str(devices), str(K)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=LIMIT)
