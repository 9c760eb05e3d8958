"""``dynamics theorem``: statements, where they are proved, and whether they hold on a file."""

import json

import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli, ledger, theorems

STRONG = ["winner,loser,count", "a,b,80", "b,a,20", "b,c,80", "c,b,20", "c,a,80", "a,c,20"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text("\n".join(STRONG) + "\n")
    return str(path)


def said(capsys, *args):
    cli.main(["theorem", *args])
    return " ".join(capsys.readouterr().out.split())


def found(capsys, *args):
    cli.main(["theorem", *args, "--json"])
    return json.loads(capsys.readouterr().out)


def test_without_a_number_every_statement_is_listed(capsys):
    rows = found(capsys)
    assert [row["number"] for row in rows] == list(theorems.statements())
    assert rows.index(next(r for r in rows if r["number"] == "7.9")) < rows.index(
        next(r for r in rows if r["number"] == "7.15")
    )
    assert {t["name"] for row in rows for t in row["theorems"]} == set(theorems.all())
    assert "Spectrum and uniqueness" in said(capsys)


def test_a_statement_says_what_it_says_and_where_it_is_proved(capsys):
    out = said(capsys, "7.15")
    for words in (
        "7.15 Global convergence",
        "[derived]; proved in docs/theory/stability.md",
        "universal_convergence",
        "inputs: P",
    ):
        assert words in out
    assert "not proved here" in said(capsys, "4.1") or "in part" in said(capsys, "4.1")
    alone = said(capsys, "spectrum")
    assert "theorem spectrum" in alone
    assert "spectrum_dpo" not in alone


def test_a_theorem_is_checked_on_a_file(capsys, file):
    (row,) = found(
        capsys, "uniform_threshold", "--alpha", "0.5", "--lam", "1", *inputs(K=3, advantage=0.3, structure="cycle")
    )["checked"]
    (spectrum,) = found(capsys, "spectrum", file, "--alpha", "0.5", "--lam", "1", "--beta", "0.5")["checked"]
    # At the critical beta of 2.1 the radius of 7.1 is 1; here beta is larger, so that it is smaller.
    assert spectrum["holds"] is True
    expected = np.hypot(0.5, 0.3 / np.sqrt(3) / 0.5)
    assert np.allclose(spectrum["lower"], expected)
    assert np.allclose(spectrum["measured"], expected)
    assert np.isclose(row["lower"], 0.3 / np.sqrt(3) / np.sqrt(0.75))
    assert row["holds"] is True


def inputs(**values):
    return ["--input", *(f"{name}={value}" for name, value in values.items())]


def test_an_assumption_that_fails_is_named(capsys, file):
    out = said(capsys, "contraction", file, "--alpha", "0.9", "--lam", "1", "--beta", "0.1")
    assert "FAILS: x < 1 - alpha²" in out
    assert "so it says nothing here" in out
    assert "measured" not in out
    (row,) = found(capsys, "contraction", file, "--alpha", "0.9", "--lam", "1", "--beta", "0.1")["checked"]
    assert row["holds"] is None
    assert row["applicable"] is False


def test_a_response_is_given_by_its_name(capsys, file):
    options = ["--alpha", "1", "--lam", "1", "--beta", "1"]
    for top in ("b", "1"):
        (row,) = found(capsys, "collapse", file, *options, *inputs(rounds=3, top=top))["checked"]
        assert row["inputs"]["top"] == 1
        assert row["holds"] is True


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["7.99"], "there is no statement '7.99'"),
        (["spectum"], "did you mean spectrum?"),
        (["spectrum", "FILE", "--alpha", "0.5"], "spectrum also needs lam, beta; pass --lam and --beta."),
        (["spectrum", "FILE", "--gamma", "1"], "gamma is no input of spectrum; it takes P, alpha"),
        (["5.1", "FILE"], "statement 5.1 has no theorem to check"),
        (["mean_field", "FILE", "--input", "rate=1", "time=2"], "mean_field is not about a matrix"),
        (["mean_field", "--input", "rate"], "--input rate has no value"),
        (["mean_field", "--input", "rate=1,x"], "rate = 1,x is not a list of numbers"),
        (["priority", "--beta", "1", "--input", "differences=1,2;3"], "rows of different lengths"),
        (["mean_field_bounds", "--input", "rate=1", "time=-1"], "time = -1 is outside [0, inf)"),
        (["collapse", "FILE", "--input", "top=z"], "top = z is no response of the file; pass one of a, b, c"),
        (["spectrum", "FILE", "more"], "more comes after the file"),
        (["spectrum", "FILE", "--alpha", "0.5", "--input", "alpha=1"], "alpha is given twice"),
        (["spectrum", "FILE", "--index", "3"], "--index 3 is not in"),
    ],
)
def test_bad_input_gets_one_sentence(capsys, file, args, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["theorem", *(file if arg == "FILE" else arg for arg in args)])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_violated_theorem_ends_with_status_1(capsys, file, monkeypatch):
    wrong = theorems.Theorem(
        **{field: getattr(theorems.contraction, field) for field in FIELDS} | {"claim": too_strong}
    )
    monkeypatch.setattr(theorems, "all", lambda: {"contraction": wrong})
    with pytest.raises(SystemExit) as stop:
        cli.main(["theorem", "contraction", file, "--alpha", "0.2", "--lam", "1", "--beta", "1"])
    assert stop.value.code == 1
    assert "lies outside the bound" in capsys.readouterr().err


FIELDS = ("name", "source", "statement", "kind", "quantity", "strength", "claim", "build", "witness", "number")


def too_strong(P, alpha, lam, beta):
    claim = theorems.contraction.claim(P, alpha, lam, beta)
    return theorems.Claim(claim.lower, 0.5 * claim.upper, claim.assumptions)


def test_check_in_python():
    P = dyn.preferences.cyclic(3, 0.4)
    told = ledger.check(theorems.universal_convergence, P=P, alpha=0.5, lam=1.0, beta=1.0)
    assert told.holds is True
    assert told.bound.contains(told.value, rtol=1e-9)
    few = ledger.check(theorems.universal_convergence, P=P, alpha=0.5, lam=1.0, beta=0.1)
    assert few.holds is None
    assert few.value is None
    assert few.reason.startswith("it does not apply: not ")
    with pytest.raises(TypeError, match="missing a required argument: 'beta'"):
        ledger.check(theorems.universal_convergence, P=P, alpha=0.5, lam=1.0)
    mine = theorems.Theorem(**{field: getattr(theorems.contraction, field) for field in FIELDS} | {"name": "mine"})
    with pytest.raises(ValueError, match="mine has no trial"):
        ledger.check(mine, P=P, alpha=0.5, lam=1.0, beta=1.0)
