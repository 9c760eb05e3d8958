"""Self-sampling as a continuous flow, its sampler following the policy, against rounds: same fixed points, other stability."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import dynamics as dyn

from ._flow_points import differences, fixed_points, flow_at, reduced
from ._framework import (
    KAPPA,
    OBJECTIVES,
    Finding,
    Tick,
    binomial_interval,
    config_of,
    decide,
    described,
    require,
    silent,
)

KINDS = {"IPO": dyn.IPO, "DPO": dyn.DPO}
RELAXATION = (
    4 / 3
)  # rate at which IPO's flow on policy nears uniform without preferences at K = 3: the unit of time drawn
ROUNDED = 1e-9  # relative to the size of what cancels


@dataclasses.dataclass(frozen=True)
class Config:
    """Random matrices in which 0 beats 1 beats 2 beats 0, at several beta, alpha = 0 (a fixed uniform reference)."""

    sizes: tuple[int, ...] = (3, 5)
    matrices: int = 90
    """Random matrices of each size."""
    betas: tuple[float, ...] = (0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.32)
    """beta of IPO; DPO runs at 4 beta, where its rounds agree with IPO's to first order about uniform."""
    lams: tuple[float, ...] = (1.0, 0.5)
    """Shares of the policy in the sampler; the first is drawn, at 1 it is on policy."""
    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle whose orbits are drawn."""
    drawn_beta: float = 0.11
    start: tuple[float, float, float] = (0.7, 0.2, 0.1)
    rounds: int = 16
    """Rounds, and units of the flow's time, that are drawn."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, "sizes", 3, 12)
        require(self, "matrices", 1, 100_000)
        require(self, "betas", 0, np.inf, open_low=True)
        require(self, "lams", 0, 1, open_low=True)
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        require(self, "drawn_beta", 0, np.inf, open_low=True)
        require(self, "start", 0, 1, open_low=True, open_high=True)
        require(self, "rounds", 10, 20)
        if list(self.betas) != sorted(set(self.betas)):
            raise ValueError(f"betas = {self.betas} do not ascend; pass each once, in ascending order.")

    @classmethod
    def full(cls) -> Config:
        return cls(sizes=(3, 4, 5, 6, 8), matrices=600, lams=(1.0, 0.9, 0.5, 0.1))


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """At the rounds' fixed points, by objective, lam, beta and matrix: the flow's force, both spectra; orbits of a 3-cycle."""
    rng = np.random.default_rng(config.seed)
    parts = []
    for n, K in enumerate(config.sizes):
        P = _cyclic(K, config.matrices, rng)
        rows = []
        for o, name in enumerate(OBJECTIVES):
            tick(0.8 * (n + o / 2) / len(config.sizes), f"{name}, K = {K}")
            rows.append(_compare(P, name, config))
        parts.append({key: np.stack([row[key] for row in rows]) for key in rows[0]})
    tick(0.8, "orbits of the 3-cycle")
    axes = ("objective", "lam", "beta", "matrix")
    found = {key: (axes, np.concatenate([part[key] for part in parts], axis=-1)) for key in parts[0]}
    orbits, flows, predicted = _orbits(config)
    ds = xr.Dataset(
        {
            **found,
            "size": (("matrix",), np.repeat(config.sizes, config.matrices)),
            "rounds_log_policy": (("round", "response"), orbits),
            "flow_log_policy": (("time", "response"), flows),
            "decay": ((), predicted),
        },
        {
            "objective": list(OBJECTIVES),
            "lam": list(config.lams),
            "beta": list(config.betas),
            "round": np.arange(config.rounds + 1),
            "time": _times(config),
        },
    )
    units = {
        "moved": ("1", "largest change of a logit by a round at the fixed point, over 1 + the largest logit"),
        "force": ("1", "largest net force of the flow on a logit there, over the forces that cancel in it"),
        "formula": (
            "1",
            "largest error of the flow's Jacobian by its formula on policy, over its entry on the diagonal",
        ),
        "spectral_radius": ("1", "spectral radius of a round there"),
        "damping": ("1", "smallest -Re/|eigenvalue| of the flow's Jacobian there; positive iff all decay"),
        "rounds_log_policy": ("nat", "log pi_t of IPO's rounds on the 3-cycle"),
        "flow_log_policy": ("nat", "log pi of IPO's flow on the 3-cycle"),
        "decay": ("1", "rate at which the flow nears uniform, over that without preferences"),
        "time": ("1", "flow time times the rate at which the flow would near uniform without preferences"),
    }
    return described(ds, "continuous", config, units)


