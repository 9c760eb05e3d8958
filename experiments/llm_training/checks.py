"""The findings on training a whole model; on a made model or made statements nothing is decided."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from .._framework import Finding, binomial_interval, config_of
from .._language import decide_of


def check(ds: xr.Dataset) -> list[Finding]:
    """Accuracy on held-out statements, how far the last layer's theory carries, features, displacement."""
    return [_learned(ds), *(_carried(ds, split) for split in ("train", "held_out")), _features(ds), _displaced(ds)]


def matched(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float]:
    """(flow margins, model margins) of every example when both have the same mean training margin, and that mean."""
    theory, practice = ds.flow_margin.isel(time=int(ds.matched_time)), ds.reward_margin.isel(step=int(ds.matched_step))
    return theory.values, practice.values, float(practice[(ds.split == "train").values].mean())


def _learned(ds: xr.Dataset) -> Finding:
    held = (ds.split == "held_out").values
    right = ds.reward_margin.isel(step=-1).values[held] > 0
    low, high = binomial_interval(int(right.sum()), right.size)
    config = config_of(ds)
    return Finding(
        claim="training generalises: most held-out statements have a positive margin at the end",
        source="[paper] ImLi24 and ImLi25 train real models on such statements",
        measured=f"{int(right.sum())} of {right.size} after {config['steps']} steps of {config['batch']} pairs, "
        f"{config['train']}; mean margin {float(ds.reward_margin.isel(step=-1).values[held].mean()):.3f}",
        interval=f"share [{low:.2f}, {high:.2f}], 95 % Clopper–Pearson; above 1/2 asked for",
        status=decide_of(ds, low > 0.5, low > 0.5 or high < 0.5),
    )


def _carried(ds: xr.Dataset, split: str) -> Finding:
    theory, practice, mean = matched(ds)
    own = (ds.split == split).values
    x, y = theory[own], practice[own]
    learned = bool(
        np.ptp(theory) > 0 and np.ptp(practice) > 0
    )  # else margins have not risen, and nothing can be compared
    rank, linear, low, high = correlations(x, y) if learned else (np.nan,) * 4
    where = "training" if split == "train" else "held-out"
    return Finding(
        claim=f"margins of {where} statements are ordered as by the flow of the last layer on the features before training",
        source="[paper] ImLi25, Lemma 4.1, a theorem on a last layer, taken for a model that trains everywhere",
        measured=f"Spearman {rank:.2f}, correlation {linear:.2f} over {len(x)} statements, "
        f"where the mean training margin of both is {mean:.2f}",
        interval=f"[{low:.2f}, {high:.2f}], 95 % bootstrap over statements; above 0 asked for",
        status=decide_of(ds, low > 0, learned and (low > 0 or high < 0)),
    )


def correlations(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Spearman's and Pearson's correlation, and the 95 % bootstrap interval of the former."""
    rng = np.random.default_rng(0)
    again = [spearmanr(x[i], y[i])[0] for i in rng.integers(0, len(x), (2000, len(x)))]
    low, high = np.nanquantile(again, (0.025, 0.975))
    return float(np.asarray(spearmanr(x, y)[0])), float(np.corrcoef(x, y)[0, 1]), float(low), float(high)


def _features(ds: xr.Dataset) -> Finding:
    ratio = ds.delta_after.values / ds.delta_before.values
    return Finding(
        claim="training makes features more distinguishable, which is what speeds up a later misalignment",
        source="[paper] ImLi24",
        measured=f"delta after over before: {', '.join(f'{x:.2f}' for x in ratio)} ({', '.join(map(str, ds.trained.values))})",
        interval=f"{len(ratio)} behaviours, all of their statements; above 1 in all asked for",
        status=decide_of(ds, (ratio > 1).all(), (ratio > 1).all() or (ratio < 1).all()),
    )


def _displaced(ds: xr.Dataset) -> Finding:
    train = (ds.split == "train").values
    change = lambda name: (ds[name].isel(step=-1) - ds[name].isel(step=0)).values[train]
    w, l = change("log_prob_chosen"), change("log_prob_rejected")
    both = int(((w < 0) & (l < 0)).sum())
    raised = "; ".join(ds.attrs["alarms"].splitlines())
    return Finding(
        claim="training raises the log-probability of chosen answers and lowers that of rejected ones",
        source="[derived] 3.2: a margin does not say where either went",
        measured=f"mean change {w.mean():+.2f} nats of chosen and {l.mean():+.2f} of rejected answers; both fell in {both} of "
        f"{len(w)}; alarms: {raised}",
        interval="training statements; the two signs of the means asked for",
        status=decide_of(ds, w.mean() > 0 > l.mean()),
    )
