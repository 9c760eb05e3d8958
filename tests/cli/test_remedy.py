"""The last line of `dynamics stability`: what to do, by the counts where there are any, and what is enough against collapse."""

import math

import jax
import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli
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
    assert radius(0.5, lam, 0.11) < 1 < radius(0.5, lam + 0.25, 0.11)


@pytest.mark.filterwarnings("ignore:the branch of fixed points was followed only to")
def test_what_is_stable_needs_nothing_and_alpha_1_needs_a_smaller_alpha(capsys, tmp_path):
    P = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
    np.savez(tmp_path / "P.npz", P=P)
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 0.5, "--lam", 1, "--beta", 2)
    assert rows["Do"].startswith("nothing for stability")
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 1, "--lam", 1, "--beta", 2)
    assert rows["Do"].startswith("alpha ≤ 0.75")


def test_a_collapse_gets_a_beta_that_keeps_the_entropy(capsys, tmp_path):
    P = np.array([[0.5, 0.9, 0.9], [0.1, 0.5, 0.8], [0.1, 0.2, 0.5]])
    np.savez(tmp_path / "P.npz", P=P)
    rows, _ = card(capsys, tmp_path / "P.npz", "--alpha", 0.9, "--lam", 1, "--beta", 0.1)
    assert rows["verdict"] == "collapsed"
    beta = float(rows["Do"].split("for ever, beta ≥ ")[1].split()[0])
    entropy = lambda beta: float(
        dyn.diagnostics.entropy(dyn.iterate(dyn.SelfSampling(P, dyn.IPO(beta), 0.9, 1.0), 2000).log_policy[-1])
    )
    assert entropy(beta) >= 0.5 * math.log(3)
    assert entropy(0.1 * beta) < 0.5 * math.log(3)
