"""The fits of the experiment on restricted classes against the library's, and its choices from lists by brute force."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import dynamics as dyn
from experiments import misspecified, restricted
from experiments.restricted._lists import choose

K, GAMMA = 5, 0.8


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(K, 2))
    log_target = phi @ np.array([0.7, -0.5])
    log_target -= np.logaddexp.reduce(log_target)
    log_mu = np.log(rng.dirichlet(5 * np.ones(K)))
    model = dyn.PreferenceModel(log_target, GAMMA, log_sampler=log_mu)
    return phi, log_target, log_mu, np.asarray(model.sample(800, key=jax.random.key(0), data_sets=2).wins)


@pytest.mark.thorough
def test_fits_within_features_are_those_of_fit(problem):
    phi, log_target, _, wins = problem
    found = restricted.fitted_policies(wins, phi, GAMMA, log_target)
    pi = np.exp(log_target)
    objectives = (
        dyn.PMLE(GAMMA, 0.0),
        dyn.PreferenceDistillation(GAMMA, 0.0, pairs=np.ones((K, K))),
        dyn.PreferenceDistillation(GAMMA, 0.0, pairs=np.outer(pi, pi)),
        dyn.ReverseKL(GAMMA, 0.0),
    )
    flat = np.full(K, -np.log(K))
    for logs, objective in zip(found, objectives, strict=True):
        data = wins[0] * (1 - np.eye(K))
        fitted = dyn.fit(objective, data, log_reference=flat, policy=dyn.LogLinear(phi))
        np.testing.assert_allclose(logs[0], fitted.log_policy, atol=1e-6)


def test_an_infinite_reward_is_nan(problem):
    phi, log_target, _, wins = problem
    wins = wins.copy()
    wins[1, 1:, 0] = 0.0
    found = restricted.fitted_policies(wins, phi, GAMMA, log_target)
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


def test_constants_are_those_of_small_noise(problem):
    """Covariances of fits to expected counts that are moved by small noise of the covariance of a tabular fit."""
    phi, log_target, log_mu, _ = problem
    V = restricted.predicted_constants(log_target, phi, GAMMA, log_mu)
    model = dyn.PreferenceModel(log_target, GAMMA, log_sampler=log_mu)
    n, D = 4e6, 300
    wins = np.asarray(model.sample(int(n), key=jax.random.key(1), data_sets=D).wins)
    logs = restricted.fitted_policies(wins, phi, GAMMA, log_target)
    errors = np.sum(np.exp(log_target) * (log_target - logs), axis=-1) * n
    side = errors.std(1, ddof=1) / np.sqrt(D)
    assert (np.abs(errors.mean(1) - V) < 4 * side).all()
    assert V[1:].min() > V[0]


def test_choices_from_lists_by_their_objectives():
    rng = np.random.default_rng(0)
    policies = np.log(rng.dirichlet(np.ones(K), 7))
    rewards = rng.normal(size=(3, K))
    mu = rng.dirichlet(np.ones(K))
    wins = rng.integers(0, 9, (4, K, K)).astype(float)
    found = choose(wins, policies, rewards, GAMMA, mu)
    p = lambda s, i, j: 1 / (1 + np.exp(s[j] - s[i]))
    pairs = [(i, j) for i in range(K) for j in range(K) if i != j]
    for d, counts in enumerate(wins):
        score = lambda s, counts=counts: sum(counts[i, j] * np.log(p(s, i, j)) for i, j in pairs)
        best = max(rewards, key=score)
        likely = [score(GAMMA * logs) for logs in policies]
        distilled = [
            sum(mu[i] * mu[j] * p(best, i, j) * np.log(p(best, i, j) / p(GAMMA * logs, i, j)) for i, j in pairs)
            for logs in policies
        ]
        reverse = [np.sum(np.exp(logs) * (logs - best / GAMMA)) for logs in policies]
        assert found[:, d].tolist() == [np.argmax(likely), np.argmin(distilled), np.argmin(reverse)]


def test_a_nudge_keeps_win_rates_and_stays_a_preference_matrix():
    rng = np.random.default_rng(1)
    P = np.stack([misspecified._cyclic(4, rng) for _ in range(5)])
    mu = rng.dirichlet(np.ones(4), 5)
    moved = misspecified._changed(P, mu)
    np.testing.assert_allclose(np.einsum("mij,mj->mi", moved, mu), np.einsum("mij,mj->mi", P, mu), atol=1e-14)
    np.testing.assert_allclose(moved + np.swapaxes(moved, 1, 2), 1.0, atol=1e-15)
    assert ((moved > 0) & (moved < 1)).all()
    assert (np.abs(moved - P).max((1, 2)) > 1e-4).all()


@pytest.mark.thorough
def test_files_of_cycles_are_read(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        P_0=np.asarray(dyn.preferences.cyclic(3, 0.3)),
        P_1=np.asarray(dyn.preferences.cyclic(4, 0.2)),
    )
    ds = misspecified.run(misspecified.Config(preferences=(str(tmp_path),), matrices=2, samplers=2, path=3))
    assert list(ds.kind.values).count("cyclic") == 2
    assert "2 of them with a majority cycle" in ds.attrs["notes"]
    assert all(f.status != "fails" for f in misspecified.check(ds))
    np.savez(tmp_path / "b.npz", P=np.full((3, 3), 0.5))
    config = misspecified.Config(preferences=(str(tmp_path / "b.npz"),))
    with pytest.raises(ValueError, match="fewer than two usable cycles"):
        misspecified.run(config)
