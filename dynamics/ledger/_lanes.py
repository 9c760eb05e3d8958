"""The library's own simulators over many instances at once.

Instances differ in K, in the objective and in every number. Those of one K and objective are the lanes of one compiled call.
Lanes come in blocks of two sizes, so that another number of instances does not recompile.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import engine as _engine
from .._numerics import centre, kl_divergence, log_entropy, log_softmax
from .._parameters import replace
from ..engine import State
from ..objectives import DPO, IPO, ReverseKL
from ..rounds import SelfSampling
from ..stability import jacobian

Instance = dict[str, Any]
BLOCKS = (64, 2048)
# A small ledger spends most of its time compiling about forty short kernels, whose speed hardly matters.
jit_quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
_OBJECTIVES = {
    "ipo": lambda: IPO(1.0),
    "dpo": lambda: DPO(1.0),
    "entropy, ipo": lambda: ReverseKL(1.0, 1.0, "win-rate"),
    "entropy, dpo": lambda: ReverseKL(1.0, 1.0, "bradley-terry"),
}
# The leaves of a loop, by the names of theorems' inputs.
_LEAVES = {"P": "preference", "beta": "objective.beta", "gamma": "objective.gamma"} | {
    name: name for name in ("alpha", "lam", "log_reference", "log_offline")
}


def objective_of(instance: Instance) -> str:
    """ "ipo" or "dpo"; statements without an objective are about IPO."""
    return instance.get("objective", "ipo")


def grouped(instances: Sequence[Instance], measure: Callable[[list[Instance]], np.ndarray | list[Any]]) -> list[Any]:
    """``measure`` of the instances of each K and objective, in the order of the instances."""
    groups: dict[tuple[int, str], list[int]] = {}
    for n, x in enumerate(instances):
        groups.setdefault((len(x["P"]), objective_of(x)), []).append(n)
    out: list[Any] = [None] * len(instances)
    # Compiling releases the GIL, so that the kernels of two groups take hardly longer than those of one.
    with ThreadPoolExecutor(2) as pool:
        measured = pool.map(lambda members: measure([instances[n] for n in members]), groups.values())
        for members, values in zip(groups.values(), measured, strict=True):
            for n, value in zip(members, values, strict=True):
                out[n] = value
    return out


def stacked(instances: Sequence[Instance]) -> dict[str, np.ndarray]:
    """The numbers of each instance as leaves of ``SelfSampling``; defaults are alpha = lam = 1 and uniform distributions. gamma
    is there where the instances have it.
    """
    uniform = np.full(len(instances[0]["P"]), -np.log(len(instances[0]["P"])))
    known = {"alpha": 1.0, "lam": 1.0, "log_reference": uniform, "log_offline": uniform}
    rows = [known | x for x in instances]
    return {
        leaf: np.stack([np.asarray(row[name], float) for row in rows])
        for name, leaf in _LEAVES.items()
        if name in rows[0]
    }


def blocked(kernel: Callable[..., Any], fixed: Any, lanes: Any) -> Any:
    """``kernel(fixed, lanes)`` over lanes, leaves ``(n, …)``, block by block; the last block is padded."""
    total = len(jax.tree.leaves(lanes)[0])
    size = BLOCKS[total >= BLOCKS[1] // 2]
    parts = []
    for begin in range(0, total, size):
        chosen = np.minimum(np.arange(begin, begin + size), total - 1)
        parts.append(jax.tree.map(np.asarray, kernel(fixed, jax.tree.map(operator.itemgetter(chosen), lanes))))
    return jax.tree.map(lambda *part: np.concatenate(part)[:total], *parts)


@functools.lru_cache(maxsize=64)
def _loop(size: int, objective: str) -> SelfSampling:
    return SelfSampling(np.full((size, size), 0.5), _OBJECTIVES[objective](), 0.5, 0.5)


@jit_quickly
def _rounds(loop: SelfSampling, lanes: tuple[dict[str, Array], Array, Int[Array, " lanes"]]) -> dict[str, Array]:
    def one(values: dict[str, Array], logits: Array, rounds: Array) -> dict[str, Array]:
        process = replace(loop, values)
        # A warm start of zeros, since the optimum does not depend on it and a solve for a better one would be compiled too.
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), eqx.filter_eval_shape(process.start, logits))
        carried = eqx.tree_at(lambda s: s.logits, blank, centre(logits))
        state = State(carried.logits, carried, jnp.array(0))
        begun = _engine.begin(process, (), state, 0)
        run = jax.lax.fori_loop(0, rounds, lambda _, r: _engine.one_round(process, (), r, None), begun)
        log_pi = jnp.where(run.failed_round < 0, log_softmax(run.carried.logits), jnp.nan)
        before = log_softmax(logits)
        return {
            "logits": jnp.where(run.failed_round < 0, run.carried.logits, jnp.nan),
            "log_policy": log_pi,
            "entropy": jnp.exp(log_entropy(log_pi)),
            "entropy_before": jnp.exp(log_entropy(before)),
        }

    return jax.vmap(one)(*lanes)


@jit_quickly
def _jacobian(loop: SelfSampling, lanes: tuple[dict[str, Array], Array]) -> Float[Array, "lanes K K"]:
    def one(values: dict[str, Array], log_pi: Array) -> Array:
        return jacobian(replace(loop, values), log_pi)

    return jax.vmap(one)(*lanes)


@jit_quickly
def _divergence(fixed: None, lanes: tuple[Array, Array]) -> Float[Array, " lanes"]:
    return jax.vmap(kl_divergence)(*lanes)


def run(objective: str, values: dict[str, np.ndarray], log_start: np.ndarray, rounds: Any = 1) -> dict[str, np.ndarray]:
    """The state of iterated alignment after ``rounds`` from ``log_start`` ``(n, K)``; NaN where a round failed."""
    counts = np.broadcast_to(np.asarray(rounds, int), len(log_start))
    return blocked(_rounds, _loop(log_start.shape[-1], objective), (values, log_start, counts))


def rewards(objective: str, P: np.ndarray, log_mu: np.ndarray) -> np.ndarray:
    """f of the objective's optimum, centred, ``(n, K)``, for P ``(n, K, K)`` and log mu ``(n, K)``; NaN where it does
    not exist.

    A round with alpha = lam = 0, beta = 1 and a uniform reference gives f itself, from every start.
    """
    instances = [
        {"P": M, "alpha": 0.0, "lam": 0.0, "beta": 1.0, "log_offline": m} for M, m in zip(P, log_mu, strict=True)
    ]
    return run(objective, stacked(instances), np.zeros_like(log_mu))["logits"]


def jacobians(objective: str, values: dict[str, np.ndarray], log_pi: np.ndarray) -> np.ndarray:
    """The Jacobian of one round in centred logits at log pi ``(n, K)``, ``(n, K, K)``."""
    return blocked(_jacobian, _loop(log_pi.shape[-1], objective), (values, log_pi))


def divergences(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p‖q) of each pair of rows, in nats."""
    return blocked(_divergence, None, (log_p, log_q))
