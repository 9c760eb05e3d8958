"""The findings on evolution: spectral radius against orbits, entropy against its bounds."""

from __future__ import annotations

import numpy as np
import xarray as xr

import dynamics as dyn

from .._framework import OBJECTIVES, Finding, config_of, decide

CASES = ("baseline", "larger alpha", "larger lam/beta", "collapse")
DECISIVE = 100.0  # a distance is compared only if the linear rate changes it by this factor within the run


def check(ds: xr.Dataset) -> list[Finding]:
    """The stability that the spectral radius predicts against the orbits, and the entropy against its bounds."""
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
