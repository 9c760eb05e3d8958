"""Policies: parameters to log-probabilities and back."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import dynamics as dyn


@pytest.mark.thorough
@given(seed=st.integers(0, 10_000), K=st.integers(2, 7), d=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 1e3]))
def test_log_linear_policies_against_scipy_and_back(seed, K, d, scale):
    rng = np.random.default_rng(seed)
    phi, theta = rng.normal(size=(K, d)), scale * rng.normal(size=d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        policy = dyn.LogLinear(phi)
    assert policy.rank == np.linalg.matrix_rank(phi[1:] - phi[0]) == min(d, K - 1)
    log_policy = np.asarray(policy.log_policy(jnp.asarray(theta)))
    np.testing.assert_allclose(log_policy, scipy.special.log_softmax(phi @ theta), atol=1e-12 * scale, rtol=1e-12)
    found = np.asarray(policy.theta(log_policy))
    features = phi - phi.mean(axis=0)
    inverse = np.linalg.pinv(features)
    # Logits are right to their own rounding, which small features amplify.
    rounding = 1e-13 * (1 + np.abs(phi @ theta).max())
    np.testing.assert_allclose(found, inverse @ features @ theta, atol=rounding * (1 + np.linalg.norm(inverse)))


def test_a_basis_spans_the_class():
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(6, 3))
    B = np.asarray(dyn.LogLinear(phi).basis())
    features = phi - phi.mean(axis=0)
    np.testing.assert_allclose(B.T @ B, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(B @ (B.T @ features), features, atol=1e-14)
    np.testing.assert_allclose(B.sum(axis=0), 0.0, atol=1e-14)


def test_features_over_contexts_share_theta_and_their_rank_counts_all_contexts():
    rng = np.random.default_rng(1)
    phi = rng.normal(size=(3, 2, 4))
    policy = dyn.LogLinear(phi)
    assert policy.rank == 3  # two responses tell one direction of theta in each of three contexts
    theta = rng.normal(size=4)
    got = policy.log_policy(jnp.asarray(theta))
    np.testing.assert_allclose(got, scipy.special.log_softmax(phi @ theta, axis=-1), atol=1e-13)
    basis, z = np.asarray(policy.basis()), np.asarray(policy.logits(jnp.asarray(theta))).ravel()
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(basis @ (basis.T @ z), z, atol=1e-13)
    np.testing.assert_allclose(
        policy.logits(policy.parameters(policy.logits(jnp.asarray(theta)))).ravel(), z, atol=1e-13
    )


def test_tabular_policies_are_centred_logits_and_start_uniform():
    policy = dyn.Tabular(3)
    np.testing.assert_allclose(policy.log_policy(policy.start()), np.log(1 / 3), atol=1e-15)
    np.testing.assert_allclose(policy.logits(jnp.array([1.0, 2.0, 6.0])), [-2.0, -1.0, 3.0], atol=1e-15)


def test_a_policy_off_the_class_is_refused_with_its_distance():
    policy = dyn.LogLinear(np.array([[1.0], [0.0], [-1.0]]))
    off = policy.logits(jnp.array([0.4])) + 0.3 * jnp.array([1.0, -2.0, 1.0])
    with pytest.raises(ValueError, match=r"log_policy is 0\.6 nats off"):
        policy.theta(jax.nn.log_softmax(off))


def test_features_differ_by_more_than_rounding_or_not_at_all():
    """A constant of 1e6 added to features leaves rounding of 1e-10, which is no feature."""
    with pytest.raises(ValueError, match="nothing to learn"):
        dyn.LogLinear(np.full((4, 1), 1e6) / 3 * 3)
    shifted = dyn.LogLinear(np.array([[1.0], [2.0], [4.0]]) + 1e6)
    np.testing.assert_allclose(
        shifted.log_policy(jnp.array([1.0])), scipy.special.log_softmax([1.0, 2.0, 4.0]), atol=1e-9
    )
