"""The table of docs/posterior.md from a run: ``python -m experiments.calibration.table STORE.zarr``."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import xarray as xr

from .checks import counted, largest


def table(ds: xr.Dataset) -> str:
    """A row for each law, in Markdown; shares with 95% binomial intervals."""
    head = "| law | K, votes | sets | unstable | P(unstable) h / i | 90% cover, hierarchical | 90% cover, independent | lost |"
    lines = [head + " safe at .95, h | i | larger |", "|---" * 11 + "|"]
    for n, name in enumerate(ds.law.values):
        one = ds.isel(law=n)
        sets = int((~np.isnan(one.truth.values)).sum())
        stated = " / ".join(f"{np.nanmean(one.unstable.values[m]):.2f}" for m in range(2))
        cells = [str(name), f"{int(one.num_responses)}, {int(one.votes)}", str(sets)]
        cells += [f"{np.nanmean(one.truth.values):.2f}", stated]
        cells += [_told(one.cover.sel(level=0.9).values[m]) for m in range(2)]
        cells.append(str(int(np.nansum(one.lost.values))))
        safe = one.safe.sel(confidence=0.95)
        cells += [_told(values) for values in (*safe.values, largest(safe))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reliability(ds: xr.Dataset, edges: tuple[float, ...] = (0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1)) -> str:
    """Stated against true probabilities of instability, and Brier scores, a row for each model."""
    lines = ["| model | stated → true (data sets) | Brier |", "|---|---|---|"]
    truth = ds.truth.values.ravel()
    for model in ds.model.values:
        p = ds.unstable.sel(model=model).values.ravel()
        cells = []
        for low, high in pairwise(edges):
            inside = (p >= low) & ((p < high) | ((high == 1) & (p == 1)))
            if inside.any():
                cells.append(f"{p[inside].mean():.2f} → {truth[inside].mean():.2f} ({inside.sum()})")
        lines.append(f"| {model} | {', '.join(cells)} | {np.nanmean((p - truth) ** 2):.3f} |")
    return "\n".join(lines)


def _told(values: np.ndarray) -> str:
    share, number, low, high = counted(values)
    return "–" if number == 0 else f"{share:.2f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    with xr.open_zarr(sys.argv[1]) as found:
        sys.stdout.write(f"{table(found)}\n\n{reliability(found)}\n")
