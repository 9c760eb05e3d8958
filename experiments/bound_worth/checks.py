"""The findings on guarantees: none is violated, which say anything, and how far each is above the true quantile."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, binomial_interval, config_of, decide

LARGE = 10**4  # n from which on 7.12 states the width of the certificate
LATE = 2**12  # n from which on 7.11 is compared with the truth; below, the class has few policies in reach
PROVEN = ("Theorem 4", "7.11 corollary", "7.11 Chernoff", "7.12 certificate")
LEVEL = 0.999  # of the intervals of shares, of which there are many


def check(ds: xr.Dataset) -> list[Finding]:
    """Coverage of the proven bounds and of 7.9's law, and the looseness of each bound."""
    return [
        _covers(ds),
        _near(ds),
        _far(ds),
        _sharper(ds),
        _chernoff(ds),
        _certificate(ds),
        _law(ds, "7.9 quantile", "within 1 point", 0.01),
        _law(ds, "7.9 plug-in", "within 3 points", 0.03),
    ]


def looseness(ds: xr.Dataset) -> xr.DataArray:
    """Each bound over the true quantile of its own estimate, ``(name, B, n)``; NaN where that is infinite."""
    true = ds["quantile"].sel(
        estimate=["tabular" if name.startswith(("7.9", "7.12")) else "class" for name in ds.name.values]
    )
    true = true.where(np.isfinite(true)).drop_vars("estimate").rename(estimate="name").assign_coords(name=ds.name)
    return ds.bound / true


def _range(values: xr.DataArray | np.ndarray) -> str:
    return f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}"


def _covers(ds: xr.Dataset) -> Finding:
    asked = 1 - config_of(ds)["failure"]
    one = ds.sel(name=list(PROVEN))
    share, low = (one.covered / one.trials.where(one.trials > 0)), []
    for hit, out_of in zip(one.covered.values.ravel(), one.trials.values.ravel(), strict=True):
        low.append(1.0 if out_of == 0 else binomial_interval(int(hit), int(out_of), LEVEL)[1])
    told = ", ".join(f"{name} {float(share.sel(name=name).min()):.3f}" for name in PROVEN)
    return Finding(
        claim=f"no proven bound is violated: each covers in a share of at least {asked:g} of the data sets",
        source="[paper] Yun25, Theorem 4; [derived] statements 7.11 and 7.12",
        measured=f"smallest share over B and n: {told}",
        interval=f"{LEVEL:.1%} Clopper and Pearson over data sets, for each B and n",
        status=decide(min(low) >= asked),
    )


def _near(ds: xr.Dataset) -> Finding:
    if 0.5 not in ds.B:
        return Finding("Theorem 4 at B = .5", "[derived] statement 5.3", "not computed", "none", "not decided")
    found = looseness(ds).sel(name="Theorem 4", B=0.5).values
    bound, most = ds.bound.sel(name="Theorem 4", B=0.5).values, float(ds.largest.sel(B=0.5))
    says = ds.n.values[bound < most]
    return Finding(
        claim="at B = .5 Theorem 4 lies 470 to 10^5 times above the true 95 % quantile",
        source="[derived] statement 5.3, measured there in other classes; the theorem [paper] Yun25",
        measured=f"{_range(found)} times; below the largest KL of the class from n = {int(says[0])} on"
        if len(says)
        else f"{_range(found)} times; never below the largest KL of the class",
        interval=f"quantiles over {config_of(ds)['sets']} data sets",
        status=decide((found > 470).all() and (found < 1e5).all()),
    )


def _far(ds: xr.Dataset) -> Finding:
    wide = ds.sel(B=ds.B[ds.B > 0.5])
    over = (wide.bound.sel(name="Theorem 4") / wide.largest).values
    loose = looseness(wide).sel(name="Theorem 4").values
    told = "; ".join(
        f"10^{np.log10(np.nanmedian(row)):.1f} at B = {b:g}" for b, row in zip(wide.B.values, loose, strict=True)
    )
    return Finding(
        claim=f"for B > .5 Theorem 4 is vacuous at every n up to {int(ds.n[-1])}: no policy of the class is as far from pi*",
        source="[derived] statement 5.3; the theorem [paper] Yun25",
        measured=f"bound over the largest KL of the class at least {over.min():.3g}; over the true quantile {told} (5.3 has "
        "10^10 to 10^59 for B = 2 to 11 in other classes)",
        interval=f"the bound exact, quantiles over {config_of(ds)['sets']} data sets",
        status=decide((over >= 1).all()),
    )


