"""Rounds that carry more than the policy: own states, moving references, kept momentum; their joint spectra and runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from differences import by_differences

import dynamics as dyn

P = dyn.preferences.cyclic(3, 0.2)
SKEWED = np.array([[0.5, 0.7, 0.4], [0.3, 0.5, 0.8], [0.6, 0.2, 0.5]])
UNIFORM = np.full(3, -np.log(3))
START = np.log([0.5, 0.3, 0.2])
PHI = np.array([[1.0, 0.2], [-0.3, 0.9], [-0.6, -1.0]])


class HeavyBall(dyn.Process):
    """z' = z + v', v' = momentum v + F(z) - z."""

    loop: dyn.SelfSampling
    momentum: jax.Array

    @property
    def num_responses(self):
        return self.loop.num_responses

    def start(self, log_policy):
        return log_policy, jnp.zeros_like(log_policy)

    def advance(self, state, key):
        z, velocity = state
        velocity = self.momentum * velocity + self.loop(z) - z
        return (z + velocity, velocity), True

    def log_policy(self, state):
        return jax.nn.log_softmax(state[0])

    def centre(self, state):
        return jax.tree.map(lambda x: x - x.mean(), state)


class Optimistic(dyn.Process):
    """z' = (1 - eta tau) z + eta tau log ref + eta (2 P pi_t - P pi_{t-1}), log ref uniform: a state of two policies."""

    preference: jax.Array
    eta: jax.Array
    tau: jax.Array

    def start(self, log_policy):
        return log_policy, log_policy

    def advance(self, state, key):
        z, before = state
        pull = self.preference @ (2 * jax.nn.softmax(z) - jax.nn.softmax(before))
        return ((1 - self.eta * self.tau) * z + self.eta * pull, z), True

    def log_policy(self, state):
        return jax.nn.log_softmax(state[0])

    def centre(self, state):
        return jax.tree.map(lambda x: x - x.mean(), state)


def ball(momentum=0.3, alpha=0.5, beta=0.3):
    return HeavyBall(dyn.SelfSampling(P, dyn.IPO(beta), alpha, 1.0), jnp.asarray(momentum))


def ema(rate, beta=0.3, kind=dyn.IPO, matrix=P, **options):
    reference = dyn.references.Ema(rate)
    return dyn.Rounds(matrix, kind(beta), sampler=dyn.samplers.OnPolicy(), reference=reference, **options)


def kept(optimizer, steps=3, kind=dyn.IPO, matrix=P, policy=None, reset_state=False):
    inner = dyn.Descend(optimizer, steps, reset_state=reset_state)
    return dyn.SelfSampling(matrix, kind(0.3), 0.5, 1.0, policy=policy, inner=inner)


def modulus_sorted(values):
    return np.sort(np.abs(np.asarray(values)))[::-1]


def test_a_heavy_ball_without_momentum_is_the_loop():
    plain = dyn.iterate(ball(0.0).loop, 30, initial=START)
    heavy = dyn.iterate(ball(0.0), 30, initial=START, measure="entropy")
    np.testing.assert_allclose(heavy.log_policy, plain.log_policy, atol=1e-13)
    np.testing.assert_allclose(heavy.final.log_policy, heavy.log_policy[-1], atol=1e-15)


def test_a_heavy_ball_equals_a_loop_in_numpy():
    z, v = START.copy(), np.zeros(3)
    for _ in range(25):
        v = 0.3 * v + 0.5 * z + P @ np.exp(oracles.log_softmax(z)) / 0.3 - z
        z = z + v
    sol = dyn.iterate(ball(), 25, initial=START)
    np.testing.assert_allclose(sol.log_policy[-1], oracles.log_softmax(z), atol=1e-12)


@pytest.mark.parametrize(("momentum", "alpha"), [(0.3, 0.5), (0.8, 0.2)])
def test_the_spectrum_of_a_heavy_ball_is_that_of_its_quadratic(momentum, alpha):
    """An eigenvalue m of F gives the two roots of x² - (m + momentum) x + momentum."""
    found = dyn.stability.eigenvalues(ball(momentum, alpha), UNIFORM)
    single = dyn.stability.eigenvalues(ball(momentum, alpha).loop, UNIFORM)
    roots = [root for m in np.asarray(single) for root in np.roots([1.0, -(m + momentum), momentum])]
    np.testing.assert_allclose(modulus_sorted(found), modulus_sorted(roots), atol=1e-10)