def _cyclic(K: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n K K"]:
    A = np.triu(rng.uniform(-0.4, 0.4, (count, K, K)), 1)
    A[:, 0, 1], A[:, 1, 2], A[:, 0, 2] = (s * rng.uniform(0.1, 0.45, count) for s in (1, 1, -1))
    return 0.5 + A - np.swapaxes(A, 1, 2)


def _compare(P: Float[np.ndarray, "n K K"], name: str, config: Config) -> dict[str, np.ndarray]:
    """Each measure as ``(lam, beta, matrix)``, by the library's rounds and flow at fixed points found without them."""
    z = np.stack([fixed_points(P, name, lam, config.betas) for lam in config.lams])
    betas = KAPPA[name] * np.array(config.betas)
    moved, step, force, slope = (np.asarray(x) for x in _library(name, P, np.array(config.lams), betas, z))
    basis = np.asarray(dyn.SelfSampling(P[0], KINDS[name](beta=1.0), 0.0, 1.0).basis())
    on_policy = np.array(config.lams)[:, None, None] == 1.0
    gross, jacobian = flow_at(P, name, config.lams, config.betas, z)
    diagonal = np.abs(np.einsum("...ii->...i", slope))
    values = np.linalg.eigvals(reduced(slope, diagonal))
    return {
        "moved": np.abs(moved).max(axis=-1) / (1 + np.abs(z).max(axis=-1)),
        "force": (np.abs(force) / gross).max(axis=-1),
        "formula": np.where(on_policy, (np.abs(slope - jacobian) / diagonal[..., None]).max(axis=(-2, -1)), np.nan),
        "spectral_radius": np.abs(np.linalg.eigvals(basis.T @ step @ basis)).max(axis=-1),
        "damping": (-values.real / np.abs(values)).min(axis=-1),
    }


@eqx.filter_jit
def _library(name: str, P: Any, lams: Any, betas: Any, z: Any) -> tuple[Array, Array, Array, Array]:
    """How far a round moves the logits, and its Jacobian; the flow's velocity, and its."""
    uniform = jnp.full(z.shape[-1], -jnp.log(z.shape[-1]))

    def one(lam: Array, beta: Array, P: Array, z: Array) -> tuple[Array, Array, Array, Array]:
        objective = KINDS[name](beta=beta)
        loop = dyn.SelfSampling(P, objective, 0.0, lam)
        flow = dyn.PreferenceFlow(dyn.Tabular(z.shape[0]), P, objective, dyn.samplers.Mixture(lam, uniform))

        def move(z: Array) -> tuple[Array, Array]:
            after = loop(z)
            return after, after - z

        step, moved = jax.jacfwd(move, has_aux=True)(z)
        velocity = lambda z: flow.velocity(dyn.flows.PreferenceState(z)).parameters
        return moved, step, *differences(velocity, z)

    over_matrices = jax.vmap(one, (None, None, 0, 0))
    return jax.vmap(jax.vmap(over_matrices, (None, 0, None, 0)), (0, None, None, 0))(lams, betas, P, z)


def _times(config: Config) -> np.ndarray:
    return np.linspace(0.0, config.rounds, 20 * config.rounds + 1)


def _orbits(config: Config) -> tuple[np.ndarray, np.ndarray, float]:
    """IPO's rounds and flow on the 3-cycle from one start, on policy, and the rate at which the flow should near uniform."""
    P, objective = dyn.preferences.cyclic(3, advantage=config.advantage), dyn.IPO(beta=config.drawn_beta)
    start = np.log(np.array(config.start) / sum(config.start))
    loop = dyn.SelfSampling(P, objective, 0.0, 1.0)
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, objective, dyn.samplers.OnPolicy())
    rounds = dyn.iterate(loop, config.rounds, initial=start)
    ts = _times(config) / RELAXATION
    followed = dyn.gradient_flow(
        flow, ts[-1], initial=start - start.mean(), saveat=diffrax.SaveAt(ts=jnp.asarray(ts)), rtol=1e-10, atol=1e-12
    )
    _, slope = differences(lambda z: flow.velocity(dyn.flows.PreferenceState(z)).parameters, jnp.zeros(3))
    rate = -float(np.linalg.eigvals(loop.basis().T @ slope @ loop.basis()).real.max())
    return np.asarray(rounds.log_policy), np.asarray(followed.log_policy), rate / RELAXATION