def _sharper(ds: xr.Dataset) -> Finding:
    gain = ds.bound.sel(name="Theorem 4") / ds.bound.sel(name="7.11 corollary")
    B = ds.range
    worst = gain / (2 * B**2 * np.exp(4 * B) + 3)
    loose = _range(looseness(ds).sel(name="7.11 corollary"))
    return Finding(
        claim="7.11's corollary is below Theorem 4 by its factor 2B² e^4B + 3 at least",
        source="[derived] statement 7.11",
        measured=f"gain over that factor {_range(worst)}; the corollary lies {loose} times above the true quantile",
        interval="exact",
        status=decide(bool((worst >= 1 - 1e-9).all())),
    )


def _chernoff(ds: xr.Dataset) -> Finding:
    found = looseness(ds).sel(name="7.11 Chernoff", n=ds.n[ds.n >= LATE]).values
    early = looseness(ds).sel(name="7.11 Chernoff", n=ds.n[ds.n < LATE]).values
    before = f", {_range(early)} below" if early.size else ""
    return Finding(
        claim=f"7.11 by enumeration lies within a factor 10 of the true 95 % quantile, whatever B, for n ≥ {LATE}",
        source="[derived] statement 7.11; 1.2 to 4.9 were found in coarser classes",
        measured=f"{_range(found)} times{before}: 4.9 is not kept in a class as fine as this, where the exponents of "
        "comparing two policies are a quarter of those of the estimate",
        interval=f"quantiles over {config_of(ds)['sets']} data sets; 10 was set after such runs, and predicts nothing",
        status=decide(bool((found <= 10).all() and (found >= 1 - 1e-9).all())),
    )


def _certificate(ds: xr.Dataset) -> Finding:
    found = looseness(ds).sel(name="7.12 certificate", n=ds.n[ds.n >= LARGE])
    narrow, wide = found.sel(B=found.B[found.B <= 5]).values, found.sel(B=found.B[found.B > 5]).values
    sets = int(ds.trials.sel(name="7.12 certificate").max())
    more = f", {_range(wide)} times for larger B, beyond that" if wide.size else ""
    return Finding(
        claim="from n = 10^4 on the certificate is at most 19 times the true 95 % quantile where B ≤ 5",
        source="[derived] statement 7.12, which has 5.5 to 19 in its cases",
        measured=f"median bound {_range(narrow)} times{more}",
        interval=f"medians over {sets} data sets, quantiles over {config_of(ds)['sets']}; B ≤ 5 was set after such runs",
        status=decide(bool((narrow >= 1).all() and (narrow <= 19).all())),
    )


def _law(ds: xr.Dataset, name: str, words: str, most: float) -> Finding:
    late = ds.sel(name=name, n=ds.n[ds.n >= LARGE])
    asked = 1 - config_of(ds)["failure"]
    hit, out_of = int(late.covered.sum()), int(late.trials.sum())
    low, high = binomial_interval(hit, out_of)
    inside = asked - most <= low and high <= asked + most
    what = "the law of 7.9 at pi*" if name == "7.9 quantile" else "the law of 7.9 with the estimate for pi*"
    return Finding(
        claim=f"{what} covers {asked:.0%} {words} from n = 10^4 on",
        source="[derived] statements 7.9 and 7.12",
        measured=f"{hit / out_of:.4f} of {out_of} data sets of all B; {_range(late.covered / late.trials)} by B and n",
        interval=f"[{low:.4f}, {high:.4f}], Clopper and Pearson",
        status=decide(inside, inside or high < asked - most or low > asked + most),
    )
