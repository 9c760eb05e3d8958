"""Ranking failures: which of three desiderata the optimum at a fixed sampler violates, and which a fitted sampler restores."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn
from dynamics.preferences import TARGETS, Target

from .._framework import OBJECTIVES, Tick, described, require, silent
from .._matrices import Case, drawn, listed, read
from .checks import check

__all__ = ["Config", "check", "run"]

DESIDERATA = TARGETS
SAMPLERS = ("uniform", "reference", "towards", "away", "fitted")
BY = ("h", "pi")
KEPT, FAILS, NOT_ASKED = 0, 1, -1  # NOT_ASKED also if DPO has no optimum
TIE = 1e-9  # responses whose f differs by less are tied
BLOCK = 192  # pairs of a matrix and a sampler that are solved together
EPSILON = 0.1  # parameter of the constructed counter-examples


@dataclasses.dataclass(frozen=True)
class Config:
    """Matrices, generated or read, and the samplers at which IPO and DPO rank their responses."""

    preferences: tuple[str, ...] = ()
    """Files that `read` accepts, or folders of such files; without any, matrices are generated."""
    matrices: int = 30
    """Number of matrices to generate for each family and size."""
    sizes: tuple[int, ...] = (3, 5)
    """K of the generated matrices."""
    voters: int = 15
    """Voters for each pair, in the matrices from counts."""
    spread: float = 1.0
    """Standard deviation of the logits of the reference, which is drawn for each matrix."""
    amount: float = 3.0
    """Amount of skewing, in nats between the top and the bottom of the majority order."""
    beta: float = 0.1
    """beta of the ranking by pi = ref exp(f/beta)."""
    constructed: int = 20
    """Random samplers of each size for which a counter-example is constructed."""
    max_responses: int = 40
    """Larger matrices are left out, and a note says how many."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "matrices", 1, 1_000_000)
        require(self, "sizes", 3, 40)
        require(self, "voters", 1, 1_000_000)
        require(self, "spread", 0, 100)
        require(self, "amount", 0, 1000)
        require(self, "beta", 0, np.inf, open_low=True, open_high=True)
        require(self, "constructed", 1, 100_000)
        require(self, "max_responses", 3, 4096)

    @classmethod
    def full(cls) -> Config:
        return cls(matrices=400, sizes=(3, 4, 5, 6, 8, 10), constructed=200)

    def files(self) -> tuple[Path, ...]:
        """The files that ``preferences`` names, with folders replaced by the files in them."""
        return listed(self.preferences)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Whether each desideratum is kept, for every matrix and sampler, ranking by h and by pi, for IPO and DPO."""
    tick(0.0, "matrices")
    if config.preferences:
        cases, notes = read(config.preferences, config.max_responses)
    else:
        cases, notes = drawn(config.matrices, config.sizes, config.voters, config.seed), []
    cases.sort(key=lambda case: len(case.P))
    rng = np.random.default_rng(config.seed)
    seen, done = [], 0
    for K in sorted({len(case.P) for case in cases}):
        group = [case.P for case in cases if len(case.P) == K]
        tick(0.9 * done / len(cases), f"K = {K}")
        seen += _judge(group, config, rng)
        done += len(group)
    tick(0.9, "constructed matrices")
    built = _constructed(config, rng)
    ds = _dataset(cases, seen, built)
    units = {
        "outcome": ("1", "0 kept, 1 fails, -1 where nothing is asked or DPO has no optimum"),
        "margin": ("1", "largest least gap of P mu over the pairs that the desideratum orders; NaN where it asks none"),
        "disagreements": ("1", "pairs that IPO's and DPO's h order differently; -1 where DPO has no optimum"),
        "constructed": ("1", "outcome on a matrix constructed against a random sampler, there and at the fitted one"),
    }
    ds["outcome"].attrs["flag_values"] = [NOT_ASKED, KEPT, FAILS]
    ds = described(ds, "rankings", config, units)
    return ds.assign_attrs(notes="\n".join(notes), generated=int(not config.preferences))


def _dataset(cases: list[Case], seen: list[dict[str, np.ndarray]], built: np.ndarray) -> xr.Dataset:
    stack = lambda name: np.stack([one[name] for one in seen])
    return xr.Dataset(
        {
            "outcome": (("matrix", "by", "objective", "sampler", "desideratum"), stack("outcome")),
            "margin": (("matrix", "desideratum"), stack("margin")),
            "disagreements": (("matrix", "sampler"), stack("disagreements")),
            "constructed": (("drawn", "at", "objective", "desideratum"), built),
            "strongly_transitive": (("matrix",), stack("strong")),
            "num_responses": (("matrix",), np.array([len(case.P) for case in cases])),
            "source": (("matrix",), np.array([case.source for case in cases])),
        },
        {
            "by": list(BY),
            "objective": list(OBJECTIVES),
            "sampler": list(SAMPLERS),
            "desideratum": list(DESIDERATA),
            "at": ["sampler", "fitted"],
        },
    )


def fitted(P: np.ndarray, target: Target) -> tuple[np.ndarray, float]:
    """log mu of a sampler with full support, and the largest margin t that any sampler reaches.

    The sampler of largest margin is mixed with the uniform one, in a proportion that keeps a margin of t/2: gaps at uniform are
    at least -1, so a share of (t/2)/(1+t) is small enough. If t ≤ 0 the share is 1 %. If the target does not exist or imposes
    no condition, the sampler is uniform and t is NaN.
    """
    uniform = np.full(len(P), -np.log(len(P)))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="no sampler keeps")
            log_mu, margin = dyn.samplers.fitted(P, target)
    except ValueError:
        return uniform, np.nan
    if margin == np.inf:
        return uniform, np.nan
    share = margin / 2 / (1 + margin) if margin > 0 else 0.01
    return np.logaddexp(np.log1p(-share) + np.asarray(log_mu), np.log(share) + uniform), margin


def _pairs(P: np.ndarray, target: Target) -> np.ndarray:
    try:
        return np.array(dyn.preferences.ordered_pairs(P, target), dtype=int).reshape(-1, 2)
    except ValueError:
        return np.empty((0, 2), dtype=int)


def _judge(group: list[np.ndarray], config: Config, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Outcomes of matrices of one size."""
    K = len(group[0])
    uniform = np.full(K, -np.log(K))
    tilted = np.asarray(dyn.samplers.skew(uniform, range(K), config.amount))  # by rank, best first
    known = [dyn.preferences.classify(P) for P in group]
    reference = np.asarray(jax.nn.log_softmax(config.spread * rng.standard_normal((len(group), K)), axis=-1))
    log_mu, margins = np.empty((len(group), 6, K)), np.empty((len(group), 3))
    for n, (P, kind) in enumerate(zip(group, known, strict=True)):
        rank = np.argsort(kind.order)
        top, margins[n, 1] = fitted(P, "smith")
        order, margins[n, 2] = fitted(P, "order")
        # A Condorcet winner is the Smith set, so the sampler fitted to one is fitted to the other.
        margins[n, 0] = margins[n, 1] if kind.condorcet_winner is not None else np.nan
        log_mu[n] = uniform, reference[n], tilted[rank], tilted[::-1][rank], top, order
    f = rewards(np.stack(group), log_mu, np.array([kind.bt_finite for kind in known]))
    out = []
    for n, (P, kind) in enumerate(zip(group, known, strict=True)):
        by_pi = f[n] / config.beta + reference[n]
        scores = np.stack([f[n] / config.beta, by_pi])
        out.append(
            {
                "outcome": np.stack([outcomes(P, s, TIE / config.beta) for s in scores]),
                "margin": margins[n],
                "disagreements": _disagreements(f[n]),
                "strong": np.array(kind.transitivity in ("strong", "strict strong")),
            }
        )
    return out


