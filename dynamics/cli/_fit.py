"""The command ``dynamics fit``: from a file of votes to a policy, what is known about its error, and what to ask next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from ._files import File, Reading, check_suffix, check_writable, choose, heading, read_file

if TYPE_CHECKING:
    from ..preferences import PreferenceSet
    from ._estimate import Estimate, Setting
    from ._prior import Prior

MAX_RESPONSES, MAX_PAIRS = 40, 8  # lines of a card; --json has all
ASSUMED = "gamma is an assumption, not learned: votes determine pi*^gamma only, so another gamma gives another policy."


@dataclasses.dataclass(frozen=True)
class Fit:
    """The policy that a file of votes determines, a bound on its error, and the pairs to ask about next."""

    file: File
    """Counts of votes: wins (.csv), orders (.soc, .soi, .toc, .toi) or matrices with counts (.npz); each matrix a prompt."""
    gamma: Annotated[float, tyro.conf.arg(metavar="G")]
    """How sharply the policy decides comparisons, above 0: P(a over b) = sigma(G log pi(a)/pi(b)); an assumption."""
    prior: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A .csv file response,probability (or log_probability), optionally after a column prompt; or the word uniform."""
    delta: Annotated[float, tyro.conf.arg(metavar="D")] = 0.05
    """Probability that the bounds fail, between 0 and 1."""
    scale: Annotated[float, tyro.conf.arg(metavar="S")] = 1.0
    """Size of the rewards in nats for which the bound is sharpest, above 0; fix it before you see the data."""
    beta: Annotated[float, tyro.conf.arg(metavar="B")] = 0.0
    """KL coefficient towards the prior, at least 0; rlhf and dpo need one above 0."""
    method: Literal["pmle", "reverse-kl", "distillation", "rlhf", "dpo"] = "pmle"
    """The objective; at beta = 0 the first three agree, and are maximum likelihood."""
    index: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Use only this matrix of the file, counted from 0."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw one prompt's policy and pairs to a .png, .pdf or .svg file."""
    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        from .._progress import progress
        from . import _tables
        from ._estimate import estimate

        setting, prior = self._check()
        # A pair that was never compared has no wins on either side, which is all that is read here.
        matrices = read_file(Reading(file=self.file, missing="0.5"))
        chosen = choose(matrices, self.index, self.file, self.plot)
        logs = [self._prior(prior, matrices, m) for m in chosen]
        if self.plot is not None:
            check_writable(self.plot)
        found, single = [], len(chosen) == 1
        with progress("prompts", len(chosen), enabled=not single) as advance:
            for m, log_prior in zip(chosen, logs, strict=True):
                found.append(estimate(matrices, m, setting, log_prior, len(chosen), throw=single))
                advance(1)
        if all(e.error is not None for e in found):
            raise ValueError(f"{self.file}: none of {len(found)} prompts has a policy; the first: {found[0].error}")
        if self.plot is not None:
            self._draw(matrices, found[0])
        if self.json:
            rows = [heading(matrices, e.index) | e.to_dict() for e in found]
            asked = dataclasses.asdict(setting) | {"prior": self.prior, "gamma_is": "assumed"}
            _tables.print_json({"source": matrices.source, **asked, "matrices": rows})
        elif single:
            _print_one(self._title(matrices, chosen[0]), found[0], setting)
        else:
            _print_many(f"{len(chosen)} prompts, {Path(self.file).name}", found, setting)

    def _check(self) -> tuple[Setting, Prior | None]:
        """Checks the options, and reads the prior, before the file of votes is read."""
        from .._checks import check_scalar
        from ._estimate import Setting
        from ._prior import Prior

        for name in ("gamma", "scale"):
            check_scalar(getattr(self, name), name, 0.0, math.inf, open_low=True)
        check_scalar(self.beta, "beta", 0.0, math.inf)
        if not 0 < self.delta < 1:
            raise ValueError(f"delta = {self.delta:g} is outside (0, 1); pass the probability that a bound may fail.")
        if self.beta == 0 and self.method in ("rlhf", "dpo"):
            raise ValueError(f"{self.method} at beta = 0 has no optimum; pass --beta above 0 and --prior.")
        if (self.beta > 0) != (self.prior is not None):
            what = f"--beta {self.beta:g} without --prior" if self.prior is None else "--prior without --beta above 0"
            raise ValueError(f"{what} has no effect or meaning; pass both, or neither for maximum likelihood.")
        check_suffix(self.plot)
        prior = None if self.prior is None else Prior(self.prior)
        return Setting(self.gamma, self.beta, self.delta, self.scale, self.method), prior

    def _prior(self, prior: Prior | None, matrices: PreferenceSet, m: int) -> np.ndarray | None:
        names = matrices.names[m] or tuple(map(str, range(len(matrices[m]))))
        return None if prior is None else prior.of(m, names)

    def _draw(self, matrices: PreferenceSet, found: Estimate) -> None:
        from .. import plot

        assert self.plot is not None
        assert found.log_policy is not None
        figure = plot.fitted(
            found.log_policy,
            deviation=found.deviation,
            pairs=found.pairs,
            V=(found.V, found.best_V),
            names=found.names,
            title=f"{self._title(matrices, found.index)}, γ = {self.gamma:g} (assumed)",
        )
        with plot.style():
            figure.savefig(self.plot)

    def _title(self, matrices: PreferenceSet, m: int) -> str:
        name = Path(self.file).name if len(matrices) == 1 else f"{Path(self.file).name}, prompt {m}"
        how = "maximum likelihood" if self.beta == 0 else f"{self.method}, beta = {self.beta:g}"
        return f"{name}: K = {len(matrices[m])}, {how}"


