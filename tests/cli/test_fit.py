"""``dynamics fit`` against SciPy, the definitions, and the library; what is refused, and in which words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.experimental.compilation_cache import compilation_cache

import dynamics as dyn
from dynamics import cli

WINS = np.array([[0, 30, 45], [20, 0, 35], [5, 15, 0]], float)
GAMMA = 0.5


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The entry point's compilation cache, in a folder of the test; the process gets its settings back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    saved = {name: jax.config.values[name] for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for name, value in saved.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def write(path, wins, names):
    rows = [
        f"{a},{b},{wins[i][j]:g}" for i, a in enumerate(names) for j, b in enumerate(names) if i != j and wins[i][j]
    ]
    path.write_text("\n".join(["winner,loser,count", *rows]), encoding="utf-8")
    return path


@pytest.fixture
def votes(tmp_path):
    return write(tmp_path / "votes.csv", WINS, "abc")


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "prior.csv"
    path.write_text("response,probability\nb,0.5\na,0.2\nc,0.3\n")
    return path


@pytest.fixture
def several(tmp_path):
    """Three prompts of different sizes; in the second, response x never lost."""
    path = tmp_path / "several.npz"
    tables = [WINS, np.array([[0, 4.0], [0, 0]]), np.array([[0, 12.0], [8, 0]])]
    arrays = {}
    for m, (wins, names) in enumerate(zip(tables, ("abc", "xy", "uv"), strict=True)):
        met = wins + wins.T
        arrays[f"N_{m}"] = met
        arrays[f"P_{m}"] = np.where(met > 0, wins / np.where(met > 0, met, 1), 0.5)
        arrays[f"names_{m}"] = np.array(list(names))
    np.savez(path, **arrays)
    return path


def told(capsys, *args):
    cli.main([str(a) for a in ("fit", *args, "--json")])
    return json.loads(capsys.readouterr().out)


def said(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in ("fit", *args)])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("dynamics: ")
    assert err.count("\n") == 1
    return err


def likeliest(wins, gamma):
    """The maximum-likelihood policy by SciPy, with the loss written out."""

    def loss(z):
        gaps = z[:, None] - z[None, :]
        return np.sum(wins * np.logaddexp(0.0, -gaps)), _slope(wins, gaps)

    z = scipy.optimize.minimize(loss, np.zeros(len(wins)), jac=True, method="BFGS", options={"gtol": 1e-11}).x
    return z / gamma - np.logaddexp.reduce(z / gamma)


def _slope(wins, gaps):
    pull = wins / (1 + np.exp(gaps))
    return pull.sum(0) - pull.sum(1)


def information(log_policy, gamma, met):
    p = 1 / (1 + np.exp(-gamma * (log_policy[:, None] - log_policy[None, :])))
    c = met * p * (1 - p) * (1 - np.eye(len(p)))
    return np.diag(c.sum(1)) - c


class TestNumbers:
    def test_policy_and_its_deviation_are_those_of_maximum_likelihood(self, capsys, votes):
        (row,) = told(capsys, votes, "--gamma", GAMMA)["matrices"]
        logs = likeliest(WINS, GAMMA)
        np.testing.assert_allclose(row["log_policy"], logs, atol=1e-8)
        np.testing.assert_allclose(row["policy"], np.exp(logs), rtol=1e-8)
        pi = np.exp(logs)
        A = np.eye(3) - pi[None, :]
        cover = A @ np.linalg.pinv(information(logs, GAMMA, WINS + WINS.T)) @ A.T / GAMMA**2
        np.testing.assert_allclose(row["log_policy_deviation"], np.sqrt(np.diag(cover)), rtol=1e-6)
        assert row["names"] == list("abc")
        assert row["comparisons"] == 150

    def test_certificate_and_expected_errors(self, capsys, votes):
        (row,) = told(capsys, votes, "--gamma", GAMMA, "--delta", 0.1, "--scale", 2)["matrices"]
        bound = dyn.certify(WINS, gamma=GAMMA, delta=0.1, scale=2.0)
        assert row["certificate"]["bound"] == pytest.approx(bound.bound, rel=1e-9)
        assert row["certificate"]["probability"] == pytest.approx(0.9)
        logs = np.array(row["log_policy"])
        pi = np.exp(logs)
        L = information(logs, GAMMA, (WINS + WINS.T) / 150)
        V = np.trace((np.diag(pi) - np.outer(pi, pi)) @ np.linalg.pinv(L)) / (2 * GAMMA**2)
        assert row["V"] == pytest.approx(V, rel=1e-9)
        assert [e["n"] for e in row["expected_error"]] == [150, 300, 1500]
        np.testing.assert_allclose(
            [e["mean"] for e in row["expected_error"]], V / np.array([150, 300, 1500]), rtol=1e-9
        )
        rng = np.random.default_rng(0)
        eigen = np.linalg.eigvals(np.linalg.pinv(L) @ (np.diag(pi) - np.outer(pi, pi))).real
        draws = (np.sort(eigen)[1:] * rng.chisquare(1, (200_000, 2))).sum(1) / (2 * GAMMA**2 * 150)
        assert row["expected_error"][0]["quantile"] == pytest.approx(np.quantile(draws, 0.9), rel=0.02)

    def test_next_pairs_lower_V_to_what_is_said_and_are_worth_their_slope(self, capsys, votes):
        (row,) = told(capsys, votes, "--gamma", GAMMA)["matrices"]
        index = {name: k for k, name in enumerate("abc")}
        logs, met = np.array(row["log_policy"]), WINS + WINS.T
        sigma = np.diag(np.exp(logs)) - np.outer(np.exp(logs), np.exp(logs))
        V = lambda q: np.trace(sigma @ np.linalg.pinv(information(logs, GAMMA, q))) / (2 * GAMMA**2)
        best = np.zeros((3, 3))
        for pair in row["next_pairs"]:
            a, b = index[pair["first"]], index[pair["second"]]
            best[a, b] = best[b, a] = pair["share"]
            assert pair["share_now"] == pytest.approx(met[a, b] / 150)
            step = np.zeros((3, 3))
            step[a, b] = step[b, a] = 1e-6
            slope = (V(met / 150) - V(met / 150 + step)) / 1e-6
            assert pair["worth"] == pytest.approx(slope / row["V"], rel=1e-4)
        assert best.sum() == pytest.approx(2, rel=1e-3)
        assert V(best) == pytest.approx(row["best_V"], rel=1e-3)
        assert row["V_ratio"] == pytest.approx(row["best_V"] / row["V"])
        assert row["V_ratio"] < 1
        assert [p["worth"] for p in row["next_pairs"]] == sorted((p["worth"] for p in row["next_pairs"]), reverse=True)

    @pytest.mark.thorough
    @pytest.mark.parametrize("method", ["pmle", "reverse-kl", "distillation", "rlhf", "dpo"])
    def test_the_other_methods_are_the_library_s_with_the_prior_by_name(self, capsys, votes, prior, method):
        found = told(capsys, votes, "--gamma", GAMMA, "--method", method, "--beta", 0.7, "--prior", prior)
        (row,) = found["matrices"]
        objective = {
            "pmle": dyn.PMLE(GAMMA, 0.7),
            "reverse-kl": dyn.ReverseKL(GAMMA, 0.7),
            "distillation": dyn.PreferenceDistillation(GAMMA, 0.7),
            "rlhf": dyn.RLHF(0.7),
            "dpo": dyn.DPO(0.7),
        }[method]
        log_ref = np.log([0.2, 0.5, 0.3])
        np.testing.assert_allclose(
            row["log_policy"], dyn.fit(objective, WINS, log_reference=log_ref).log_policy, atol=1e-9
        )
        assert row["certificate"] is None
        assert row["expected_error"] == []
        assert row["certificate_missing"]
        assert bool(row["next_pairs"]) == (method not in ("rlhf", "dpo"))
        assert (found["method"], found["gamma_is"]) == (method, "assumed")

    def test_closed_form_of_reverse_kl_with_a_log_prior(self, capsys, votes, tmp_path):
        path = tmp_path / "log.csv"
        path.write_text("prompt,response,log_probability\n0,a,-7\n0,b,-6\n0,c,-5.5\n")
        (row,) = told(capsys, votes, "--gamma", 1, "--method", "reverse-kl", "--beta", 3, "--prior", path)["matrices"]
        z = (3 * np.array([-7, -6, -5.5]) + likeliest(WINS, 1.0)) / 4
        np.testing.assert_allclose(row["log_policy"], z - np.logaddexp.reduce(z), atol=1e-8)

    def test_prompts_share_the_probability_to_fail(self, capsys, several):
        rows = told(capsys, several, "--gamma", GAMMA)["matrices"]
        assert [row["error"] is None for row in rows] == [True, False, True]
        assert "x never lost to y" in rows[1]["error"]
        one = dyn.certify(WINS, gamma=GAMMA, delta=0.05 / 3, scale=1.0).bound
        assert rows[0]["certificate"]["bound"] == pytest.approx(one, rel=1e-9)
        (alone,) = told(capsys, several, "--gamma", GAMMA, "--index", 0)["matrices"]
        assert alone["certificate"]["bound"] < one

    def test_pairs_that_were_never_compared_need_not_be(self, capsys, tmp_path):
        wins = np.array([[0, 6, 0], [4, 0, 7], [0, 3, 0]], float)
        (row,) = told(capsys, write(tmp_path / "chain.csv", wins, "abc"), "--gamma", 1)["matrices"]
        np.testing.assert_allclose(np.diff(row["log_policy"]), [np.log(4 / 6), np.log(3 / 7)], atol=1e-9)

    def test_ties_are_dropped_and_counted_and_orders_get_no_certificate(self, capsys, tmp_path):
        path = tmp_path / "votes.toc"
        path.write_text("2\n1,Ann\n2,Bob\n10,10,3\n4,1,2\n2,2,1\n4,{1,2}\n")
        (row,) = told(capsys, path, "--gamma", 1)["matrices"]
        assert (row["comparisons"], row["ties_dropped"]) == (6, 4)
        np.testing.assert_allclose(row["policy"], [2 / 3, 1 / 3], atol=1e-9)
        assert row["certificate"]["bound"] > 0  # one comparison from each voter
        path = tmp_path / "orders.soc"
        path.write_text("3\n1,a\n2,b\n3,c\n6,6,3\n3,1,2,3\n2,3,1,2\n1,2,3,1\n")
        (row,) = told(capsys, path, "--gamma", 1)["matrices"]
        assert row["certificate"] is None
        assert "18 come from 6 voters" in row["certificate_missing"]

    def test_ties_of_unknown_number_leave_no_certificate(self, capsys, tmp_path):
        (row,) = told(capsys, write(tmp_path / "half.csv", [[0, 3.5], [1.5, 0]], "ab"), "--gamma", 1)["matrices"]
        assert row["certificate"] is None
        assert "whole" in row["certificate_missing"]

    @pytest.mark.thorough
    def test_a_real_election_by_scipy(self, capsys, shared_data):
        file = shared_data / "preflib" / "00002-00000001.soi"
        (row,) = told(capsys, file, "--gamma", 0.8)["matrices"]
        wins = dyn.preferences.read(file).wins(0)
        np.testing.assert_allclose(row["log_policy"], likeliest(wins, 0.8), atol=1e-6)
        assert row["comparisons"] == wins.sum()


DOCS = Path(__file__).resolve().parents[2] / "docs" / "distribution.md"


class TestWords:
    def test_the_page_prints_what_the_command_does(self, capsys, tmp_path):
        page = DOCS.read_text()
        (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
        (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
        (tmp_path / "votes.csv").write_text(table)
        cli.main(["fit", str(tmp_path / "votes.csv"), "--gamma", "0.5"])
        assert capsys.readouterr().out == shown

    def test_a_card_says_what_is_assumed_proven_and_plugged_in(self, capsys, votes, tmp_path):
        picture = tmp_path / "fit.png"
        cli.main(["fit", str(votes), "--gamma", "0.5", "--plot", str(picture)])
        out = capsys.readouterr().out
        for words in (
            "gamma is an assumption, not learned",
            "[derived, 7.12; proven]",
            "plug-in at pihat, not a bound",
        ):
            assert words in out
        bound = dyn.certify(WINS, gamma=GAMMA, delta=0.05, scale=1.0).bound
        assert f"≤ {bound:.4g} nats with probability 0.95" in out
        assert "says nothing" in out  # 150 comparisons, and more than -log min pihat
        assert [line.split()[0] for line in out.splitlines()[5:8]] == ["a", "b", "c"]
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_a_table_of_prompts(self, capsys, several):
        cli.main(["fit", str(several), "--gamma", "0.5"])
        out = capsys.readouterr().out
        assert "1 of 3 prompts have no policy" in out
        assert "of all prompts at once" in out
        assert "none: x never lost to y" in " ".join(out.split())

    def test_what_has_no_finite_fit_is_refused_by_name(self, capsys, tmp_path):
        split = np.array([[0, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 5], [0, 0, 4, 0]], float)
        err = said(capsys, write(tmp_path / "split.csv", split, ["a", "b", "c", "d"]), "--gamma", 1)
        assert "a, b and c, d were never compared" in err
        beaten = np.array([[0, 3, 2], [1, 0, 0], [0, 0, 0]], float)
        assert "a, b never lost to c" in said(capsys, write(tmp_path / "beaten.csv", beaten, "abc"), "--gamma", 1)
        np.savez(tmp_path / "none.npz", P=np.full((2, 2), 0.5), N=np.zeros((2, 2)))
        assert "n = 0" in said(capsys, tmp_path / "none.npz", "--gamma", 1)
        np.savez(tmp_path / "exact.npz", P=np.full((2, 2), 0.5))
        assert "no counts" in said(capsys, tmp_path / "exact.npz", "--gamma", 1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--gamma", "0"), "gamma = 0"),
            (("--gamma", "nan"), "gamma = nan"),
            ((), "--gamma"),
            (("--gamma", "1", "--delta", "1"), "delta = 1"),
            (("--gamma", "1", "--delta", "0"), "delta = 0"),
            (("--gamma", "1", "--scale", "-1"), "scale = -1"),
            (("--gamma", "1", "--beta", "-1"), "beta = -1"),
            (("--gamma", "1", "--beta", "1"), "without --prior"),
            (("--gamma", "1", "--prior", "uniform"), "without --beta"),
            (("--gamma", "1", "--method", "rlhf"), "rlhf at beta = 0"),
            (("--gamma", "1", "--beta", "1", "--prior", "nowhere.csv"), "cannot be read"),
            (("--gamma", "1", "--index", "3"), "--index 3"),
        ],
    )
    def test_bad_options(self, capsys, votes, options, words):
        assert words in said(capsys, votes, *options)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a,b\n", "its header"),
            ("", "its header"),
            ("response,probability\na,0.5\nb,0.5\n", "does not name 'c'"),
            ("response,probability\na,0.5\nb,0.25\nc,0.125\nd,0.125\n", "names 'd'"),
            ("response,probability\na,0.5\nb,0.25\nc,0.1\n", "sum to 0.85"),
            ("response,probability\na,0.5\nb,0.5\nc,0\n", "'0' is not"),
            ("response,probability\na,0.5\na,0.5\nc,0.1\n", "a second time"),
            ("response,probability\na,0.5,1\n", "3 cells"),
            ("prompt,response,probability\nx,a,0.5\n", "number of the matrix"),
        ],
    )
    def test_bad_priors(self, capsys, votes, tmp_path, text, words):
        path = tmp_path / "bad.csv"
        path.write_text(text)
        assert words in said(capsys, votes, "--gamma", 1, "--beta", 1, "--prior", path)


def test_ties_of_a_set_are_kept_sliced_and_checked():
    P, N, T = np.full((2, 2), 0.5), np.array([[0, 3], [3, 0]]), np.array([[0, 1], [1, 0]])
    found = dyn.preferences.PreferenceSet([P, P], counts=[N, N], ties=[T, None])
    np.testing.assert_array_equal(found[:1].ties[0], T)
    np.testing.assert_array_equal(found.comparisons(0, drop_ties=True).wins, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(found.comparisons(0).wins, [[0, 1.5], [1.5, 0]])
    with pytest.raises(ValueError, match="not whole"):
        found.comparisons(1, drop_ties=True)
    with pytest.raises(ValueError, match="above counts"):
        dyn.preferences.PreferenceSet([P], counts=[N], ties=[4 * T])
    with pytest.raises(ValueError, match="without counts"):
        dyn.preferences.PreferenceSet([P], ties=[T])


def test_the_figure_refuses_what_does_not_fit():
    logs = jnp.log(jnp.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="pass log pihat of one prompt"):
        dyn.plot.fitted(logs[None])
    with pytest.raises(ValueError, match="deviation has shape"):
        dyn.plot.fitted(logs, deviation=[0.1])
    with pytest.raises(ValueError, match="names has 3"):
        dyn.plot.fitted(logs, names="abc")