def outcomes(P: np.ndarray, scores: np.ndarray, tie: float) -> np.ndarray:
    """Whether each desideratum is kept, ``(objective, sampler, desideratum)``, from scores ``(objective, 6, K)``.

    The fifth sampler is fitted to the top responses, the sixth to the order.
    """
    found = np.full((len(scores), len(SAMPLERS), len(DESIDERATA)), NOT_ASKED)
    for d, target in enumerate(DESIDERATA):
        pairs = _pairs(P, target)
        if not len(pairs):
            continue
        chosen = scores[:, [0, 1, 2, 3, 5 if target == "order" else 4]]
        gap = (chosen[..., pairs[:, 0]] - chosen[..., pairs[:, 1]]).min(axis=-1)
        found[..., d] = np.where(np.isnan(gap), NOT_ASKED, np.where(gap > tie, KEPT, FAILS))
    return found


def _disagreements(f: np.ndarray) -> np.ndarray:
    """The number of pairs that f of IPO and DPO, ``(objective, 6, K)``, order differently, by sampler (larger of two fits)."""
    sign = np.where(np.abs(gap := f[..., :, None] - f[..., None, :]) <= TIE, 0.0, np.sign(gap))
    # A gap that is 0 up to rounding for one objective may be a few 1e-9 for the other.
    differ = (sign[0] * sign[1] < 0).sum(axis=(-2, -1)) // 2
    missing = np.isnan(f[1]).any(axis=-1)
    counts = np.where(missing, -1, differ)
    return np.append(counts[:4], counts[4:].max())


