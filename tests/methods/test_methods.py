"""Every method on one matrix: what is said of each, against the library's own analysis and closed forms."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli, methods

CYCLE = np.asarray(dyn.preferences.cyclic(3, 0.4))
OMEGA = 0.4 / np.sqrt(3)
BY_NAME = {method.name: method for method in methods.METHODS}
NAMES = list(BY_NAME)


def random_matrix(K, seed):
    x = np.random.default_rng(seed).normal(0, 1.0, (K, K))
    upper = np.triu(1 / (1 + np.exp(-x)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)


@pytest.fixture(scope="module")
def on_the_cycle():
    return {row.method.name: row for row in methods.compare(CYCLE).rows}


def test_each_method_says_where_it_is_from():
    assert len(set(NAMES)) == len(NAMES) == 13
    for method in methods.METHODS:
        assert re.search(r"arXiv \d{4}\.\d{5}, 20\d\d|Yun25", method.source)
        assert method.setting_source
        assert method.process(CYCLE, np.full(3, -np.log(3))).num_responses == 3


@pytest.mark.thorough
def test_on_a_cycle_the_loops_oscillate_and_games_with_a_magnet_settle(on_the_cycle):
    loops = {"online-dpo", "iterated-dpo", "online-ipo", "iterated-ipo", "reverse-kl", "sppo"}
    for name, row in on_the_cycle.items():
        assert row.verdict == ("oscillating" if name in loops else "converged"), name
        assert (row.change == "") == (name not in loops)
        assert row.gap < 0.05  # averages of oscillating runs are close to the equilibrium too
    assert on_the_cycle["inpo"].to_nash < 1e-9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("online-dpo", 4 * OMEGA),
        ("online-ipo", OMEGA),
        ("iterated-ipo", np.hypot(0.1, OMEGA) - 0.1),
        ("iterated-dpo", np.hypot(0.1, 4 * OMEGA) - 0.1),
        ("reverse-kl", np.hypot(0.1, OMEGA) - 0.1),
    ],
)
def test_what_makes_loops_stable_is_the_closed_form_on_the_cycle(on_the_cycle, name, value):
    assert f"above {value:.3g}" in on_the_cycle[name].change


@pytest.mark.parametrize(
    ("name", "edge"),
    [("inpo", 1.79), ("mmd", 1.97), ("nash-md", 2.25), ("onpo", 2.46), ("egpo", 4.89), ("nash-mp", 6.48)],
)
def test_critical_steps_are_those_of_the_table_and_of_runs_either_side(name, edge):
    below, above = (
        methods.compare(CYCLE, [name], temperature=0.05, step=step, rounds=12_000).rows[0]
        for step in (edge * 0.97, edge * 1.03)
    )
    assert (below.verdict, above.verdict) == ("converged", "oscillating")
    assert float(re.search(r"eta below ([\d.]+)", above.change).group(1)) == pytest.approx(edge, rel=5e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("iterated-dpo", "iterated-ipo", "sppo", "comal")])
def test_radii_are_those_of_the_rounds_themselves(name):
    P = random_matrix(4, 5)
    log_ref = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(6).normal(size=4)))
    given = {"tau": {"temperature": 0.3}, "gamma": {"temperature": 0.3}, "beta": {"beta": 1.5}}
    setting = next(method.setting for method in methods.METHODS if method.name == name)
    options = {k: v for parameter in setting for k, v in given.get(parameter, {}).items()}
    row = methods.compare(P, [name], log_reference=log_ref, **options).rows[0]
    assert row.verdict == "converged"
    process = row.method.process(P, np.asarray(log_ref))
    z = log_ref
    for _ in range(5):
        z = dyn.iterate(process, 400, initial=jax.nn.log_softmax(z)).log_policy[-1]
    assert row.spectral_radius == pytest.approx(float(dyn.stability.spectral_radius(process, z)), abs=1e-6)
    np.testing.assert_allclose(np.exp(row.log_policy), np.exp(np.asarray(z)), atol=1e-6)


def test_methods_without_a_magnet_are_judged_at_the_equilibrium_if_it_is_inside():
    inside = {row.method.name: row for row in methods.compare(CYCLE, ["sppo", "comal"], temperature=0.2, step=2.0).rows}
    assert inside["sppo"].spectral_radius == pytest.approx(np.hypot(1, 2 * OMEGA))
    assert inside["comal"].spectral_radius == pytest.approx(1 / np.hypot(1, OMEGA / 0.2))
    winner = np.array([[0.5, 0.8, 0.9], [0.2, 0.5, 0.6], [0.1, 0.4, 0.5]])
    for row in methods.compare(winner, ["sppo", "comal"]).rows:
        assert row.spectral_radius is None
        assert row.verdict == "collapsed"
        assert row.gap < 1e-6


def test_a_method_that_cannot_run_says_why_and_the_others_go_on():
    certain = np.array([[0.5, 1.0, 0.7], [0.0, 0.5, 0.6], [0.3, 0.4, 0.5]])
    certain[0, 2], certain[2, 0] = 1.0, 0.0
    dpo, ipo = methods.compare(certain, ["online-dpo", "online-ipo"]).rows
    assert dpo.verdict == "failed"
    assert "no finite optimum" in dpo.reason
    assert ipo.verdict in ("converged", "collapsed")
    too_long = methods.compare(CYCLE, ["inpo"], temperature=2.0, step=1.0).rows[0]
    assert too_long.verdict == "failed"
    assert "eta tau = 2" in too_long.reason


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"methods": ["ippo"]}, "'ippo' is unknown.*inpo"),
        ({"methods": []}, "names none"),
        ({"temperature": 0.0}, "temperature = 0"),
        ({"step": -1.0}, "step = -1"),
        ({"beta": 0.0}, "beta = 0"),
        ({"rounds": 10}, "rounds = 10"),
        ({"methods": ["inpo"], "beta": 1.0}, "beta has no effect on inpo"),
        ({"methods": ["online-dpo"], "temperature": 1.0}, "temperature has no effect"),
        ({"log_reference": np.log([0.5, 0.5])}, "log_reference"),
    ],
)
def test_bad_input_is_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        methods.compare(CYCLE, **options)


class TestCommand:
    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dynamics.cli._main._prepare", lambda **_: None)
        path = tmp_path / "cycle.csv"
        path.write_text("A,B,C\n0.5,0.9,0.1\n0.1,0.5,0.9\n0.9,0.1,0.5\n")
        return path

    def test_a_table_and_a_figure(self, file, tmp_path, capsys):
        cli.main(["compare", str(file), "--method", "inpo", "sppo", "--plot", str(tmp_path / "a.png")])
        out = capsys.readouterr().out
        assert "Nash equilibrium without temperature: A 0.333, B 0.333, C 0.333" in out
        assert re.search(r"inpo +converged +0\.9292 +A 0\.333, B 0\.333, C 0\.333", out)
        assert re.search(r"sppo +oscillating", out)
        assert (tmp_path / "a.png").stat().st_size > 5000

    def test_json_is_what_the_library_finds(self, file, capsys):
        cli.main(["compare", str(file), "--method", "mmd", "--step", "3", "--temperature", "0.05", "--json"])
        (matrix,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["matrices"]
        row = methods.compare(CYCLE, ["mmd"], step=3.0, temperature=0.05).rows[0].to_dict()
        (found,) = matrix["methods"]
        assert found["setting"] == {"eta": 3.0, "tau": 0.05}
        assert found["change"] == row["change"] != ""
        assert found["spectral_radius"] == pytest.approx(row["spectral_radius"], rel=1e-9)

    def test_methods_are_listed_with_sources(self, capsys, file):
        cli.main(["methods"])
        out = capsys.readouterr().out
        assert all(name in out for name in NAMES)
        assert "arXiv 2405.00675" in out
        cli.main(["methods", "--json"])
        assert [m["name"] for m in json.loads(capsys.readouterr().out)["methods"]] == NAMES

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--method", "ippo"], "'ippo' is unknown"),
            (["--temperature", "0"], "temperature = 0"),
            (["--plot", "a.txt"], "suffix '.txt'"),
            (["--index", "3"], "--index 3 is not in"),
        ],
    )
    def test_bad_input_is_one_sentence(self, file, capsys, options, words):
        with pytest.raises(SystemExit) as stop:
            cli.main(["compare", str(file), *options])
        told = capsys.readouterr().err
        assert stop.value.code == 2
        assert words in told
        assert "Traceback" not in told


@pytest.mark.thorough
def test_a_real_election_with_a_cycle(shared_data):
    votes = dyn.preferences.read(shared_data / "preferences" / "ers.npz")
    P = np.asarray(votes[19], np.float64)
    found = {row.method.name: row for row in methods.compare(P, ["iterated-ipo", "inpo", "comal"]).rows}
    assert found["inpo"].verdict == "converged"
    assert found["inpo"].to_nash < 1e-6
    assert found["comal"].gap < found["inpo"].gap


def test_votes_are_said_to_be_an_estimate_and_certain_wins_stop_dpo_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dynamics.cli._main._prepare", lambda **_: None)
    (tmp_path / "votes.csv").write_text("winner,loser\nA,B\nB,C\nC,A\nA,B\n")
    cli.main(["compare", str(tmp_path / "votes.csv"), "--method", "online-dpo", "inpo"])
    out = capsys.readouterr().out
    assert "the point estimate from 4 comparisons" in out
    assert re.search(r"online-dpo +failed", out)
    assert "throw" not in out
    assert re.search(r"inpo +converged", out)


def test_entries_of_zero_and_one_do_not_stop_the_others():
    """DPO's curve is not known there, which is said in its row only."""
    sure = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
    found = {row.method.name: row for row in methods.compare(sure, ["online-dpo", "inpo"], beta=5.0).rows}
    assert found["online-dpo"].verdict == "converged"
    assert found["online-dpo"].spectral_radius is None
    assert found["inpo"].verdict == "converged"
    ahead = methods.compare(CYCLE, ["inpo"], step=50.0).rows[0]
    assert "proximal" not in ahead.reason


