"""``orbit_diagram``: late policies against a parameter, and where stability changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._checks import check_count, host_numbers, in_short
from .._parameters import describe, parameters
from .._progress import progress as progress_bar
from .._provenance import provenance
from ..rounds import Process
from ..schema import VARIABLES, Variable, dataset, response_labels
from ..stability import Crossing, critical
from ._axes import admitted, check_loop, held, is_share, kind_of, path_of
from ._runs import late, starts_of

if TYPE_CHECKING:
    import xarray as xr

COUNT = 301  # values by default
BELOW, ABOVE = 4.0, 2.0  # how far values reach by default below the smallest and above the largest critical value
AROUND = 5.0  # … or around the present value, where there is none
LAST_SHARE = 0.999  # the largest share by default, since at alpha = 1 fixed points are not isolated
BLOCK = 64  # runs advanced together


def orbit_diagram(
    loop: Process[Any],
    over: str = "beta",
    values: Any = None,
    *,
    rounds: int = 2000,
    keep: int = 200,
    initial: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """log pi_t for t = rounds - keep + 1 … rounds against a parameter s, and the s at which rho(J(s*)) passes 1.

    Args:
        loop: a deterministic ``Process`` of one prompt.
        over: name of a scalar parameter.
        values: of s, ``(n,)`` with n ≥ 2; by default 301 around the critical values, or around the present value where there
            is none.
        rounds: T of each run, int ≥ ``keep``.
        keep: late rounds that are kept, int ≥ 1.
        initial: log pi at round 0, ``(K,)``, in nats; by default a start in which the first response is 100 times as likely
            as the last.
        progress: show a bar at a terminal when it takes longer than two seconds.

    Returns:
        Dataset over (value, round, response): ``log_policy``, NaN where a round failed; and over (crossing): the critical
        ``critical_value`` with its ``onset`` ("Neimark–Sacker", "flip", …) and ``direction``. The attribute ``search`` says why
        there are none where the fixed point could not be followed.

    Raises:
        ValueError: a loop that draws samples or has several prompts, an unknown parameter, or a value out of range.

    Source: critical values as in ``dyn.stability.critical``; policies are observed.

    >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), alpha=0.5, lam=1.0)
    >>> ds = orbit_diagram(loop, "beta", np.linspace(0.2, 0.4, 5), rounds=400, keep=10)
    >>> ds.log_policy.shape, ds.critical_value.round(4).values.tolist()
    ((5, 10, 3), [0.2667])
    """
    check_loop(loop, "orbit_diagram")
    names, loop = loop.response_names(), loop.unnamed()
    keep = check_count(keep, "keep", 1)
    rounds = check_count(rounds, "rounds", keep)
    path = path_of(loop, over, "over")
    given = None if values is None else _checked(loop, path, values)
    start = starts_of(loop, initial)[0]
    bounds = None if given is None else (float(given.min()), float(given.max()))
    crossings, search = _crossings(loop, path, bounds)
    column = _default(loop, path, over, crossings) if given is None else given
    if given is None:
        crossings = [c for c in crossings if column[0] <= c.value <= column[-1]]
    allowed = admitted(loop, {path: column[None]})[0]
    parts = []
    with progress_bar("runs", len(column), enabled=progress) as advance:
        for first in range(0, len(column), BLOCK):
            some = column[first : first + BLOCK]
            full = jnp.asarray(np.concatenate([some, np.full(BLOCK - len(some), some[-1])]))
            block = late(loop, {path: full}, jnp.tile(jnp.asarray(start), (BLOCK, 1)), jnp.asarray(rounds - keep), keep)
            parts.append(np.asarray(block)[: len(some)])
            advance(len(some))
    logs = np.where(allowed[:, None, None], np.concatenate(parts), np.nan)
    arrays = {"log_policy": logs, "critical_value": [c.value for c in crossings]}
    text = {"onset": [_told(c) for c in crossings], "direction": [c.direction for c in crossings]}
    variables = {"log_policy": VARIABLES["log_policy"].over("value", "round")}
    variables["critical_value"] = Variable(("crossing",), "1", f"values of {over} at which stability changes")
    attrs = {
        "over": over,
        "held": held(loop, [path]),
        "search": search,
        "rounds": rounds,
        "responses": loop.num_responses,
    }
    attrs |= {"kind": kind_of(loop), "config": json.dumps(describe(loop)), **provenance()}
    coords: dict[str, Any] = {"value": column, "round": rounds - keep + 1 + np.arange(keep)}
    coords |= response_labels(variables.values(), loop.num_responses, names)
    coords |= {name: ("crossing", np.asarray(words, dtype="U")) for name, words in text.items()}
    return dataset(arrays, variables, coords=coords, attrs=attrs)


def _checked(loop: Process[Any], path: str, values: Any) -> np.ndarray:
    column = host_numbers(values, "values")
    if column.ndim != 1 or len(column) < 2 or not np.isfinite(column).all() or np.ptp(column) == 0:
        raise ValueError(
            f"values = {in_short(values)}; pass at least two different numbers, such as np.linspace(0.1, 1, 301)."
        )
    loop.check_parameter(path, column)
    return np.sort(column)


def _crossings(loop: Process[Any], path: str, bounds: tuple[float, float] | None) -> tuple[list[Crossing], str]:
    try:
        return list(critical(loop, path, bounds)), ""
    except (RuntimeError, ValueError) as error:
        return [], f"critical values are not known: {error}"


def _default(loop: Process[Any], path: str, over: str, crossings: Sequence[Crossing]) -> np.ndarray:
    if is_share(loop, path):
        return np.linspace(0.0, LAST_SHARE, COUNT)
    value = float(parameters(loop)[path])
    if crossings:
        return np.geomspace(crossings[0].value / BELOW, crossings[-1].value * ABOVE, COUNT)
    if not value > 0:
        raise ValueError(
            f"{over} = {value:g} is not positive, so no range fits it; pass values=np.linspace(low, high, 301)."
        )
    return np.geomspace(value / AROUND, value * AROUND, COUNT)


def _told(crossing: Crossing) -> str:
    return f"{crossing.kind}, {crossing.criticality}" if crossing.criticality else crossing.kind
