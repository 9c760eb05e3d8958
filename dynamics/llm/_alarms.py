"""Alarms: what can go wrong in a preference run, read off its Dataset, whichever simulator or trainer made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..schema import CLOCKS
from ._alarm_rules import Alarm, of_displacement, of_entropy_collapse, of_oscillation, of_saturation, of_wrong_reference

if TYPE_CHECKING:
    import xarray as xr

RULES = (of_displacement, of_saturation, of_entropy_collapse, of_oscillation, of_wrong_reference)


def alarms(source: xr.Dataset | str | os.PathLike[str]) -> tuple[Alarm, ...]:
    """The five alarms of a run, each raised, not raised, or "cannot be known".

    - *displacement*: the log-probabilities of chosen and rejected answers both fell below the reference.
    - *saturation*: the mean margin is above 10 while the answers that the policy samples are still the reference's (KL < 0.1
      nats): the loss is satisfied by answers that are never sampled.
    - *entropy_collapse*: less than a tenth of the first entropy is left.
    - *oscillation*: the rounds go in circles, by ``dyn.diagnostics.verdict``.
    - *wrong_reference*: margins do not start at 0, or return to 0 in the middle of a run: the reference is not the model
      that the run began with.

    Args:
        source: the Dataset of a run, from ``llm.train``, ``llm.train_head``, ``llm.read_record``, or of a simulator:
            ``dyn.iterate(...)``, ``dyn.gradient_flow(...)`` or ``dyn.descend(...)``, then ``.to_dataset()``. Or the path of a
            record, or of a finished TRL run: its ``trainer_state.json`` or a folder that holds one.

    Raises:
        ValueError: a path or Dataset that holds no run.

    Source: [derived].

    >>> flow = dyn.MarginFlow(np.array([[1.0]]), np.array([0]), np.array([1]), dyn.DPO(beta=1.0))
    >>> found = dyn.llm.alarms(dyn.gradient_flow(flow, t1=1.0).to_dataset())
    >>> [(alarm.name, alarm.raised) for alarm in found if alarm.name in ("saturation", "wrong_reference")]
    [('saturation', False), ('wrong_reference', False)]
    """
    if isinstance(source, str | os.PathLike):
        place = Path(source)
        state = place / "trainer_state.json" if place.is_dir() else place
        if state.suffix == ".json" and state.is_file():
            from ._trainer_state import of_trainer_state

            return of_trainer_state(state)
        from ._record import read_record

        source = read_record(place)
    clock = next((dim for dim in CLOCKS if dim in source.dims), None)
    if clock is None:
        raise ValueError(f"this Dataset has none of the dims {', '.join(CLOCKS)}; pass the Dataset of one run.")
    swept = [str(d) for d in source.dims if d not in (clock, "example", "pair", "response", "context", "parameter")]
    swept = [d for d in swept if any(d in source[n].dims and clock in source[n].dims for n in source.data_vars)]
    if swept:
        raise ValueError(f"this Dataset holds runs along {', '.join(swept)}; pass one of them, ds.isel({swept[0]}=0).")
    ds = source.isel({clock: _finite(source, clock)})
    if "split" in ds.coords and "example" in ds.dims and (ds.split == "train").any():
        ds = ds.isel(example=np.flatnonzero(ds.split.values == "train"))
    return tuple(rule(ds, clock) for rule in RULES)


def _finite(ds: xr.Dataset, clock: str) -> np.ndarray:
    """The rows before a run left the finite numbers."""
    known = np.ones(ds.sizes[clock], bool)
    for name in ("reward_margin", "log_policy", "log_prob_chosen", "log_prob_rejected"):
        if name in ds and clock in ds[name].dims:
            known &= ~np.isnan(np.asarray(ds[name].transpose(clock, ...))).reshape(len(known), -1).any(axis=1)
    if not known.any():
        raise ValueError("every row of this run holds NaN; pass a run that began.")
    return np.flatnonzero(known)
