"""Alignment as distribution learning: identities between the objectives, their optima on data, and what is refused."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

GAMMA, BETA = 0.5, 0.3
WINS = np.array([[0.0, 6.0, 9.0], [4.0, 0.0, 7.0], [1.0, 3.0, 0.0]])
REFERENCE = jax.nn.log_softmax(jnp.array([0.3, -0.2, 0.5]))
SEPARABLE = np.array([[0.0, 5.0, 2.0], [0.0, 0.0, 3.0], [0.0, 1.0, 0.0]])
APART = np.array([[0.0, 3.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]])


def fitted(objective, wins=WINS, **options):
    return dyn.fit(objective, wins, log_reference=REFERENCE, **options)


def newton_scores(wins: np.ndarray) -> np.ndarray:
    """Bradley–Terry scores by Newton's method on the log-likelihood, written out."""
    f, met = np.zeros(len(wins)), wins + wins.T
    for _ in range(50):
        s = 1.0 / (1.0 + np.exp(f[None, :] - f[:, None]))
        force = wins.sum(1) - (met * s).sum(1)
        weight = met * s * (1.0 - s)
        f = f + np.linalg.lstsq(np.diag(weight.sum(1)) - weight, force, rcond=None)[0]
    return f - f.mean()


def test_rlhf_dpo_and_rebel_have_the_same_optimum():
    expected = jax.nn.log_softmax(REFERENCE + newton_scores(WINS) / BETA)
    for objective in (dyn.DPO(BETA), dyn.RLHF(BETA), dyn.REBEL(1.0 / BETA)):
        fit = fitted(objective)
        np.testing.assert_allclose(fit.log_policy, expected, rtol=0, atol=1e-10)
        assert fit.result == "successful"
        assert float(fit.gradient_norm) < 1e-12
    np.testing.assert_allclose(fit.reward, newton_scores(WINS), rtol=0, atol=1e-12)


def test_rlhf_with_win_rates_is_ipo():
    a, b = fitted(dyn.RLHF(BETA, reward="win-rate")), fitted(dyn.IPO(BETA))
    np.testing.assert_allclose(a.log_policy, b.log_policy, rtol=0, atol=1e-10)
    assert np.abs(a.log_policy - fitted(dyn.RLHF(BETA)).log_policy).max() > 0.1


def test_without_a_penalty_pmle_distillation_and_reverse_kl_are_one():
    expected = jax.nn.log_softmax(newton_scores(WINS) / GAMMA)
    for kind in (dyn.PMLE, dyn.PreferenceDistillation, dyn.ReverseKL):
        fit = fitted(kind(GAMMA, 0.0))
        np.testing.assert_allclose(fit.log_policy, expected, rtol=0, atol=1e-10)
        assert float(fit.gradient_norm) < 1e-12


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_pmle_is_distillation_plus_a_constant(beta):
    seen = dyn.feedback.Masses(WINS, WINS.sum())
    policies = np.random.default_rng(0).normal(scale=3.0, size=(6, 3))

    def gaps(distilled):
        likely = dyn.PMLE(GAMMA, beta)
        distilled_seen = distilled.prepare(seen)
        at = [jax.nn.log_softmax(jnp.array(z)) for z in policies]
        return np.array(
            [float(likely.value(p, REFERENCE, seen) - distilled.value(p, REFERENCE, distilled_seen)) for p in at]
        )

    assert np.ptp(gaps(dyn.PreferenceDistillation(GAMMA, beta))) < 1e-10
    assert np.ptp(gaps(dyn.PreferenceDistillation(GAMMA, beta, pairs=np.ones((3, 3))))) > 0.01


def test_penalised_likelihood_and_distillation_have_the_same_optimum():
    a, b = fitted(dyn.PMLE(GAMMA, BETA)), fitted(dyn.PreferenceDistillation(GAMMA, BETA))
    np.testing.assert_allclose(a.log_policy, b.log_policy, rtol=0, atol=1e-10)
    assert int(a.minima) == 1
    assert float(a.gradient_norm) < 1e-10
    assert float(b.gradient_norm) < 1e-10


def test_reverse_kl_smooths_the_reference():
    fit = fitted(dyn.ReverseKL(GAMMA, BETA))
    expected = jax.nn.log_softmax((BETA * REFERENCE + newton_scores(WINS)) / (BETA + GAMMA))
    np.testing.assert_allclose(fit.log_policy, expected, rtol=0, atol=1e-10)
    assert float(fit.gradient_norm) < 1e-12