def _print_one(title: str, e: Estimate, setting: Setting) -> None:
    from . import _tables

    assert e.log_policy is not None
    text = _tables.text
    counts = f"{e.comparisons:g} comparisons" + (f", {e.ties_dropped:g} ties dropped" if e.ties_dropped else "")
    counts += ", ties count half to each" if e.halves else ""
    parts: list[Any] = [text(f"{title}, {counts}"), text(f"gamma = {setting.gamma:g}. {ASSUMED}")]
    if e.minima is not None and e.minima > 1:
        parts.append(text(f"The objective has {e.minima} minima; this is the least of them."))
    parts.append(_policy(e, setting))
    parts += [text(line) for line in _error_lines(e, setting)]
    if e.no_pairs is not None:
        parts.append(text(f"pairs to ask about next: none: {e.no_pairs}."))
    else:
        assert e.V is not None
        assert e.best_V is not None
        parts += ["", text("pairs to ask about next [derived, 7.10; plug-in]"), _pairs(e)]
        parts.append(
            text(
                f"V, the error times the number of comparisons, is {e.V:.4g}; with all of them in the best design's shares it "
                f"would be {e.best_V:.4g} (ratio {e.best_V / e.V:.3g})"
            )
        )
    _tables.print_parts(*parts)


def _policy(e: Estimate, setting: Setting) -> Any:
    from . import _tables

    assert e.log_policy is not None
    level = f"{1 - setting.delta:.3g}"
    columns = ["response", "policy"] + ([] if e.deviation is None else [f"interval at {level}, plug-in"])
    table = _tables.new_table(columns, numbers=set(columns[1:]))
    order = np.argsort(-e.log_policy, kind="stable")
    for k in order[:MAX_RESPONSES]:
        cells = [e.names[k], f"{math.exp(e.log_policy[k]):.4g}"]
        if e.deviation is not None:
            low, high = (
                min(math.exp(v), 1.0) for v in interval(float(e.log_policy[k]), float(e.deviation[k]), setting.delta)
            )
            cells.append(f"{low:.4g} – {high:.4g}")
        table.add_row(*map(_tables.text, cells))
    if len(order) > MAX_RESPONSES:
        table.caption = f"… and {len(order) - MAX_RESPONSES} more responses; --json prints all"
    return table


