"""Parts that a user wrote: what they may be, what is looked at once, and classes of policies that are no linear space."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dynamics as dyn

P = np.array([[0.5, 0.8, 0.7], [0.2, 0.5, 0.9], [0.3, 0.1, 0.5]])
CYCLE = dyn.preferences.cyclic(3, 0.4)
UNIFORM = np.full(3, -np.log(3.0))
START = jnp.array([0.3, 0.0, -0.3])
ON, FIXED = dyn.samplers.OnPolicy(), dyn.references.Fixed(UNIFORM)


def rounds_of(objective, preference=P, sampler=ON, reference=FIXED, **options):
    return dyn.Rounds(preference, objective, sampler=sampler, reference=reference, **options)


class Pinned(dyn.policies.Policy):
    """The last logit is 0: every policy, without the gauge."""

    def start(self):
        return jnp.zeros(2)

    def logits(self, parameters):
        return jnp.concatenate([parameters, jnp.zeros(1)])


class Cubic(dyn.policies.Policy):
    """Every policy, by parameters that move nothing at 0, where the search starts."""

    def start(self):
        return jnp.zeros(3)

    def logits(self, parameters):
        return parameters**3

    def parameters(self, logits):
        return jnp.cbrt(logits)


class Sinh(dyn.policies.Policy):
    def start(self):
        return jnp.zeros(3)

    def logits(self, parameters):
        return jnp.sinh(parameters)


@pytest.mark.thorough
@pytest.mark.parametrize("policy", [Pinned(), Cubic()], ids=["Pinned", "Cubic"])
def test_a_chart_of_all_policies_has_their_optimum(policy):
    want = rounds_of(dyn.DPO(0.5))
    got = rounds_of(dyn.DPO(0.5), policy=policy)
    advance = jax.jit(lambda z: got.advance(got.centred_start(z), None))
    for z in (START, jnp.zeros(3)):
        state, found = advance(z)
        # Where the first two starts move no policy and the third is far, none may be found; a wrong one never is.
        if bool(found):
            np.testing.assert_allclose(state.logits, want(z), atol=1e-7)
    assert bool(advance(START)[1])


@pytest.mark.thorough
def test_the_derivative_of_the_parameters_that_are_looked_for():
    """At the start itself the search ends before its first step; its derivative is that of the equation."""
    C = np.eye(3) - 1 / 3
    np.testing.assert_allclose(jax.jacfwd(Sinh().parameters)(jnp.zeros(3)), C, atol=1e-12)
    np.testing.assert_allclose(jax.jacrev(Sinh().parameters)(jnp.zeros(3)), C, atol=1e-12)
    steps = dyn.Descend(optax.sgd(0.05), 1)
    radii = [
        float(dyn.stability.spectral_radius(rounds_of(dyn.IPO(0.3), CYCLE, learner=steps, policy=policy), UNIFORM))
        for policy in (Sinh(), dyn.Tabular(3))
    ]
    np.testing.assert_allclose(*radii, rtol=1e-10)


class Same(dyn.feedback.Feedback):
    """The population, as masses."""

    def observe(self, pairs, key=None):
        wins = pairs.rates()
        return dyn.feedback.Masses(wins, wins.sum())


@pytest.mark.parametrize(
    "objective", [dyn.IPO(1.0), dyn.DPO(1.0), dyn.SquaredMargin(1.0)], ids=["IPO", "DPO", "squared"]
)
def test_light_masses_are_not_lost_beside_heavy_ones(objective):
    z = jnp.array([100.0, 0.0, -50.0])
    np.testing.assert_allclose(rounds_of(objective, feedback=Same())(z), rounds_of(objective)(z), atol=1e-12)


@pytest.mark.thorough
def test_single_precision_is_as_right_as_it_says():
    """Before, steps of half a nat counted as an optimum there."""
    code = """
import sys, warnings, jax, jax.numpy as jnp, numpy as np, dynamics as dyn
warnings.simplefilter("ignore")
jax.config.update("jax_enable_x64", sys.argv[1] == "64")
P = np.array([[0.5, 0.999, 0.99], [0.001, 0.5, 0.9999], [0.01, 0.0001, 0.5]])
for logits in ([0.0, 0.0, 0.0], [-6.0, 0.0, 6.0]):
    log_mu = jax.nn.log_softmax(jnp.array(logits))
    f = dyn.objectives.Link(1.0, "probit").implicit_reward(P.astype(f"float{sys.argv[1]}"), log_mu)
    print(f.dtype, *np.asarray(f))
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", code, bits], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for bits in ("32", "64")
    ]
    for single, double in zip(*told, strict=True):
        assert (single.split()[0], double.split()[0]) == ("float32", "float64")
        got, want = (np.array(line.split()[1:], float) for line in (single, double))
        np.testing.assert_allclose(got, want, atol=5e-3)  # P is rounded to 1e-7, a thousandth of its least entry


def test_equal_policies_of_a_list_are_equal_to_rounding():
    """Rotations of one policy on a cycle: their values differ by 1e-16, and the first is taken."""
    for objective, row in (
        (dyn.DPO(0.3), [0.7, 0.2, 0.1]),
        (dyn.DPO(0.3), [0.6, 0.3, 0.1]),
        (dyn.IPO(0.1), [0.5, 0.3, 0.2]),
    ):
        listed = np.log([np.roll(row, n) for n in range(3)])
        loop = rounds_of(objective, CYCLE, sampler=dyn.samplers.Fixed(UNIFORM), policy=dyn.policies.Finite(listed))
        np.testing.assert_allclose(jax.nn.log_softmax(loop(jnp.asarray(listed[1]))), listed[0], atol=1e-12)