@pytest.mark.thorough
def test_a_heavy_ball_is_analysed_whole():
    report = dyn.stability.analyze(ball(0.5, 0.5, 0.5), START, rounds=400, starts=4)
    assert report.verdict == "converged"
    (point,) = report.fixed_points
    assert point.eigenvalues.shape == (4,)
    np.testing.assert_allclose(report.lyapunov_exponent, np.log(point.spectral_radius), atol=2e-3)
    crossings = dyn.stability.critical(ball(0.0, 0.5, 0.5), "momentum", (0.0, 1.5))
    # The product of both pairs of roots is momentum², so beyond 1 some root is larger than 1.
    assert crossings
    assert 0.0 < crossings[0].value <= 1.0
    there = dyn.stability.spectral_radius(ball(crossings[0].value, 0.5, 0.5), UNIFORM)
    np.testing.assert_allclose(there, 1.0, atol=1e-8)
    ds = dyn.sweep(
        ball(0.0, 0.5, 0.5),
        {"momentum": [0.0, crossings[0].value + 0.02]},
        rounds=3000,
        measure="verdict",
        initial=START,
        progress=False,
    )
    names = ds.verdict.attrs["flag_meanings"]
    assert [names[int(code)] for code in ds.verdict] == ["converged", "oscillating"]


def test_optimistic_steps_have_the_spectrum_of_two_policies():
    """Roots of x² - (q + 2ie) x + ie, q = 1 - eta tau, e = eta omega, omega = a/√3 at uniform (theory, roster of rounds)."""
    eta, tau = 0.8, 0.1
    process = Optimistic(jnp.asarray(P), jnp.asarray(eta), jnp.asarray(tau))
    e = eta * 0.2 / np.sqrt(3)
    roots = np.roots([1.0, -(1 - eta * tau + 2j * e), 1j * e])
    want = modulus_sorted([*roots, *roots.conj()])
    np.testing.assert_allclose(modulus_sorted(dyn.stability.eigenvalues(process, UNIFORM)), want, atol=1e-12)


@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_the_joint_spectrum_under_ema_is_the_closed_form(rate):
    bound = dyn.theorems.ema_spectrum(P=np.asarray(P), rate=rate, lam=1.0, beta=0.3)
    found = modulus_sorted(dyn.stability.eigenvalues(ema(rate), UNIFORM))
    np.testing.assert_allclose(found, modulus_sorted(bound.upper), atol=1e-9)


def test_the_critical_rate_under_ema_is_the_closed_form():
    """k² (1 - rate)² (2 - rate) = 2 - 3 rate, k = lam w/(K beta) with w = a√3 on the 3-cycle."""
    beta, k = 0.1, 0.2 / (np.sqrt(3) * 0.1)
    crossings = dyn.stability.critical(ema(0.3, beta), "reference.rate")
    # k² (1 - r)² (2 - r) - 2 + 3 r as a polynomial in r
    roots = np.roots(np.polysub(k**2 * np.array([-1.0, 4.0, -5.0, 2.0]), [-3.0, 2.0]))
    want = np.sort([root.real for root in roots if abs(root.imag) < 1e-12 and 0 < root.real < 1])
    np.testing.assert_allclose([c.value for c in crossings], want, atol=1e-8)
    assert [c.direction for c in crossings] == ["gains stability", "loses stability"]


def joint_cases():
    skewed = {"matrix": SKEWED}
    yield "ema", ema(0.4, **skewed)
    yield "ema and features", ema(0.4, kind=dyn.DPO, policy=dyn.LogLinear(PHI), **skewed)
    yield "momentum", kept(optax.sgd(0.2, momentum=0.8), **skewed)
    yield "momentum and features", kept(optax.sgd(0.2, momentum=0.8), policy=dyn.LogLinear(PHI[:, :1]), **skewed)
    yield "a debiased average", kept(optax.chain(optax.ema(0.7), optax.scale(-0.2)), kind=dyn.DPO, **skewed)
    yield "both", ema(0.4, learner=dyn.Descend(optax.sgd(0.2, 0.5), 2, reset_state=False), **skewed)


