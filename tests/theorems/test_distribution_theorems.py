"""What comparisons are worth: coverage by brute force, and statements with a failure probability by frequency."""

from __future__ import annotations

import itertools

import distribution_oracles as oracle
import jax
import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import minimize
from scipy.stats import binom

from dynamics import theorems

DATA_SETS = 400
ALLOWED = 1e-6  # probability that a true statement is refuted


def logs(rng, *shape, scale=1.0):
    return oracle.softmax_log(scale * rng.standard_normal(shape))


def problem(seed=0, N=8, X=2, K=3):
    rng = np.random.default_rng(seed)
    target, policies = logs(rng, X, K), logs(rng, N, X, K)
    policies[0] = target
    rest = {"log_sampler": logs(rng, X, K), "log_reference": logs(rng, X, K), "weights": np.array([1.0, 3.0])}
    return {
        "log_target": target,
        "log_policies": policies,
        "gamma": 0.5,
        "rewards": rng.standard_normal((4, X, K)),
        **rest,
    }


def moment(d, of, about, weight):
    """E_{x, a~of} (d - E_about d)², by loops."""
    total = 0.0
    for x in range(len(d)):
        mean = sum(about[x, a] * d[x, a] for a in range(d.shape[1]))
        total += weight[x] * sum(of[x, a] * (d[x, a] - mean) ** 2 for a in range(d.shape[1]))
    return total


def test_coverage_of_eight_policies_by_brute_force():
    x = problem()
    found = theorems.coverage(**x)
    p, mu, prior = (np.exp(x[name]) for name in ("log_target", "log_sampler", "log_reference"))
    weight, gamma = x["weights"] / 4, x["gamma"]
    R = [gamma * (pi - x["log_target"]) for pi in x["log_policies"]]
    ratio = lambda d, of, about, below: moment(d, of, about, weight) / moment(d, below, below, weight)
    assert found.policies == pytest.approx(max(ratio(d, p, mu, mu) for d in R[1:]), rel=1e-12)
    assert found.variance == pytest.approx(max(ratio(d, p, p, mu) for d in R[1:]), rel=1e-12)
    assert found.variance < found.policies
    of_rewards = [r - gamma * x["log_target"] for r in x["rewards"]]
    assert found.rewards == pytest.approx(max(ratio(d, p, mu, mu) for d in of_rewards), rel=1e-12)
    pairs = [ratio(a - b, p, prior, prior) for a, b in itertools.combinations(R, 2)]
    assert found.prior == pytest.approx(max(pairs), rel=1e-12)
    ranges = [pi - (mu * pi).sum(1, keepdims=True) for pi in [*x["log_policies"], *(x["rewards"] / gamma)]]
    assert pytest.approx(max(np.abs(r).max() for r in ranges), rel=1e-12) == found.B
    assert found.w == pytest.approx(max(np.ptp(r, axis=1).max() for r in R) / gamma, rel=1e-12)
    assert found.g == pytest.approx(gamma * max(np.ptp(pi, axis=1).max() for pi in x["log_policies"]), rel=1e-12)
    assert found.w <= 4 * found.B
    assert found.g <= 2 * gamma * found.B


def test_coverage_of_a_linear_class_is_a_generalised_eigenvalue():
    x = problem(1, X=1, K=5)
    features = np.random.default_rng(2).standard_normal((5, 2))
    args = {name: x[name][0] for name in ("log_target", "log_sampler", "log_reference")}
    found = theorems.coverage(**args, gamma=0.5, features=features)
    p, mu, prior = (np.exp(args[name]) for name in ("log_target", "log_sampler", "log_reference"))

    def second(q, about):
        Z = features - about @ features
        return Z.T @ (q[:, None] * Z)

    for value, of, about, below in (
        (found.policies, p, mu, mu),
        (found.variance, p, p, mu),
        (found.prior, p, prior, prior),
    ):
        exact = scipy.linalg.eigh(second(of, about), second(below, below), eigvals_only=True)[-1]
        assert value == pytest.approx(exact, rel=1e-10)
    # A finite class within the span is covered at least as well.
    theta = np.random.default_rng(3).standard_normal((50, 2))
    inside = oracle.softmax_log(args["log_target"] + theta @ features.T)
    assert theorems.coverage(**args, gamma=0.5, log_policies=inside).policies <= found.policies * (1 + 1e-10)
    assert found.B == found.w == found.g == np.inf


