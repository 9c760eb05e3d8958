"""Checks of a theorem's inputs by name; float64 on the host, whatever JAX's precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import preferences
from .._checks import check_log_distribution, host_numbers

METHODS = ("mirror", "magnetic", "sppo", "nash-md", "extragradient", "mirror-prox", "proximal-point", "optimistic")
_MEANINGS = {
    "P": "(K, K), P[i, j] = Pr(i preferred to j), P + P.T = 1",
    "alpha": "share of the policy in the next reference, in [0, 1]",
    "lam": "share of the policy in the next sampler, in [0, 1]",
    "beta": "KL coefficient, > 0",
    "gamma": "weight of the entropy, or inverse temperature of the answers, > 0",
    "eta": "step, > 0",
    "tau": "temperature, > 0",
    "objective": '"ipo" or "dpo"',
    "method": "of a game: " + ", ".join(METHODS),
    "rounds": "how many, ≥ 0",
    "top": "index of the response called 1",
    "better": "index of a response",
    "worse": "index of a response",
    "order": "(K,) the responses from best to worst; that of P unless given",
    "log_pi": "(K,) log of a policy",
    "log_initial": "(K,) log of the policy that a run starts from",
    "log_reference": "(K,) log ref",
    "log_offline": "(K,) log of pi_0 inside the sampler mu_t; may hold -inf",
    "log_mu": "(K,) log of a sampler; may hold -inf",
    "log_mu_skewed": "(K,) log of a sampler with more mass on better responses; may hold -inf",
    "log_samplers": "(n, K) logs of several samplers; may hold -inf",
    "log_stationary": "(K,) log of p > 0 with A p = 0",
    "log_target": "(K,) log pi*",
    "log_policies": "(N, K) logs of a finite class of policies",
    "member": "the row of pi* in log_policies",
    "rewards": "(M, K) a finite class of rewards",
    "reward": "(K,) scores, the fitted reward",
    "scores": "(K,) one number for each response",
    "offsets": "(K,) log pi_0 up to a constant",
    "comparisons": "number of comparisons, ≥ 1",
    "failure": "share of runs that the statement excludes, in (0, 1]",
    "scale": "standard deviation of a prior on rewards, fixed before the data, > 0",
    "seed": "of the draws, ≥ 0",
    "margin": "distance of a probability from 1/2, in (0, 1/2]",
    "advantage": "distance of the entries of P from 1/2, in (0, 1/2]",
    "structure": '"cycle", "regular" or "ring"',
    "K": "number of responses, ≥ 2",
    "link": '"linear", "logistic", "probit" or "cauchit"',
    "label_smoothing": "share of flipped labels that the loss assumes, in [0, 1/2]",
    "target": 'of a fitted sampler: "condorcet", "smith" or "order"',
    "rate": "speed of a margin, or share of the policy in a moving average, > 0",
    "time": "in units of tau, ≥ 0",
    "loss": '"dpo", "squared" or "ipo"',
    "features": "(N, d) a row for each example",
    "answer": "(N,) +1 or -1 for each example",
    "differences": "(m, d) difference of the two class means of each behaviour",
    "noise": "(N, d) deviation of each example from its cluster",
    "mean": "(d,) half the difference of two class means",
    "shift": "(d,) the common part of two class means",
    "pairs": "number of pairs of clusters, ≥ 1",
    "Q": "examples in a cluster, ≥ 1",
    "d": "dimension, ≥ 1",
    "l_b": "length of the clusters' common shift, ≥ 0",
    "v": "standard deviation of a coordinate, > 0",
    "delta": "largest cosine between clusters, in [0, 1]",
    "first": "a number",
    "second": "a number",
    "ratio": "of two probabilities, > 0",
    "ratio_bound": "largest or least ratio, > 0",
    "slopes": "(X,) how far the parameter moves the logit of each prompt",
    "wins": "(X,) probability that the first answer of each prompt wins",
    "shares": "(X,) weight of each prompt",
    "theta": "the shared parameter",
}
# name → (low, high, whether low is excluded)
_RANGES = {
    "alpha": (0.0, 1.0, False),
    "lam": (0.0, 1.0, False),
    "beta": (0.0, np.inf, True),
    "margin": (0.0, 0.5, True),
    "advantage": (0.0, 0.5, True),
    "rate": (0.0, np.inf, True),
    "time": (0.0, np.inf, False),
    "l_b": (0.0, np.inf, False),
    "v": (0.0, np.inf, True),
    "delta": (0.0, 1.0, False),
    "failure": (0.0, 1.0, True),
    "label_smoothing": (0.0, 0.5, False),
    "gamma": (0.0, np.inf, True),
    "eta": (0.0, np.inf, True),
    "tau": (0.0, np.inf, True),
    "scale": (0.0, np.inf, True),
    "ratio": (0.0, np.inf, True),
    "ratio_bound": (0.0, np.inf, True),
    "first": (-np.inf, np.inf, False),
    "second": (-np.inf, np.inf, False),
    "theta": (-np.inf, np.inf, False),
}
_CHOICES = {
    "objective": ("ipo", "dpo"),
    "method": METHODS,
    "structure": ("cycle", "regular", "ring"),
    "loss": ("dpo", "squared", "ipo"),
    "link": ("linear", "logistic", "probit", "cauchit"),
    "target": ("condorcet", "smith", "order"),
}
_LEAST = {"rounds": 0, "comparisons": 1, "K": 2, "pairs": 1, "Q": 1, "d": 1, "N": 1, "seed": 0, "member": 0}
_OF_PROMPTS = {"slopes", "wins", "shares"}
_OF_FEATURES = {"features", "answer", "noise", "mean", "shift", *_OF_PROMPTS}  # shapes without the K responses
_OPTIONAL = {"order"}
# name → (the input with the same length, what to pass)
_AS_LONG_AS = {
    "answer": ("features", "an answer for each example"),
    "shift": ("mean", "two vectors of one length"),
    "wins": ("slopes", "a number for each prompt"),
    "shares": ("slopes", "a number for each prompt"),
}
_SAMPLERS = {"log_sampler", "log_mu", "log_mu_skewed", "log_offline"}


def meaning(name: str) -> str:
    """What an input of this name is."""
    return _MEANINGS.get(name, "log of a distribution" if name.startswith("log_") else "a number or an array")


def checked(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """``inputs`` as float64 arrays, floats, ints and strings; raises ``ValueError`` with the bad entry."""
    size = None
    out = {}
    for name in sorted(inputs, key=lambda name: name != "P"):
        out[name] = _one(name, inputs[name], size)
        if size is None and isinstance(out[name], np.ndarray) and name not in _OF_FEATURES:
            size = out[name].shape[-1]
    for name, (other, wanted) in _AS_LONG_AS.items():
        if name in out and len(out[name]) != len(out[other]):
            raise ValueError(f"{name} has length {len(out[name])}, {other} {len(out[other])}; pass {wanted}.")
    return out


def _one(name: str, value: Any, size: int | None) -> Any:
    if value is None:
        if name not in _OPTIONAL:
            raise ValueError(f"{name} is None; pass a value.")
        return None
    if name == "P":
        preferences.check(value)
        return np.asarray(value, np.float64)
    if name in _RANGES:
        return _number(name, value, *_RANGES[name])
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} = {value!r} is unknown; pass one of {', '.join(_CHOICES[name])}.")
        return value
    if name in _LEAST:
        return whole(name, value, _LEAST[name])
    if name in ("features", "differences", "noise"):
        return _matrix(name, value)
    if name in ("mean", "shift", *_OF_PROMPTS):
        return _point(name, value)
    if name == "answer":
        return _answers(value)
    if name in ("top", "better", "worse"):
        return whole(name, value, 0, size)
    if name == "log_samplers":
        return _samplers(value, size)
    if name == "log_policies":
        return _policies(value, size)
    if name == "rewards":
        return _rewards(value, size)
    if name.startswith("log_"):
        return log_distribution(name, value, size)
    vector = _vector(name, value, size)
    return _order(name, vector) if name == "order" else vector


def _matrix(name: str, value: Any) -> np.ndarray:
    array = host_numbers(value, name)
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape} or is not finite; pass finite rows, shape (n, d).")
    return array


def _point(name: str, value: Any) -> np.ndarray:
    array = host_numbers(value, name)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape} or is not finite; pass one finite vector, shape (d,).")
    return array


def _answers(value: Any) -> np.ndarray:
    array = host_numbers(value, "answer")
    if array.ndim != 1 or len(array) == 0 or not np.isin(array, (-1.0, 1.0)).all():
        raise ValueError(f"answer has shape {array.shape} or other values; pass +1 or -1 for each example, shape (N,).")
    return array


def _order(name: str, vector: np.ndarray) -> np.ndarray:
    if sorted(vector.tolist()) != list(range(len(vector))):
        raise ValueError(
            f"{name} = {vector.tolist()} is not an order of {len(vector)} responses; pass each index once."
        )
    return vector.astype(int)


def _number(name: str, value: Any, low: float, high: float, open_low: bool) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {value!r} is not a number; pass one real number.") from None
    if not np.isfinite(number) or number < low or number > high or (open_low and number <= low):
        interval = f"{'(' if open_low else '['}{low:g}, {'inf)' if high == np.inf else f'{high:g}]'}"
        raise ValueError(f"{name} = {number:g} is outside {interval}; pass a value inside.")
    return number


def whole(name: str, value: Any, low: int, size: int | None = None) -> int:
    """A whole number in low … size - 1."""
    if not _is_whole(value):
        raise ValueError(f"{name} = {value!r} is not a whole number; pass an int.")
    number = int(value)
    if number < low or (size is not None and number >= size):
        interval = f"{low} … {size - 1}" if size is not None else f"{low} …"
        raise ValueError(f"{name} = {number} is outside {interval}; pass a value inside.")
    return number


def _is_whole(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and np.ndim(value) == 0 and bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False


def log_distribution(name: str, value: Any, size: int | None) -> np.ndarray:
    """Normalised log-probabilities, shape (K,), in float64; -inf is allowed only in a sampler."""
    logs = host_numbers(value, name)
    check_log_distribution(logs, name, size, zero_mass=name in _SAMPLERS)
    return normalise(logs)


def _samplers(value: Any, size: int | None) -> np.ndarray:
    array = host_numbers(value, "log_samplers")
    if array.ndim != 2 or len(array) == 0:
        raise ValueError(f"log_samplers has shape {array.shape}; pass one sampler per row, shape (n, K), n ≥ 1.")
    for m, row in enumerate(array):
        check_log_distribution(row, f"log_samplers[{m}]", size, zero_mass=True)
    return normalise(array)


def _policies(value: Any, size: int | None) -> np.ndarray:
    """A class of policies, shape (N, K), checked at once because it may have thousands of rows."""
    array = _matrix("log_policies", value)
    if array.shape[1] < 2 or (size is not None and array.shape[1] != size):
        raise ValueError(
            f"log_policies has shape {array.shape}; pass one policy per row, shape (N, {size or 'K'}), K ≥ 2."
        )
    mass = np.exp(np.logaddexp.reduce(array, axis=1))
    if np.abs(mass - 1).max() > 1e-6:
        bad = int(np.argmax(np.abs(mass - 1)))
        raise ValueError(f"log_policies[{bad}] has total probability {mass[bad]:.6g}, not 1; pass log-probabilities.")
    return normalise(array)


def _rewards(value: Any, size: int | None) -> np.ndarray:
    array = _matrix("rewards", value)
    if size is not None and array.shape[1] != size:
        raise ValueError(
            f"rewards has shape {array.shape}; pass one reward per response in each row, shape (M, {size})."
        )
    return array


def _vector(name: str, value: Any, size: int | None) -> np.ndarray:
    array = host_numbers(value, name)
    if array.ndim != 1 or (size is not None and len(array) != size) or len(array) < 2:
        raise ValueError(
            f"{name} has shape {array.shape}; pass one number per response, shape ({size or 'K'},), K ≥ 2."
        )
    if not np.isfinite(array).all():
        bad = int(np.argmax(~np.isfinite(array)))
        raise ValueError(f"{name}[{bad}] = {array[bad]} is not finite; pass a finite number.")
    return array


def normalise(log_p: np.ndarray) -> np.ndarray:
    """log p - log Σ exp(log p), the largest entry as -log1p(the sum of the others' ratios)."""
    top = np.argmax(log_p, axis=-1)[..., None]
    shifted = log_p - np.take_along_axis(log_p, top, axis=-1)
    others = np.where(np.arange(log_p.shape[-1]) == top, 0.0, np.exp(shifted))
    return shifted - np.log1p(others.sum(axis=-1, keepdims=True))