class Law(NamedTuple):
    """Comparisons whose diagonal holds pairs of equals."""

    wins: np.ndarray


def hard_case():
    """The data of statement 5.2 on which PMLE with a KL penalty has two minima."""
    mu, P = np.array([0.03, 0.34, 0.63]), np.full((3, 3), 0.5)
    for i, j, p in ((0, 1, 0.05), (0, 2, 0.05), (1, 2, 0.03)):
        P[i, j], P[j, i] = p, 1 - p
    wins = 2 * np.outer(mu, mu) * P
    np.fill_diagonal(wins, mu**2)
    return Law(wins), jax.nn.log_softmax(jnp.array([0.0, -10.0, -6.2]))


@pytest.mark.thorough
def test_of_two_minima_the_lesser_is_kept_and_both_are_counted():
    wins, log_ref = hard_case()
    fit = dyn.fit(dyn.PMLE(0.25, 7.338), wins, log_reference=log_ref)
    assert int(fit.minima) == 2
    assert float(fit.gradient_norm) < 1e-9
    assert round(float(fit.loss), 2) == 0.56
    alone = dyn.fit(dyn.PMLE(0.25, 7.338), wins, log_reference=log_ref, starts=1)
    assert int(alone.minima) == 1
    np.testing.assert_allclose(alone.loss, fit.loss, rtol=1e-14)
    seen = dyn.feedback.Masses(wins.wins, 1.0)
    value = lambda x, at: at[0].value(jax.nn.log_softmax(x), at[1], at[2])
    start = jnp.array([-10.0, 0.0, 10.0])
    end, found = dyn.objectives.minimise(value, start, (dyn.PMLE(0.25, 7.338), log_ref, seen), shifts=True)
    assert bool(found)
    assert round(float(value(end, (dyn.PMLE(0.25, 7.338), log_ref, seen))), 1) == 45.9


def test_pairs_of_equals_count_in_the_mean():
    """Half of the comparisons are of equals: the penalty weighs twice as much against the rest."""
    twice = Law(WINS + np.diag([10.0, 10.0, 10.0]))
    with_equals = dyn.fit(dyn.PMLE(GAMMA, BETA), twice, log_reference=REFERENCE)
    without = dyn.fit(dyn.PMLE(GAMMA, 2 * BETA), WINS, log_reference=REFERENCE)
    np.testing.assert_allclose(with_equals.log_policy, without.log_policy, rtol=0, atol=1e-10)


def test_pairs_that_are_not_linked_keep_the_reference_where_the_loss_allows():
    log_ref = jax.nn.log_softmax(jnp.array([0.5, 0.0, -1.0, 0.2]))
    fit = dyn.fit(dyn.PMLE(GAMMA, 0.0), APART, log_reference=log_ref)
    np.testing.assert_allclose(fit.log_policy[0] - fit.log_policy[1], np.log(1.5) / GAMMA, rtol=0, atol=1e-10)
    means = np.asarray(fit.log_policy - log_ref).reshape(2, 2).mean(1)
    np.testing.assert_allclose(means[0], means[1], rtol=0, atol=1e-10)


def test_the_transfer_of_reverse_kl_is_exact_in_closed_form():
    """One round from pi, alpha log pi + (1-alpha) log ref: the closed form of both sides."""
    z, R = np.array([0.4, -0.1, -0.3]), newton_scores(WINS)
    alpha = 0.7
    loss, inner, log_ref = dyn.ReverseKL(GAMMA, BETA).as_margin_loss(alpha, REFERENCE)
    ours = (BETA * (alpha * z + (1 - alpha) * REFERENCE) + R) / (BETA + GAMMA)
    theirs = inner * z + (1 - inner) * log_ref + R / loss.beta
    np.testing.assert_allclose(jax.nn.log_softmax(ours), jax.nn.log_softmax(theirs), rtol=0, atol=1e-12)
    assert type(loss) is dyn.DPO
    assert type(dyn.ReverseKL(GAMMA, BETA, reward="win-rate").as_margin_loss(alpha, REFERENCE)[0]) is dyn.IPO


