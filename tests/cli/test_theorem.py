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


ROUNDS = ["--alpha", "0.5", "--lam", "1", "--beta", "0.3"]


@pytest.mark.thorough
def test_theorems_on_the_other_objective_are_left_out(capsys, file):
    told = found(capsys, "7.1", file, *ROUNDS, "--objective", "dpo")
    rows = {row["name"]: row for row in told["checked"]}
    assert set(rows) == {"spectrum_dpo", "uniqueness"}
    assert told["left_out"] == {"spectrum": "it is about IPO"}
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, advantage=0.3), dyn.DPO(0.3), 0.5, 1.0)
    radius = dyn.stability.find_fixed_points(loop)[0].spectral_radius
    assert np.isclose(rows["spectrum_dpo"]["measured"][0], radius)
    assert radius > 1
    assert "not checked: it is about IPO" in said(capsys, "7.1", file, *ROUNDS, "--objective", "dpo")
    ipo = found(capsys, "7.1", file, *ROUNDS)
    assert {row["name"] for row in ipo["checked"]} == {"spectrum", "uniqueness"}
    assert ipo["left_out"] == {"spectrum_dpo": "it is about DPO; pass --objective dpo"}
    win_rates = found(capsys, "7.16", file, *ROUNDS, "--gamma", "1", "--objective", "dpo")["left_out"]
    assert set(win_rates) == {"entropy_round", "entropy_remedy"}
    assert set(win_rates.values()) == {"it is about win rates (objective ipo)"}


def test_an_objective_is_taken_by_theorems_that_are_about_it(capsys, file):
    (row,) = found(capsys, "7.2", file, "--alpha", "0.5", "--lam", "1", "--beta", "1", "--objective", "ipo")["checked"]
    assert row["holds"] is True


@pytest.mark.thorough
def test_the_reward_of_dpo_is_that_of_the_fixed_point(capsys, tmp_path):
    path = tmp_path / "uneven.csv"
    path.write_text("winner,loser,count\na,b,90\nb,a,10\nb,c,80\nc,b,20\nc,a,60\na,c,40\n")
    for args in (("7.1", "--lam", "1", "--objective", "dpo"), ("spectrum_dpo",)):
        (row, *_) = found(capsys, args[0], str(path), *args[1:], "--alpha", "0.5", "--beta", "0.7")["checked"]
        assert row["name"] == "spectrum_dpo"
        assert row["applicable"]
        assert row["holds"]
        assert np.ptp(row["inputs"]["reward"]) > 0.01


def test_theorems_at_lam_or_alpha_of_one_are_left_out_elsewhere(capsys, file):
    options = ["--alpha", "0.5", "--lam", "0.5", "--beta", "1"]
    told = found(capsys, "7.1", file, *options, "--objective", "dpo")["left_out"]
    assert told["spectrum_dpo"] == "it is about lam = 1"
    assert found(capsys, "2.2", file, *options, *inputs(top="a"))["left_out"] == {
        "vertex_multipliers": "it is about alpha = 1"
    }


def test_what_is_assumed_of_a_file_is_said_once(capsys, file, tmp_path):
    told = said(capsys, "7.1", file, *ROUNDS)
    assert told.count(f"P is that of {file}, taken as exact; `dynamics stability` weighs the counts.") == 1
    assert told.count("responses, in order: a, b, c") == 1
    assert "(not given: the rounds' fixed point)" in told
    assert "(not given: uniform)" in told
    assert "objective ipo (not given: the default)" in told
    json_of = found(capsys, "7.1", file, *ROUNDS)
    assert json_of["defaults"]["log_pi"] == "the rounds' fixed point"
    exact = tmp_path / "P.csv"
    exact.write_text("0.5,0.8\n0.2,0.5\n")
    assert "taken as exact" not in said(capsys, "7.1", str(exact), *ROUNDS)


def test_what_is_not_checked_says_how_to_check_it(capsys, file):
    told = said(capsys, "2.4", file, "--lam", "1", "--beta", "1", *inputs(top="a"))
    assert "not checked: it also needs alpha, rounds; pass --alpha and --input rounds=…." in told


def test_a_tolerance_is_named_in_words_that_parse(capsys, file):
    told = said(capsys, "7.2", file, "--alpha", "0.5", "--lam", "1", "--beta", "1")
    assert "within the bound (tolerance: the error of the fixed point is 1e-7 of the distance from it)" in told


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
        (["7.2", "FILE", "--objective", "dpo"], "7.2 is about IPO; for DPO there are 2.1, 2.2, 2.4, 7.1, 7.6, 7.16."),
        (["spectrum_dpo", "FILE", "--objective", "ipo"], "spectrum_dpo is about DPO; for IPO there are 2.1, 2.2, 2.3"),
        (
            ["mean_field_bounds", "--objective", "ipo"],
            "objective is no input of mean_field_bounds; it takes rate, time.",
        ),
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
    with pytest.raises(TypeError, match="universal_convergence has no input 'alfa'; did you mean 'alpha'"):
        ledger.check(theorems.universal_convergence, P=P, alfa=0.5, lam=1.0)
    mine = theorems.Theorem(**{field: getattr(theorems.contraction, field) for field in FIELDS} | {"name": "mine"})
    with pytest.raises(ValueError, match="mine has no trial"):
        ledger.check(mine, P=P, alpha=0.5, lam=1.0, beta=1.0)


def test_check_takes_a_name_or_a_number():
    P = dyn.preferences.cyclic(3, 0.4)
    for asked in ("7.2", "global_convergence", theorems.global_convergence):
        told = ledger.check(asked, P=P, alpha=0.5, lam=1.0, beta=1.0)
        assert told.theorem is theorems.global_convergence
        assert told.holds is True
    for asked, words in (
        ("7.1", "statement 7.1 has 3 theorems; pass one of spectrum, spectrum_dpo, uniqueness"),
        ("5.1", "statement 5.1 has no theorem to check; read docs/theory/distribution.md"),
        ("globalconvergence", "'globalconvergence' does not exist; did you mean 'global_convergence'"),
    ):
        with pytest.raises(ValueError, match=words):
            ledger.check(asked, P=P)


def test_checked_prints_the_inputs_the_bound_and_the_verdict():
    P = dyn.preferences.cyclic(3, 0.4)
    lines = str(ledger.check("7.2", P=P, alpha=0.5, lam=1.0, beta=1.0)).splitlines()
    assert lines[0] == "global_convergence at P (3 responses), alpha 0.5, lam 1, beta 1"
    assert "bound: from 0 to 0.5" in lines
    assert lines[-1].startswith("measured: 0.49")
    assert "not measured: it does not apply: not g² < 1" in str(ledger.check("7.2", P=P, alpha=0.5, lam=1.0, beta=0.1))
