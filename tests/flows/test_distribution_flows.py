"""Gradient flow and descent on objectives that are not losses of margins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dynamics as dyn

P = jnp.array([[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]])
MU = jax.nn.log_softmax(jnp.array([0.3, -0.2, 0.5]))
REFERENCE = jax.nn.log_softmax(jnp.array([-0.4, 0.1, 0.2]))
OBJECTIVES = (
    dyn.PMLE(0.8, 0.3),
    dyn.PreferenceDistillation(0.8, 0.3),
    dyn.ReverseKL(0.5, 0.3),
    dyn.RLHF(0.6, "win-rate"),
    dyn.REBEL(1.5),
)


@pytest.mark.thorough
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_flows_and_descent_end_at_the_optimum(objective):
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, objective, dyn.samplers.Fixed(MU), REFERENCE)
    expected = objective.optimum(P, MU, REFERENCE)
    if isinstance(objective, dyn.ReverseKL):
        run = dyn.gradient_flow(flow, t1=400.0)
        np.testing.assert_allclose(run.log_policy[-1], expected, rtol=0, atol=1e-6)
    steps = dyn.descend(flow, optax.sgd(0.5), steps=800)
    np.testing.assert_allclose(steps.log_policy[-1], expected, rtol=0, atol=1e-6)
    start = flow.start(None)
    value = objective.value(REFERENCE, REFERENCE, objective.prepare(dyn.feedback.Pairs(P, MU, jnp.exp(MU))))
    np.testing.assert_allclose(flow.loss(start.parameters), value, rtol=0, atol=1e-14)


@pytest.mark.thorough
def test_contexts_are_independent_and_the_reward_follows_the_sampler():
    both = jnp.stack([P, P.T])
    shares = jnp.array([0.25, 0.75])
    objective, sampler = dyn.ReverseKL(0.5, 0.3), dyn.samplers.OnPolicy()
    together = dyn.PreferenceFlow(dyn.Tabular(3), both, objective, sampler, weights=shares)
    z = jnp.array([[0.2, 0.1, -0.3], [-0.5, 0.4, 0.1]])
    got = together.velocity(together.start(z)).parameters
    for x, share in enumerate(shares):
        alone = dyn.PreferenceFlow(dyn.Tabular(3), both[x], objective, sampler)
        np.testing.assert_allclose(got[x], share * alone.velocity(alone.start(z[x])).parameters, rtol=0, atol=1e-13)
        log_policy = jax.nn.log_softmax(z[x])
        reward = dyn.DPO(1.0).implicit_reward(both[x], log_policy)
        mean = lambda z, reward=reward: jnp.sum(
            jax.nn.softmax(z) * (-reward + 0.8 * jax.nn.log_softmax(z) + 0.3 * jnp.log(3.0))
        )
        np.testing.assert_allclose(got[x], -share * jax.grad(mean)(z[x]), rtol=0, atol=1e-12)


def test_what_a_flow_cannot_do_is_refused_by_name():
    flow = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.PMLE(0.5, 0.1), dyn.samplers.OnPolicy())
    with pytest.raises(ValueError, match="batch = 8: PMLE is not a mean over pairs alone"):
        dyn.descend(flow, optax.sgd(0.1), steps=2, batch=8, key=jax.random.key(0))
    certain = jnp.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
    with pytest.raises(ValueError, match=r"RLHF has no finite reward: responses \[0\] beat every other"):
        dyn.PreferenceFlow(dyn.Tabular(3), certain, dyn.RLHF(0.5), dyn.samplers.OnPolicy())
