"""The findings on smoothing: powers of the prior, mass of rare responses, and what RLHF loses by keeping the prior whole."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from .._curves import median, over_data_sets
from .._framework import Finding, binomial_interval, config_of, decide

SAME = 1e-8  # differences of log-policies that count as rounding


def check(ds: xr.Dataset) -> list[Finding]:
    """Exact powers, the order in beta, rare mass at equal and at best beta, and errors by how peaked the prior is."""
    return [_powers(ds), _even(ds), _between(ds), _equal_beta(ds), _best_mass(ds), _limit(ds), _decays(ds)]


def powers(config: dict) -> dict[str, float]:
    """The power of pi_0 in each policy."""
    return {"reverse KL": config["beta"] / (config["beta"] + config["gamma"]), "RLHF": 1.0}


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=-1, keepdims=True)


def _powers(ds: xr.Dataset) -> Finding:
    config, off, slopes = config_of(ds), [], []
    prior = _centred(ds.log_prior.values[: ds.sizes["fitted_instance"]])
    power = powers(config)["reverse KL"]
    for name, whole in powers(config).items():
        one = ds.fitted.sel(objective=name)
        move = _centred((one.sel(prior_kind="peaked") - one.sel(prior_kind="uniform")).values)
        off.append(np.abs(move - whole * prior).max())
        slopes.append(float((move * prior).sum() / (prior**2).sum()))
    return Finding(
        claim=f"a prior enters reverse KL's log-odds {power:g}-fold, beta/(beta+gamma), and RLHF's whole",
        source="[derived] statement 5.2",
        measured=f"policies of dyn.fit from the peaked less those from a uniform prior: slopes {slopes[0]:.6f} and "
        f"{slopes[1]:.6f} in log pi_0, residuals up to {max(off):.1e} nat, in {len(prior)} instances",
        interval=f"exact; {SAME:.0e} allowed for rounding",
        status=decide(max(off) < SAME),
    )


def _even(ds: xr.Dataset) -> Finding:
    config = config_of(ds)
    log_prior = ds.log_prior.values[: ds.sizes["fitted_instance"]]
    rare = log_prior < np.log(config["rare"])
    off = max(
        np.abs(_centred(ds.even.sel(objective=name).values) - power * _centred(log_prior)).max()
        for name, power in powers(config).items()
    )
    mass = (np.exp(ds.even.sel(objective="reverse KL").values) * rare).sum(-1)
    gain = float(mass.mean() / ds.prior_mass.values[: len(mass)].mean())
    return Finding(
        claim="even votes, which say nothing, leave RLHF at pi_0 and flatten it under reverse KL to pi_0^{beta/(beta+gamma)}",
        source="[derived] statement 5.2",
        measured=f"largest difference {off:.1e} nat; reverse KL multiplies the mass of rare responses by {gain:.3g} at beta = "
        f"{config['beta']:g}",
        interval=f"exact; {SAME:.0e} allowed for rounding",
        status=decide(off < SAME),
    )


def _between(ds: xr.Dataset) -> Finding:
    exact = ds.error.sel(decay=config_of(ds)["decay"], objective="reverse KL", n=np.inf).values
    step = np.diff(exact, axis=0)
    return Finding(
        claim="with exact preferences reverse KL's error grows with beta from 0 to that of pi_0: no beta > 0 is best",
        source="[derived] statement 5.2: pi ∝ pi_0^s pi*^{1-s}, s = beta/(beta+gamma), and KL(pi*||pi) is convex in s, 0 at 0",
        measured=f"smallest growth between neighbouring beta {step.min():.1e} nat; {exact[0].max():.1e} nat or less at beta = "
        f"{float(ds.beta[0]):g}",
        interval="exact; 1e-13 allowed for rounding",
        status=decide(step.min() > -1e-13),
    )


def _equal_beta(ds: xr.Dataset) -> Finding:
    gamma = config_of(ds)["gamma"]
    mass = ds.mass.sel(n=np.inf, beta=ds.beta[ds.beta >= gamma])
    more = (mass.sel(objective="reverse KL") >= mass.sel(objective="RLHF")).all("beta").values
    low, high = binomial_interval(int(more.sum()), more.size)
    ratio = median((mass.sel(objective="reverse KL") / mass.sel(objective="RLHF")).isel(beta=0).values)
    return Finding(
        claim="with exact preferences reverse KL gives rare responses more mass than RLHF does at every equal beta ≥ gamma",
        source="[paper] Yun25, the prior is smoothed; the power [derived] statement 5.2",
        measured=f"in {int(more.sum())} of {more.size} instances; at beta = {float(mass.beta[0]):.3g} {ratio} times as much "
        "(median)",
        interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson; more than 4/5 asked for; "
        f"{over_data_sets(more.size, 'instances')}",
        status=decide(low > 0.8, low > 0.8 or high < 0.8),
    )


def best(ds: xr.Dataset, objective: str, decay: float | None = None) -> xr.DataArray:
    """For every n and instance the place of the best beta of the grid."""
    decay = config_of(ds)["decay"] if decay is None else decay
    return ds.error.sel(decay=decay, objective=objective).argmin(dim="beta")


def _best_mass(ds: xr.Dataset) -> Finding:
    n = float(ds.n[-2])
    shares = {}
    for name in ("reverse KL", "RLHF"):
        mass = ds.mass.sel(objective=name).isel(beta=best(ds, name)).sel(n=n)
        shares[name] = median((mass / ds.target_mass).values)
    ok = shares["RLHF"].high < 0.8 and shares["reverse KL"].low > 0.95 and shares["reverse KL"].high < 1.05
    no = shares["RLHF"].low > 0.8 or shares["reverse KL"].high < 0.95 or shares["reverse KL"].low > 1.05
    return Finding(
        claim="at the best beta of each RLHF gives rare responses less than 4/5 of their mass under pi*, reverse KL all "
        "of it within 5 %",
        source="[paper] Yun25, the dilemma; [derived] statement 7.13",
        measured=f"mass over that of pi* at n = {n:g}: RLHF {shares['RLHF']}, reverse KL {shares['reverse KL']} (medians)",
        interval=over_data_sets(ds.sizes["instance"], "instances"),
        status=decide(ok, ok or no),
    )


def _limit(ds: xr.Dataset) -> Finding:
    least, at = ds.limit.values
    grid = ds.error.sel(decay=config_of(ds)["decay"], objective="RLHF", n=np.inf).min("beta").values / least
    off = float(np.abs(at / least - 1).max())
    return Finding(
        claim="no beta brings RLHF below the least KL(pi*||pi_k), pi_k ∝ pi_0 pi*^k, and beta = gamma/k reaches it",
        source="[derived] statement 7.13",
        measured=f"error at beta = gamma/k off that least by {off:.1e} of it, {np.median(least):.3g} nat (median); best of the "
        f"grid {grid.min():.6f} to {grid.max():.4f} times it",
        interval=f"exact in {len(least)} instances; 1e-9 allowed for rounding",
        status=decide(grid.min() >= 1 - 1e-9 and off < 1e-9),
    )


def _decays(ds: xr.Dataset) -> Finding:
    n = float(ds.n[-2])
    least = ds.error.sel(n=n).min("beta")
    both = (least.sel(objective=name).transpose("decay", "instance").values for name in ("RLHF", "reverse KL"))
    ratio = [median(above / below) for above, below in zip(*both, strict=True)]
    against = [a.low > b.high for a, b in itertools.pairwise(ratio)]
    grows = ratio[0].high < ratio[-1].low
    told = ", ".join(f"{d:g}: {r}" for d, r in zip(ds.decay.values, ratio, strict=True))
    return Finding(
        claim="the more peaked the prior, the more RLHF loses to reverse KL at the best beta of each",
        source="[derived] statement 7.13, for priors far from pi* by simulation",
        measured=f"error of RLHF over that of reverse KL at n = {n:g}, by the decay of log pi_0: {told}",
        interval=over_data_sets(ds.sizes["instance"], "instances"),
        status=decide(grows and not any(against), grows or any(against)),
    )
