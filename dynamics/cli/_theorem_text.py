"""How ``dynamics theorem`` prints a statement and a theorem that was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import theorems
    from ..ledger import Checked

MAX_NAMES = 20  # of responses


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


def lines_of(checked: Checked, defaults: dict[str, str]) -> list[str]:
    shown = checked.bound.shown
    used = [
        f"{name} {shown(value)}{f' (not given: {defaults[name]})' if name in defaults else ''}"
        for name, value in checked.inputs.items()
        if name != "P"
    ]
    lines = [f"  at {', '.join(used)}"] if used else []
    lines += [f"  {line}" for line in str(checked.bound).splitlines()]
    return [*lines, f"  {checked.verdict}"] if checked.bound.applicable else lines


def about(theorem: theorems.Theorem) -> str:
    """The objective that a theorem is about, in words."""
    word = theorem.about.upper()
    return f"win rates (objective {theorem.about})" if "gamma" in theorem.inputs else word


def split(
    chosen: tuple[theorems.Theorem, ...], given: dict[str, Any], asked: str
) -> tuple[tuple[theorems.Theorem, ...], dict[str, str]]:
    """The theorems that are about what was given, and why each of the others is left out; raises if none is left."""
    objective, left = given.get("objective"), {}
    for theorem in chosen:
        if objective and theorem.about not in ("", objective):
            left[theorem.name] = f"it is about {about(theorem)}"
        # A theorem on rounds without this input, beside one that has it, is about 1.
        for name in ("alpha", "lam"):
            if {"P", "beta"} <= {*theorem.inputs} and name not in theorem.inputs and given.get(name, 1.0) != 1.0:
                left.setdefault(theorem.name, f"it is about {name} = 1")
    kept = tuple(theorem for theorem in chosen if theorem.name not in left)
    if kept or not chosen:
        return kept, left
    raise ValueError(
        f"{asked} is about {about(chosen[0])}; for {str(objective).upper()} there are {_others(objective)}."
    )


def _others(objective: str | None) -> str:
    """Numbers of the statements on the rounds of an objective."""
    from .. import theorems

    fits = [
        t
        for t in theorems.all().values()
        if {"alpha", "beta"} <= {*t.inputs} and ("objective" in t.inputs or t.about == objective)
    ]
    return ", ".join(one for one in theorems.statements() if one in {t.number for t in fits})


def context(file: str, counted: bool, responses: tuple[str, ...] | None) -> list[str]:
    """What the numbers of a file are taken for, and its responses in order."""
    lines = [f"  P is that of {file}, taken as exact; `dynamics stability` weighs the counts."] if counted else []
    if not responses:
        return lines
    more = f", … ({len(responses)} responses)" if len(responses) > MAX_NAMES else ""
    return [*lines, f"  responses, in order: {', '.join(responses[:MAX_NAMES])}{more}"]


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
