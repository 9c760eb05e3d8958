"""The rules of the alarms, each on the rows of one run; see ``llm.alarms``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..diagnostics import displacement, entropy, verdict
from ..schema import VERDICTS

if TYPE_CHECKING:
    import xarray as xr

UNKNOWN = "cannot be known"
Raised = bool | Literal["cannot be known"]

SATURATED = 10.0  # reward margin at which sigma(-r) < 5e-5: DPO's gradient is gone
SAME = 0.1  # nats of KL divergence below which the sampled answers are those of the reference
COLLAPSED = 0.1  # share of the first entropy that is left
MOVED = 1e-3  # nats, far above the rounding of a sum of log-probabilities in float32
NOT_ZERO = 1e-4  # reward margin at the start; rounding in float32 stays below 1e-5


@dataclasses.dataclass(frozen=True)
class Alarm:
    """Whether one thing went wrong, the numbers that say so, and what to do.

    Attributes:
        name: "displacement", "saturation", "entropy_collapse", "oscillation" or "wrong_reference".
        raised: True, False, or "cannot be known" where the run does not hold what decides it.
        numbers: what decided it, by name.
        says: what was found, or what is missing.
        do: the remedy, or how to get what is missing; "" where nothing is wrong.
    """

    name: str
    raised: Raised
    numbers: dict[str, float]
    says: str
    do: str = ""


def _rewards(ds: xr.Dataset, clock: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Changes of log-probability (or rewards, which have the same sign) of chosen and rejected answers, ``(T, N)``."""
    for own, base in (("log_prob", "log_reference"), ("reward", None)):
        names = [f"{own}_chosen", f"{own}_rejected"]
        if all(name in ds and ds[name].ndim == 2 for name in names):
            rows = [ds[name].transpose(clock, ...) for name in names]
            if base is not None:
                bases = [f"{base}_chosen", f"{base}_rejected"]
                first = [ds[b] if b in ds else row[0] for b, row in zip(bases, rows, strict=True)]
                rows = [row - start for row, start in zip(rows, first, strict=True)]
            return np.asarray(rows[0], np.float64), np.asarray(rows[1], np.float64)
    return None


def of_displacement(ds: xr.Dataset, clock: str) -> Alarm:
    name, rewards = "displacement", _rewards(ds, clock)
    if rewards is None:
        return Alarm(
            name, UNKNOWN, {}, "the run holds no log-probability of each answer.",
            "Record them (llm.train, llm.train_head, llm.Recorder); of a MarginFlow add reward_chosen and reward_rejected "
            "from flow.response_rewards(sol, head).",
        )  # fmt: skip
    found = displacement(*rewards)
    both = (rewards[0][-1] < -MOVED) & (rewards[1][-1] < -MOVED)
    numbers = {
        "chosen": float(found.chosen[-1]),
        "rejected": float(found.rejected[-1]),
        "share_chosen_fell": float(found.displaced[-1]),
        "share_both_fell": float(both.mean()),
    }
    raised = numbers["share_both_fell"] > 0.5 and numbers["chosen"] < -MOVED and numbers["rejected"] < -MOVED
    went = _where_mass_went(ds, clock, numbers)
    if not raised:
        return Alarm(name, False, numbers, f"both fell in {numbers['share_both_fell']:.0%} of the examples.")
    return Alarm(
        name, True, numbers,
        f"both log-probabilities fell in {numbers['share_both_fell']:.0%} of the examples (chosen by "
        f"{-numbers['chosen']:.3g} on average, rejected by {-numbers['rejected']:.3g}); {went}",
        "Train on answers that the model samples itself, add a likelihood term of the chosen answers, or stop earlier; drop "
        "pairs whose answers nearly agree.",
    )  # fmt: skip


