"""The findings on ranking failures."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, binomial_interval, decide

RARE = 0.01  # failures count as systematic above this share
NAMES = {"condorcet": "Condorcet-top", "smith": "Smith-top", "order": "order"}
CLOPPER = "95 % Clopper–Pearson, as if matrices were drawn at random"


def check(ds: xr.Dataset) -> list[Finding]:
    """Shares of failures by sampler, cases that never fail, what fitting restores, and agreement of IPO and DPO."""
    shares = [_share(ds, sampler) for sampler in ("uniform", "reference", "towards", "away")]
    return [*shares, _towards(ds), _by_pi(ds), _agree(ds), _dominance(ds), *_built(ds), _tops(ds), *_orders(ds)]


def counted(outcome: np.ndarray) -> tuple[int, int]:
    """The number of failures, and of outcomes in all."""
    return int((outcome == 1).sum()), int((outcome >= 0).sum())


def _interval(failed: int, asked: int) -> tuple[float, float]:
    return binomial_interval(failed, asked) if asked else (0.0, 1.0)


def _share(ds: xr.Dataset, sampler: str) -> Finding:
    by_h = ds.outcome.sel(by="h", objective="IPO", sampler=sampler)
    where = {
        "uniform": "uniform sampling",
        "reference": "sampling from a random reference",
        "towards": "sampling skewed towards the top",
        "away": "sampling skewed away from the top",
    }[sampler]
    said, ranges, worst = [], [], []
    for target, name in NAMES.items():
        failed, asked = counted(by_h.sel(desideratum=target).values)
        low, high = _interval(failed, asked)
        said.append(f"{name} {failed} of {asked}" + (f" ({failed / asked:.1%})" if asked else ""))
        ranges.append(f"{low:.1%} to {high:.1%}")
        worst.append((low, high))
    seen, none = any(low > RARE for low, _ in worst), all(high < RARE for _, high in worst)
    return Finding(
        claim=f"{where} fails some desideratum on more than {RARE:.0%} of the matrices that ask for it, ranking by h",
        source="[paper] Chen26, three desiderata; their shares here are measured",
        measured="fails: " + ", ".join(said) + "; IPO, and DPO where it has an optimum (1.8)",
        interval=f"{'; '.join(ranges)} in that order; {CLOPPER}",
        status=decide(seen, seen or none),
    )


def _discordant(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """The number of failures in the first only, and in the second only, where both have an outcome."""
    both = (first >= 0) & (second >= 0)
    return int((both & (first > second)).sum()), int((both & (second > first)).sum())


def _paired(claim: str, source: str, what: str, more: np.ndarray, less: np.ndarray) -> Finding:
    """Whether ``more`` fails more often than ``less``, judged by the matrices on which only one of them fails."""
    only_more, only_less = _discordant(more, less)
    low, high = _interval(only_more, only_more + only_less)
    return Finding(
        claim=claim,
        source=source,
        measured=f"{what}: {only_more} matrices fail only in the first way, {only_less} only in the second, of "
        f"{((more >= 0) & (less >= 0)).sum()}",
        interval=f"share of the first among these {low:.2f} to {high:.2f}, above 1/2 asked for; {CLOPPER}",
        status=decide(low > 0.5, low > 0.5 or high < 0.5),
    )


def _towards(ds: xr.Dataset) -> Finding:
    one = ds.outcome.sel(by="h", objective="IPO", desideratum="smith")
    return _paired(
        "Smith-top fails oftener when sampling is skewed away from the top than towards it",
        "[derived] statement 1.5: it is restored by a sampler on the top alone",
        "away, then towards",
        one.sel(sampler="away").values,
        one.sel(sampler="towards").values,
    )


def _by_pi(ds: xr.Dataset) -> Finding:
    one = ds.outcome.sel(objective="IPO", sampler="uniform", desideratum="smith")
    return _paired(
        "ranking by pi fails Smith-top oftener than ranking by h, the reference being random",
        "[derived] statement 1.1: log pi = log ref + h",
        "by pi, then by h, under uniform sampling",
        one.sel(by="pi").values,
        one.sel(by="h").values,
    )


def _agree(ds: xr.Dataset) -> Finding:
    count = ds.disagreements.values
    known = count >= 0
    return Finding(
        claim="IPO's and DPO's h order every pair of responses alike, at every sampler",
        source="[derived] statement 1.8",
        measured=f"{int(count[known].sum())} pairs differ on {int(known.any(axis=1).sum())} matrices at "
        f"{ds.sizes['sampler']} samplers; DPO has no optimum on {int((~known).any(axis=1).sum())} matrices",
        interval="gaps below 1e-9 count as ties",
        status=decide(not count[known].any(), known.any()),
    )


def _dominance(ds: xr.Dataset) -> Finding:
    strong = ds.strongly_transitive.values
    outcome = ds.outcome.sel(by="h").values[strong]
    failed, asked = counted(outcome)
    return Finding(
        claim="on strongly transitive matrices nothing fails at any of these samplers, ranking by h",
        source="[derived] statement 1.6; for IPO [paper] Chen26",
        measured=f"{failed} of {asked} outcomes fail on {strong.sum()} such matrices, IPO and DPO",
        interval="exact but for rounding",
        status=decide(failed == 0, asked > 0),
    )


def _built(ds: xr.Dataset) -> list[Finding]:
    there, fitted = (ds.constructed.sel(at=at).values for at in ("sampler", "fitted"))
    n = ds.sizes["drawn"]
    return [
        Finding(
            claim="against every fixed sampler a matrix can be constructed that fails all three desiderata",
            source="[derived] statement 1.4; that some P does is [paper] Chen26",
            measured=f"{(there == 1).sum()} of {there.size} outcomes fail at {n} random samplers, IPO and DPO",
            interval="exact but for rounding",
            status=decide((there == 1).all()),
        ),
        Finding(
            claim="a sampler fitted to the constructed matrix restores all three",
            source="[derived] statement 1.5",
            measured=f"{(fitted == 0).sum()} of {fitted.size} outcomes are kept on the {n} matrices, IPO and DPO",
            interval="exact but for rounding",
            status=decide((fitted == 0).all()),
        ),
    ]


def _tops(ds: xr.Dataset) -> Finding:
    tops = ["condorcet", "smith"]
    fitted = ds.outcome.sel(by="h", sampler="fitted", desideratum=tops).values
    failed, asked = counted(fitted)
    lost, _ = counted(ds.outcome.sel(by="h", objective="IPO", sampler="uniform", desideratum="smith").values)
    margins = ds.margin.sel(desideratum="smith").values
    margins = margins[np.isfinite(margins)]
    least = f"; least margin {margins.min():.2g}, median {np.median(margins):.2g}" if len(margins) else ""
    return Finding(
        claim="the fitted sampler restores Condorcet-top and Smith-top on every matrix",
        source="[paper] Chen26; the linear program is [derived] (statement 1.5)",
        measured=f"{failed} of {asked} outcomes fail, IPO and DPO, {lost} matrices lose Smith-top under uniform "
        f"sampling{least}",
        interval="exact but for rounding; margins to 1e-10",
        status=decide(failed == 0, asked > 0),
    )


def _orders(ds: xr.Dataset) -> list[Finding]:
    t, size = ds.margin.sel(desideratum="order").values, ds.num_responses.values
    asked = np.isfinite(t)
    fitted = ds.outcome.sel(by="h", sampler="fitted", desideratum="order").values
    known = fitted[asked] >= 0
    wrong = int((known & ((fitted[asked] == 0) != (t[asked] > 0)[:, None])).sum())
    three, beyond = asked & (size == 3), asked & (size > 3)
    lost = int((t[beyond] <= 0).sum())
    low, high = _interval(lost, int(beyond.sum()))
    sizes = [k for k in sorted(set(size[beyond].tolist())) if (t[beyond & (size == k)] <= 0).any()]
    by_size = ", ".join(f"K = {k}: {(t[size == k] <= 0).sum()} of {(asked & (size == k)).sum()}" for k in sizes)
    return [
        Finding(
            claim="the fitted sampler keeps the majority order iff its margin t* is positive",
            source="[derived] statement 1.5",
            measured=f"{wrong} of {int(known.sum())} outcomes are otherwise, IPO and DPO; t* > 0 on "
            f"{(t[asked] > 0).sum()} of {asked.sum()} matrices with a transitive majority",
            interval="exact but for rounding; t* to 1e-10",
            status=decide(wrong == 0, asked.any()),
        ),
        Finding(
            claim="at K = 3 some sampler keeps every transitive majority order",
            source="[derived] statement 1.5",
            measured=f"t* > 0 on {(t[three] > 0).sum()} of {three.sum()}, least {t[three].min(initial=np.inf):.2g}",
            interval="t* to 1e-10",
            status=decide((t[three] > 0).all(), three.any()),
        ),
        Finding(
            claim=f"from K = 4 on no sampler keeps the order of more than {RARE:.0%} of transitive matrices",
            source="[derived] statement 1.5 for that there are such; their share is measured",
            measured=f"t* ≤ 0 on {lost} of {beyond.sum()}" + (f" ({by_size})" if sizes else ""),
            interval=f"{low:.1%} to {high:.1%}; {CLOPPER}",
            status=decide(low > RARE, low > RARE or high < RARE),
        ),
    ]
