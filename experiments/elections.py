"""Regions of real preference matrices, counted by family: ``python -m experiments.elections PATH… [--out TABLE.csv]``.

Every matrix in the files is classified at one alpha and lam and several beta. Under IPO its rounds are proven to converge
(7.2, 7.15), locally stable without that proof, or unstable; under DPO they are locally stable, unstable, or without a finite
optimum. The table holds the counts for each file; of the data it holds nothing but the names of the files.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import dynamics as dyn
from dynamics._progress import progress
from dynamics.preferences import PreferenceSet
from dynamics.stability import proven_beta, spectral_radii

from ._matrices import listed, opened

BETAS = (1.0, 0.1, 0.01)
COUNTED = {
    "IPO": ("proven", "locally stable", "unstable", "not found"),
    "DPO": ("locally stable", "unstable", "no optimum", "not found"),
}
NO_OPTIMUM = 2  # as in ``Radii.status``
UNDECIDED = 1e-9  # a radius this close to 1 is not decided and counts as not found


def regions(stack: np.ndarray, objective: str, alpha: float, lam: float, beta: float) -> np.ndarray:
    """The region of each matrix of a stack ``(M, K, K)``, in words."""
    finite = np.array([objective == "IPO" or dyn.preferences.classify(P).bt_finite for P in stack])
    words = np.full(len(stack), "no optimum", dtype=object)
    if not finite.any():
        return words
    found = spectral_radii(
        stack[finite], (dyn.IPO if objective == "IPO" else dyn.DPO)(beta), alpha, lam, progress=False
    )
    decided = (found.status == 0) & (np.abs(np.nan_to_num(found.radius) - 1) > UNDECIDED)
    seen = np.where(found.radius < 1, "locally stable", "unstable")
    words[finite] = np.where(decided, seen, np.where(found.status == NO_OPTIMUM, "no optimum", "not found"))
    if objective == "IPO":
        words[proven_beta(stack, [alpha], [lam])[:, 0, 0] < beta] = "proven"
    return words


def tabulate(
    sets: dict[str, PreferenceSet], alpha: float, lam: float, betas: Sequence[float]
) -> dict[tuple[str, str, float], Counter[str]]:
    """Counts by (family, objective, beta), with a progress bar; matrices of one size are computed together."""
    found: dict[tuple[str, str, float], Counter[str]] = {}
    sizes = sorted({K for matrices in sets.values() for K in matrices.by_size()})
    with progress("runs", sum(map(len, sets.values())) * len(COUNTED) * len(betas)) as advance:
        for K in sizes:
            whose = [(name, m) for name, matrices in sets.items() for m in matrices.by_size().get(K, ())]
            stack = np.stack([np.asarray(sets[name][m]) for name, m in whose])
            for objective in COUNTED:
                for beta in betas:
                    for (name, _), word in zip(whose, regions(stack, objective, alpha, lam, beta), strict=True):
                        found.setdefault((name, objective, beta), Counter())[word] += 1
                    advance(len(stack))
    return found


def rows(sets: dict[str, PreferenceSet], found: dict[tuple[str, str, float], Counter[str]]) -> list[list[object]]:
    """The rows of the table: headings, then a row for each family, objective and beta, then totals over all families."""
    regions_of = list(dict.fromkeys(region for kinds in COUNTED.values() for region in kinds))
    out: list[list[object]] = [["family", "K least", "K most", "objective", "beta", "matrices", *regions_of]]
    settings = sorted({key[1:] for key in found}, key=lambda s: (s[0] != "IPO", -s[1]))
    for name in [*sorted(sets), "all"]:
        sizes = [K for other, matrices in sets.items() if name in (other, "all") for K in matrices.by_size()]
        for objective, beta in settings:
            counts = [c for (other, o, b), c in found.items() if name in (other, "all") and (o, b) == (objective, beta)]
            total = sum(counts, Counter())
            cells = [total[r] if r in COUNTED[objective] else "" for r in regions_of]
            out.append([name, min(sizes), max(sizes), objective, f"{beta:g}", sum(total.values()), *cells])
    return out


def read_all(paths: Sequence[str]) -> tuple[dict[str, PreferenceSet], list[str]]:
    """The sets by the name of their file, and messages about files that could not be read."""
    sets: dict[str, PreferenceSet] = {}
    skipped = []
    for file, found in opened(listed(paths)):
        if isinstance(found, str):
            skipped.append(found)
        else:
            sets[file.stem] = found
    if not sets:
        raise ValueError(
            f"nothing could be read ({'; '.join(skipped) or 'no file that read takes'}); pass files or folders."
        )
    return sets, skipped


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 after one sentence about bad input."""
    parser = argparse.ArgumentParser(prog="python -m experiments.elections", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--lam", type=float, default=1.0)
    parser.add_argument("--beta", type=float, nargs="+", default=list(BETAS))
    parser.add_argument("--out", type=Path, help="where the table goes; printed unless given")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    try:
        sets, skipped = read_all(options.paths)
        for sentence in skipped:
            print(f"skipped: {sentence}", file=sys.stderr)
        table = rows(sets, tabulate(sets, options.alpha, options.lam, options.beta))
        if options.out is None:
            csv.writer(sys.stdout, lineterminator="\n").writerows(table)
        else:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows(table)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