def _where_mass_went(ds: xr.Dataset, clock: str, numbers: dict[str, float]) -> str:
    """The probability that left the two answers, and whether it gathered; adds the numbers."""
    names = ("log_prob_chosen", "log_prob_rejected")
    if not all(name in ds for name in names):
        return "where the mass went cannot be known without log-probabilities."
    rows = [np.exp(np.asarray(ds[name].transpose(clock, ...), np.float64)) for name in names]
    base = [
        np.exp(np.asarray(ds[ref], np.float64)) if (ref := name.replace("prob", "reference")) in ds else row[0]
        for name, row in zip(names, rows, strict=True)
    ]
    numbers["mass_to_other_answers"] = float(np.mean(base[0] + base[1] - rows[0][-1] - rows[1][-1]))
    text = f"{numbers['mass_to_other_answers']:.3g} of the probability went to answers outside the pair"
    if "entropy" in ds and np.isfinite(ds.entropy.values[[0, -1]]).all():
        first, last = (float(x) for x in ds.entropy.values[[0, -1]])
        text += f", which {'gathered on few' if last < first else 'spread'} (entropy {first:.3g} to {last:.3g} nats)"
    return f"{text}."


def of_saturation(ds: xr.Dataset, clock: str) -> Alarm:
    name = "saturation"
    if "reward_margin" not in ds:
        return Alarm(name, UNKNOWN, {}, "the run holds no reward_margin.", "Record it, measure=['reward_margin'].")
    rows = np.asarray(ds.reward_margin.transpose(clock, ...), np.float64).reshape(ds.sizes[clock], -1)
    # Of rounds the sign of a pair i < j means nothing, so its largest margin counts; of examples the mean.
    pairs = "example" not in ds.reward_margin.dims
    numbers = {"margin": float(np.abs(rows[-1]).max() if pairs else rows[-1].mean())}
    if numbers["margin"] <= SATURATED:
        return Alarm(name, False, numbers, f"the margin is {numbers['margin']:.3g}, below {SATURATED:g}.")
    kl = None if "kl_to_reference" not in ds else np.asarray(ds.kl_to_reference.transpose(clock, ...), np.float64)
    if kl is None or not np.isfinite(kl[-1]).all():
        return Alarm(
            name, UNKNOWN, numbers, f"the margin is {numbers['margin']:.3g}, but the KL divergence is not recorded.",
            "Record it: entropy_samples=64 in llm.train or llm.Recorder, measure=['kl_to_reference'] in dyn.iterate.",
        )  # fmt: skip
    numbers["kl_to_reference"] = float(kl[-1].max())
    if numbers["kl_to_reference"] > SAME:
        return Alarm(
            name, False, numbers, f"the policy moved {numbers['kl_to_reference']:.3g} nats from the reference."
        )
    return Alarm(
        name, True, numbers,
        f"the margin is {numbers['margin']:.3g}, so the loss has no gradient left, but the policy is only "
        f"{numbers['kl_to_reference']:.2g} nats from the reference: what it samples did not change.",
        "The pairs are off-policy: compare answers that the model samples; more steps on these pairs change nothing.",
    )  # fmt: skip


def of_entropy_collapse(ds: xr.Dataset, clock: str) -> Alarm:
    name = "entropy_collapse"
    if "entropy" in ds and clock in ds.entropy.dims:
        rows = np.asarray(ds.entropy.transpose(clock, ...), np.float64)
    elif "log_policy" in ds:
        rows = np.asarray(entropy(np.asarray(ds.log_policy.transpose(clock, ..., "response"))), np.float64)
    else:
        return Alarm(
            name, UNKNOWN, {}, "the run holds no on-policy entropy.",
            "Record it: entropy_samples=64 in llm.train or llm.Recorder. The entropy on given answers does not decide it.",
        )  # fmt: skip
    error = np.asarray(ds.entropy_error, np.float64) if "entropy_error" in ds else np.zeros_like(rows)
    rows, error = (x.reshape(len(rows), -1) for x in (rows, error))
    known = np.isfinite(rows).all(axis=1)
    marks = np.asarray(ds[clock] if clock in ds.coords else range(len(rows)))[known]
    rows, error = rows[known], error[known]
    if not known.any():
        return Alarm(name, UNKNOWN, {}, "the entropy was not finite in any row.", "Look at the rows before it failed.")
    worst = int(np.argmin(rows[-1] - COLLAPSED * rows[0]))
    low = rows[:, worst] + 2 * error[:, worst] < COLLAPSED * rows[0, worst]
    numbers = {"first": float(rows[0, worst]), "last": float(rows[-1, worst]), "error": float(error[-1, worst])}
    if not low[-1]:
        return Alarm(
            name, False, numbers, f"the entropy went from {numbers['first']:.3g} to {numbers['last']:.3g} nats."
        )
    since = len(low) if low.all() else int(np.flatnonzero(~low)[-1]) + 1
    numbers[clock] = float(marks[since])
    return Alarm(
        name, True, numbers,
        f"the entropy fell from {numbers['first']:.3g} to {numbers['last']:.3g} nats, below a tenth from {clock} "
        f"{marks[since]:g} on.",
        "Use a larger beta or a smaller alpha (a reference that moves less), stop earlier, or sample prompts more widely.",
    )  # fmt: skip


