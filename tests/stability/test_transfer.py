"""Rounds of reverse KL, RLHF, REBEL, PMLE and distillation: their stability is that of rounds of DPO and IPO (7.16)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

ADVANTAGE, BETA, GAMMA, ALPHA = 0.4, 0.15, 0.1, 0.8
P = dyn.preferences.cyclic(3, ADVANTAGE)
TILTED = jnp.array([[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]])
REFERENCE = jax.nn.log_softmax(jnp.array([0.3, -0.2, 0.5]))
W = ADVANTAGE * np.sqrt(3.0)  # singular value of P - 1/2


def rounds(objective, alpha=ALPHA, preference=P, log_reference=None):
    reference = dyn.references.Geometric(alpha, jnp.full(3, -jnp.log(3.0)) if log_reference is None else log_reference)
    return dyn.Rounds(preference, objective, sampler=dyn.samplers.OnPolicy(), reference=reference)


@pytest.mark.parametrize(
    ("objective", "equal", "alpha"),
    [
        (dyn.ReverseKL(GAMMA, BETA), dyn.DPO(BETA + GAMMA), ALPHA * BETA / (BETA + GAMMA)),
        (dyn.ReverseKL(GAMMA, BETA, "win-rate"), dyn.IPO(BETA + GAMMA), ALPHA * BETA / (BETA + GAMMA)),
        (dyn.RLHF(BETA, "win-rate"), dyn.IPO(BETA), ALPHA),
        (dyn.REBEL(1.0 / BETA), dyn.DPO(BETA), ALPHA),
        (dyn.PMLE(GAMMA, 0.0), dyn.DPO(GAMMA), 0.0),
        (dyn.PreferenceDistillation(GAMMA, 0.0), dyn.DPO(GAMMA), 0.0),
    ],
)
def test_the_canonical_form_has_the_same_rounds(objective, equal, alpha):
    loop = rounds(objective, preference=TILTED, log_reference=REFERENCE)
    form = dyn.rounds.canonical(loop)
    assert type(form.objective) is type(equal)
    np.testing.assert_allclose([float(form.beta), float(form.alpha)], [float(equal.beta), alpha], rtol=1e-14)
    assert form.through == ", through statement 7.16"
    z = jnp.array([0.2, -0.1, -0.1])
    for _ in range(3):
        after = loop(z)
        np.testing.assert_allclose(after, form.rounds()(z), rtol=0, atol=1e-11)
        z = after


@pytest.mark.thorough
@pytest.mark.parametrize(("reward", "kappa"), [("bradley-terry", 4.0), ("win-rate", 1.0)])
def test_the_entropy_that_stabilises_rounds_without_a_fixed_reference(reward, kappa):
    """alpha = 1 is unstable iff gamma < √(beta² + (kappa lam w/K)²) - beta."""
    loop = rounds(dyn.ReverseKL(0.2, BETA, reward), alpha=1.0)
    (crossing,) = dyn.stability.critical(loop, "objective.gamma")
    expected = np.sqrt(BETA**2 + (kappa * W / 3) ** 2) - BETA
    np.testing.assert_allclose(crossing.value, expected, rtol=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.PMLE, dyn.PreferenceDistillation])
def test_the_spectrum_of_penalised_likelihood_at_the_uniform_policy(kind):
    """(alpha beta ± 2 i gamma lam w/K)/(beta + gamma²/2)."""
    gamma = 0.6
    values = dyn.stability.eigenvalues(rounds(kind(gamma, BETA)), jnp.full(3, -jnp.log(3.0)))
    expected = (ALPHA * BETA + 2j * gamma * W / 3) / (BETA + gamma**2 / 2)
    np.testing.assert_allclose([value for value in np.asarray(values) if value.imag > 0], [expected], rtol=1e-7)


@pytest.mark.thorough
def test_what_is_proven_for_reverse_kl_names_the_transfer():
    stable = dyn.stability.analyze(rounds(dyn.ReverseKL(1.0, 1.0, "win-rate")))
    assert "through statement 7.16" in str(stable)
    assert "proven" in str(stable).lower()
    plain = dyn.stability.analyze(rounds(dyn.IPO(2.0)))
    assert "7.16" not in str(plain)
