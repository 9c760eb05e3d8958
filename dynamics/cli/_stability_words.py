"""What `dynamics stability` and `advise` say of prompts on which there is little to say: certain wins and single votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _tables

if TYPE_CHECKING:
    from ..preferences import PreferenceSet

NO_OPTIMUM = "no optimum"
FAILED = "failed"
_SIGN = "no finite optimum"  # in the library's messages


def word_of(error: str) -> str:
    """The word that stands for a matrix without a report, in cells and totals."""
    return NO_OPTIMUM if _SIGN in error else FAILED


def without_optimum(matrices: PreferenceSet, m: int) -> str | None:
    """Why DPO has no finite optimum on one matrix, by the names of its responses; None where it has one."""
    P = np.asarray(matrices[m])
    inside = ~np.eye(len(P), dtype=bool)
    if ((P > 0) & (P < 1))[inside].all():
        return None
    from ..objectives import DPO
    from ..rounds import SelfSampling

    try:
        SelfSampling(matrices[m], DPO(1.0), 0.5, 1.0)
    except ValueError as error:
        if _SIGN not in str(error):
            raise
        return why_none(matrices, m)
    return None


def why_none(matrices: PreferenceSet, m: int) -> str:
    """The smallest group that beats all others with certainty, for a matrix on which DPO has no finite optimum."""
    P = np.asarray(matrices[m])
    wins = (P == 1).sum(axis=1)
    order, name = np.argsort(-wins, kind="stable"), _tables.namer(matrices.names[m])
    size = next(k for k in range(1, len(P)) if (P[np.ix_(order[:k], order[k:])] == 1).all())
    kind = "" if matrices.names[m] is not None else "response " if size == 1 else "responses "
    group, rest = (_tables.listing(name(int(k)) for k in some) for some in (sorted(order[:size]), sorted(order[size:])))
    verb = "wins" if size == 1 else "win"
    return f"DPO has {_SIGN}: {kind}{group} always {verb} against {rest}; {_remedy(matrices, m)}."


def _remedy(matrices: PreferenceSet, m: int) -> str:
    smooth = "change the entries 0 and 1" if matrices.counts[m] is None else "pass --smoothing 0.5"
    return f"{smooth}, or use IPO"


def two_answers(matrices: PreferenceSet, chosen: Sequence[int], objective: str) -> list[tuple[str, str]]:
    """What prompts with two answers each cannot show, and what to do; nothing where some prompt has more."""
    if any(len(matrices[m]) > 2 for m in chosen):
        return []
    each = [matrices.counts[m] for m in chosen]
    single = all(count is not None and np.triu(count, 1).sum() == 1 for count in each)
    reason = f"{'one vote on ' if single else ''}two answers of a prompt cannot show a cycle"
    more = "collect several votes on three or more answers of a prompt"
    some = _first_of_each(matrices, chosen)
    certain = objective == "dpo" and any(without_optimum(matrices, m) is not None for m in some)
    if certain:
        reason += ", and DPO has no optimum on a certain win"
        more += ", or pass --smoothing 0.5" if each[0] is not None else ", or use IPO"
    return [("why", reason), ("Do", more)]


def _first_of_each(matrices: PreferenceSet, chosen: Sequence[int]) -> list[int]:
    """One of the chosen matrices for each P."""
    return list({np.asarray(matrices[m]).tobytes(): m for m in reversed(chosen)}.values())