def check(ds: xr.Dataset) -> list[Finding]:
    """Whether the fixed points agree, what the flow's spectrum is on policy, and what attracts where."""
    tests = (_same_points, _formula, _attracts, _sector, _off_policy, _rounds_leave)
    findings = [test(ds.sel(objective=name), name) for test in tests for name in OBJECTIVES]
    return [*findings, _orbit(ds)]


def _on_policy(one: xr.Dataset) -> xr.Dataset:
    return one.isel(lam=np.flatnonzero(one.lam.values == 1.0))


def _same_points(one: xr.Dataset, name: str) -> Finding:
    moved, force = (float(one[key].max()) for key in ("moved", "force"))
    return Finding(
        claim=f"{name}: the flow whose sampler follows the policy rests where the rounds at alpha = 0 do",
        source="[derived] statements 1.1, 1.2 and 3.8: both ask for Σ_j mu_j (P_ij - s(beta (h_i - h_j))) = 0",
        measured=f"at {one.moved.size} fixed points of rounds (a round moves logits by {moved:.1g} of their size at most) the "
        f"forces of the flow cancel to {force:.1g}",
        interval=f"rounding; {ROUNDED:g} of what cancels allowed; lam = {', '.join(f'{x:g}' for x in one.lam.values)}",
        status=decide(force <= ROUNDED, moved <= ROUNDED),
    )


def _formula(one: xr.Dataset, name: str) -> Finding:
    formula = {"IPO": "-4 (Sigma - Sigma A Sigma/beta)", "DPO": "2 beta (B - beta L)"}[name]
    known = _on_policy(one).formula.values
    return Finding(
        claim=f"{name}, on policy: the flow's Jacobian at a fixed point is {formula}, a skew matrix less a positive one",
        source="[derived] statement 3.8, differentiated; B_ij = p_i p_j (P_ij - sigma(f_i - f_j)), L as in 7.1",
        measured=f"against differences of the library's velocity: off by {known.max(initial=0.0):.1g} of the "
        f"row's diagonal entry at most, {known.size} loops",
        interval="differences of fourth order in 1e-3 nat, 1e-6 allowed",
        status=decide((known <= 1e-6).all(), known.size > 0),
    )


def _attracts(one: xr.Dataset, name: str) -> Finding:
    damping = _on_policy(one).damping.values
    return Finding(
        claim=f"{name}, on policy: every fixed point attracts the flow, whatever beta is",
        source="[derived] statement 3.8: with that Jacobian Re x*Jx < 0 for every x that is not constant",
        measured=f"smallest -Re/|eigenvalue| {damping.min(initial=np.inf):.3g} over {damping.size} loops",
        interval="rounding, 1e-6",
        status=decide((damping > 0).all(), damping.size > 0 and (np.abs(damping) > 1e-6).all()),
    )