def of_oscillation(ds: xr.Dataset, clock: str) -> Alarm:
    name = "oscillation"
    if clock != "round" or "log_policy" not in ds:
        return Alarm(
            name, UNKNOWN, {}, "this is one fit, and only rounds can go in circles.",
            "Ask it of rounds: dyn.iterate on the judge's preferences predicts it (dynamics advise).",
        )  # fmt: skip
    rows = np.asarray(ds.log_policy.transpose(clock, ..., "response"), np.float64)
    found = [verdict(rows[:, x]) for x in range(rows.shape[1])] if rows.ndim == 3 else [verdict(rows)]
    words = [VERDICTS[int(one["verdict"])] for one in found]
    at = next((i for word in ("oscillating", "undecided") for i, w in enumerate(words) if w == word), 0)
    numbers = {"rounds": float(len(rows) - 1)}
    numbers |= {k: float(found[at][k]) for k in ("switches", "period", "amplitude", "tail_step")}
    if words[at] == "undecided":
        return Alarm(name, UNKNOWN, numbers, "the rounds neither settle nor repeat so far.", "Run more rounds.")
    if words[at] != "oscillating":
        return Alarm(name, False, numbers, f"the rounds {words[at]}.")
    turn = f"every {numbers['period']:.3g} rounds" if np.isfinite(numbers["period"]) else "without a fixed period"
    return Alarm(
        name, True, numbers,
        f"the policy goes in circles {turn}, by {numbers['amplitude']:.2g} of a probability, and the best answer changed "
        f"{numbers['switches']:.0f} times.",
        "Raise beta or lower alpha: dyn.stability.safe_beta gives the smallest beta at which the rounds settle.",
    )  # fmt: skip


def of_wrong_reference(ds: xr.Dataset, clock: str) -> Alarm:
    name = "wrong_reference"
    if "reward_margin" not in ds or "example" not in ds.reward_margin.dims:
        return Alarm(
            name, UNKNOWN, {}, "the run holds no margin of each example against its reference.",
            "The start of rounds may differ from their reference; record reward_margin of examples in training.",
        )  # fmt: skip
    marks = np.asarray(ds[clock] if clock in ds.coords else range(ds.sizes[clock]), np.float64)
    rows = np.abs(np.asarray(ds.reward_margin.transpose(clock, ...), np.float64)).max(axis=1)
    numbers = {"first_margin": float(rows[0]), f"first_{clock}": float(marks[0])}
    back = np.flatnonzero((rows[1:] == 0) & (np.maximum.accumulate(rows)[:-1] > NOT_ZERO))
    if len(back):
        numbers[clock] = float(marks[back[0] + 1])
        says = f"all margins return to 0 at {clock} {numbers[clock]:g}: the model of that moment became the reference."
    elif marks[0] > 0:
        do = "Record from the start, where margins must be 0."
        return Alarm(name, UNKNOWN, numbers, f"the first row is {clock} {marks[0]:g}.", do)
    elif rows[0] > NOT_ZERO:
        says = f"a margin is {rows[0]:.3g} at {clock} 0, where the policy should be its reference."
    else:
        return Alarm(name, False, numbers, "margins start at 0.")
    do = "Load the model that the run began with as reference (ref_model=... in TRL), never a checkpoint of the run."
    return Alarm(name, True, numbers, says, do)
