"""How theorems are called, printed and found, and assumptions that fail within one rounding of their threshold."""

from __future__ import annotations

import copy
import dataclasses
import re

import numpy as np
import pytest

from dynamics import preferences, theorems

P = preferences.cyclic(3, advantage=0.4)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("onset_amplitude", {"advantage": 3**0.5 / 4, "alpha": 0.5, "lam": 1.0, "objective": "dpo"}, "a lam ≠ √3/4"),
        ("onset_amplitude", {"advantage": 0.5 - 2**-54, "alpha": 0.5, "lam": 1.0, "objective": "dpo"}, "P < 1"),
        ("onset_amplitude", {"advantage": 0.3, "alpha": 1 - 2**-53, "lam": 1.0}, "0 < alpha < 1"),
        (
            "ema_threshold",
            {"P": 0.5 + 1e-17 * (P - 0.5) + 2**-53 * np.sign(P - P.T), "rate": 0.5, "lam": 1.0},
            "lam A ≠ 0",
        ),
        ("order_reversal", {"P": [[0.5, 0.7, 0.3], [0.3, 0.5, 0.1 + 0.2], [0.7, 0.7, 0.5]]}, "row dominance fails"),
        ("nash_md_limit", {"P": P, "eta": 1 / 49, "tau": 49.0, "log_reference": np.full(3, -np.log(3))}, "eta tau < 1"),
        (
            "nearly_orthogonal_margins",
            {"pairs": 50, "Q": 40, "d": 60, "l_b": 0.3, "v": 1e-3, "delta": 1 / 49, "seed": 0, "beta": 1.0},
            "delta < 1/(K-1)",
        ),
    ],
)
def test_an_assumption_fails_within_one_rounding_of_its_threshold(name, inputs, words):
    bound = theorems.all()[name](**inputs)
    assert not bound.assumptions[words]
    assert not bound.applicable


def test_kinds_strengths_and_objectives_are_known():
    for field, wrong in (("kind", "deriv"), ("strength", "tite"), ("about", "kto")):
        # The tests' run-time types would refuse it before the theorem does.
        made = copy.copy(theorems.contraction)
        object.__setattr__(made, field, wrong)
        with pytest.raises(ValueError, match=f"theorem contraction: {field} = '{wrong}' is unknown; pass one of '"):
            made.__post_init__()


def test_a_theorem_is_about_one_objective_where_its_statement_names_one_alone():
    on_rounds = [t for t in theorems.all().values() if {"P", "beta"} <= {*t.inputs} and "objective" not in t.inputs]
    for theorem in on_rounds:
        text = f"{theorem.statement} {theorem.quantity} {theorem.source}"
        if re.search(r"\b[ID]PO\b", text):
            assert theorem.about == ("ipo" if "IPO" in text else "dpo"), theorem.name
    for theorem in theorems.all().values():
        assert not (theorem.about and "objective" in theorem.inputs), theorem.name
    assert [t.name for t in on_rounds if not t.about] == ["link_spectrum"]


def test_an_unknown_input_is_named_before_a_missing_one():
    with pytest.raises(TypeError, match="global_convergence has no input 'alfa'; did you mean 'alpha'"):
        theorems.global_convergence(P=P, alfa=0.5, lam=1.0, beta=1.0)
    with pytest.raises(TypeError, match="missing a required argument: 'beta'; it takes P, alpha, lam, beta"):
        theorems.global_convergence(P=P, alpha=0.5, lam=1.0)


def test_unknown_statements_and_theorems_suggest_the_nearest():
    with pytest.raises(KeyError, match=r"statement 7\.99 does not exist; did you mean '7\.9'"):
        theorems.statements()["7.99"]
    with pytest.raises(KeyError, match=r"statement spectrum does not exist; it is a theorem of 7\.1"):
        theorems.statements()["spectrum"]
    assert theorems.statements().get("7.99") is None
    with pytest.raises(AttributeError, match="'globalconvergence' does not exist; did you mean 'global_convergence'"):
        theorems.globalconvergence
    assert not hasattr(theorems, "__wrapped__")


def test_bounds_print_their_assumptions_and_sides():
    options = {"P": P, "lam": 1.0, "beta": 1.0}
    assert str(theorems.contraction(alpha=0.5, **options)).startswith("holds: x < 1 - alpha²\nbound: from 0 to 0.")
    assert str(theorems.contraction(alpha=1.0, **options)).endswith("so it says nothing here: an assumption fails")
    assert str(theorems.mean_field_bounds(rate=1.0, time=2.0)).startswith("bound: from ")
    seldom = dataclasses.replace(theorems.contraction(alpha=0.5, **options), failure_probability=0.25)
    assert "\nwith probability at least 0.75\nbound: " in str(seldom)