@pytest.mark.parametrize("name", ["value", "gradient", "margins", "search", "implicit_reward", "optimum"])
def test_what_solvers_would_not_ask_cannot_be_overridden(name):
    body = {name: lambda self, *arguments: 0.0, "loss": lambda self, margin: margin**2}
    with pytest.raises(
        TypeError, match=rf"Mine overrides {name}, which solvers do not call on a MarginLoss.*Objective"
    ):
        type("Mine", (dyn.objectives.MarginLoss,), body)


class Unnormalised(dyn.samplers.Sampler):
    def log_sampler(self, log_policy):
        return log_policy / 2


class Elsewhere(dyn.references.Reference):
    def log_at(self, logits, memory):
        return jax.nn.log_softmax(jnp.array([0.0, 1.0, 0.0]))


class Forgetful(dyn.references.Reference):
    def log_at(self, logits, memory):
        return logits

    def follow(self, logits, memory):
        return logits


class Silent(dyn.feedback.Feedback):
    def observe(self, pairs, key=None):
        jax.random.bernoulli(key)
        return pairs


class Crooked(dyn.objectives.MarginLoss):
    def loss(self, margin):
        return margin**2

    def slope(self, margin):
        return margin


ONE_FEATURE = dyn.LogLinear(np.array([[1.0], [0.0], [-1.0]]))
SURE = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: rounds_of(dyn.IPO(0.5), sampler=Unnormalised()),
            r"Unnormalised.log_sampler gave total probability 1\.73",
        ),
        (
            lambda: rounds_of(dyn.IPO(0.5), reference=Elsewhere(), policy=ONE_FEATURE),
            r"Elsewhere.log_at is 0\.667 nats off the log-linear policies",
        ),
        (lambda: rounds_of(dyn.IPO(0.5), reference=Forgetful()), "write keeps_state = True"),
        (lambda: rounds_of(dyn.IPO(0.5), feedback=Silent()), "Silent.observe failed without a key.*stochastic = True"),
        (lambda: Crooked(0.5), r"Crooked.slope is -20 at r = -20, where the derivative of Crooked.loss is -40"),
        (
            lambda: rounds_of(dyn.DPO(0.5), feedback=dyn.feedback.BestOfN(4, [3.0, 2.0, 1.0])),
            r"responses \[0\] lost no comparison",
        ),
        (lambda: rounds_of(dyn.objectives.Link(0.5), SURE), r"Link\('logistic'\) has no finite optimum"),
        (
            lambda: dyn.sweep(
                rounds_of(dyn.IPO(0.5), policy=ONE_FEATURE),
                {"objective.beta": [0.5]},
                rounds=1,
                measure="final_entropy",
                initial=np.asarray(jax.nn.log_softmax(jnp.array([0.0, 1.0, 0.0]))),
            ),
            r"initial is 0\.667 nats off",
        ),
        (
            lambda: dyn.sweep(
                rounds_of(dyn.objectives.Link(0.5)), {"label_smoothing": [0.1, 0.9]}, rounds=1, measure="final_entropy"
            ),
            r"objective.label_smoothing = 0\.9 is outside",
        ),
        (
            lambda: dyn.sweep(
                rounds_of(dyn.IPO(0.5), sampler=dyn.samplers.Mixture(0.5, UNIFORM)),
                {"log_offline": np.array([UNIFORM, [-np.inf, np.log(0.5), np.log(0.5)]])},
                rounds=1,
                measure="final_entropy",
            ),
            "log_offline has zero mass somewhere and cannot be the start",
        ),
    ],
)
def test_what_is_looked_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_own_part_of_one_size_is_refused_for_another():
    class Shifted(dyn.references.Reference):
        shift: jax.Array

        def log_at(self, logits, memory):
            return 0.5 * logits + self.shift

    loop = rounds_of(dyn.IPO(0.5), reference=Shifted(jnp.zeros(3)))
    with pytest.raises(ValueError, match=r"define Shifted\.resized"):
        loop.with_preference(dyn.preferences.cyclic(5, 0.2))


def test_an_objective_sees_the_same_under_every_learner():
    class Reads(dyn.objectives.Objective):
        beta: jax.Array

        def value(self, log_policy, log_reference, seen):
            h = self.beta * (log_policy - log_reference)
            wins = 2 * seen.mu[:, None] * seen.mu[None, :] * seen.preference
            return jnp.sum(wins * jnp.logaddexp(0.0, h[None, :] - h[:, None]))

    steps = dyn.Descend(optax.sgd(0.5), 3)
    got, want = (rounds_of(o, learner=steps)(START) for o in (Reads(jnp.asarray(0.5)), dyn.DPO(0.5)))
    np.testing.assert_allclose(got, want, atol=1e-13)


def test_multipliers_of_a_vertex_without_an_optimum_are_not_made_up():
    """DPO's are infinite there; of the same loss as a link nothing is listed."""
    sure = np.array([[0.5, 1.0, 0.6], [0.0, 0.5, 0.4], [0.4, 0.6, 0.5]])
    loop = dyn.Rounds(
        sure,
        dyn.objectives.Link(0.5),
        sampler=ON,
        reference=dyn.references.Geometric(1.0, UNIFORM),
    )
    from dynamics.stability._known import vertex_multipliers

    assert vertex_multipliers(loop, 0) is None
    assert np.isfinite(vertex_multipliers(loop, 2)).all()
