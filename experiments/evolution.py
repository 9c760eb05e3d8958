"""Evolution: policies spiral in or oscillate on a preference cycle, and collapse on a transitive matrix at alpha 1."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr

import dynamics as dyn

from ._framework import KAPPA, OBJECTIVES, Finding, Tick, config_of, decide, described, require, require_policy, silent

CASES = ("baseline", "larger alpha", "larger lam/beta", "collapse")
DECISIVE = 100.0  # by this factor the linear rate must change a distance within the run before it is compared


@dataclasses.dataclass(frozen=True)
class Config:
    """Orbits from one start off uniform: three on a 3-cycle, one on a strictly strongly transitive matrix."""

    advantage: float = 0.4
    """a in P = 1/2 ± a of the 3-cycle."""
    alpha: float = 0.5
    """alpha of the baseline."""
    larger_alpha: float = 0.8
    lam: float = 1.0
    beta: float = 0.3
    """beta of IPO; DPO runs at 4 beta, where its rounds are the same to first order about uniform."""
    smaller_beta: float = 0.2
    margins: tuple[float, float, float] = (0.1, 0.3, 0.15)
    """P_01, P_02 and P_12 of the transitive matrix, each less 1/2."""
    collapse_beta: float = 1.0
    start: tuple[float, float, float] = (0.7, 0.2, 0.1)
    rounds: int = 100

    def __post_init__(self) -> None:
        require(self, "advantage", 0, 0.5, open_low=True, open_high=True)
        for name in ("alpha", "larger_alpha"):
            require(self, name, 0, 1, open_high=True)
        require(self, "lam", 0, 1)
        for name in ("beta", "smaller_beta", "collapse_beta"):
            require(self, name, 0, np.inf, open_low=True)
        require(self, "margins", 0, 0.5, open_low=True, open_high=True)
        require(self, "rounds", 20, 100_000)
        require_policy(self, "start")

    @classmethod
    def full(cls) -> Config:
        return cls(rounds=1000)


def run(config: Config, tick: Tick = silent) -> xr.Dataset:
    """Log-policies and entropies by case, objective and round, with what the theory says of each case."""
    cycle = dyn.preferences.cyclic(3, advantage=config.advantage)
    matrices = [cycle, cycle, cycle, transitive(config.margins)]
    alphas = [config.alpha, config.larger_alpha, config.alpha, 1.0]
    betas = [config.beta, config.beta, config.smaller_beta, config.collapse_beta]
    start = np.log(config.start)
    rows, radii = [], []
    for case, (P, alpha, beta) in enumerate(zip(matrices, alphas, betas, strict=True)):
        tick(case / len(CASES), CASES[case])
        loops = [_loop(P, name, alpha, config.lam, beta) for name in OBJECTIVES]
        rows.append([np.asarray(dyn.iterate(loop, config.rounds, initial=start).log_policy) for loop in loops])
        uniform = jnp.full(3, -jnp.log(3.0))
        # At alpha = 1 the transitive matrix leaves uniform no fixed point.
        radii.append([float(dyn.stability.spectral_radius(p, uniform)) if alpha < 1 else np.nan for p in loops])
    lower, upper = _bounds(matrices[-1], config, start)
    log_policy = np.array(rows)
    entropy = -np.sum(np.exp(log_policy) * log_policy, axis=-1)
    scale = np.array([KAPPA[name] for name in OBJECTIVES])
    ds = xr.Dataset(
        {
            "log_policy": (("case", "objective", "round", "response"), log_policy),
            "entropy": (("case", "objective", "round"), entropy),
            "entropy_lower": (("objective", "round"), lower),
            "entropy_upper": (("objective", "round"), upper),
            "spectral_radius": (("case", "objective"), np.array(radii)),
            "alpha": (("case",), np.array(alphas)),
            "beta": (("case", "objective"), np.outer(betas, scale)),
            "preference": (("case", "response", "opponent"), np.array(matrices)),
        },
        {"case": list(CASES), "objective": list(OBJECTIVES), "round": np.arange(config.rounds + 1)},
    )
    units = {
        "log_policy": ("nat", "log pi_t"),
        "entropy": ("nat", "entropy of pi_t"),
        "entropy_lower": ("nat", "lower bound on the entropy, statement 2.4"),
        "entropy_upper": ("nat", "upper bound on the entropy, statement 2.4"),
        "spectral_radius": ("1", "spectral radius of a round at the uniform policy"),
    }
    return described(ds, "evolution", config, units)


def transitive(margins: tuple[float, float, float]) -> np.ndarray:
    """P of three responses from the entries above its diagonal, each less 1/2."""
    m01, m02, m12 = margins
    A = np.array([[0, m01, m02], [0, 0, m12], [0, 0, 0]])
    return 0.5 + A - A.T


def _loop(P: np.ndarray, objective: str, alpha: float, lam: float, beta: float) -> dyn.SelfSampling:
    kind = {"IPO": dyn.IPO, "DPO": dyn.DPO}[objective]
    return dyn.SelfSampling(P, kind(beta=KAPPA[objective] * beta), alpha, lam)


def _bounds(P: np.ndarray, config: Config, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    uniform = np.full(3, -np.log(3.0))
    inputs = {"P": P, "alpha": 1.0, "lam": config.lam, "top": 0}
    logs = {"log_reference": uniform, "log_offline": uniform, "log_initial": start - np.logaddexp.reduce(start)}
    found = [
        [
            dyn.theorems.collapse_entropy(
                **inputs, **logs, beta=KAPPA[name] * config.collapse_beta, rounds=t, objective=name.lower()
            )
            for t in range(config.rounds + 1)
        ]
        for name in OBJECTIVES
    ]
    values = np.array([[(float(b.lower), float(b.upper)) for b in row] for row in found])
    return values[..., 0], values[..., 1]


def check(ds: xr.Dataset) -> list[Finding]:
    """Stability as the spectral radius predicts it against what the orbits do, and the entropy against its bounds."""
    findings = [_stability(ds.sel(case=case, objective=name)) for case in CASES[:3] for name in OBJECTIVES]
    findings += [_within_bounds(ds.sel(case="collapse", objective=name)) for name in OBJECTIVES]
    return [*findings, _collapses(ds)]


def _stability(one: xr.Dataset) -> Finding:
    case, name = str(one.case.values), str(one.objective.values)
    rho, rounds = float(one.spectral_radius), int(one["round"][-1])
    distance = np.abs(np.exp(one.log_policy.values) - 1 / 3).max(axis=-1)
    tenth = max(rounds // 10, 1)
    left = float(distance[-tenth:].max() / distance[:tenth].max())
    stable = rho < 1
    decided = rounds * abs(np.log(rho)) > np.log(DECISIVE) if rho > 0 else True
    observed = left < 0.2 if stable else left > 0.2
    source = "[paper] Chen26, the 3-cycle under IPO" if name == "IPO" else "[derived] statement 2.1, kappa = 4"
    return Finding(
        claim=f"{name}, {case}: spectral radius {rho:.4f} at uniform, so the orbit "
        f"{'spirals in' if stable else 'stays away'}",
        source=source,
        measured=f"distance from uniform in the last tenth of {rounds} rounds, over that in the first: {left:.2g}",
        interval="one deterministic orbit; threshold 0.2",
        status=decide(observed, decided),
    )


def _within_bounds(one: xr.Dataset) -> Finding:
    name = str(one.objective.values)
    room = np.minimum(one.entropy - one.entropy_lower, one.entropy_upper - one.entropy).values
    relative = room / one.entropy.values
    worst = int(np.argmin(relative))
    return Finding(
        claim=f"{name}, collapse: the entropy stays within the bounds of statement 2.4 in every round",
        source="[derived] statement 2.4, entropy",
        measured=f"least room to a bound {room[worst]:.2g} nat, {relative[worst]:.1%} of the entropy, in round {worst}",
        interval="rounding, 1e-9 of the entropy",
        status=decide(relative[worst] >= -1e-9),
    )


def _collapses(ds: xr.Dataset) -> Finding:
    one = ds.sel(case="collapse")
    kind = dyn.preferences.classify(one.preference.values)
    config = config_of(ds)
    last = np.exp(one.log_policy.values[:, -1])
    entropy = one.entropy.values[:, -1]
    applies = kind.transitivity == "strict strong" and (config["lam"] > 0 or min(config["start"]) > 0)
    falling = (np.diff(one.entropy.values[:, -10:], axis=1) < 0).all()
    winner = kind.condorcet_winner
    return Finding(
        claim="alpha = 1 on a strictly strongly transitive matrix: the policy collapses onto the Condorcet winner",
        source="[derived] statement 2.4 at alpha = 1",
        measured=f"entropy after {config['rounds']} rounds: IPO {entropy[0]:.2g}, DPO {entropy[1]:.2g} nat, falling; "
        f"leader: response {int(last[0].argmax())} and {int(last[1].argmax())}, winner {winner}",
        interval="one deterministic orbit each; entropy < 0.1 nat asked for",
        status=decide(falling and (last.argmax(axis=1) == winner).all(), applies and (entropy < 0.1).all()),
    )