def test_small_temperatures_are_solved_or_said_not_to_be():
    """A matrix whose equilibrium Newton's method alone misses at tau = 1e-3."""
    A = np.array([[0, 0.114, -0.176, 0.217], [0, 0, 0.276, 0.331], [0, 0, 0, -0.068], [0, 0, 0, 0]])
    P = 0.5 + A - A.T
    inpo, prox = methods.compare(P, ["inpo", "nash-mp"], temperature=1e-3, rounds=20_000).rows
    assert prox.verdict == "converged"
    assert prox.to_nash < 1e-3
    assert inpo.spectral_radius > 1
    assert "eta below" in inpo.change


def test_steps_at_and_beyond_one_over_tau():
    at_edge = methods.compare(CYCLE, ["nash-md"], temperature=1.0, rounds=200).rows[0]
    assert at_edge.verdict == "converged"
    assert at_edge.spectral_radius == pytest.approx(0.0, abs=1e-12)
    for row in methods.compare(CYCLE, ["onpo", "egpo"], temperature=5.0, rounds=200).rows:
        edge = float(re.search(r"eta below ([\d.e-]+)", row.change).group(1))
        stable, unstable = (
            methods.compare(CYCLE, [row.method.name], temperature=5.0, step=share * edge, rounds=200).rows[0]
            for share in (0.98, 1.02)
        )
        assert stable.spectral_radius < 1 < unstable.spectral_radius
    (tiny,) = methods.compare(CYCLE, ["inpo"], temperature=1e-6, rounds=200).rows
    assert float(re.search(r"eta below ([\d.e-]+)", tiny.change).group(1)) == pytest.approx(3.75e-5, rel=1e-3)


