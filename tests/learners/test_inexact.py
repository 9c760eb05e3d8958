"""Rounds of an optimizer's steps: against a loop written out by hand, the optimum they approach, and the state they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import dynamics as dyn
from dynamics._parameters import describe

P = problems.matrix(4, 2, 0.2, 0.8)
START, REFERENCE, OFFLINE = (problems.log_policy(4, seed) for seed in (0, 1, 2))
PHI = np.random.default_rng(0).normal(size=(4, 2))


def loop_of(objective, inner, alpha=0.4, lam=0.7, **options):
    return dyn.SelfSampling(P, objective, alpha, lam, REFERENCE, OFFLINE, inner=inner, **options)


def by_hand(
    objective, optimizer, steps, rounds, reset, phi=None, alpha=0.4, lam=0.7, start=START, log_reference=REFERENCE
):
    """Every pair of responses spelt out, the gradient by JAX."""
    phi = np.eye(4) if phi is None else phi
    theta = np.linalg.pinv(phi - phi.mean(0)) @ start
    state = None
    for _ in range(rounds):
        z = phi @ theta
        log_pi = jax.nn.log_softmax(jnp.asarray(z))
        ref = alpha * log_pi + (1 - alpha) * log_reference
        mu = np.asarray(lam * jnp.exp(log_pi) + (1 - lam) * jnp.exp(OFFLINE))

        def loss(theta, mu=mu, ref=ref):
            h = jax.nn.log_softmax(phi @ theta) - ref
            total = 0.0
            for i in range(4):
                for j in range(4):
                    for first, second, p in ((i, j, P[i, j]), (j, i, P[j, i])):
                        total += mu[i] * mu[j] * p * objective.loss(objective.beta * (h[first] - h[second]))
            return total

        state = optimizer.init(theta) if reset or state is None else state
        for _ in range(steps):
            updates, state = optimizer.update(jax.grad(loss)(jnp.asarray(theta)), state, theta)
            theta = theta + np.asarray(updates)
    return np.asarray(jax.nn.log_softmax(phi @ theta))


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [dyn.IPO(0.3), dyn.DPO(0.5)], ids=["IPO", "DPO"])
@pytest.mark.parametrize("reset", [True, False])
def test_rounds_are_those_written_out_by_hand(objective, reset):
    optimizer = optax.adam(0.05)
    loop = loop_of(objective, dyn.Descend(optimizer, 3, reset_state=reset))
    got = dyn.iterate(loop, 3, initial=START).log_policy[-1]
    np.testing.assert_allclose(got, by_hand(objective, optimizer, 3, 3, reset), atol=1e-12)


@pytest.mark.thorough
def test_features_are_trained_in_theta():
    """Adam is not invariant under rotations, so theta and logits would give different policies."""
    policy = dyn.LogLinear(PHI)
    start, reference = (np.asarray(policy.log_policy(jnp.asarray(t))) for t in ([0.3, -0.2], [0.1, 0.4]))
    loop = dyn.SelfSampling(
        P, dyn.DPO(0.5), 0.4, 0.7, reference, OFFLINE, policy, inner=dyn.Descend(optax.adam(0.05), 4)
    )
    got = dyn.iterate(loop, 2, initial=start).log_policy[-1]
    want = by_hand(dyn.DPO(0.5), optax.adam(0.05), 4, 2, True, PHI, start=start, log_reference=reference)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("objective", [dyn.IPO(0.3), dyn.DPO(0.5)], ids=["IPO", "DPO"])
def test_many_steps_reach_the_optimum(objective):
    loop = loop_of(objective, dyn.Descend(optax.sgd(0.3 if isinstance(objective, dyn.IPO) else 8.0), 6000))
    exact = loop_of(objective, None)
    np.testing.assert_allclose(loop(jnp.asarray(START)), exact(jnp.asarray(START)), atol=1e-10)


@pytest.mark.thorough
def test_many_steps_on_a_sample_reach_its_optimum():
    """The same key draws the same comparisons; a sample of this size links all four responses."""
    key = jax.random.key(1)
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.sgd(0.3), 8000), samples=400)
    exact = loop_of(dyn.IPO(0.3), None, samples=400)
    # With steps to take, a round's key is split once before the comparisons are drawn.
    want = exact(jnp.asarray(START), jax.random.split(key)[1])
    np.testing.assert_allclose(loop(jnp.asarray(START), key), want, atol=1e-9)


@pytest.mark.thorough
def test_minibatches_scatter_about_the_full_gradient():
    """One SGD step is linear in the gradient, so its mean over keys is the step along the exact gradient."""
    z = jnp.asarray(START)
    full = loop_of(dyn.DPO(0.5), dyn.Descend(optax.sgd(1.0), 1))(z)
    for samples in (None, 30):
        loop = loop_of(dyn.DPO(0.5), dyn.Descend(optax.sgd(1.0), 1, batch=8), samples=samples)
        ends = jax.jit(jax.vmap(lambda key, loop=loop: loop(z, key)))(jax.random.split(jax.random.key(0), 20_000))
        error = ends.std(0) / np.sqrt(len(ends))
        assert float(error.min()) > 0
        assert (np.abs(ends.mean(0) - full) < 4.5 * error).all()


def test_steps_may_be_swept_and_sweeps_keep_the_state():
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.adam(0.05), 1, reset_state=False))
    ds = dyn.sweep(loop, {"steps": [1, 4]}, rounds=5, measure="final_entropy", initial=START)
    for steps, got in zip((1, 4), ds["final_entropy"].values, strict=True):
        one = loop_of(dyn.IPO(0.3), dyn.Descend(optax.adam(0.05), steps, reset_state=False))
        want = dyn.iterate(one, 5, initial=START, measure="final_entropy").final_entropy
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_kept_state_survives_a_restart():
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.adam(0.05), 3, reset_state=False))
    whole = dyn.iterate(loop, 8, initial=START)
    half = dyn.iterate(loop, 3, initial=START)
    np.testing.assert_array_equal(whole.log_policy[-1], dyn.iterate(loop, 5, initial=half.final).log_policy[-1])


def test_what_an_optimizer_computes_is_part_of_a_description():
    """Learning rates are hidden in closures; a kept sweep must not be taken for one at another rate."""
    told = [
        describe(loop_of(dyn.IPO(0.3), dyn.Descend(optimizer, 2, reset_state=reset)))
        for optimizer, reset in (
            (optax.adam(0.05), True),
            (optax.adam(0.05), True),
            (optax.adam(0.050001), True),
            (optax.sgd(0.05), True),
            (optax.adam(0.05), False),
        )
    ]
    assert told[0] == told[1]
    assert all(told[0] != other for other in told[2:])


@pytest.mark.thorough
def test_stability_is_of_the_inexact_round():
    """One SGD step at rate eta from the policy: J by differences; no theorem about optima speaks of it."""
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.sgd(0.02), 1))
    report = dyn.stability.analyze(loop, rounds=2000)
    (point,) = report.fixed_points
    assert report.contraction_rate is None
    assert report.certificate == "none"
    # A step from the policy against a reference that follows it by alpha rests where the exact round does.
    exact = dyn.stability.analyze(loop_of(dyn.IPO(0.3), None)).fixed_points[0]
    np.testing.assert_allclose(point.log_policy, exact.log_policy, atol=1e-8)
    assert point.spectral_radius > exact.spectral_radius
    jacobian = np.asarray(dyn.stability.jacobian(loop, point.log_policy))
    shift = 1e-6 * np.eye(4)
    differences = [
        (loop(jnp.asarray(point.log_policy + d)) - loop(jnp.asarray(point.log_policy - d))) / 2e-6 for d in shift
    ]
    C = np.eye(4) - 0.25
    np.testing.assert_allclose(jacobian, C @ np.array(differences).T @ C, atol=1e-8)


def test_kept_moments_that_do_not_shrink_with_the_gradient_are_refused():
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.adam(0.05), 3, reset_state=False))
    with pytest.raises(ValueError, match="does not step in proportion to small gradients"):
        dyn.stability.analyze(loop)
    plain = loop_of(dyn.IPO(0.3), dyn.Descend(optax.sgd(0.02), 3, reset_state=False))
    assert float(dyn.stability.spectral_radius(plain, START)) > 0


def test_steps_that_blow_up_are_a_result():
    loop = loop_of(dyn.IPO(0.3), dyn.Descend(optax.sgd(1e4), 500))
    with pytest.raises(RuntimeError, match="not finite"):
        dyn.iterate(loop, 50, initial=START)
    assert np.isfinite(dyn.iterate(loop, 50, initial=START, throw=False).log_policy).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((optax.adam(0.1), 0), "steps = 0; pass a whole number from 1"),
        ((optax.adam(0.1), 1.5), "steps = 1.5; pass a whole number"),
        ((optax.adam(0.1), 3, 0), "batch = 0; pass a whole number from 1"),
        ((optax.lbfgs(), 3), "optimizer needs more than gradients"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dyn.Descend(*arguments)
