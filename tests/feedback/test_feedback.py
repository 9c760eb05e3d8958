"""Feedback: what a round sees, exactly or drawn, and what it is refused for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from scipy import optimize

import dynamics as dyn

P = problems.matrix(4, 3)
START, REFERENCE, OFFLINE = (problems.log_policy(4, seed) for seed in range(3))
SAMPLER, GEOMETRIC = dyn.samplers.Mixture(0.6, OFFLINE), dyn.references.Geometric(0.3, REFERENCE)


def rounds_of(objective, feedback, preference=P, **options):
    return dyn.Rounds(preference, objective, sampler=SAMPLER, reference=GEOMETRIC, feedback=feedback, **options)


def trajectory(loop, rounds=5, initial=START):
    return np.asarray(dyn.iterate(loop, rounds, initial=initial).log_policy)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
def test_flipped_labels_are_another_matrix(kind):
    rate = 0.2
    got = trajectory(rounds_of(kind(0.4), dyn.feedback.Noisy(rate)))
    flipped = (1 - rate) * P + rate * P.T
    want = trajectory(rounds_of(kind(0.4), dyn.feedback.Population(), flipped))
    np.testing.assert_allclose(got, want, atol=1e-13)
    assert np.abs(got[-1] - trajectory(rounds_of(kind(0.4), dyn.feedback.Population()))[-1]).max() > 0.01


def test_half_the_labels_flipped_teach_nothing():
    loop = rounds_of(dyn.IPO(0.4), dyn.feedback.Noisy(0.5))
    z = jnp.asarray(START)
    want = 0.3 * START + 0.7 * REFERENCE
    np.testing.assert_allclose(loop(z), want - want.mean(), atol=1e-15)


@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
def test_the_better_of_two_is_the_population(kind):
    np.testing.assert_array_equal(
        trajectory(rounds_of(kind(0.4), dyn.feedback.BestOfN(2))),
        trajectory(rounds_of(kind(0.4), dyn.feedback.Population())),
    )


def best_of(rng, mu, n, rank):
    """One draw of (best, worst) of n responses from mu, ``rank`` giving each place a score."""
    draws = rng.choice(len(mu), n, p=mu)
    score = rank(rng, draws)
    top, bottom = np.flatnonzero(score == score.max()), np.flatnonzero(score == score.min())
    if len(top) == n:
        first, second = rng.choice(n, 2, replace=False)
    else:
        first, second = rng.choice(top), rng.choice(bottom)
    return draws[first], draws[second]


def matches(rng, draws):
    wins = np.zeros(len(draws))
    for a in range(len(draws)):
        for b in range(a):
            first = rng.random() < P[draws[a], draws[b]]
            wins[a if first else b] += 1
    return wins


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("feedback", "n", "rank"),
    [
        (dyn.feedback.BestOfN(3), 3, matches),
        (dyn.feedback.BestOfN(4), 4, matches),
        (dyn.feedback.BestOfN(6, [0.1, 2.0, -1.0, 0.7]), 6, lambda rng, d: np.array([0.1, 2.0, -1.0, 0.7])[d]),
    ],
    ids=["3 by matches", "4 by matches", "6 by scores"],
)
def test_best_and_worst_against_monte_carlo(feedback, n, rank):
    rng = np.random.default_rng(0)
    loop = rounds_of(dyn.IPO(0.4), feedback)
    mu = 0.6 * np.exp(START) + 0.4 * np.exp(OFFLINE)
    wins = np.asarray(loop.fit(jnp.asarray(START), None, None).seen.wins)
    np.testing.assert_allclose(wins.sum(), 1.0, atol=1e-13)
    count, draws = np.zeros((4, 4)), 40_000
    for _ in range(draws):
        count[best_of(rng, mu, n, rank)] += 1
    error = np.sqrt(np.maximum(wins * (1 - wins) / draws, 1e-9))
    assert (np.abs(count / draws - wins) < 4.5 * error).all()


def test_the_more_responses_the_rarer_are_middling_ones():
    """Pr(the best of all and the worst of all are among n) by inclusion and exclusion."""
    mu = 0.6 * np.exp(START) + 0.4 * np.exp(OFFLINE)
    for n in (2, 5, 16, 300):
        loop = rounds_of(dyn.IPO(0.4), dyn.feedback.BestOfN(n, np.arange(4.0)))
        wins = loop.fit(jnp.asarray(START), None, None).seen.wins
        want = 1 - (1 - mu[3]) ** n - (1 - mu[0]) ** n + (1 - mu[3] - mu[0]) ** n
        np.testing.assert_allclose(wins[3, 0], want, rtol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
@pytest.mark.parametrize("policy", [None, dyn.LogLinear(np.array([[1.0, 0.2], [0.0, -1.0], [0.4, 0.4], [-1.0, 0.1]]))])
def test_given_comparisons_are_a_fit_to_data(kind, policy):
    wins = np.array([[0, 5, 2, 1], [3, 0, 4, 0], [1, 2, 0, 6], [2, 1, 3, 0.0]])
    objective, beta = kind(0.4), 0.4
    features = np.eye(4) if policy is None else np.asarray(policy.phi)
    reference = np.full(4, -np.log(4))
    loop = dyn.Rounds(
        P,
        objective,
        sampler=SAMPLER,
        reference=dyn.references.Fixed(reference),
        feedback=dyn.feedback.Observed(wins),
        policy=policy,
    )
    got = np.asarray(loop(jnp.asarray(START)))

    def loss(theta):
        h = features @ theta
        return float(np.sum(wins * np.asarray(objective.loss(jnp.asarray(beta * (h[:, None] - h[None, :]))))))

    slope = jax.jit(
        jax.grad(
            lambda theta: jnp.sum(
                wins * objective.loss(beta * ((features @ theta)[:, None] - (features @ theta)[None, :]))
            )
        )
    )
    found = optimize.minimize(loss, np.zeros(features.shape[1]), jac=lambda t: np.asarray(slope(t)), tol=1e-12)
    want = features @ found.x
    np.testing.assert_allclose(got, want - want.mean(), atol=1e-6)  # as far as BFGS goes
    # The same in every round.
    np.testing.assert_allclose(trajectory(loop, initial=reference)[-1], jax.nn.log_softmax(got), atol=1e-12)


def test_a_feedback_of_ones_own_in_five_lines():
    class Ties(dyn.feedback.Feedback):
        """A share of the comparisons ends in a tie, half a win for each."""

        share: float

        def observe(self, pairs, key=None):
            wins = pairs.rates()
            return dyn.feedback.Masses((1 - self.share) * wins + self.share * (wins + wins.T) / 2, wins.sum())

    np.testing.assert_allclose(
        trajectory(rounds_of(dyn.DPO(0.4), Ties(0.4))),
        trajectory(rounds_of(dyn.DPO(0.4), dyn.feedback.Noisy(0.2))),
        atol=1e-11,
    )


def test_a_random_feedback_of_ones_own():
    class Coin(dyn.feedback.Feedback):
        """One comparison of the first two responses."""

        stochastic = True

        def observe(self, pairs, key=None):
            first = jax.random.bernoulli(key, pairs.preference[0, 1]).astype(float)
            return dyn.feedback.Masses(jnp.zeros((4, 4)).at[0, 1].set(first).at[1, 0].set(1 - first))

    loop = rounds_of(dyn.IPO(0.4), Coin())
    with pytest.raises(ValueError, match="random; pass key="):
        dyn.iterate(loop, 3, initial=START)
    # IPO pulls the pair's gap to ±1/(2 beta), whoever won, and leaves the rest to the reference.
    reference = 0.3 * START + 0.7 * REFERENCE
    ends = [np.asarray(loop(jnp.asarray(START), jax.random.key(seed))) - reference for seed in range(12)]
    gaps = {round(float(z[0] - z[1]), 9) for z in ends}
    assert gaps == {1.25, -1.25}


def test_a_mass_of_zero_counts_as_not_compared():
    """Between components that no comparison links the reference's log-ratio stays."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0] = 3.0, 1.0
    for kind in (dyn.IPO, dyn.DPO):
        loop = rounds_of(kind(0.4), dyn.feedback.Observed(wins))
        z, reference = np.asarray(loop(jnp.asarray(START))), 0.3 * START + 0.7 * REFERENCE
        np.testing.assert_allclose(z[2] - z[3], reference[2] - reference[3], atol=1e-13)
        np.testing.assert_allclose(z[:2].mean() - z[2], reference[:2].mean() - reference[2], atol=1e-13)
        assert abs((z[0] - z[1]) - (reference[0] - reference[1])) > 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [dyn.IPO(0.3), dyn.DPO(0.5)], ids=["IPO", "DPO"])
