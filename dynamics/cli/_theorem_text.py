"""How ``dynamics theorem`` prints a statement and a theorem that was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import theorems
    from ..ledger import Checked

MAX_ENTRIES = 6  # of an array


def page_of(statement: theorems.Statement) -> str:
    return f"docs/theory/{statement.page}"


def told(statement: theorems.Statement) -> str:
    where = {
        "yes": "proved in",
        "in part": "proved in part, which the page tells from the rest, in",
        "no": "not proved here; see",
    }
    return f"{statement.kind}; {where[statement.proven]} {page_of(statement)}"


def described(statement: theorems.Statement, chosen: tuple[theorems.Theorem, ...] | None = None) -> dict[str, Any]:
    row = {name: getattr(statement, name) for name in ("number", "title", "kind", "text", "proven")}
    rows = [
        {"name": t.name, "source": t.source, "statement": t.statement, "quantity": t.quantity, "inputs": t.inputs}
        for t in (statement.theorems if chosen is None else chosen)
    ]
    return row | {"page": page_of(statement), "theorems": rows}


def lines_of(checked: Checked, defaults: list[str]) -> list[str]:
    bound = checked.bound
    used = [f"{n} {_short(v)}{' (not given)' if n in defaults else ''}" for n, v in checked.inputs.items() if n != "P"]
    lines = [f"  at {', '.join(used)}"] if used else []
    lines += [f"  {'holds' if holds else 'FAILS'}: {words}" for words, holds in bound.assumptions.items()]
    if not bound.applicable:
        return [*lines, "  so it says nothing here: an assumption fails"]
    if bound.failure_probability is None:
        lines.append("  with a probability in which the source leaves a constant open")
    elif bound.failure_probability:
        lines.append(f"  with probability at least {1 - bound.failure_probability:.6g}")
    lines.append(f"  bound: {_range(bound)}{' (excludes nothing)' if bound.vacuous else ''}")
    if checked.value is None:
        return [*lines, f"  not measured: {checked.reason}"]
    verdict = f"within the bound, up to {checked.tolerance}" if checked.holds else "OUTSIDE the bound"
    return [*lines, f"  measured: {_short(checked.value)}, {verdict}"]


def _range(bound: theorems.Bound) -> str:
    import numpy as np

    if np.array_equal(bound.lower, bound.upper):
        return f"exactly {_short(bound.lower)}"
    low, high = bound.lower, bound.upper
    if np.all(low == -np.inf):
        return f"at most {_short(high)}"
    return f"at least {_short(low)}" if np.all(high == np.inf) else f"from {_short(low)} to {_short(high)}"


def _short(value: Any) -> str:
    import numpy as np

    if isinstance(value, str) or value is None:
        return str(value)
    array = np.asarray(value)
    cells = [f"{float(x):.6g}" for x in array.ravel()[:MAX_ENTRIES]]
    if array.ndim == 0:
        return cells[0]
    more = f", … ({array.size} numbers)" if array.size > MAX_ENTRIES else ""
    return f"({', '.join(cells)}{more})"


def row_of(checked: Checked) -> dict[str, Any]:
    bound = checked.bound
    return {
        "name": checked.theorem.name,
        "inputs": checked.inputs,
        "assumptions": dict(bound.assumptions),
        "applicable": bound.applicable,
        "failure_probability": bound.failure_probability,
        "lower": bound.lower,
        "upper": bound.upper,
        "measured": checked.value,
        "holds": checked.holds,
        "reason": checked.reason,
    }
