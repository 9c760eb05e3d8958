"""``dynamics safe``: what holds whatever people prefer, before any data are seen."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

from ._wrapped import wrapped

if TYPE_CHECKING:
    from ..oracle import Everywhere

VERDICTS = {
    "converges": "IPO converges from every start, whatever people prefer: proven [derived 7.15].",
    "attracts": "IPO's fixed point attracts, whatever people prefer: proven [derived 7.14]; from far away convergence is not "
    "proven.",
    "depends": "it depends on what people prefer: some preferences make IPO oscillate.",
}
STATEMENTS = {"proven": "7.15", "local": "7.14", "worst": "2.1", "gamma": "7.16", "dpo": "2.1, 7.14, 7.16"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Safe:
    """For which beta iterated alignment is stable whatever people prefer: no data needed."""

    alpha: float
    """Share of the policy in the next reference, in [0, 1]."""
    lam: float
    """Share of the policy in the next sampler, in [0, 1]."""
    beta: float | None = None
    """KL coefficient that you use, > 0."""
    json: bool = False
    """Print JSON instead of sentences."""

    needs_jax = False

    def run(self) -> None:
        from ..oracle import everywhere

        found = everywhere(self.alpha, self.lam, self.beta)
        if self.json:
            row = {name: _plain(value) for name, value in dataclasses.asdict(found).items()}
            print(json.dumps(row | {"dpo": _of_dpo(found), "statements": STATEMENTS}, indent=2, allow_nan=False))
            return
        print("\n".join(part for line in _lines(found) for part in wrapped(line, 4)))


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _of_dpo(found: Everywhere) -> dict[str, float | None]:
    """At lam = 0 rounds are linear. Else nothing is safe for every P; at a uniform policy and sampler with A1 = 0 it is four
    times IPO's threshold, since DPO's kappa is 4 (statement 2.1).
    """
    linear = 0.0 if found.lam == 0 and found.alpha < 1 else None
    return {"proven": linear, "local": linear, "local_at_uniform": _number(4 * found.local)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(found: Everywhere) -> list[str]:
    setting = f"alpha {found.alpha:g}, lam {found.lam:g}"
    lines = [f"{setting}: every preference matrix, any number of responses, any reference and offline sampler"]
    if found.alpha == 1:
        lines += _on_last_policy(found)
    else:
        lines.append(f"  IPO converges from every start, proven, at beta above {found.proven:.4g} [derived 7.15]")
        lines.append(f"  IPO's fixed point attracts, proven, at beta above {found.local:.4g} [derived 7.14]")
        if found.lam > 0:
            lines.append(
                "    and at no smaller beta for all: cycles of many responses lose stability just below it [derived 2.1]"
            )
        if found.verdict is not None:
            lines.append(f"at beta {found.beta:g} {VERDICTS[found.verdict]}")
    if found.worst is not None and found.alpha < 1:
        after = "next one" if found.worst == 3 else f"{found.worst // 2} after it"
        lines.append(
            f"  such as {found.worst} responses in a circle, each of which always beats the {after} [derived 2.1]"
        )
    lines += _remedies(found)
    return lines + _dpo(found)


def _on_last_policy(found: Everywhere) -> list[str]:
    """At alpha = 1 nothing pulls towards a reference."""
    if found.lam == 0:
        return [
            "  IPO goes to what wins most against the offline sampler at every beta, and collapses unless all tie [derived 2.4]"
        ]
    return [
        "  at alpha = 1 no beta is safe: preference cycles oscillate and a best response takes all [derived 2.1, 2.4];",
        "  only a pull towards a fixed reference (alpha below 1) or entropy helps",
    ]


def _remedies(found: Everywhere) -> list[str]:
    if found.beta is None:
        if found.lam == 0 and found.alpha < 1:
            return []
        above = f"above {found.gamma:.4g} " * (found.gamma > 0)
        return [f"  an entropy weight gamma {above}(reverse KL on win rates) is enough at every beta [derived 7.16]"]
    if found.verdict == "converges":
        return []
    lines = []
    if found.alpha < 1:
        lines.append(f"  beta above {found.proven:.4g}")
    if found.enough_alpha is not None and found.enough_alpha < found.alpha:
        lines.append(f"  alpha below {found.enough_alpha:.4g}")
    if found.enough_lam is not None and found.enough_lam < found.lam:
        lines.append(f"  lam below {found.enough_lam:.4g}")
    above = f" above {found.gamma:.4g}" if found.gamma else ", however small"
    told = f"  an entropy weight gamma{above} (reverse KL on win rates) [derived 7.16]"
    if found.needed_gamma:
        told += f"; below {found.needed_gamma:.4g} some preferences stay unstable"
    each = "each of these alone is" if lines else "this is"
    return [f"{each} then enough for every start (proven):", *lines, told]


def _dpo(found: Everywhere) -> list[str]:
    if found.lam == 0:
        fate = "converges" if found.alpha < 1 else "does the same"
        return [f"DPO {fate} at every beta too, where its fit is finite: the sampler never changes [derived 2.4]"]
    lines = [
        "DPO: no beta is proven safe for every P, and none is: where the policy is very uneven, a cycle can make it oscillate "
        "at any beta, with any entropy weight [derived 7.16]"
    ]
    if found.alpha < 1:
        lines.append(
            f"  at a uniform policy and sampler and balanced preferences (each wins half the time) it attracts at beta above "
            f"{4 * found.local:.4g} [derived 2.1, 7.14]"
        )
    return [*lines, "with a file of votes: dynamics stability FILE, or dynamics advise FILE"]
