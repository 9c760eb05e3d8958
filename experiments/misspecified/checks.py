"""The findings on misspecified preferences: who depends on the sampler, who agrees with whom, and in which order they rank."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .._framework import Finding, binomial_interval, decide

ODDS = ("DPO", "RLHF", "reverse KL", "PMLE", "distillation")
RATES = ("IPO", "reverse KL, win rates")
SAME = 1e-7  # total variation between policies that are the same, to the solvers' tolerance
LEVEL = 1e-9  # relative gap of win rates below which two responses are level


def check(ds: xr.Dataset) -> list[Finding]:
    """Dependence on the sampler by kind of matrix, identities, one order for all, the top response, and the link."""
    return [*_dependence(ds), _identities(ds), _order(ds), _top(ds), _sizes(ds), *_link(ds)]


def movement(ds: xr.Dataset) -> xr.DataArray:
    """The largest total variation between the policies of one method under two samplers, by method and matrix."""
    pi = np.exp(ds.log_policy.values)
    gap = 0.5 * np.nansum(np.abs(pi[:, :, :, None] - pi[:, :, None, :]), axis=-1)
    return xr.DataArray(gap.max((2, 3)), dims=("approach", "matrix"), coords={"approach": ds.approach, "kind": ds.kind})


def _of(moved: xr.DataArray, kind: str, methods: tuple[str, ...]) -> np.ndarray:
    return moved.sel(approach=list(methods)).values[:, moved.kind.values == kind]


def _dependence(ds: xr.Dataset) -> list[Finding]:
    moved = movement(ds)
    rows = []
    for own, methods, what, source in (
        (
            "Bradley–Terry",
            ODDS,
            "methods of odds (DPO, RLHF, reverse KL, PMLE, distillation)",
            "[paper] Chen26 for DPO; 1.3",
        ),
        ("linear", RATES, "methods of win rates (IPO, reverse KL on win rates)", "[derived] statement 1.3"),
    ):
        still = _of(moved, own, methods)
        other = [kind for kind in dict.fromkeys(moved.kind.values) if kind != own]
        moving = np.concatenate([_of(moved, kind, methods).ravel() for kind in other])
        form = "Bradley–Terry" if own == "Bradley–Terry" else "1/2 + x_i - x_j"
        rows.append(
            Finding(
                claim=f"the optima of {what} ignore the sampler iff P is {form}",
                source=source,
                measured=f"largest total variation between samplers there {still.max():.1e} ({still.size} cases); elsewhere "
                f"{moving.min():.1e} to {moving.max():.2g} ({moving.size} cases)",
                interval=f"exact optima on expected counts; {SAME:.0e} allowed to the solvers",
                status=decide(still.max() < SAME and moving.min() > SAME),
            )
        )
    return rows


def _identities(ds: xr.Dataset) -> Finding:
    pi = np.exp(ds.log_policy)
    far = lambda a, b: float(0.5 * np.abs(pi.sel(approach=a) - pi.sel(approach=b)).sum("response").max())
    one, two = far("DPO", "RLHF"), far("PMLE", "distillation")
    slope = float(np.nanmax(ds.slope.sel(approach=list(ODDS)).values))
    return Finding(
        claim="misspecified or not, RLHF = DPO, and PMLE = distillation at beta = 0: seven methods are five curves",
        source="[derived] statement 5.2",
        measured=f"largest total variation {one:.1e} and {two:.1e} over {pi.sizes['matrix'] * pi.sizes['sampler']} cases; "
        f"the slope of each method's own loss there is at most {slope:.1e}",
        interval=f"exact optima on expected counts; {SAME:.0e} allowed to the solvers",
        status=decide(max(one, two) < SAME and slope < SAME),
    )


def implied(ds: xr.Dataset) -> np.ndarray:
    """PMLE's policy, whose order is that of the Bradley–Terry reward, ``(matrix, sampler, response)``."""
    return ds.log_policy.sel(approach="PMLE").values


def _order(ds: xr.Dataset) -> Finding:
    reward, rate = implied(ds), ds.win_rate.values
    gap = rate[..., :, None] - rate[..., None, :]
    decided = np.abs(gap) > LEVEL
    agree = np.sign(reward[..., :, None] - reward[..., None, :]) == np.sign(gap)
    wrong = int((decided & ~agree).sum()) // 2
    return Finding(
        claim="for every P and sampler the reward of odds orders the responses as the win rates P mu do",
        source="[derived] statement 1.8",
        measured=f"{wrong} of {int(decided.sum()) // 2} pairs are ordered otherwise",
        interval="exact optima on expected counts; pairs with level win rates left out",
        status=decide(wrong == 0),
    )


def _top(ds: xr.Dataset) -> Finding:
    cyclic = ds.kind.values == "cyclic"
    rate = ds.win_rate.values[cyclic]
    first = np.nanargmax(rate, axis=-1)
    changes = np.array([len(set(row)) > 1 for row in first])
    low, high = binomial_interval(int(changes.sum()), len(changes))
    return Finding(
        claim="on cyclic P the response that all methods rank first, before the reference counts, changes with the sampler",
        source="[paper] Chen26, no sampler is safe; statement 1.8 makes it the same for all methods",
        measured=f"in {int(changes.sum())} of {len(changes)} matrices over {rate.shape[1]} samplers",
        interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson over matrices; above 1/2 asked for",
        status=decide(low > 0.5, low > 0.5 or high < 0.5),
    )


def _sizes(ds: xr.Dataset) -> Finding:
    moved = movement(ds)
    middle = {m: float(np.median(_of(moved, "cyclic", (m,)))) for m in (*ODDS, *RATES)}
    cyclic = moved.values[:, moved.kind.values == "cyclic"]
    named = dict(zip(moved.approach.values, cyclic, strict=True))
    less = int((named["reverse KL, win rates"] < named["PMLE"]).sum())
    low, high = binomial_interval(less, cyclic.shape[1])
    return Finding(
        claim="on cyclic P regularised win rates move least with the sampler, unregularised odds most",
        source="[derived] statement 5.2 and statement 7.16, whose rewards they divide by beta + gamma and by gamma",
        measured="median over matrices of the largest total variation between two samplers: "
        + ", ".join(f"{m} {v:.2g}" for m, v in middle.items())
        + f"; reverse KL on win rates less than PMLE in {less} of {cyclic.shape[1]}",
        interval=f"share [{low:.2f}, {high:.2f}], Clopper and Pearson over matrices; above 1/2 asked for",
        status=decide(low > 0.5, low > 0.5 or high < 0.5),
    )


def _link(ds: xr.Dataset) -> list[Finding]:
    all_seven = ds.nudged.isel(objective=slice(0, -1)).values
    own = ds.nudged.isel(objective=-1).values
    own = own[np.isfinite(own)]
    return [
        Finding(
            claim="every method sees P only through the win rates P mu: another P with the same P mu has the same optimum",
            source="[derived] statement 7.17",
            measured=f"largest total variation {np.nanmax(all_seven):.1e} over {np.isfinite(all_seven).sum()} cases",
            interval=f"exact optima on expected counts; {SAME:.0e} allowed to the solvers",
            status=decide(np.nanmax(all_seven) < SAME),
        ),
        Finding(
            claim="a loss whose f'(r) + f'(-r) is not constant, exp(-r), sees more of P than the win rates",
            source="[derived] statement 7.17",
            measured=f"total variation {own.min():.1e} to {own.max():.1e} over {own.size} matrices with unchanged P mu",
            interval=f"optima by BFGS on expected counts; above {SAME:.0e} at the median asked for",
            status=decide(np.median(own) > SAME),
        ),
    ]