def test_what_the_sampler_never_shows_is_not_covered():
    target, mu = np.log([0.3, 0.3, 0.4]), np.array([np.log(0.5), np.log(0.5), -np.inf])
    policies = np.log([[0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])
    assert theorems.coverage(log_target=target, log_sampler=mu, gamma=1.0, log_policies=policies).policies == np.inf
    features = np.array([[0.0], [0.0], [1.0]])
    assert theorems.coverage(log_target=target, log_sampler=mu, gamma=1.0, features=features).variance == np.inf
    same = {"log_policies": policies, "member": 0, "log_mu": mu, "gamma": 1.0, "comparisons": 10, "failure": 0.1}
    assert not theorems.likelihood_guarantee(**same).applicable


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"log_policies": np.zeros((3001, 2, 3))}, "3001; pass at most 3000 policies"),
        ({"log_policies": None}, "exactly one of log_policies and features"),
        ({"log_policies": np.zeros((4, 3))}, "log_policies has shape"),
        ({"rewards": np.full((4, 2, 3), np.nan)}, "rewards has shape"),
        ({"log_sampler": np.log([0.2, 0.3, 0.5])}, "log_sampler has shape"),
        ({"gamma": 0.0}, "gamma = 0"),
        ({"weights": np.array([1.0, -1.0])}, "weights"),
        ({"log_policies": None, "features": np.zeros((3, 2))}, "features has shape"),
    ],
)
def test_malformed_classes_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        theorems.coverage(**(problem() | change))


def refuted(hits, failure):
    return hits > binom.isf(ALLOWED, DATA_SETS, failure)


def test_the_quantile_of_a_finite_class_holds_by_frequency_and_with_an_eightfold_exponent_fails():
    wrong = 0
    for seed, failure in ((0, 0.05), (1, 0.3), (2, 0.1), (3, 0.3)):
        rng = np.random.default_rng(seed)
        target = logs(rng, 3)
        away = 10 ** rng.uniform(-2, 0, (20, 1)) * rng.standard_normal((20, 3))
        away[0] = 0
        x = {
            "log_policies": oracle.softmax_log(target + away),
            "member": 0,
            "log_mu": np.log(np.full(3, 1 / 3)),
            "gamma": 0.7,
        }
        x |= {"comparisons": 2000}
        found = oracle.divergence(x, oracle.most_likely(x, oracle.counts(x, DATA_SETS)))
        bound = theorems.finite_class_quantile(**x, failure=failure)
        assert not refuted((found > bound * (1 + 1e-9)).sum(), failure)
        mutant = theorems.finite_class_quantile(**{**x, "comparisons": 8 * x["comparisons"]}, failure=failure)
        wrong += refuted((found > mutant * (1 + 1e-9)).sum(), failure)
        brute = np.array(
            [np.sqrt(oracle.preference(pi, 0.7) * oracle.preference(target, 0.7)) for pi in x["log_policies"]]
        )
        rho = (brute + brute.transpose(0, 2, 1)).mean(axis=(1, 2))
        levels = oracle.divergence(x, np.arange(20))
        beyond = [t for t in sorted(levels) if (rho[levels > t] ** 2000).sum() <= failure]
        assert bound == pytest.approx(max(beyond[0], 0.0), rel=1e-8, abs=1e-12)
    assert wrong > 0