@pytest.mark.parametrize("reward", ["bradley-terry", "win-rate"])
def test_rounds_of_reverse_kl_are_rounds_of_dpo_and_ipo(reward):
    P, alpha = dyn.preferences.cyclic(3, 0.4), 0.7
    objective = dyn.ReverseKL(GAMMA, BETA, reward=reward)
    loss, inner, log_ref = objective.as_margin_loss(alpha, REFERENCE)
    sampler = dyn.samplers.Mixture(0.6, REFERENCE)
    ours = dyn.Rounds(P, objective, sampler=sampler, reference=dyn.references.Geometric(alpha, REFERENCE))
    theirs = dyn.Rounds(P, loss, sampler=sampler, reference=dyn.references.Geometric(inner, log_ref))
    z = jnp.array([1.0, -0.4, -0.6])
    for _ in range(3):
        after = ours(z)
        np.testing.assert_allclose(after, theirs(z), rtol=0, atol=1e-10)
        assert np.abs(after - z).max() > 1e-3
        z = after


def test_a_list_of_policies_takes_the_least_value():
    rows = jax.nn.log_softmax(jnp.array(np.random.default_rng(1).normal(size=(5, 3))))
    objective = dyn.PMLE(GAMMA, BETA)
    fit = fitted(objective, policy=dyn.policies.Finite(rows))
    values = [float(objective.value(row, REFERENCE, dyn.feedback.Masses(WINS, WINS.sum()))) for row in rows]
    np.testing.assert_allclose(fit.log_policy, rows[int(np.argmin(values))], rtol=0, atol=1e-12)
    assert fit.gradient_norm is None
    assert abs(float(fit.loss) - min(values)) < 1e-12


def test_several_prompts_are_fitted_one_by_one_and_weighted_by_their_comparisons():
    both = np.stack([WINS, WINS.T + WINS])
    together = fitted(dyn.RLHF(BETA), both)
    apart = [fitted(dyn.RLHF(BETA), wins) for wins in both]
    np.testing.assert_allclose(together.log_policy, [a.log_policy for a in apart], rtol=0, atol=1e-12)
    share = both.sum((1, 2)) / both.sum()
    assert abs(float(together.loss) - sum(s * float(a.loss) for s, a in zip(share, apart, strict=True))) < 1e-12


@pytest.mark.parametrize(
    ("objective", "wins", "words"),
    [
        (dyn.PMLE(GAMMA, 0.0), SEPARABLE, r"PMLE has no finite optimum at beta = 0: responses \[0\] lost no"),
        (
            dyn.PreferenceDistillation(GAMMA, 0.1),
            SEPARABLE,
            r"has no finite reward: responses \[0\] lost no comparison",
        ),
        (dyn.ReverseKL(GAMMA, 0.1), SEPARABLE, r"ReverseKL has no finite reward: responses \[0\] lost no comparison"),
        (dyn.RLHF(0.1), np.stack([WINS, SEPARABLE]), r"prompt 1: RLHF has no finite reward: responses \[0\] lost"),
        (dyn.REBEL(1.0), SEPARABLE, r"REBEL has no finite reward: responses \[0\] lost no comparison"),
        (dyn.PMLE(GAMMA, 0.1), np.zeros((3, 3)), "wins holds no comparison; pass some"),
        (dyn.PMLE(GAMMA, 0.1), np.ones((3, 3)), "compares a response with itself"),
        (dyn.PMLE(GAMMA, 0.1), np.ones((3, 2)), r"data has shape \(3, 2\); pass counts of wins"),
        (dyn.PMLE(GAMMA, 0.1), -WINS, "the mass -6 to"),
        (dyn.PMLE(GAMMA, 0.1), "x", "data is 'x'; pass numbers"),
    ],
)
def test_bad_data_is_refused_by_name(objective, wins, words):
    with pytest.raises(ValueError, match=words):
        fitted(objective, wins)


def test_a_reward_that_no_comparison_determines_is_refused():
    log_ref = jnp.full(4, -jnp.log(4.0))
    with pytest.raises(ValueError, match=r"RLHF has no reward: no comparison links responses \[0, 1\] to the others"):
        dyn.fit(dyn.RLHF(1.0), APART, log_reference=log_ref)