def interval(log_p: float, deviation: float, delta: float) -> tuple[float, float]:
    """The interval of one log-probability, by its normal law to leading order."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(1 - delta / 2)
    return log_p - z * deviation, log_p + z * deviation


def _error_lines(e: Estimate, setting: Setting) -> list[str]:
    at = f"with probability {1 - setting.delta:g}"
    if e.certificate is None:
        lines = [f"certificate: none: {e.no_certificate}."]
    else:
        assert e.trivial is not None
        bound = e.certificate.bound
        vacuous = (
            f", which says nothing, for {e.trivial:.4g} = -log min pihat holds anyway" if bound >= e.trivial else ""
        )
        lines = [
            f"certificate [derived, 7.12; proven]: KL(pi*||pihat) ≤ {bound:.4g} nats {at}{vacuous}, if comparisons are "
            f"independent, gamma is right and scale {setting.scale:g} was fixed before the data."
        ]
    if e.no_expected is not None:
        return [*lines, f"expected error: none: {e.no_expected}."]
    lines.append(
        f"expected KL(pi*||pihat) [derived, 7.9; plug-in at pihat, not a bound], and quantile at {1 - setting.delta:g}:"
    )
    lines += [f"  n = {row['n']:<8g} {row['mean']:.4g} nats, {row['quantile']:.4g} nats" for row in e.expected]
    if e.voters is not None and e.comparisons > e.voters:
        most = e.comparisons / e.voters
        lines.append(
            f"  as if independent: {e.voters} voters made {most:.3g} comparisons each, which depend on each other."
        )
    return lines


def _pairs(e: Estimate) -> Any:
    from . import _tables

    columns = ["pair", "worth of one more", "share so far", "share in the best design"]
    table = _tables.new_table(columns, numbers=set(columns[1:]))
    for pair in e.pairs[:MAX_PAIRS]:
        cells = [f"{pair['first']} / {pair['second']}", f"{pair['worth']:.3g} ×"]
        cells += [f"{pair['share_now']:.1%}", f"{pair['share']:.1%}"]
        table.add_row(*map(_tables.text, cells))
    told = ["× the average comparison so far; a pair worth less than 1 has been asked enough for now"]
    if len(e.pairs) > MAX_PAIRS:
        told.append(f"{len(e.pairs) - MAX_PAIRS} more pairs: --json prints all")
    table.caption = "; ".join(told)
    return table


def _print_many(title: str, found: Sequence[Estimate], setting: Setting) -> None:
    from . import _tables

    columns = ["prompt", "K", "comparisons", "first", "policy", "bound, nats", "expected, nats", "V ratio", "ask next"]
    table = _tables.new_table(columns, numbers=set(columns) - {"first", "ask next"})
    for e in found[: _tables.MAX_ROWS]:
        cells: list[Any] = [e.index, len(e.names), f"{e.comparisons:g}"]
        if e.log_policy is None:
            table.add_row(*map(_tables.text, [*cells, f"none: {e.error}", *5 * [""]]))
            continue
        top = int(np.argmax(e.log_policy))
        cells += [e.names[top], f"{math.exp(e.log_policy[top]):.3g}"]
        cells += ["–" if e.certificate is None else f"{e.certificate.bound:.3g}"]
        cells += [f"{e.expected[0]['mean']:.3g}" if e.expected else "–"]
        if e.V is None or e.best_V is None:
            cells += ["–", "–"]
        else:
            cells += [f"{e.best_V / e.V:.3g}", f"{e.pairs[0]['first']} / {e.pairs[0]['second']}"]
        table.add_row(*map(_tables.text, cells))
    lines = [f"gamma = {setting.gamma:g}. {ASSUMED}"]
    if any(e.certificate is not None for e in found):
        lines.append(
            f"bound: KL(pi*||pihat) of all prompts at once, with probability {1 - setting.delta:g} [derived, 7.12; proven], "
            f"if comparisons are independent, gamma is right and scale {setting.scale:g} was fixed before the data."
        )
    for why in sorted({e.no_certificate for e in found if e.no_certificate is not None}):
        lines.append(f"no bound: {why}.")
    lines.append(
        "expected: KL(pi*||pihat), plug-in at pihat, not a bound [derived, 7.9]; V ratio: V with the best pairs to V now."
    )
    dropped = sum(e.ties_dropped for e in found)
    lines += [f"{dropped:g} ties were dropped."] if dropped else []
    lost = sum(e.error is not None for e in found)
    lines += [f"{lost} of {len(found)} prompts have no policy."] if lost else []
    if len(found) > _tables.MAX_ROWS:
        lines.append(f"… and {len(found) - _tables.MAX_ROWS} more prompts; --json prints all")
    _tables.print_parts(table, _tables.text(title), *map(_tables.text, lines))