def batch_fit(wins):
    """Newton's method on many tables at once, the last reward fixed at 0."""
    K, n = wins.shape[1], wins.sum(axis=(1, 2))[:, None]
    total = wins + wins.transpose(0, 2, 1)
    R = np.zeros((len(wins), K))
    for _ in range(25):
        P = 1 / (1 + np.exp(R[:, None, :] - R[:, :, None]))
        weight = total * P * (1 - P) / n[:, :, None]
        slope = (wins - total * P).sum(axis=2) / n
        H = np.apply_along_axis(np.diag, 1, weight.sum(axis=2)) - weight
        R[:, :-1] += np.linalg.solve(H[:, :-1, :-1], slope[:, :-1, None])[..., 0]
    return R


@pytest.mark.parametrize("gamma", [0.5, 1.5])
def test_the_certificate_and_the_constant_of_the_error_hold_by_frequency(gamma):
    rng = np.random.default_rng(5)
    x = {"log_target": logs(rng, 4, scale=0.7), "log_mu": logs(rng, 4, scale=0.5), "gamma": gamma, "comparisons": 2**18}
    wins = oracle.counts(x, DATA_SETS)
    found = oracle.kl(x["log_target"], oracle.softmax_log(batch_fit(wins) / gamma))
    law = theorems.error_constant(**{name: x[name] for name in ("log_target", "log_mu", "gamma")}).upper
    scaled = x["comparisons"] * found
    error = np.sqrt(2 * (law[:-1] ** 2).sum() / DATA_SETS)  # of the mean of Σ w chi²_1
    assert abs(scaled.mean() - law[-1]) < 4 * error
    bounds = [theorems.certificate_bound(wins=w, gamma=gamma, failure=0.05, scale=1.0) for w in wins]
    assert not refuted((found > bounds).sum(), 0.05)
    # The plug-in quantile is far below: the certificate is valid and loose.
    assert np.median(bounds) < 40 * np.quantile(found, 0.95)
    # A certificate for gamma 8 times too large, which divides the error by about 64, is refuted.
    wrong = [theorems.certificate_bound(wins=w, gamma=8 * gamma, failure=0.05, scale=1.0) for w in wins]
    assert refuted((found > wrong).sum(), 0.05)


def test_certificates_name_the_group_that_never_loses():
    args = {"gamma": 1.0, "failure": 0.05, "scale": 1.0}
    with pytest.raises(ValueError, match=r"responses \[0, 2\] never lose to the others"):
        theorems.certificate_bound(wins=[[0, 3, 2], [0, 0, 0], [1, 4, 0]], **args)
    with pytest.raises(ValueError, match=r"\[0\] never lose"):
        theorems.certificate_bound(wins=np.zeros((2, 2)), **args)
    with pytest.raises(ValueError, match="wins has shape"):
        theorems.certificate_bound(wins=[[0, -1], [1, 0]], **args)
    with pytest.raises(ValueError, match="scale = 0"):
        theorems.certificate_bound(wins=[[0, 1], [1, 0]], **(args | {"scale": 0.0}))
    one = theorems.certificate_bound(wins=[[0, 900], [800, 0]], **args)
    assert theorems.certificate_bound(wins=[[5, 900], [800, 7]], **args) == one  # pairs with itself carry nothing
    assert theorems.certificate_bound(wins=[[0, 9000], [8000, 0]], **args) < one / 5
    assert theorems.certificate_bound(wins=[[0, 1], [1, 0]], gamma=1e-3, failure=0.05, scale=1.0) == np.inf


def test_near_uniform_targets_cost_what_7_9_says():
    even = np.full(10, -np.log(10.0))
    law = theorems.error_constant(log_target=even, log_mu=even, gamma=0.5).upper
    assert law[-1] == pytest.approx(9 / 0.25, rel=1e-12)
    # The published toy: ten contexts, logits N(0, .1²).
    rng = np.random.default_rng(0)
    V = [
        theorems.error_constant(log_target=logs(rng, 10, scale=0.1), log_mu=even, gamma=0.5).upper[-1]
        for _ in range(10)
    ]
    assert sum(V) == pytest.approx(360, rel=0.01)


