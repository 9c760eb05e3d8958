"""The parameters along the axes of a map, or the ratio of two of them, and what each cell sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import oracle
from .._checks import check_count, host_numbers, in_short
from .._numerics import concrete
from .._parameters import is_whole, parameters, replace, resolve
from ..engine import check_process
from ..objectives import DPO, IPO
from ..rounds import Process, canonical

BEYOND_ONSET = 1.5  # how far a range reaches by default beyond the largest loss of stability
BEYOND_VALUE = 3.0  # … or beyond the present value, where no loss is known
ALPHAS = (0.0, 0.25, 0.5, 0.75)  # at which the loss is looked for
PLAIN = {"ipo": IPO, "dpo": DPO}


class Axis(NamedTuple):
    """A parameter, or a ratio of two, and its values.

    Attributes:
        name: as it was passed, "alpha" or "lam/beta".
        paths: the parameter's full path, or those of numerator and denominator.
        values: at the centres of cells, ``(n,)``, ascending.
    """

    name: str
    paths: tuple[str, ...]
    values: np.ndarray


def check_loop(process: Any, verb: str) -> None:
    """Raises ``ValueError`` for rounds that cannot be mapped: random, traced, without derivatives, or of several prompts."""
    check_process(process)
    name = type(process).__name__
    if process.stochastic:
        raise ValueError(
            f"{name} draws samples, and {verb} is about deterministic rounds; pass the same loop without samples."
        )
    if not concrete(process):
        raise ValueError(f"{name} is traced; call {verb} outside jit, vmap and grad.")
    if len(process.shape) > 1:
        raise ValueError(
            f"{name} has {process.shape[0]} prompts, and {verb} is about one; pass loop.prompts()[0] or another of them."
        )
    process.check_smooth()


def axis_of(process: Process[Any], name: Any, which: str, given: Any, cells: Any) -> Axis:
    """One axis of a map with ``cells`` cells, over the range ``given`` or one that fits the parameter."""
    paths = _paths(process, name, which)
    count = check_count(cells, "cells", 3)
    low, high = _default(process, name, paths, which) if given is None else _range(given, which)
    return Axis(name, paths, low + (high - low) * (np.arange(count) + 0.5) / count)


def scalars(process: Process[Any]) -> list[str]:
    """The paths of the parameters that are single numbers and vary continuously."""
    return [path for path, leaf in parameters(process).items() if np.shape(leaf) == () and not is_whole(leaf)]


def path_of(process: Process[Any], name: Any, which: str) -> str:
    """The full path of a scalar parameter; a ``ValueError`` names the argument and lists the parameters."""
    known = scalars(process)
    short = [path.rsplit(".", 1)[-1] for path in known]
    told = ", ".join(tail if short.count(tail) == 1 else path for tail, path in zip(short, known, strict=True))
    kind = type(process).__name__
    listed = f"pass one of {told}" if known else f"{kind} has no parameter that is a single number"
    if not isinstance(name, str):
        raise ValueError(f"{which} is {in_short(name)}, not the name of a parameter; {listed}.")
    try:
        path = resolve(process, name)
    except ValueError as error:
        if "ambiguous" in str(error):
            raise ValueError(f"{which}: {error}") from None
        raise ValueError(f"{which} names {name!r}, which {kind} does not have; {listed}.") from None
    if path not in known:
        what = "takes whole numbers" if is_whole(parameters(process)[path]) else "is not a single number"
        raise ValueError(f"{which} names {name!r}, which {what} in {kind}; {listed}.")
    return path


def _paths(process: Process[Any], name: Any, which: str) -> tuple[str, ...]:
    parts = name.split("/") if isinstance(name, str) else [name]
    if len(parts) > 2:
        raise ValueError(f"{which} = {name!r}; pass a parameter, or a ratio of two such as 'lam/beta'.")
    paths = tuple(path_of(process, part.strip() if isinstance(part, str) else part, which) for part in parts)
    if len(paths) == 2 and paths[0] == paths[1]:
        raise ValueError(f"{which} = {name!r} is always 1; pass a ratio of two parameters.")
    return paths


def _range(given: Any, which: str) -> tuple[float, float]:
    ends = host_numbers(given, f"{which}_range")
    if ends.shape != (2,) or not np.isfinite(ends).all() or not ends[0] < ends[1]:
        raise ValueError(f"{which}_range = {in_short(given)}; pass (low, high) with low < high.")
    return float(ends[0]), float(ends[1])


def _default(process: Process[Any], name: str, paths: tuple[str, ...], which: str) -> tuple[float, float]:
    now = [float(parameters(process)[path]) for path in paths]
    if len(paths) == 1 and is_share(process, paths[0]):
        return 0.0, 1.0
    below = now[-1] if len(now) == 2 else 1.0
    value = now[0] / below if below else np.nan
    if not (np.isfinite(value) and value > 0):
        ratio = f", since {paths[0]} = {now[0]:g} and {paths[-1]} = {below:g}"
        told = ratio if len(now) == 2 else ", so no range fits it"
        raise ValueError(f"{which} = {name!r} is {value:g} at present{told}; pass {which}_range=(low, high).")
    lost = _losses(process, paths)
    return 0.0, max(BEYOND_ONSET * lost, 1.2 * value) if lost else BEYOND_VALUE * value


def is_share(process: Process[Any], path: str) -> bool:
    """Whether a parameter may be 1/2 and 1, but not 2 or -1."""

    def takes(value: float) -> bool:
        try:
            process.check_parameter(path, np.array([value]))
        except ValueError:
            return False
        return True

    return takes(0.5) and takes(1.0) and not takes(2.0) and not takes(-1.0)


def _losses(process: Process[Any], paths: tuple[str, ...]) -> float:
    """The largest value of beta, or of lam/beta, at which stability is lost for some alpha; 0 where none is known."""
    tails = [path.rsplit(".", 1)[-1] for path in paths]
    form = canonical(process)
    if form is None or not form.is_free or tails not in (["beta"], ["lam", "beta"]):
        return 0.0
    objective: Any = next((name for name, kind in PLAIN.items() if type(form.objective) is kind), None)
    P, lam = np.asarray(form.preference, np.float64), float(form.lam)
    if objective is None or lam == 0 or (objective == "dpo" and ((P <= 0) | (P >= 1)).any()):
        return 0.0
    alphas = np.array(ALPHAS if len(tails) == 2 else [float(form.alpha)])
    alphas = alphas[alphas < 1]
    if not len(alphas):
        return 0.0
    around = {"log_reference": np.asarray(form.log_reference), "log_offline": np.asarray(form.log_offline)}
    floor = np.full(len(alphas), 1e-3)
    beta = oracle.follow(P[None], objective, alphas, lam, floor, until_lost=True, **around).crossing[0]
    beta = beta[beta > 0]
    if not len(beta):
        return 0.0
    return float(beta.max()) if len(tails) == 1 else lam / float(beta.min())


def cells_of(process: Process[Any], x: Axis, y: Axis) -> dict[str, np.ndarray]:
    """What each cell sets, by path, ``(len(y), len(x))``: a ratio sets its denominator and leaves its numerator.

    Raises:
        ValueError: both axes set the same parameter, or a value is out of its range.
    """
    columns = {x.name: np.broadcast_to(x.values, (len(y.values), len(x.values)))}
    columns[y.name] = np.broadcast_to(y.values[:, None], columns[x.name].shape)
    out: dict[str, np.ndarray] = {}
    for axis in sorted((x, y), key=lambda axis: len(axis.paths)):
        target = axis.paths[-1]
        if target in out or x.name == y.name:
            raise ValueError(f"x = {x.name!r} and y = {y.name!r} both set {target}; pass two different parameters.")
        if len(axis.paths) == 1:
            out[target] = columns[axis.name]
            continue
        top = out.get(axis.paths[0], np.asarray(float(parameters(process)[axis.paths[0]])))
        if (top == 0).any() or (axis.values == 0).any():
            raise ValueError(f"{axis.name} cannot be varied by {target} where it or {axis.paths[0]} is 0; pass others.")
        out[target] = top / columns[axis.name]
    for path, values in out.items():
        process.check_parameter(path, values.ravel())
    return out


def kind_of(process: Process[Any]) -> str:
    """What rounds these are, "SelfSampling of IPO", for a caption."""
    objective = getattr(process, "objective", None)
    name = type(process).__name__
    return name if objective is None else f"{name} of {type(objective).__name__}"


def held(process: Process[Any], varied: Iterable[str]) -> str:
    """The scalar parameters that are not varied, as "lam = 1, beta = 0.1"."""
    now = parameters(process)
    return ", ".join(f"{p.rsplit('.', 1)[-1]} = {float(now[p]):.4g}" for p in scalars(process) if p not in set(varied))


def admitted(process: Process[Any], cells: dict[str, np.ndarray]) -> np.ndarray:
    """Where the rounds' own check of parameters that depend on each other, such as eta tau ≤ 1, lets a cell pass.

    Raises:
        ValueError: it lets none pass.
    """
    shape = next(iter(cells.values())).shape
    good = np.ones(shape, bool)
    if not hasattr(type(process), "__check_init__"):
        return good
    last: ValueError | None = None
    for at in np.ndindex(shape):
        try:
            replace(process, {path: values[at] for path, values in cells.items()}).__check_init__()  # pyright: ignore
        except ValueError as error:
            good[at], last = False, error
    if last is not None and not good.any():
        raise last
    return good
