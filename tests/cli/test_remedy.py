"""The last line of `dynamics stability`: what to do, by the counts where there are any, and what is enough against collapse."""

import math

import jax
import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli
from dynamics.cli._draws import for_remedy
from dynamics.cli._remedy import Remedy, remedy
from dynamics.stability import safe_beta, spectral_radii

CYCLE = "winner,loser,count\na,b,180\nb,a,120\nb,c,180\nc,b,120\nc,a,180\na,c,120\n"


def card(capsys, *command):
    cli.main(["stability", *map(str, command), "--rounds", "300"])
    out = capsys.readouterr().out
    last = out.strip().splitlines()
    rows = [line.split("  ", 1) for line in out.splitlines() if not line.startswith("  ")]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}, [line.split("  ", 1)[0] for line in last]


@pytest.fixture
def votes(tmp_path):
    file = tmp_path / "votes.csv"
    file.write_text(CYCLE)
    return file


@pytest.mark.thorough
def test_with_counts_the_posterior_is_the_headline_and_the_remedy_is_that_of_safe_beta(capsys, votes):
    rows, labels = card(capsys, votes, "--alpha", 0.5, "--lam", 1, "--beta", 0.05)
    assert labels[-1] == "Do"
    assert "posterior probability" in rows["verdict"]
    assert "suggestion" not in rows  # which would be of the observed rates alone, and smaller
    printed = float(rows["Do"].split("beta ≥ ")[1].split()[0])
    wins = dyn.preferences.read(votes).wins(0)
    wanted = safe_beta(wins, dyn.IPO, [0.0, 0.125, 0.25, 0.375, 0.5], [1.0], key=jax.random.key(0), draws=300)
    limit = float(wanted.beta[-1, 0])
    assert limit <= printed <= 1.01 * limit
    assert printed > 1 / 15  # at which the observed rates alone would lose stability


@pytest.mark.thorough
def test_without_counts_each_change_alone_is_enough(capsys, tmp_path):
    P = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    np.savez(tmp_path / "P.npz", P=P)
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 0.5, "--lam", 1, "--beta", 0.11)
    told = rows["Do"]
    assert told.endswith("if P is exactly that of the file")
    beta = float(told.split("beta ≥ ")[1].split()[0])
    lam = float(told.split("lam ≤ ")[1].split(")")[0].split(",")[0])
    radius = lambda alpha, lam, beta: float(spectral_radii(P[None], dyn.IPO(beta), alpha, lam).radius[0])
    assert radius(0.5, 1.0, 0.11) > 1
    assert radius(0.5, 1.0, beta) < 1 < radius(0.5, 1.0, 0.98 * beta)
    assert radius(0.5, lam, 0.11) < 1 < radius(0.5, lam + 0.01, 0.11)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:the branch of fixed points was followed only to")
def test_what_is_stable_needs_nothing_and_alpha_1_needs_a_smaller_alpha(capsys, tmp_path):
    P = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    np.savez(tmp_path / "P.npz", P=P)
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 0.5, "--lam", 1, "--beta", 2)
    assert rows["Do"].startswith("nothing for stability")
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 1, "--lam", 1, "--beta", 2)
    alpha = float(rows["Do"].removeprefix("alpha ≤ ").split(";")[0])
    radius = lambda alpha: float(spectral_radii(P[None], dyn.IPO(2.0), alpha, 1.0).radius[0])
    assert radius(alpha) < 1
    assert alpha == 0.99


@pytest.mark.thorough
def test_a_collapse_gets_a_beta_that_keeps_the_entropy(capsys, tmp_path):
    P = np.array([[0.5, 0.9, 0.9], [0.1, 0.5, 0.8], [0.1, 0.2, 0.5]])
    np.savez(tmp_path / "P.npz", P=P)
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 0.9, "--lam", 1, "--beta", 0.1)
    assert rows["verdict"] == "collapsed"
    assert "for ever; proven: [derived] statement 2.4" in rows["Do"]
    beta = float(rows["Do"].split("beta ≥ ")[1].split()[0])
    entropy = lambda beta: float(
        dyn.diagnostics.entropy(dyn.iterate(dyn.SelfSampling(P, dyn.IPO(beta), 0.9, 1.0), 2000).log_policy[-1])
    )
    assert entropy(beta) >= 0.5 * math.log(3)
    assert entropy(0.1 * beta) < 0.5 * math.log(3)


