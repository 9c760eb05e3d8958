"""The results of rounds on a model as a table: one row a number, with its interval where it has one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from .checks import amplitude, errors, growth

ROW = tuple[str, str, float, float | None, float | None]


def rows(ds: xr.Dataset) -> Iterator[ROW]:
    """(quantity, of what, value, low, high)."""
    for name in map(str, ds.case.values):
        own = ds.sel(case=name)
        yield "largest total variation to the simulator", name, float(own.total_variation.max()), None, None
        yield (
            "largest total variation to the simulator's next round",
            name,
            float(own.total_variation_one_round.max()),
            None,
            None,
        )
        yield "evaluations of all rounds", name, float(np.nansum(own.evaluations)), None, None
        yield "KL of the start from the one asked for, nats", name, float(own.level_kl), None, None
        if bool(own.cyclic):
            yield "critical beta", name, float(own.critical_beta), None, None
            yield "factor of |w| a round, second half", name, *growth(own.log_policy.values)
        if str(own.kind.values) == "adam":
            steps, exact = errors(own)
            yield "learning rate on logits", name, float(own.rate_descend), None, None
            yield "mean total variation to steps on logits", name, steps, None, None
            yield "mean total variation to exact rounds", name, exact, None, None
        for who, log_policy in (("model", own.log_policy), ("simulator", own.log_policy_predicted)):
            for t, (w, p) in enumerate(zip(amplitude(log_policy.values), np.exp(log_policy.values), strict=True)):
                yield f"|w| at round {t}, {who}", name, float(w), None, None
                for k, share in enumerate(p):
                    yield f"probability of answer {k} at round {t}, {who}", name, float(share), None, None