CASES = dict(joint_cases())


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_joint_jacobians_are_differences(name):
    process = CASES[name]
    start = np.zeros(3) if process.policy.basis().shape[1] == 2 else 0.4 * PHI[:, 0]
    state = dyn.iterate(process, 2, initial=oracles.log_softmax(start)).final  # moments are no longer zero
    basis = np.asarray(process.state_basis())
    numeric = basis.T @ by_differences(process, state.carried) @ basis
    want = np.linalg.eigvals(numeric)
    found = dyn.stability.eigenvalues(process, state)
    np.testing.assert_allclose(modulus_sorted(found), modulus_sorted(want), atol=2e-6)
    J = np.asarray(dyn.stability.jacobian(process, state))
    got = modulus_sorted(np.linalg.eigvals(J))
    np.testing.assert_allclose(got[: len(want)], modulus_sorted(want), atol=2e-6)
    np.testing.assert_allclose(got[len(want) :], 0.0, atol=1e-7)  # the gauge


def test_counts_are_taken_at_their_limit():
    """An average that corrects its bias by a count acts like one without the correction, once the count is large."""
    corrected = kept(optax.chain(optax.ema(0.7), optax.scale(-0.2)))
    plain = kept(optax.chain(optax.ema(0.7, debias=False), optax.scale(-0.2)))
    a, b = (dyn.stability.eigenvalues(process, UNIFORM) for process in (corrected, plain))
    np.testing.assert_allclose(modulus_sorted(a), modulus_sorted(b), atol=1e-12)


def test_momentum_decides_as_it_is_simulated():
    """By the joint radius on both sides of a critical momentum, and by the orbit."""
    process = kept(optax.sgd(0.2, momentum=0.8))
    stable = dyn.stability.spectral_radius(process, UNIFORM) < 1
    end = dyn.iterate(process, 4000, initial=START).log_policy[-1]
    assert bool(stable) == bool(np.abs(np.asarray(end) - UNIFORM).max() < 1e-6)
    wild = kept(optax.sgd(0.2, momentum=0.99))
    assert (dyn.stability.spectral_radius(wild, UNIFORM) < 1) == (
        np.abs(np.asarray(dyn.iterate(wild, 4000, initial=START).log_policy[-1]) - UNIFORM).max() < 1e-6
    )


@pytest.mark.parametrize(
    ("optimizer", "reset_state", "message"),
    [
        (optax.adam(0.1), False, "ScaleByAdamState.*does not step in proportion to small gradients"),
        (optax.adam(0.1), True, "does not step in proportion to small gradients"),
        (optax.lion(0.1), True, "ScaleByLionState.*does not step in proportion"),
        (optax.sgd(optax.linear_schedule(0.1, 0.01, 100)), False, "keeps ScaleByScheduleState from round to round"),
    ],
)
def test_optimizers_without_a_slope_are_refused_by_name(optimizer, reset_state, message):
    process = kept(optimizer, reset_state=reset_state)
    with pytest.raises(ValueError, match=message):
        dyn.stability.analyze(process)
    assert np.isfinite(dyn.iterate(process, 3, initial=START).log_policy).all()


def test_a_schedule_that_starts_anew_every_round_is_analysed():
    process = kept(optax.sgd(optax.linear_schedule(0.2, 0.1, 3)), reset_state=True)
    want = np.linalg.eigvals(by_differences(process, process.start(jnp.asarray(UNIFORM))))
    found = modulus_sorted(dyn.stability.eigenvalues(process, UNIFORM))
    np.testing.assert_allclose(found, modulus_sorted(want)[:2], atol=1e-6)


def test_a_fixed_point_holds_the_state_to_start_from():
    process = ema(0.4, beta=0.5)
    (point,) = dyn.stability.find_fixed_points(process, 4)
    sol = dyn.iterate(process, 20, initial=point.state)
    np.testing.assert_allclose(sol.log_policy, np.broadcast_to(point.log_policy, (21, 3)), atol=1e-9)
    radius = dyn.stability.spectral_radius(process, point.state)
    np.testing.assert_allclose(radius, point.spectral_radius, rtol=1e-9)