def test_a_failure_is_a_result_where_it_is_not_thrown():
    fit = fitted(dyn.PMLE(GAMMA, 0.0), SEPARABLE, throw=False)
    assert "responses [0] lost no comparison" in fit.result
    assert np.isnan(fit.log_policy).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dyn.PMLE(0.0, 0.1), "gamma = 0 is outside"),
        (lambda: dyn.PMLE(-1.0, 0.1), "gamma = -1 is outside"),
        (lambda: dyn.ReverseKL(0.5, -0.1), "beta = -0.1 is outside"),
        (lambda: dyn.RLHF(0.0), "beta = 0 is outside"),
        (lambda: dyn.REBEL(0.0), "eta = 0 is outside"),
        (lambda: dyn.PMLE(np.array([0.1, 0.2]), 0.1), r"gamma has shape \(2,\); pass one number"),
        (lambda: dyn.PreferenceDistillation(0.5, 0.1, pairs=np.ones(3)), r"pairs has shape \(3,\)"),
        (lambda: dyn.PreferenceDistillation(0.5, 0.1, pairs=-np.ones((3, 3))), "pairs has an entry that is negative"),
        (lambda: dyn.PreferenceDistillation(0.5, 0.1, pairs=np.eye(3)), "pairs holds no pair of different responses"),
        (lambda: fitted(dyn.PreferenceDistillation(0.5, 0.1, pairs=np.ones((2, 2)))), r"pairs has shape \(2, 2\)"),
        (lambda: dyn.fit(dyn.DPO(1.0), WINS, log_reference=jnp.zeros(3)), "log_reference has total probability 3"),
        (lambda: fitted(dyn.PMLE(0.5, 0.1), starts=0), "starts = 0; pass a whole number"),
        (lambda: fitted(dyn.DPO(1.0), weights=[1.0]), "weights are for several prompts"),
        (lambda: dyn.PMLE(0.5, 0.1).implicit_reward(np.full((2, 2), 0.5), np.log([0.5, 0.5])), "call optimum"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("wins", "gamma", "beta", "group"),
    [
        ([[0, 5, 0], [0, 0, 3], [0, 1, 0]], 0.5, 0.1, "[0]"),
        ([[0, 9], [0, 0]], 0.5, 0.01, "[0]"),
        ([[0, 9], [0, 0]], 0.3, 0.1, "[0]"),
        ([[0, 6, 9], [0, 0, 7], [0, 3, 0]], 0.5, 0.1, "[0]"),
    ],
)
def test_a_value_that_falls_all_the_way_to_a_face_has_no_optimum(wins, gamma, beta, group):
    """e^(gamma s) falls faster than beta |s| e^s: no pull to the reference is strong enough there."""
    log_ref = np.full(len(wins), -np.log(len(wins)))
    with pytest.raises(ValueError, match=re.escape(f"responses {group} alone")):
        dyn.fit(dyn.PMLE(gamma, beta), wins, log_reference=log_ref)


def test_rare_responses_that_the_data_hold_back_are_an_optimum():
    log_ref = np.full(3, -np.log(3))
    found = dyn.fit(dyn.PMLE(0.05, 1e-6), [[0, 600, 900], [1, 0, 700], [1, 3, 0]], log_reference=log_ref)
    assert found.log_policy.min() < -200
    assert float(found.gradient_norm) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("kind", [dyn.PMLE, dyn.PreferenceDistillation])
def test_fits_work_in_single_precision(kind, beta):
    wins, log_ref = [[0, 60, 90], [40, 0, 70], [10, 30, 0]], np.full(3, -np.log(3))
    exact = dyn.fit(kind(0.5, beta), wins, log_reference=log_ref).log_policy
    with jax.enable_x64(False):
        found = dyn.fit(kind(0.5, beta), np.float32(wins), log_reference=np.float32(log_ref))
    np.testing.assert_allclose(found.log_policy, exact, atol=2e-5)


@pytest.mark.parametrize("objective", [dyn.PMLE(0.5, 0.0), dyn.PMLE(0.5, 0.1), dyn.RLHF(0.5)])
def test_a_data_set_without_an_optimum_does_not_erase_the_others(objective):
    good, bad, log_ref = [[0, 6, 9], [4, 0, 7], [1, 3, 0]], [[0, 9, 9], [0, 0, 3], [0, 4, 0]], np.full(3, -np.log(3))
    data = np.array([good, bad, good], float)[:, None]
    found = dyn.fit(objective, data, log_reference=log_ref, throw=False)
    alone = dyn.fit(objective, np.array([good], float), log_reference=log_ref)
    assert found.log_policy.shape == (3, 1, 3)
    assert np.isnan(found.log_policy[1]).all()
    assert np.isnan(found.loss[1])
    for n in (0, 2):
        np.testing.assert_allclose(found.log_policy[n], alone.log_policy, atol=1e-12)
        np.testing.assert_allclose(found.loss[n], alone.loss, atol=1e-12)
    assert found.result.startswith("1 of 3 data sets have no finite optimum; the first, [1]: ")
