"""Abstract or final: what a user subclasses is asked, and what is known to behave in one way cannot be overridden."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate

import dynamics as dyn
from dynamics import feedback, flows, learners, objectives, policies, references, samplers
from dynamics._noun import Noun, is_abstract

ROOMS = (feedback, flows, learners, objectives, policies, references, samplers)
PUBLIC = {
    getattr(room, name)
    for room in ROOMS
    for name in room.__all__
    if inspect.isclass(getattr(room, name)) and issubclass(getattr(room, name), Noun)
} | {dyn.Process, dyn.RoundMap, dyn.Rounds, dyn.SelfSampling}
CONCRETE = sorted((kind for kind in PUBLIC if not is_abstract(kind)), key=lambda kind: (kind.__module__, kind.__name__))
ABSTRACT = sorted((kind for kind in PUBLIC if is_abstract(kind)), key=lambda kind: kind.__name__)


def test_there_are_nouns_of_both_kinds():
    assert {dyn.IPO, dyn.DPO, dyn.SLiC, dyn.SelfSampling, dyn.Rounds, dyn.Tabular, dyn.Descend} <= set(CONCRETE)
    names = {kind.__name__ for kind in ABSTRACT}
    assert names >= {"Policy", "Sampler", "Reference", "Feedback", "Learner", "Objective", "MarginLoss", "RoundMap"}


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: f"{kind.__module__.split('.')[1]}.{kind.__name__}")
def test_concrete_classes_are_final_and_say_what_to_subclass(kind):
    parents = [k.__name__ for k in kind.__mro__ if k in ABSTRACT]
    remedy = rf"subclass .*{parents[0]} and write" if parents else "hold an instance of it in your own class"
    with pytest.raises(TypeError, match=rf"{kind.__name__} is final.*{remedy}"):
        type("Mine", (kind,), {})


@pytest.mark.parametrize("kind", ABSTRACT, ids=lambda kind: kind.__name__)
def test_abstract_classes_do_not_stand_by_themselves(kind):
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_overriding_the_obvious_method_is_refused_when_the_class_is_made():
    """Before, iterate ran plain IPO and analyze called it proven stable."""
    with pytest.raises(TypeError, match="subclass RoundMap and write __call__, or Process and write advance"):

        class Temp(dyn.SelfSampling):
            def __call__(self, logits, key=None):
                return 3 * super().__call__(logits)

    with pytest.raises(TypeError, match="subclass MarginLoss and write loss"):

        class Sharp(dyn.IPO):
            def loss(self, margin):
                return 3 * margin**2


def test_a_concrete_class_of_ones_own_is_final_too():
    class Mine(dyn.RoundMap):
        preference: jax.Array

        def __call__(self, logits, key=None):
            return 0.5 * logits

    with pytest.raises(TypeError, match="Mine is final"):

        class More(Mine):
            def __call__(self, logits, key=None):
                return 0.9 * logits


class Sinh(dyn.policies.Policy):
    """Logits sinh(theta) of K parameters: a policy of one's own."""

    size: int

    def start(self):
        return jnp.zeros(self.size)

    def logits(self, parameters):
        return jnp.sinh(parameters)


class Cubic(dyn.policies.Policy):
    def start(self):
        return jnp.ones(3)

    def logits(self, parameters):
        return parameters**3


@pytest.mark.thorough
def test_a_flow_asks_a_policy_of_ones_own_for_its_logits():
    """Before, any policy without features was taken for tabular, and its logits were never asked for."""
    P = dyn.preferences.cyclic(3, 0.3)
    flow = dyn.PreferenceFlow(Cubic(), P, dyn.DPO(0.5), dyn.samplers.OnPolicy())
    start = np.array([0.7, -0.4, 1.1])
    np.testing.assert_allclose(flow.log_policy(jnp.asarray(start)), jax.nn.log_softmax(start**3), atol=1e-15)

    def velocity(t, theta):
        pi = np.exp(theta**3 - np.logaddexp.reduce(theta**3))
        h = 0.5 * (theta**3 + np.log(3.0))
        S = 1 / (1 + np.exp(-(h[:, None] - h[None, :])))
        force = 2 * 0.5 * pi * ((P @ pi) - S @ pi)
        return 3 * theta**2 * force

    sol = dyn.gradient_flow(flow, t1=3.0, initial=start)
    want = scipy.integrate.solve_ivp(velocity, (0, 3), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(sol.parameters[-1], want, atol=1e-6)  # the solver's own tolerance


@pytest.mark.thorough
def test_a_policy_of_ones_own_is_asked_for_the_parameters_of_the_reference():
    reference = jax.nn.log_softmax(jnp.array([0.5, -0.3, 0.1]))
    flow = dyn.PreferenceFlow(Sinh(3), dyn.preferences.cyclic(3, 0.3), dyn.IPO(0.5), dyn.samplers.OnPolicy(), reference)
    first = dyn.gradient_flow(flow, t1=0.1).log_policy[0]
    np.testing.assert_allclose(first, reference, atol=1e-12)


def test_parameters_that_cannot_be_found_are_refused_by_name():
    """At theta = 0 the derivative of theta³ vanishes, and no search leaves it."""

    class Stuck(dyn.policies.Policy):
        def start(self):
            return jnp.zeros(3)

        def logits(self, parameters):
            return parameters**3

    reference = jax.nn.log_softmax(jnp.array([0.5, -0.3, 0.1]))
    with pytest.raises(ValueError, match=r"log_reference is 0\.\d+ nats off what Stuck was found to reach"):
        dyn.PreferenceFlow(
            Stuck(), dyn.preferences.cyclic(3, 0.3), dyn.IPO(0.5), dyn.samplers.OnPolicy(), reference
        ).start(None)


def test_a_round_map_that_needs_a_key_has_to_say_so():
    class Shaken(dyn.RoundMap):
        preference: jax.Array

        def __call__(self, logits, key):
            return logits + jax.random.normal(key, logits.shape)

    with pytest.raises(ValueError, match=r"Shaken.*stochastic = True"):
        dyn.iterate(Shaken(jnp.asarray(dyn.preferences.cyclic(3, 0.3))), 3)


def test_steps_on_a_loss_with_a_kink():
    """Before, SLiC and every loss of one's own were refused in rounds, though steps need only the slope."""
    P = np.asarray(dyn.preferences.random(3, key=jax.random.key(0)))
    loop = dyn.SelfSampling(P, dyn.SLiC(0.3), 0.5, 1.0, inner=dyn.Descend(optax.sgd(0.2), 3))
    z = np.array([0.4, -0.1, -0.3])
    got = np.asarray(loop(jnp.asarray(z)))
    pi = np.exp(z) / np.exp(z).sum()
    ref = 0.5 * z
    theta = z.copy()
    for _ in range(3):
        h = theta - ref
        r = 0.3 * (h[:, None] - h[None, :])
        pull = 0.3 * 2 * pi[:, None] * pi[None, :] * P * (1 - np.eye(3)) * np.where(r < 1, -1.0, 0.0)
        theta = theta - 0.2 * (pull.sum(1) - pull.sum(0))
    np.testing.assert_allclose(got, theta - theta.mean(), atol=1e-14)
    with pytest.raises(ValueError, match=r"SLiC.*dyn.Descend"):
        dyn.SelfSampling(P, dyn.SLiC(0.3), 0.5, 1.0)