@pytest.mark.parametrize("process", [ball(), ema(0.3), CASES["momentum"]], ids=["own", "ema", "momentum"])
def test_a_run_goes_on_with_its_state(process):
    whole = dyn.iterate(process, 30, initial=START, measure="kl_to_reference")
    rest = dyn.iterate(process, 10, initial=dyn.iterate(process, 20, initial=START).final, measure="kl_to_reference")
    np.testing.assert_array_equal(rest.log_policy, whole.log_policy[20:])
    np.testing.assert_array_equal(rest.kl_to_reference, whole.kl_to_reference[20:])


def test_a_state_that_leaves_the_floats_is_a_failure_whatever_it_says():
    wild = ball(momentum=1e200)  # advance says True
    with pytest.raises(RuntimeError, match="not finite"):
        dyn.iterate(wild, 20, initial=START)
    kept = dyn.iterate(wild, 20, initial=START, throw=False)
    assert np.isfinite(kept.log_policy).all()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"advance": lambda self, state, key: (state[0], True)}, "advance .*start"),
        ({"advance": lambda self, state, key: state + 1}, "return the next state and whether the round succeeded"),
        ({"log_policy": lambda self, state: state[0][:2]}, r"log_policy gave shape \(2,\)"),
    ],
)
def test_a_state_that_does_not_keep_its_shape_is_refused(method, message):
    body = {"start": HeavyBall.start, "advance": HeavyBall.advance, "log_policy": HeavyBall.log_policy}
    body |= {"centre": HeavyBall.centre, "num_responses": HeavyBall.num_responses}
    body |= {"__annotations__": {"loop": dyn.SelfSampling, "momentum": jax.Array}}
    Bad = type("Bad", (dyn.Process,), body | method)
    with pytest.raises(ValueError, match=message):
        dyn.iterate(Bad(ball().loop, jnp.asarray(0.1)), 3, initial=START)


class OnPrompts(dyn.RoundMap):
    """A user's own map of several prompts: SPPO with a step of 1."""

    preference: jax.Array

    @property
    def shape(self):
        return self.preference.shape[:-1]

    def __call__(self, logits, key=None):
        return logits + jnp.einsum("xij,xj->xi", self.preference, jax.nn.softmax(logits))


def test_a_map_of_ones_own_says_by_its_shape_that_it_has_several_prompts():
    P = jnp.stack([dyn.preferences.cyclic(3, 0.4), dyn.preferences.cyclic(3, 0.2)])
    own, game = OnPrompts(P), dyn.games.SPPO(P, 1.0)
    start = np.log(np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]))
    one, other = (dyn.iterate(process, 20, initial=start, measure="entropy") for process in (own, game))
    np.testing.assert_array_equal(np.asarray(one.log_policy), np.asarray(other.log_policy))
    np.testing.assert_array_equal(
        np.asarray(one.statistics["mean_entropy"]), np.asarray(other.statistics["mean_entropy"])
    )
    alone = max(float(dyn.stability.spectral_radius(each, np.full(3, -np.log(3)))) for each in game.prompts())
    assert float(dyn.stability.spectral_radius(own, own.log_start())) == pytest.approx(alone, rel=1e-12)


def test_what_to_subclass_instead_of_a_game_can_be_imported():
    for game, instead in (
        (dyn.games.SPPO, "RoundMap and write __call__"),
        (dyn.games.ProximalPoint, "Process and write"),
    ):
        with pytest.raises(TypeError, match=f"subclass .*{instead}") as told:
            type("Own", (game,), {})
        assert "OnPrompts" not in str(told.value)
        assert str(told.value).count("RoundMap") == 1


def test_a_centre_that_is_not_linear_is_refused():
    class Crooked(dyn.Process):
        preference: jax.Array

        def start(self, log_policy):
            return log_policy - log_policy.mean()

        def advance(self, state, key):
            return 0.5 * state, True

        def log_policy(self, state):
            return jax.nn.log_softmax(state)

        def centre(self, state):
            return jnp.tanh(state) - jnp.tanh(state).mean()

    with pytest.raises(ValueError, match=r"Crooked\.centre is not linear in the state"):
        dyn.stability.analyze(Crooked(dyn.preferences.cyclic(3, 0.4)))