UNEVEN = "winner,loser,count\na,b,70\nb,a,30\nb,c,70\nc,b,30\nc,a,65\na,c,35\n"
ORDER = "winner,loser,count\na,b,90\nb,a,10\nb,c,90\nc,b,10\na,c,95\nc,a,5\n"


def told(folder, text, objective, alpha, lam, beta, *, collapsed=False):
    (folder / "votes.csv").write_text(text)
    read = dyn.preferences.read(folder / "votes.csv")
    drawn = for_remedy(read, 0)
    P = np.asarray(read[0], np.float64)
    return remedy(P, drawn, objective, alpha, lam, beta, collapsed=collapsed), P, drawn


@pytest.mark.thorough
def test_lam_is_the_largest_of_two_digits_from_wherever_one_starts(tmp_path):
    found = [told(tmp_path, UNEVEN, "dpo", 0.5, lam, 0.1)[0] for lam in (1.0, 0.25)]
    assert found[0].lam == found[1].lam == 0.17
    _, _, drawn = told(tmp_path, UNEVEN, "dpo", 0.5, 0.25, 0.1)
    share = lambda lam: min(
        float((dyn.oracle.follow(draws, "dpo", [0.5], lam, [0.1]).crossing[:, 0] < 0.1).mean()) for draws in drawn
    )
    assert share(0.17) >= 0.95 > share(0.18)


def test_where_only_0_is_enough_it_says_so():
    assert str(Remedy(None, 0.5, 0.0, 0.0, False)).startswith("beta ≥ 0.5 (or lam = 0, or alpha = 0); rounds")


def test_a_pair_is_named_where_no_number_alone_is_enough(tmp_path):
    found, _, drawn = told(tmp_path, UNEVEN, "dpo", 1.0, 1.0, 0.1)
    assert (found.alpha, found.lam, found.beta) == (None, None, None)
    assert str(found).startswith("alpha ≤ 0.5 with beta ≥ 0.607; rounds are then stable")
    alphas = [0.0, 0.3, 0.5]
    crossing = dyn.oracle.follow(drawn[0], "dpo", alphas, 1.0, [0.607] * 3).crossing
    assert ((crossing < 0.607).mean(axis=0) >= 0.95).all()


@pytest.mark.thorough
def test_a_collapse_of_dpo_gets_a_simulated_beta(tmp_path):
    found, P, _ = told(tmp_path, ORDER, "dpo", 0.9, 1.0, 0.1, collapsed=True)
    beta = found.beta_entropy
    entropy = lambda beta: float(
        dyn.diagnostics.entropy(dyn.iterate(dyn.SelfSampling(P, dyn.DPO(beta), 0.9, 1.0), 500).log_policy[-1])
    )
    assert entropy(beta) >= found.entropy > entropy(0.95 * beta)
    assert "(simulated, 88 rounds on the P of the file). For stability nothing: rounds are stable" in str(found)
    # The level that was found, not the one that was asked.
    assert found.stable.value == 1.0
    assert "posterior probability 1 (0.988–1), and with 0.95 at every beta ≥ 0.001" in str(found)


@pytest.mark.parametrize(("objective", "basis"), [("ipo", "proven"), ("dpo", "simulated")])
def test_at_alpha_1_a_collapse_gets_a_smaller_alpha_with_its_beta(tmp_path, objective, basis):
    found, P, _ = told(tmp_path, ORDER, objective, 1.0, 1.0, 0.1, collapsed=True)
    assert found.alpha_entropy == 0.5
    assert basis in found.basis_entropy
    for alpha in (0.2, 0.5):
        loop = dyn.oracle.Rounds(P[None], objective, alpha, 1.0, found.beta_entropy)
        z = dyn.oracle.run(loop, np.zeros((1, 3)), 200)[-1, 0]
        policy = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        assert -(policy * np.log(policy)).sum() >= found.entropy