def test_features_on_a_finite_sample(objective):
    """Refused before. Of a large sample the optimum within the class is near that of the population."""
    policy = dyn.LogLinear(np.random.default_rng(0).normal(size=(4, 2)))
    reference = policy.log_policy(jnp.array([0.1, 0.4]))
    options = {"log_reference": reference, "log_offline": OFFLINE, "policy": policy}
    sampled = dyn.SelfSampling(P, objective, 0.4, 0.7, **options, samples=10**7)
    exact = dyn.SelfSampling(P, objective, 0.4, 0.7, **options)
    z = policy.logits(jnp.array([0.3, -0.2]))
    got, want = sampled(z, jax.random.key(0)), exact(z)
    np.testing.assert_allclose(got, want, atol=0.01)
    assert float(jnp.abs(got - want).max()) > 1e-6
    B = policy.basis()
    np.testing.assert_allclose(B @ (B.T @ got), got, atol=1e-12)


class Wrong(dyn.feedback.Feedback):
    wins: np.ndarray

    def observe(self, pairs, key=None):
        return dyn.feedback.Masses(self.wins)


class Nothing(dyn.feedback.Feedback):
    def observe(self, pairs, key=None):
        return 0.5


GOOD = np.full((4, 4), 1 / 16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dyn.feedback.Noisy(1.5), r"rate = 1\.5 is outside \[0, 1\]"),
        (lambda: dyn.feedback.BestOfN(1), "n = 1; pass a whole number from 2"),
        (lambda: dyn.feedback.BestOfN(2.5, [1.0, 2.0]), r"n = 2\.5; pass a whole number"),
        (lambda: dyn.feedback.BestOfN(5), "n = 5 without scores.*pass scores="),
        (lambda: dyn.feedback.BestOfN(5, [1.0, np.nan]), "scores has an entry that is not finite"),
        (
            lambda: rounds_of(dyn.IPO(1.0), dyn.feedback.BestOfN(5, [1.0, 2.0])),
            r"scores has shape \(2,\), the responses \(4,\)",
        ),
        (lambda: dyn.feedback.Samples(0), "samples = 0; pass a whole number from 1"),
        (lambda: dyn.feedback.Observed([[0, -1], [1, 0]]), r"the mass -1 to \(0 beat 1\)"),
        (lambda: dyn.feedback.Observed(np.zeros((2, 2))), "wins holds no comparison"),
        (lambda: dyn.feedback.Observed(np.eye(2)), "compares a response with itself"),
        (
            lambda: rounds_of(dyn.IPO(1.0), dyn.feedback.Observed([[0, 1], [1, 0]])),
            r"wins has shape \(2, 2\), preference \(4, 4\)",
        ),
        (
            lambda: rounds_of(dyn.DPO(1.0), dyn.feedback.Observed(np.triu(np.ones((4, 4)), 1))),
            r"responses \[0\] lost no comparison",
        ),
        (lambda: rounds_of(dyn.IPO(1.0), Wrong(GOOD / 2)), r"Wrong.observe gave masses that sum to 0\.5"),
        (lambda: rounds_of(dyn.IPO(1.0), Wrong(GOOD * np.where(np.eye(4) > 0, -1, 1))), r"Wrong.*the mass -0\.0625"),
        (lambda: rounds_of(dyn.IPO(1.0), Wrong(GOOD[:3])), r"Wrong.*shape \(3, 4\)"),
        (lambda: rounds_of(dyn.IPO(1.0), Nothing()), "Nothing.observe returned a float"),
        (lambda: rounds_of(dyn.SLiC(1.0), dyn.feedback.Population()), "SLiC has a kink.*dyn.Descend"),
    ],
)
def test_bad_feedback(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_steps_on_given_comparisons_reach_their_optimum():
    wins = np.array([[0, 5, 2, 1], [3, 0, 4, 1], [1, 2, 0, 6], [2, 1, 3, 0.0]])
    feedback = dyn.feedback.Observed(wins)
    steps = rounds_of(dyn.IPO(0.4), feedback, learner=dyn.Descend(optax.sgd(0.2), 3000))
    np.testing.assert_allclose(
        steps(jnp.asarray(START)), rounds_of(dyn.IPO(0.4), feedback)(jnp.asarray(START)), atol=1e-9
    )
