"""References: what each is, against rounds written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

import dynamics as dyn

P = problems.matrix(4, 3)
START, REFERENCE = problems.log_policy(4, 0), problems.log_policy(4, 1)
ON = dyn.samplers.OnPolicy()


def normalised(z):
    return z - np.logaddexp.reduce(z)


def rounds_of(reference, **options):
    return dyn.Rounds(P, dyn.IPO(0.4), sampler=ON, reference=reference, **options)


@pytest.mark.parametrize("log_start", [None, REFERENCE], ids=["first policy", "given"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_ema_is_the_moving_average_of_log_policies(rate, log_start):
    sol = dyn.iterate(rounds_of(dyn.references.Ema(rate, log_start)), 12, initial=START, measure="kl_to_reference")
    z, ref = START.copy(), (START if log_start is None else log_start)
    base = normalised(ref)
    for row, kl in zip(np.asarray(sol.log_policy), np.asarray(sol.kl_to_reference), strict=True):
        np.testing.assert_allclose(row, normalised(z), atol=1e-13)
        np.testing.assert_allclose(kl, np.exp(normalised(z)) @ (normalised(z) - base), atol=1e-13)
        z = ref + P @ np.exp(normalised(z)) / 0.4
        ref = normalised(rate * normalised(z) + (1 - rate) * ref)


def test_ema_at_rate_one_follows_the_policy_and_at_zero_stays():
    follow = dyn.iterate(rounds_of(dyn.references.Ema(1.0)), 8, initial=START).log_policy
    geometric = dyn.iterate(rounds_of(dyn.references.Geometric(1.0, REFERENCE)), 8, initial=START).log_policy
    np.testing.assert_allclose(follow, geometric, atol=1e-12)
    stays = dyn.iterate(rounds_of(dyn.references.Ema(0.0, REFERENCE)), 8, initial=START).log_policy
    fixed = dyn.iterate(rounds_of(dyn.references.Fixed(REFERENCE)), 8, initial=START).log_policy
    np.testing.assert_allclose(stays, fixed, atol=1e-12)


def test_a_run_with_a_memory_restarts_where_it_was():
    loop = rounds_of(dyn.references.Ema(0.3))
    whole = dyn.iterate(loop, 9, initial=START)
    half = dyn.iterate(loop, 4, initial=START)
    rest = dyn.iterate(loop, 5, initial=half.final)
    np.testing.assert_array_equal(whole.log_policy[-1], rest.log_policy[-1])


def test_a_memory_is_swept_too():
    ds = dyn.sweep(
        rounds_of(dyn.references.Ema(0.3)), {"rate": [0.2, 0.9]}, rounds=7, measure="final_entropy", initial=START
    )
    for rate, got in zip((0.2, 0.9), ds.final_entropy.values, strict=True):
        one = dyn.iterate(rounds_of(dyn.references.Ema(rate)), 7, initial=START, measure="final_entropy")
        np.testing.assert_allclose(got, one.final_entropy, rtol=1e-12)


def test_a_reference_of_ones_own():
    class Half(dyn.references.Reference):
        """ref_t ∝ √pi_t."""

        def log_at(self, logits, memory):
            return 0.5 * logits

    got = dyn.iterate(rounds_of(Half()), 6, initial=START).log_policy
    want = dyn.iterate(rounds_of(dyn.references.Geometric(0.5, np.full(4, -np.log(4)))), 6, initial=START).log_policy
    np.testing.assert_allclose(got, want, atol=1e-13)


def test_a_reference_of_ones_own_with_a_memory():
    class First(dyn.references.Reference):
        """The first policy, kept."""

        keeps_state = True

        def start(self, logits):
            return logits

        def log_at(self, logits, memory):
            return memory

        def follow(self, logits, memory):
            return memory

    sol = dyn.iterate(rounds_of(First()), 5, initial=START)
    fixed = dyn.iterate(rounds_of(dyn.references.Fixed(START)), 5, initial=START)
    np.testing.assert_allclose(sol.log_policy, fixed.log_policy, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dyn.references.Geometric(1.2, REFERENCE), r"alpha = 1\.2 is outside \[0, 1\]"),
        (lambda: dyn.references.Ema(-0.1), r"rate = -0\.1 is outside \[0, 1\]"),
        (lambda: dyn.references.Fixed([0.5, 0.5]), "log_reference has total probability"),
        (lambda: rounds_of(dyn.references.Fixed(problems.log_policy(3, 0))), r"log_reference has shape \(3,\)"),
        (lambda: rounds_of(dyn.references.Ema(0.5, problems.log_policy(3, 0))), r"log_start has shape \(3,\)"),
    ],
)
def test_bad_references(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.thorough
def test_gradients_pass_through_a_memory():
    def last(rate):
        loop = dyn.Rounds(P, dyn.DPO(0.4), sampler=ON, reference=dyn.references.Ema(rate))
        return dyn.iterate(loop, 5, initial=START).log_policy[-1, 0]

    h = 1e-6
    numeric = (last(0.3 + h) - last(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(last)(jnp.asarray(0.3)), numeric, rtol=1e-6)