def test_a_tempered_prior_is_learned_exactly():
    target = np.log([0.2, 0.3, 0.5])
    for k in (0.0, 0.4):
        law = theorems.rlhf_limit(log_target=target, log_reference=oracle.softmax_log(k * target), gamma=0.5).upper
        np.testing.assert_allclose(law, [1 - k, 0.0], atol=1e-12)  # beta = gamma/(1-k)
    worse = theorems.rlhf_limit(log_target=target, log_reference=oracle.softmax_log(3 * target), gamma=0.5)
    assert worse.upper[0] == 0.0


def test_the_order_of_theorem_14_is_only_reported():
    x = problem()
    c = theorems.coverage(**x)
    sizes = {"policies": 8, "rewards": 4, "gamma": 0.5, "n": 100, "failure": 0.1}
    expected = (c.prior * np.log(80) + c.rewards * np.log(40)) / (0.25 * 100)
    assert theorems.prior_sampling_order(constants=c, **sizes) == pytest.approx(expected, rel=1e-14)
    bare = theorems.coverage(**(x | {"log_reference": None}))
    with pytest.raises(ValueError, match="no C_0 or C_R"):
        theorems.prior_sampling_order(constants=bare, **sizes)
    assert "prior_sampling_order" not in theorems.all()


def test_published_guarantees_are_vacuous_where_affordable():
    for name in ("likelihood_guarantee", "distillation_guarantee", "reverse_kl_guarantee"):
        for x in theorems.all()[name].draw(jax.random.key(1), 10):
            bound = theorems.all()[name](**x)
            assert bound.applicable
            assert bound.vacuous
            more = theorems.all()[name](**{**x, "comparisons": 1000 * x["comparisons"]})
            assert more.upper == pytest.approx(bound.upper / 1000, rel=1e-12)


def test_classes_without_the_target_or_its_reward_are_refused():
    x = {"log_policies": np.log([[0.5, 0.5], [0.9, 0.1]]), "member": 0, "log_mu": np.log([0.5, 0.5]), "gamma": 1.0}
    x |= {"comparisons": 100, "failure": 0.1}
    with pytest.raises(ValueError, match="member = 2 is outside"):
        theorems.preference_error(**{**x, "member": 2})
    silent = theorems.reverse_kl_guarantee(**x, rewards=np.array([[1.0, 0.0]]))
    assert silent.assumptions["gamma log pi* is among the rewards"] is False
    with pytest.raises(ValueError, match="rewards has shape"):
        theorems.reverse_kl_guarantee(**x, rewards=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"log_policies\[1\] has total probability"):
        theorems.preference_error(**{**x, "log_policies": np.log([[0.5, 0.5], [0.9, 0.2]])})


@pytest.mark.parametrize("contexts", [1, 3])
def test_the_distance_of_a_linear_class_is_that_of_scipys_minimum(contexts):
    rng = np.random.default_rng(contexts)
    features, mu = rng.normal(size=(contexts, 4, 2)), np.full((contexts, 4), -np.log(4))
    normalised = lambda z: z - np.logaddexp.reduce(z, axis=-1, keepdims=True)

    def divergence(theta, target):
        return (np.exp(target) * (target - normalised(features @ theta))).sum(axis=-1).mean()

    for target, inside in (
        (normalised(features @ [2.0, -1.0]), True),
        (normalised(rng.normal(size=(contexts, 4))), False),
    ):
        found = theorems.coverage(log_target=target, log_sampler=mu, gamma=0.5, features=features).distance
        wanted = minimize(divergence, np.zeros(2), args=(target,), method="BFGS", options={"gtol": 1e-9}).fun
        assert found == pytest.approx(wanted, abs=1e-12)
        assert (found < 1e-14) == inside
