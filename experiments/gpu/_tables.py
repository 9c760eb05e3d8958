"""What the stages found as rows of numbers: (quantity, of what, value, low, high)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import linregress, spearmanr

from figures.gpu import distance

from .._framework import binomial_interval
from ._kept import dataset_of

Row = tuple[str, str, float, float | None, float | None]
Stage = tuple[dict[str, Any], dict[str, np.ndarray]]
BOOTSTRAP = 1000


def identity(stage: Stage) -> Iterator[Row]:
    """s0."""
    facts, _ = stage
    for name, told in facts["cases"].items():
        for key, what in (
            ("log_prob", "largest difference of a log-probability, nats"),
            ("margin", "largest difference of a margin, nats"),
            ("feature_relative", "largest difference of a feature, relative"),
            ("seconds", "seconds"),
        ):
            if key in told:
                yield what, name, told[key], None, None


def rounds(stage: Stage) -> Iterator[Row]:
    """s1: by case, and by round."""
    facts, _ = stage
    for name, told in facts["cases"].items():
        count = max(told["rounds"], 1)
        for key, what in (
            ("trained", "trained weights"),
            ("level_evaluations", "evaluations of levelling"),
            ("evaluations", "evaluations of all rounds"),
            ("peak_GiB", "peak memory, GiB"),
        ):
            if key in told:
                yield what, name, told[key], None, None
        yield "seconds a round", name, told["seconds"] / count, None, None
    for name, ds in runs(stage).items():
        for key, what in (
            ("total_variation", "largest total variation to the simulator"),
            ("total_variation_one_round", "largest total variation to the simulator's next round"),
        ):
            yield what, name, float(ds[key].max()), None, None
        ours, theirs = distance(ds.log_policy.values), distance(ds.log_policy_predicted.values)
        for round_, a, b in zip(ds["round"].values, ours, theirs, strict=True):
            yield f"distance to uniform at round {int(round_)}, model", name, a, None, None
            yield f"distance to uniform at round {int(round_)}, simulator", name, b, None, None


def runs(stage: Stage) -> dict[str, xr.Dataset]:
    """By case: the Dataset of ``llm.self_sample``."""
    facts, arrays = stage
    return {name: dataset_of(facts, arrays, name) for name, told in facts["cases"].items() if "dataset" in told}


def scaling(stage: Stage, flows: Stage | None) -> Iterator[Row]:
    """s2 and s3: errors and margins by the number of values, a line through the errors, and the flow of the last layer."""
    facts, _ = stage
    errors: dict[str, list[tuple[int, float]]] = {}
    for case, told in sorted(facts["cases"].items(), key=lambda item: item[1].get("k", 0)):
        if "held_out_error" not in told:
            continue
        of = f"{told['name']}, K = {told['k']}, {told['steps']} steps"
        errors.setdefault(told["name"], []).append((told["k"], told["held_out_error"]))
        margin, inside = margins(stage, case)
        for split, rows in (("training", inside), ("held out", ~inside)):
            wrong = 0.5 * float(np.sum(1 - np.sign(margin[rows])))
            yield f"error, {split}", of, wrong / rows.sum(), *binomial_interval(round(wrong), int(rows.sum()))
            yield f"mean margin, {split}", of, float(margin[rows].mean()), None, None
        yield "seconds of a step", of, told["seconds_of_a_step"], None, None
        if flows is not None:
            for split, rank, low, high, mean in carried(stage, case, flows):
                yield (
                    f"rank correlation with the last layer's flow, {split}",
                    f"{of}, mean margin {mean:.3g}",
                    rank,
                    low,
                    high,
                )
    for name, found in errors.items():
        k, error = np.array(sorted(found)).T
        if len(k) > 2 and np.ptp(error) > 0:
            fit: Any = linregress(k, error)
            yield "R² of a line through held-out errors by K", name, fit.rvalue**2, None, None
            yield "slope of that line, a value", name, fit.slope, fit.slope - 2 * fit.stderr, fit.slope + 2 * fit.stderr


def margins(stage: Stage, case: str) -> tuple[np.ndarray, np.ndarray]:
    """(margins of all statements at the end, which of them trained)."""
    facts, arrays = stage
    change = arrays[f"{case}/log_prob_after"] - arrays[f"{case}/log_prob_before"]
    return facts["cases"][case]["beta"] * (change[0] - change[1]), arrays[f"{case}/inside"]


def carried(stage: Stage, case: str, flows: Stage) -> Iterator[tuple[str, float, float, float, float]]:
    """(split, Spearman, its bootstrap interval, mean margin) at the end of training.

    Where the flow never has that mean margin, the last measured row before that it has counts, and the statements in it.
    """
    facts, _ = stage
    flow = flows[1].get(f"flow, K = {facts['cases'][case]['k']}/margin")
    if flow is None:
        return
    margin, inside = margins(stage, case)
    which = np.arange(len(margin))
    reach = float(flow[:, inside].mean(axis=1).max())
    if margin[inside].mean() > reach:
        margin, which = _earlier(stage, case, reach)
        inside = inside[which]
    along, mean = flow[:, which][:, inside].mean(axis=1), float(margin[inside].mean())
    theory, rng = flow[int(np.argmin(np.abs(along - mean)))][which], np.random.default_rng(0)
    if not (np.ptp(theory) > 0 and np.ptp(margin) > 0):  # margins have not risen, and nothing can be compared
        return
    for split, rows in (("training", inside), ("held out", ~inside)):
        x, y = theory[rows], margin[rows]
        again = [spearmanr(x[i], y[i])[0] for i in rng.integers(0, len(x), (BOOTSTRAP, len(x)))]
        low, high = np.nanquantile(again, (0.025, 0.975))
        yield split, float(np.asarray(spearmanr(x, y)[0])), float(low), float(high), mean


def _earlier(stage: Stage, case: str, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """(margins of the statements that were measured on the way, which statements these are), at the last row within reach."""
    facts, arrays = stage
    ds = dataset_of(facts, arrays, case)
    at = {name: i for i, name in enumerate(arrays[f"{case}/id"].astype(str).tolist())}
    r = ds.reward_margin.transpose("step", "example").values
    row = int(np.flatnonzero(r[:, (ds.split == "train").values].mean(axis=1) <= reach)[-1])
    return r[row], np.array([at[name] for name in ds.example.values.tolist()])


def throughput(stage: Stage) -> Iterator[Row]:
    """s4."""
    for name, told in stage[0]["cases"].items():
        for key, what in (
            ("seconds_of_a_step", f"seconds of a step of {told['batch']} pairs"),
            ("seconds_of_a_row", f"seconds of a recorded row of {told['probe']} pairs"),
            ("row_over_step", "row over step"),
            ("pairs_per_second", "pairs a second"),
            ("peak_GiB", "peak memory, GiB"),
        ):
            yield what, name, told[key], None, None


def sweeps(stage: Stage) -> Iterator[Row]:
    """s5."""
    for name, told in stage[0]["cases"].items():
        if "rate" in told:
            yield "rounds a second", name, told["rate"], None, None
            yield "seconds with compiling", name, told["seconds_with_compiling"], None, None
        if "ratio" in told:
            yield f"rate on {told['platforms'][1]} over {told['platforms'][0]}", name, told["ratio"], None, None
            for key, value in told.items():
                if key.startswith(("difference", "largest")):
                    yield f"{'largest ' if key.startswith('difference') else ''}{key}", name, value, None, None
