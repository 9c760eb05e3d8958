"""Generated data have the laws that they name; diagnostics of features; the rate of one token of a longer response."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import data, diagnostics, margins

KEY = jax.random.key(0)


def test_value_clusters_have_orthonormal_centres_and_swapped_answers():
    made = data.value_clusters(3, 5, 8, 0.4, 0.0, key=KEY)
    s = made.samples
    np.testing.assert_allclose(made.centres @ made.centres.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(made.centres @ made.shared, 0.0, atol=1e-14)
    assert float(jnp.linalg.norm(made.shared)) == pytest.approx(0.4, abs=1e-14)
    assert s.features.shape == (30, 8)
    np.testing.assert_allclose(
        s.features, s.sign[:, None].astype(float) * made.centres[s.group] + made.shared[None], atol=1e-14
    )
    for k in range(3):
        plus, minus = (np.asarray((s.group == k) & (s.sign == sign)) for sign in (1, -1))
        assert set(np.asarray(s.chosen)[plus]) == set(np.asarray(s.rejected)[minus]) == {2 * k}
        assert set(np.asarray(s.rejected)[plus]) == set(np.asarray(s.chosen)[minus]) == {2 * k + 1}
    shared = data.value_clusters(3, 5, 8, 0.4, 0.0, key=KEY, shared_tokens=True).samples
    assert set(np.asarray(shared.chosen)) == {0, 1}


@pytest.mark.thorough
@pytest.mark.parametrize("delta", [0.0, 0.1, 0.24])
def test_centres_meet_at_the_angle_asked_for_and_noise_has_its_variance(delta):
    made = data.value_clusters(5, 400, 12, 0.3, 0.7, key=KEY, delta=delta)
    gram = np.asarray(made.centres @ made.centres.T)
    np.testing.assert_allclose(gram, (1 + delta) * np.eye(5) - delta, atol=1e-13)
    np.testing.assert_allclose(made.centres @ made.shared, 0.0, atol=1e-13)
    fresh = made.fresh(300, key=jax.random.key(1))
    for s in (made.samples, fresh):
        noise = np.asarray(s.features - s.sign[:, None].astype(float) * made.centres[s.group] - made.shared[None])
        # 4.5 standard errors of a variance and of a mean
        assert abs(noise.var() / 0.49 - 1) < 4.5 * np.sqrt(2 / noise.size)
        assert abs(noise.mean()) < 4.5 * 0.7 / np.sqrt(noise.size)
    assert not np.allclose(fresh.features[:10], made.samples.features[:10])


@pytest.mark.thorough
@pytest.mark.parametrize("tail", ["gaussian", "subexponential", "student"])
def test_behaviours_have_their_means_and_covariance(tail):
    d = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 0.1]])
    made = data.behaviours(d, covariance, 40_000, key=KEY, tail=tail, shared=np.array([0.0, 0.0, 3.0]))
    s = made.samples
    for i in range(2):
        plus, minus = (np.asarray(s.features[(s.group == i) & (s.sign == sign)]) for sign in (1, -1))
        error = np.sqrt(2 * np.diag(covariance) / 40_000)
        assert (np.abs(plus.mean(0) - minus.mean(0) - d[i]) < 4.5 * error).all()
        # Student's t with 5 degrees has kurtosis 9: a sample variance errs by √(8/n) of itself.
        np.testing.assert_allclose(np.cov(plus.T), covariance, atol=4.5 * 2 * np.sqrt(8 / 40_000))
    assert set(np.asarray(s.chosen[s.sign == 1])) == {0}
    g, answer = s.features[s.group == 0], s.sign[s.group == 0]
    assert diagnostics.distinguishability(g, answer) == pytest.approx(2.0, abs=0.05)
    assert diagnostics.concentration(g, answer) == pytest.approx(np.linalg.eigvalsh(covariance)[-1], rel=0.1)
    assert diagnostics.trace(g, answer) == pytest.approx(3.1, rel=0.1)


def test_priority_is_of_projections_not_of_lengths():
    """Three or more behaviours: the most distinguishable one may be the slowest (statement 3.6)."""
    d = np.array([[1.5, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    gaps = diagnostics.priority_matrix(d)
    np.testing.assert_allclose(gaps, -gaps.T, atol=1e-15)
    assert (gaps[0, 1:] < 0).all()
    mean = d.mean(0)
    assert gaps[1, 0] == pytest.approx((mean @ d[1] - mean @ d[0]) / (np.linalg.norm(mean) * 1.5))
    two = diagnostics.priority_matrix(np.array([[1.0, 0.2], [0.3, -0.4]]))
    assert two[0, 1] > 0  # of two, the more distinguishable
    assert (diagnostics.priority_matrix(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 0).all()


@pytest.mark.thorough
def test_initial_margin_speeds_follow_the_priorities():
    d = np.array([[1.5, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    s = data.behaviours(d, 0.0, 3, key=KEY).samples
    flow = dyn.MarginFlow(s.features, s.chosen, s.rejected, dyn.DPO(0.3))
    speed = np.asarray(flow.velocity(flow.start(None), flow.prepare()).margin)
    mean = d.mean(0)
    for i in range(4):
        np.testing.assert_allclose(speed[np.asarray(s.group) == i].mean(), 0.09 / 4 * (mean @ d[i]), rtol=1e-12)


def test_class_mean_cosines_before_and_after_the_shared_mean():
    made = data.value_clusters(3, 4, 8, 5.0, 0.0, key=KEY)
    labels = 2 * made.samples.group + (made.samples.sign > 0).astype(int)
    before = diagnostics.class_mean_cosine(made.samples.features, labels)
    after = diagnostics.class_mean_cosine(made.samples.features, labels, remove_mean=True)
    assert before.min() > 0.9
    np.testing.assert_allclose(np.abs(after), np.kron(np.eye(3), np.ones((2, 2))), atol=1e-12)


def test_displacement_of_the_dense_rewards():
    chosen, rejected = np.array([[0.0, 0.0], [-0.5, 0.1]]), np.array([[0.0, 0.0], [-1.0, -0.3]])
    found = diagnostics.displacement(chosen, rejected)
    np.testing.assert_allclose(found.chosen, [0.0, -0.2])
    np.testing.assert_allclose(found.rejected, [0.0, -0.65])
    np.testing.assert_allclose(found.displaced, [0.0, 0.5])


def test_identical_means_are_said_to_be_indistinguishable():
    with pytest.warns(UserWarning, match="distinguishability 0"):
        assert diagnostics.distinguishability(np.ones((4, 2)), np.array([1, 1, -1, -1])) == 0.0
    with pytest.warns(UserWarning, match="distinguishability 0"):
        dyn.MarginFlow(np.ones((4, 2)), np.zeros(4, int), np.ones(4, int), dyn.DPO(1.0))


@pytest.mark.thorough
def test_rate_of_a_token_is_the_derivative_along_the_full_gradient():
    rng = np.random.default_rng(0)
    V, d, N, L, M, beta = 6, 4, 3, 3, 2, 0.7
    W0 = rng.normal(size=(V, d))
    W = W0 + 0.3 * rng.normal(size=(V, d))
    g_w, g_l, g_star = rng.normal(size=(N, L, d)), rng.normal(size=(N, M, d)), rng.normal(size=d)
    y_w, y_l = rng.integers(0, V, (N, L)), rng.integers(0, V, (N, M))
    y_w[0, 2] = -1  # a shorter response

    def log_ratio(W, g, y):
        log_p = jax.nn.log_softmax(g @ W.T, axis=-1) - jax.nn.log_softmax(g @ W0.T, axis=-1)
        return jnp.sum(
            jnp.where(y >= 0, jnp.take_along_axis(log_p, jnp.where(y >= 0, y, 0)[..., None], -1)[..., 0], 0.0)
        )

    def loss(W):
        margin = jnp.stack([log_ratio(W, g_w[i], y_w[i]) - log_ratio(W, g_l[i], y_l[i]) for i in range(N)])
        return jnp.mean(jax.nn.softplus(-beta * margin))

    velocity = -jax.grad(loss)(jnp.asarray(W))
    responses = margins.Responses(g_w, g_l, y_w, y_l)
    for token in (0, 5):
        reward = lambda W, token=token: beta * jax.nn.log_softmax(W @ g_star)[token]
        expected = jax.jvp(reward, (jnp.asarray(W),), (velocity,))[1]
        got = margins.multi_token_rate(W, W0, responses, g_star, token, beta)
        assert float(got) == pytest.approx(float(expected), rel=1e-11)
    assert float(margins.multi_token_rate(W, W0, responses, 0 * g_star, 0, beta)) == 0.0


def test_bad_arguments_are_named():
    responses = margins.Responses(np.ones((2, 1, 3)), np.ones((2, 1, 3)), np.zeros((2, 1), int), np.ones((2, 1), int))
    W = np.ones((4, 3))
    cases = [
        (lambda: data.value_clusters(3, 5, 3, 0.4, 0.1, key=KEY), "d = 3 is too small for"),
        (lambda: data.value_clusters(0, 5, 3, 0.4, 0.1, key=KEY), "K = 0"),
        (lambda: data.value_clusters(3, 5, 8, 0.4, -0.1, key=KEY), "v = -0.1"),
        (lambda: data.value_clusters(3, 5, 8, 0.4, 0.1, key=KEY, delta=0.5), "delta = 0.5"),
        (lambda: data.behaviours(np.ones((1, 2)), np.array([[1.0, 0.0], [0.0, -1.0]]), 3, key=KEY), "eigenvalue -1"),
        (lambda: data.behaviours(np.ones((1, 2)), np.ones((3, 3)), 3, key=KEY), "covariance has shape"),
        (lambda: diagnostics.distinguishability(np.ones((3, 2)), np.array([1, 1, 1])), "each at least once"),
        (lambda: diagnostics.class_mean_cosine(np.zeros((3, 2)), np.array([0, 0, 1])), "mean 0"),
        (lambda: margins.multi_token_rate(W, W, responses, np.ones(3), 4, 1.0), "token = 4"),
        (lambda: margins.multi_token_rate(W[:1], W[:1], responses, np.ones(3), 0, 1.0), "outside 0 … 0"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()
