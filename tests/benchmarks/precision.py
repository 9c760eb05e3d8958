"""What float32 costs and saves: verdicts and rounds per second of the same sweeps in both precisions.

    python tests/benchmarks/precision.py

IPO and DPO on the 3-cycle with a = .4, alpha × lam/beta on 41 × 41 cells, 3,000 rounds, one start; each precision has a
process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

RADII = 0.02  # of the spectral radius about 1: nearer than this no 3,000 rounds decide


def sweep(precision: str, path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import jax

    jax.config.update("jax_enable_x64", precision == "float64")
    import jax.numpy as jnp

    import dynamics as dyn

    warnings.simplefilter("ignore")
    P, alpha = dyn.preferences.cyclic(3, 0.4), np.linspace(0.01, 0.99, 41)
    start, found, seconds = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1])), {}, {}
    for name, kind, kappa in (("IPO", dyn.IPO, 1.0), ("DPO", dyn.DPO, 4.0)):
        over = {"alpha": alpha, "beta": kappa / np.linspace(0.1, 8, 41)}
        loop = dyn.SelfSampling(P, kind(1.0), 0.5, 1.0)
        ask = lambda over=over, loop=loop: dyn.sweep(loop, over, measure=["verdict"], rounds=3000, initial=start)
        ds = ask()
        began = time.perf_counter()
        ask()
        seconds[name] = time.perf_counter() - began
        found[name] = ds["verdict"].values
    np.savez(path, **found, seconds=[seconds["IPO"], seconds["DPO"]])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float64", "float32"):
            command = [sys.executable, __file__, precision, str(Path(folder) / precision)]
            subprocess.run(command, check=True)
        double, single = (np.load(Path(folder) / f"{name}.npz") for name in ("float64", "float32"))
        alpha, ratio = np.linspace(0.01, 0.99, 41)[:, None], np.linspace(0.1, 8, 41)
        radius = np.sqrt(alpha**2 + (0.4 * ratio) ** 2 / 3)  # statement 2.1, beta scaled by kappa
        for i, name in enumerate(("IPO", "DPO")):
            other = double[name] != single[name]
            near = np.abs(radius - 1) < RADII
            sys.stdout.write(
                f"{name}: {other.sum()} of {other.size} verdicts differ, {(other & ~near).sum()} of them where the spectral "
                f"radius is further than {RADII} from 1; float32 takes {single['seconds'][i] / double['seconds'][i]:.2f} "
                f"of the time\n"
            )
            words = [f"{a}→{b}: {c}" for (a, b), c in _changes(double[name][other], single[name][other])]
            sys.stdout.write(f"  {', '.join(words) or 'none'} (0 collapsed, 1 converged, 2 oscillating, 3 undecided)\n")


def _changes(before: np.ndarray, after: np.ndarray) -> list[tuple[tuple[int, int], int]]:
    pairs, counts = np.unique(np.stack([before, after]), axis=1, return_counts=True)
    return [((int(a), int(b)), int(c)) for a, b, c in zip(*pairs, counts, strict=True)]


if __name__ == "__main__":
    sweep(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 1 else main()
