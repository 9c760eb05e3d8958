"""The papers' last-layer loop with a dense d × V head and V-wide labels, and a NumPy loop over the rows of occurring tokens
alone, against ``dyn.descend``: the same SGD steps.

    python tests/benchmarks/dense_head.py [--examples 900] [--dimension 256] [--vocabulary 4096] [--steps 100]

Times are medians of interleaved repetitions in one run, compilation apart; what is reported is their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import optax

import dynamics as dyn

BETA, RATE, TOKENS = 0.1, 1.0, 16


def dense(g: jax.Array, y_w: jax.Array, y_l: jax.Array, W0: jax.Array, steps: int) -> jax.Array:
    """Full-batch SGD of DPO's loss on all of W, through log-softmax and one-hot labels; W after the last step."""
    base = jax.nn.log_softmax(g @ W0.T)

    def loss(W: jax.Array) -> jax.Array:
        ratio = jax.nn.log_softmax(g @ W.T) - base
        return jnp.mean(jax.nn.softplus(-BETA * jnp.sum(ratio * (y_w - y_l), axis=1)))

    return jax.lax.fori_loop(0, steps, lambda _, W: W - RATE * jax.grad(loss)(W), W0)


def rows(g: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, steps: int) -> np.ndarray:
    """The same steps on the rows of tokens that occur, which are the only ones that move, by products of matrices."""
    every, head = np.arange(len(g)), np.zeros((TOKENS, g.shape[1]))
    sign = np.zeros((len(g), TOKENS))
    sign[every, chosen] += 1
    sign[every, rejected] -= 1
    for _ in range(steps):
        logits = g @ head.T
        push = BETA / (1 + np.exp(BETA * (logits[every, chosen] - logits[every, rejected]))) / len(g)
        head = head + RATE * ((sign * push[:, None]).T @ g)
    return head


def timed(f: Callable[[], object]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(f())
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("examples", 900), ("dimension", 256), ("vocabulary", 4096), ("steps", 100), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    g = jnp.asarray(rng.normal(size=(args.examples, args.dimension)) / np.sqrt(args.dimension))
    chosen = rng.integers(0, TOKENS, args.examples)
    rejected = (chosen + rng.integers(1, TOKENS, args.examples)) % TOKENS
    W0 = jnp.asarray(0.02 * rng.normal(size=(args.vocabulary, args.dimension)))
    labels = (jax.nn.one_hot(chosen, args.vocabulary), jax.nn.one_hot(rejected, args.vocabulary))
    flow = dyn.MarginFlow(g, chosen, rejected, dyn.DPO(BETA))
    loop = jax.jit(dense, static_argnums=4)
    ways = {
        "dense": lambda: loop(g, *labels, W0, args.steps),
        "rows in NumPy": lambda: rows(np.asarray(g), chosen, rejected, args.steps),
        "ours": lambda: dyn.descend(flow, optax.sgd(RATE), args.steps, every=args.steps).head,
    }
    W, head = ways["dense"](), ways["ours"]()[-1]
    error = float(jnp.abs((W - W0)[flow.tokens] - head).max() / jnp.abs(head).max())
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, way in ways.items():
            times[name].append(timed(way))
    median = {name: statistics.median(seen) for name, seen in times.items()}
    size = f"N = {args.examples}, d = {args.dimension}, V = {args.vocabulary}, {args.steps} steps, float64"
    told = ", ".join(f"{name} {median[name]:.3g} s ({median[name] / median['ours']:.2f})" for name in ways)
    print(f"{size}: {told}, in brackets over ours")
    print(f"largest relative difference of the trained rows {error:.1e}")


if __name__ == "__main__":
    main()
