"""The ledger: green for the house's theorems, red for a wrong one, and measured by the simulators that users run."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import problems
import pytest

import dynamics as dyn
from dynamics import ledger, theorems
from dynamics.ledger import _lanes, _newton
from dynamics.theorems import Claim, Theorem
from dynamics.theorems.source import log_sampler, matrix, positive

CHEAP = "divergence_on_policy"


def strict_json(text: str) -> dict:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.thorough
def test_every_theorem_of_the_house_stands():
    book = ledger.verify(50)
    assert [row.name for row in book.rows] == list(theorems.all())
    for row in book.rows:
        full = "green" if row.meaningful >= 100 else f"green ({row.meaningful} of 100)"
        assert row.status in (full, "vacuous"), (row.name, row.reasons, row.worst)
        assert row.violations == 0 or theorems.all()[row.name].strength != "tight"
        assert row.mutants
        assert all(mutation.caught for mutation in row.mutants)
        assert row.meaningful >= 50 or row.status == "vacuous"
        assert row.instances >= 50
        assert (row.outside > 0) != (row.outside_reason is not None)
    assert book.ok
    assert "at least 50 instances" in book.rule
    unshared = {"value_margins", "value_error", "nearly_orthogonal_margins"}
    assert {row.name for row in book.rows if row.drawn} == unshared
    text = book.to_markdown()
    for name in unshared:
        assert f"- **{name}**: drawn: Z = 2, l_b ≤ √(1/8), unshared tokens" in text


def test_fewer_than_a_hundred_instances_are_no_plain_green():
    row = ledger.examine(toy(), trial(lambda beta: beta), instances=3)
    assert row.status == "green (3 of 100)"
    assert ledger.examine(toy(), trial(lambda beta: beta), instances=100).status == "green"
    book = ledger.Ledger((row,), 3, 0)
    assert book.ok
    assert strict_json(book.to_json())["rows"][0]["status"] == row.status
    assert "| green (3 of 100) |" in book.to_markdown()


def test_trials_are_of_theorems_and_their_mutants_of_their_strength():
    kinds = {"tight": ledger.Tighter, "loose": ledger.Searched, "vacuous where affordable": ledger.Misread}
    for name, held in ledger.TRIALS.items():
        assert isinstance(held.mutant, kinds[theorems.all()[name].strength]), name


def wrong(name: str, factor: float) -> Theorem:
    """A theorem whose upper bound is ``factor`` times the true one."""
    theorem = theorems.all()[name]

    @functools.wraps(theorem.claim)
    def claim(**inputs):
        true = theorem.claim(**inputs)
        return dataclasses.replace(true, upper=factor * np.asarray(true.upper))

    return dataclasses.replace(theorem, claim=claim)


def test_a_wrong_theorem_is_violated_and_the_worst_instance_shows_it():
    theorem = wrong(CHEAP, 0.5)
    row = ledger.examine(theorem, ledger.TRIALS[CHEAP], instances=20)
    assert row.status == "red"
    assert row.violations > 0
    assert row.reasons[0] == f"{row.violations} violations, 0 allowed"
    worst = row.worst
    bound = theorem(**worst["inputs"])
    assert bound.slack(worst["value"]) == worst["slack"] == row.smallest_slack < -1e-6
    again = ledger.TRIALS[CHEAP].measure([worst["inputs"]])[0]
    assert again == pytest.approx(worst["value"], abs=1e-14)


def test_a_bound_that_is_not_attained_is_not_tight():
    row = ledger.examine(wrong(CHEAP, 2.0), ledger.TRIALS[CHEAP], instances=20)
    assert row.violations == 0
    assert row.status == "red"
    assert [mutation.caught for mutation in row.mutants] == [False]
    assert row.reasons == ("mutant not caught: upper side 1% stronger (none of 21 instances)",)


def toy(
    lower=lambda beta: beta, upper=lambda beta: beta, strength="tight", chance=0.0, low=1.0, most=np.inf
) -> Theorem:
    """A statement about a number that a trial makes of beta, for beta ≤ most."""

    def claim(beta: float) -> Claim:
        return Claim(lower(beta), upper(beta), {"beta is not large": beta <= most}, chance)

    about = ("toy", "[derived] a toy", "A statement.", "derived", "a number", strength)
    return Theorem(*about, claim, lambda source: {"beta": positive(source, low, min(most, 100.0))})


def trial(measure, **options) -> ledger.Trial:
    options = {"outside": "nothing is assumed"} | options
    return ledger.Trial(measure=lambda xs: [measure(x["beta"]) for x in xs], **options)


def test_a_statement_of_ones_own():
    row = ledger.examine(toy(), trial(lambda beta: beta), instances=30)
    assert (row.status, row.instances, row.meaningful, row.violations) == ("green (30 of 100)", 30, 30, 0)
    assert row.smallest_slack == row.median_slack == 0.0
    assert [m.what for m in row.mutants] == ["lower side 1% stronger", "upper side 1% stronger"]


def test_a_theorem_that_nobody_measures_is_red():
    row = ledger.examine(toy(), None, instances=10)
    assert row.status == "red"
    assert "no trial" in row.reasons[0]


def test_a_simulator_that_fails_or_raises_is_a_reason_and_no_violation():
    row = ledger.examine(toy(), trial(lambda beta: np.nan), instances=5)
    assert row.status == "red"
    assert row.reasons == ("could not be measured at 5 of 5",)
    assert (row.instances, row.unmeasured, row.violations, row.mutants, row.worst) == (0, 5, 0, (), None)
    assert strict_json(ledger.Ledger((row,), 5, 0).to_json())["rows"][0]["unmeasured"] == 5

    # Where some are measured, they alone count, and none that failed catches a mutant.
    loose = toy(upper=lambda beta: 2 * beta)
    row = ledger.examine(loose, trial(lambda beta: 1.5 * beta if beta > 5 else np.nan), instances=20)
    assert row.status == "red"
    assert row.reasons[0] == f"could not be measured at {row.unmeasured} of {row.instances + row.unmeasured}"
    assert 0 < row.unmeasured < 20
    assert row.violations == 0
    assert [m.caught for m in row.mutants] == [False, False]
    searched = trial(lambda beta: 1.5 * beta if beta > 5 else np.nan, mutant=ledger.Searched("upper"))
    assert ledger.examine(toy(upper=lambda beta: 2 * beta, strength="loose"), searched, instances=20).violations == 0

    def broken(beta: float) -> float:
        raise RuntimeError("the solver gave up")

    row = ledger.examine(toy(), trial(broken), instances=10)
    assert row.reasons == ("could not be measured: the solver gave up",)


def test_a_trial_measures_one_value_for_each_instance():
    short = ledger.Trial(measure=lambda xs: [x["beta"] for x in xs[1:]], outside="nothing is assumed")
    (reason,) = ledger.examine(toy(), short, instances=5).reasons
    assert reason == "could not be measured: the trial of toy measures 4 values at 5 instances; return one for each."
    with pytest.raises(ValueError, match="measures 0 values at 1 instances"):
        ledger.check(toy(), short, beta=2.0)


def test_a_row_prints_its_status_counts_and_mutants():
    lines = str(ledger.examine(toy(), trial(lambda beta: beta), instances=5)).splitlines()
    assert lines[0] == "toy: green (5 of 100)"
    assert lines[1] == "  5 instances, 5 meaningful, 0 violations"
    assert lines[2].startswith("  least slack 0 (tolerance: rounding")
    assert lines[3] == "  2 of 2 mutants caught"


def test_near_the_critical_product_no_tolerance_hides_a_sign():
    critical = np.sqrt(3) / 4
    held = ledger.TRIALS["onset_amplitude"]
    for distance in (1e-6, 1e-7, -1e-7, -1e-6, 1e-8, 2e-9, -2e-9):
        x = {"advantage": critical - distance, "alpha": 0.5, "lam": 1.0, "objective": "dpo"}
        found = ledger.check("onset_amplitude", **x)
        assert found.holds is not False
        assert found.value is None or np.sign(found.value) == np.sign(distance)
        bound = found.bound
        _, atol = held.tolerance(x, bound)
        assert not bound.contains(-bound.upper, atol=atol)


def test_the_search_finds_less_slack_than_the_draws_have():
    loose = toy(lambda beta: 0.5, lambda beta: np.inf, "loose", low=10.0)
    searched = trial(lambda beta: 1 + np.log(beta) ** 2, mutant=ledger.Searched("lower", generations=30, lines=4))
    row = ledger.examine(loose, searched, instances=30)
    assert row.status == "green (30 of 100)"
    # The least value is 1 at beta = 1, twice the bound; no drawn instance is below 1 + log(10)².
    assert row.mutants[0].instance["beta"] == pytest.approx(1.0, abs=0.03)
    assert row.mutants[0].what.startswith("lower side times 3")
    assert row.smallest_slack > 5


def test_a_search_that_ends_at_an_attained_bound_says_that_it_is_not_loose():
    row = ledger.examine(toy(strength="loose"), trial(lambda beta: beta, mutant=ledger.Searched("lower")), instances=5)
    assert row.status == "red"
    assert "finds no slack to remove" in row.reasons[0]


def test_searches_stay_inside_the_assumptions():
    rising = toy(lambda beta: 1.0, lambda beta: np.inf, "loose", most=20.0)
    falling = trial(lambda beta: 2 + 1 / beta, mutant=ledger.Searched("lower", generations=30, lines=4))
    row = ledger.examine(rising, falling, instances=20)
    assert 15 < row.mutants[0].instance["beta"] <= 20


def misread(mutant, second) -> ledger.Misread:
    return ledger.Misread("the sign of beta", mutant, second)


def test_a_vacuous_statement_is_held_against_a_second_derivation():
    silent = {"silent": lambda x, bound: True}
    square = toy(lambda beta: -np.inf, lambda beta: beta**2, "vacuous where affordable")
    sides = lambda sign: lambda beta: (-np.inf, np.exp(2 * sign * np.log(beta)))
    measure = lambda mutant: trial(lambda beta: 0.0, mutant=mutant, **silent)
    row = ledger.examine(square, measure(misread(sides(-1), sides(1))), instances=20)
    assert row.status == "vacuous"
    assert row.meaningful == 0
    assert row.instances == 20
    assert row.mutants[0].caught
    uncaught = ledger.examine(square, measure(misread(sides(1), sides(1))), instances=20)
    assert uncaught.status == "red"
    another = ledger.examine(square, measure(misread(sides(1), sides(-1))), instances=20)
    assert "second derivation disagrees" in another.reasons[0]


def test_only_what_declares_itself_vacuous_may_be():
    silent = {"silent": lambda x, bound: x["beta"] > 1.0}
    row = ledger.examine(toy(), trial(lambda beta: beta, **silent), instances=20)
    assert row.status == "red"
    assert 0 < row.meaningful < 20
    assert row.reasons == (f"only {row.meaningful} instances are meaningful, 20 are needed",)


def test_more_is_drawn_until_enough_instances_say_something():
    row = ledger.examine(toy(), trial(lambda beta: beta, silent=lambda x, bound: x["beta"] > 10), instances=20)
    assert row.status == f"green ({row.meaningful} of 100)"
    assert row.instances > 20
    assert row.meaningful >= 20


def test_statements_about_probabilities_may_fail_as_often_as_they_say():
    often = toy(lambda beta: 0.0, lambda beta: 1.0, chance=0.1)
    edges = {"mutant": ledger.Tighter(("upper",)), "tolerance": lambda x, bound: (0.0, 0.0)}
    rare = trial(lambda beta: 2.0 if 1.0 < beta < 1.5 else 1.0, **edges)
    row = ledger.examine(often, rare, instances=200)
    assert row.status == "green"
    assert row.violations > 0
    most = trial(lambda beta: 2.0 if beta > 3.0 else 1.0, **edges)
    assert ledger.examine(often, most, instances=200).status == "red"


def test_outside_the_assumptions_the_formula_is_tried_all_the_same():
    bounded = toy(lambda beta: 0.0, lambda beta: beta, most=20.0)
    beyond = trial(
        lambda beta: min(beta, 30.0), mutant=ledger.Tighter(("upper",)), outside=lambda rng, x: {"beta": 2 * x["beta"]}
    )
    row = ledger.examine(bounded, beyond, instances=50)
    assert 0 < row.outside < 50
    assert row.outside_hold == row.outside
    fails = dataclasses.replace(
        beyond, measure=lambda xs: [x["beta"] if x["beta"] <= 30 else 2 * x["beta"] for x in xs]
    )
    assert ledger.examine(bounded, fails, instances=50).outside_hold < row.outside


def test_the_same_seed_gives_the_same_ledger():
    texts = [strict_json(ledger.verify(5, seed, CHEAP).to_json()) for seed in (3, 3, 4)]
    for text in texts:
        del text["rows"][0]["seconds"], text["seed"], text["rule"]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_json_keeps_infinities_and_inputs_that_reproduce_the_worst_instance():
    book = strict_json(ledger.verify(5, 0, [CHEAP]).to_json())
    (row,) = book["rows"]
    assert book["ok"] is True
    assert row["name"] == CHEAP
    bound = theorems.all()[CHEAP](**row["worst"]["inputs"])
    assert bound.slack(row["worst"]["value"]) == pytest.approx(row["worst"]["slack"], abs=1e-15)
    unbounded = ledger.Ledger((ledger.examine(toy(upper=lambda b: np.inf), trial(lambda b: b), instances=2),), 2, 0)
    assert strict_json(unbounded.to_json())["rows"][0]["worst"]["upper"] == "inf"


def test_markdown_has_a_row_for_each_theorem_and_a_note_for_each_mutant():
    text = ledger.verify(5, 0, CHEAP).to_markdown()
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert {len(cells) for cells in table} == {11}
    assert table[2][0] == f"| {CHEAP}"
    assert table[2][-1] == "green (6 of 100) |"
    assert f"- **{CHEAP}**: mutants: upper side 1% stronger, caught by directed instance 0" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"only": "spectrm"}, "'spectrm' does not exist; did you mean 'spectrum'"),
        ({"only": ["spectrum", "colapse"]}, "did you mean 'collapse'"),
        ({"instances": 0}, "instances = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 10**22}, "seed = 10000000000000000000000 does not fit into 64 bits"),
    ],
)
def test_bad_requests_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ledger.verify(**arguments)


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64"):
        ledger.verify(5, 0, CHEAP)


def lanes(count: int, objective: str) -> list[dict]:
    source = theorems.source.RandomSource(np.random.default_rng(7))
    return [
        {
            "P": matrix(source, 3, ("any",)),
            "alpha": source.number(0.0, 1.0),
            "lam": source.number(0.0, 1.0),
            "beta": positive(source, 0.1, 10.0),
            "log_reference": problems.log_policy(3, n),
            "log_offline": log_sampler(source, 3),
            "objective": objective,
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(("objective", "kind"), [("ipo", dyn.IPO), ("dpo", dyn.DPO)])
def test_lanes_are_the_runs_that_iterate_gives(objective, kind):
    xs = lanes(_lanes.BLOCKS[0] + 3, objective)
    start = np.stack([problems.log_policy(3, 100 + n) for n in range(len(xs))])
    rounds = np.arange(len(xs)) % 7
    done = _lanes.run(objective, _lanes.stacked(xs), start, rounds)
    log_mu = np.stack([x["log_offline"] for x in xs])
    f = _lanes.rewards(objective, np.stack([x["P"] for x in xs]), log_mu)
    for n in (0, 1, 5, 6, len(xs) - 1):
        x = xs[n]
        loop = dyn.SelfSampling(x["P"], kind(x["beta"]), x["alpha"], x["lam"], x["log_reference"], x["log_offline"])
        sol = dyn.iterate(loop, int(rounds[n]), initial=start[n], measure=["entropy"])
        np.testing.assert_allclose(done["log_policy"][n], sol.final.log_policy, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(done["entropy"][n], sol.values["entropy"][-1], rtol=1e-10)
        np.testing.assert_allclose(f[n], kind(1.0).implicit_reward(x["P"], log_mu[n]), rtol=1e-12, atol=1e-12)


@pytest.mark.thorough
def test_newton_sees_more_than_one_fixed_point_where_there_is():
    x = problems.TWO_ATTRACTORS
    loop = dyn.SelfSampling(x["P"], dyn.DPO(x["beta"]), x["alpha"], x["lam"], x["log_reference"], x["log_offline"])
    alone = {**lanes(1, "dpo")[0], "alpha": 0.5, "lam": 1.0}
    several, one = _newton.fixed_points([{**x, "objective": "dpo"}, alone])
    assert 1 < several <= len(dyn.stability.find_fixed_points(loop))
    assert one == 1.0