def _sector(one: xr.Dataset, name: str) -> Finding:
    some = _on_policy(one)
    room = (some.damping * np.sqrt(1 + some.spectral_radius**2)).values
    return Finding(
        claim=f"{name}, on policy: with rho the spectral radius of a round, |Im| ≤ rho |Re| for every eigenvalue of the flow: "
        "where rounds leave, the flow turns more before it arrives",
        source="[derived] statements 3.8 and 7.1: both spectra are of one skew matrix, in the metric of Sigma or L",
        measured=f"smallest -Re/|eigenvalue| over the bound 1/√(1 + rho²): {room.min(initial=np.inf):.6g} to "
        f"{room.max(initial=-np.inf):.3g} over {room.size} loops",
        interval="rounding, 1e-6",
        status=decide((room >= 1 - 1e-6).all(), room.size > 0),
    )


def _off_policy(one: xr.Dataset, name: str) -> Finding:
    some = one.isel(lam=np.flatnonzero(one.lam.values < 1.0))
    damping = some.damping.values
    _, high = binomial_interval(0, damping.size) if damping.size else (0.0, 1.0)
    return Finding(
        claim=f"{name}, partly off policy: no fixed point tried repels the flow",
        source="[derived] statement 3.8; measured only, the proof being for lam = 1",
        measured=f"lam = {', '.join(f'{x:g}' for x in some.lam.values)}: {(damping <= 0).sum()} of {damping.size} loops "
        f"repel, smallest -Re/|eigenvalue| {damping.min(initial=np.inf):.3g}",
        interval=f"as if loops were independent, 95% Clopper–Pearson: below {high:.2%}",
        status=decide((damping > 0).all(), damping.size > 0 and (np.abs(damping) > 1e-6).all()),
    )


def _rounds_leave(one: xr.Dataset, name: str) -> Finding:
    some = one.isel(lam=0)
    unstable = (some.spectral_radius.values > 1).sum(axis=1)
    count = some.sizes["matrix"]
    ends = [binomial_interval(int(n), count) for n in unstable]
    said = ", ".join(
        f"{KAPPA[name] * beta:g}: {n / count:.0%} ({low:.0%} to {high:.0%})"
        for beta, n, (low, high) in zip(some.beta.values, unstable, ends, strict=True)
    )
    return Finding(
        claim=f"{name}: at small beta rounds leave most of the fixed points that the flow is drawn to",
        source="[derived] statement 2.2, evaluated on random matrices with a majority cycle",
        measured=f"share of matrices with spectral radius above 1, by beta: {said}",
        interval="95% Clopper–Pearson over matrices",
        status=decide(ends[0][0] > 0.5, ends[0][0] > 0.5 or ends[0][1] < 0.5),
    )


def _orbit(ds: xr.Dataset) -> Finding:
    logs = (ds.flow_log_policy.values, ds.rounds_log_policy.values)
    flow, rounds = (np.linalg.norm(x - x.mean(axis=-1, keepdims=True), axis=-1) for x in logs)
    half = len(flow) // 2
    slope = -float(np.polyfit(ds.time.values[half:], np.log(flow[half:]), 1)[0])
    config, kept = config_of(ds), float(rounds[-4:].min())
    leave = config["advantage"] / (np.sqrt(3) * config["drawn_beta"]) > 1.05  # 2.1, at alpha = 0
    return Finding(
        claim="IPO, 3-cycle: on policy the flow spirals into uniform as fast as if there were no preferences, where rounds "
        "stay away",
        source="[derived] statement 3.8: the skew part turns and does not slow; [paper] Chen26 for rounds",
        measured=f"rate {slope:.6f} (spectrum: {float(ds.decay):.6f}) in units of that without preferences; rounds keep at "
        f"least {kept:.2g} nat from uniform in the last 4 of {config['rounds']}",
        interval="one orbit each, relative tolerance 1e-10; rate over the later half, 1e-3 allowed for what is not linear",
        status=decide(abs(slope - 1) < 1e-3 and abs(float(ds.decay) - 1) < 1e-6 and kept > 0.1, leave),
    )