def rewards(P: np.ndarray, log_mu: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """f of IPO and DPO at each sampler of each matrix, ``(n, 2, m, K)``; NaN where DPO has no optimum."""
    n, m, K = log_mu.shape
    # Blocks of pairs (matrix, sampler) have one shape for each K, however many samplers there are.
    matrix, samplers = np.repeat(np.arange(n), m), log_mu.reshape(n * m, K)
    filled = np.minimum(np.arange(-(-n * m // BLOCK) * BLOCK), n * m - 1)
    f, found = [], []
    for begin in range(0, len(filled), BLOCK):
        pair = filled[begin : begin + BLOCK]
        # A single matrix without an optimum would keep the whole block iterating.
        safe = np.where(exists[matrix[pair], None, None], P[matrix[pair]], 0.5)
        ipo, dpo, solved = map(np.asarray, _block(P[matrix[pair]], safe, samplers[pair]))
        f.append(np.stack([ipo, dpo], axis=1))
        found.append(solved)
    both = np.swapaxes(np.concatenate(f)[: n * m].reshape(n, m, 2, K), 1, 2)
    solved = np.concatenate(found)[: n * m].reshape(n, m) & exists[:, None]
    if (unsolved := exists[:, None] & ~solved).any():
        raise RuntimeError(f"DPO's optimum was not found on {unsolved.any(axis=1).sum()} matrices where it exists.")
    both[:, 1] = np.where(solved[..., None], both[:, 1], np.nan)
    return both


# Most of the time is spent on compiling, once for each K.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def _block(P: jax.Array, safe: jax.Array, log_mu: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    ipo, dpo = dyn.IPO(1.0), dyn.DPO(1.0)

    def solve(objective: dyn.objectives.Objective, P: jax.Array, log_mu: jax.Array) -> tuple[jax.Array, jax.Array]:
        f, found = objective.solve(dyn.preferences.Pairs(P, log_mu, jnp.exp(log_mu)), jnp.zeros_like(log_mu))
        return f - jnp.mean(f), found

    f, _ = jax.vmap(functools.partial(solve, ipo))(P, log_mu)
    g, found = jax.vmap(functools.partial(solve, dpo))(safe, log_mu)
    return f, g, found


def _constructed(config: Config, rng: np.random.Generator) -> np.ndarray:
    """Outcomes on matrices constructed to fail at random samplers, ``(drawn, at, objective, desideratum)``."""
    witness = dyn.theorems.no_universal_sampler.witness
    assert witness is not None
    out = []
    for K in config.sizes:
        log_mu = np.asarray(jax.nn.log_softmax(config.spread * rng.standard_normal((config.constructed, K)), axis=-1))
        made = np.stack([witness(row, EPSILON) for row in log_mu])
        fits = np.stack([[fitted(P, target)[0] for target in ("smith", "order")] for P in made])
        six = np.concatenate([np.repeat(log_mu[:, None], 4, axis=1), fits], axis=1)
        f = rewards(made, six, np.ones(len(made), dtype=bool))
        out += [np.swapaxes(outcomes(P, rows, TIE)[:, [0, 4]], 0, 1) for P, rows in zip(made, f, strict=True)]
    return np.stack(out)