def _random_with_a_cycle(seed):
    rng = np.random.default_rng(seed)
    while True:
        upper = np.triu(rng.uniform(0.05, 0.95, (3, 3)), 1)
        P = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(3)
        if (P[0, 1] - 0.5) * (P[1, 2] - 0.5) > 0 and (P[0, 1] - 0.5) * (P[2, 0] - 0.5) > 0:
            return P


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["inpo", "mmd", "onpo", "egpo", "nash-mp"])
def test_edges_on_random_matrices_are_those_of_runs_either_side(name):
    tau, found = 0.05, 0
    for seed in range(6):
        P = _random_with_a_cycle(seed)
        (row,) = methods.compare(P, [name], temperature=tau, step=19.0, rounds=100).rows
        if not row.change:
            continue
        edge, found = float(row.change.removeprefix("eta below ")), found + 1
        rest = dyn.games.nash(P, tau).log_policy
        start = jax.nn.log_softmax(jnp.asarray(rest + 1e-6 * np.cos(1.0 + np.arange(3))))
        for factor, grows in ((0.97, False), (1.03, True)):
            process = BY_NAME[name].at(tau=tau, eta=factor * edge).process(P, np.full(3, -np.log(3)))
            run = dyn.iterate(process, 1500, initial=start)
            away = np.abs(np.exp(np.asarray(run.log_policy)) - np.exp(rest)).max(axis=1)
            assert (away[1000:].max() > 10 * away[0]) == grows, (seed, factor, edge, away[0], away[1000:].max())
    assert found >= 2


class TestManyMatrices:
    def test_a_row_for_each_method_counts_matrices(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("dynamics.cli._main._prepare", lambda **_: None)
        stack = np.stack([CYCLE, CYCLE.T, CYCLE, np.asarray(dyn.preferences.bradley_terry([1.0, 0.0, -1.0]))])
        np.savez(tmp_path / "four.npz", P=stack)
        cli.main(["compare", str(tmp_path / "four.npz"), "--method", "inpo", "sppo"])
        out = capsys.readouterr().out
        assert "4 matrices, K = 3" in out
        assert "3 of 4 hold more than one response" in out
        assert re.search(r"inpo +4 +0 of 4", out)
        assert re.search(r"sppo +1 +3 +3 of 3", out)
        assert max(map(len, out.splitlines()[-5:])) <= 100

    def test_an_option_given_twice_is_refused(self, capsys):
        with pytest.raises(SystemExit) as stop:
            cli.main(["compare", "x.csv", "--method", "inpo", "--method", "sppo"])
        assert stop.value.code == 2
        assert "--method is given twice" in capsys.readouterr().err
