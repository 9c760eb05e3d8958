"""A process of its own: margins of all statements of each draw along the flow of its training half."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main(folder: Path, beta: float) -> None:
    """Reads ``features.npz`` and ``draw-K.npz``, writes ``flow-K.npz``."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np
    import xarray as xr

    import dynamics as dyn

    from ..llm_training import theory

    with np.load(folder / "features.npz") as file:
        every = dict(file)
    for path in sorted(folder.glob("draw-*.npz"), key=lambda p: int(p.stem.partition("-")[2])):
        start = time.monotonic()
        with np.load(path) as file:
            rows, inside = file["rows"], file["inside"]
        tokens = np.unique([every["chosen"], every["rejected"]])
        ds = xr.Dataset(
            {
                "feature": (("example", "width"), every["feature"][rows]),
                "chosen_token": ("example", every["chosen"][rows]),
                "rejected_token": ("example", every["rejected"][rows]),
                "unembedding": (("token", "width"), np.zeros((len(tokens), every["feature"].shape[1]))),
            },
            {"token": tokens, "behaviour": ("example", ["all"] * len(rows))},
        )
        at, margin = theory(ds, inside, dyn.DPO(beta=beta))
        target = folder / f"flow-{path.stem.partition('-')[2]}.npz"
        scratch = folder / f".{target.name}"
        with scratch.open("wb") as file:
            np.savez(file, time=at, margin=margin.astype(np.float32), seconds=time.monotonic() - start)
        os.replace(scratch, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
