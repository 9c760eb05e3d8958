"""The public strategies: what they promise holds, they reach the edges, and what they find shrinks."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from dynamics import preferences, testing, theorems
from dynamics.rounds import SelfSampling

# beartype looks at a random item of a container, which Hypothesis takes for randomness of the strategy's own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def transitive(P):
    wins = P > 0.5
    return not (wins & (wins @ wins).T).any() and (wins | wins.T | np.eye(len(P), dtype=bool)).all()


def strongly_connected(P):
    reach = (P > 0).astype(int)
    return (np.linalg.matrix_power(reach, len(P)) > 0).all()


def has_cycle(P):
    wins = (P > 0.5).astype(float)
    return np.trace(np.linalg.matrix_power(np.eye(len(P)) + wins, len(P))) > len(P)


def strictly_strong(P):
    K = len(P)
    return all(
        P[i, k] > max(P[i, j], P[j, k])
        for i in range(K)
        for j in range(K)
        for k in range(K)
        if P[i, j] > 0.5 and P[j, k] > 0.5
    )


def triple_sum(X):
    return np.abs(X[:, :, None] + X[None, :, :] + X.T[:, None, :]).max()


PROMISES = {
    "any": lambda P: ((P >= 0.01 - 1e-15) & (P <= 0.99 + 1e-15)).all(),
    "cyclic": lambda P: len(P) >= 3 and has_cycle(P),
    "regular": lambda P: np.abs(P.sum(1) - len(P) / 2).max() < 1e-12,
    "weakly transitive": transitive,
    "strongly transitive": oracles.row_dominant,
    "strictly strongly transitive": lambda P: transitive(P) and oracles.row_dominant(P) and strictly_strong(P),
    "bradley-terry": lambda P: oracles.triple_defect(P) < 1e-9,
    "linear": lambda P: triple_sum(P - 0.5) < 1e-12,
    "near-deterministic": lambda P: np.minimum(P, P.T)[~np.eye(len(P), dtype=bool)].max() <= 0.01 + 1e-15,
    "deterministic entries": lambda P: True,
    "connected deterministic entries": strongly_connected,
}


def test_every_kind_has_a_promise():
    assert set(PROMISES) == set(testing.KINDS)


@pytest.mark.parametrize("kind", testing.KINDS)
def test_matrices_are_of_the_kind_they_are_called(kind):
    @FEW
    @given(testing.preference_matrices(kind))
    def check(P):
        preferences.check(P)
        assert 2 <= len(P) <= 6
        assert PROMISES[kind](P)

    check()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "reached"),
    [
        ("strongly transitive", lambda P: ((P == 0.5) & ~np.eye(len(P), dtype=bool)).any()),
        ("near-deterministic", lambda P: P.min() < 1e-14),
        ("deterministic entries", lambda P: (P == 0).any()),
        ("deterministic entries", lambda P: not strongly_connected(P)),
        ("connected deterministic entries", lambda P: (P == 0).any()),
        ("weakly transitive", lambda P: not oracles.row_dominant(P)),
        ("any", lambda P: len(P) == 6),
        ("any", lambda P: 0 < np.abs(P - 0.5).max() < 1e-3),
    ],
)
def test_matrices_reach_the_edges_of_their_kind(kind, reached):
    find(testing.preference_matrices(kind), reached, settings=settings(max_examples=3000, deadline=None))


def test_dpo_optimum_exists_on_connected_deterministic_entries():
    @FEW
    @given(testing.preference_matrices("connected deterministic entries", (2, 5)))
    def check(P):
        assert np.isfinite(oracles.dpo_reward(P, np.full(len(P), -np.log(len(P))))).all()

    check()


def test_a_failing_matrix_shrinks_to_two_responses_and_a_simple_entry():
    P = find(testing.preference_matrices("any"), lambda P: P.max() > 0.6, settings=settings(deadline=None))
    assert P.shape == (2, 2)
    # 1 is the simplest margin that does it.
    assert P.max() == pytest.approx(0.5 + 0.49)
    Q = find(testing.preference_matrices("cyclic"), lambda Q: True, settings=settings(deadline=None))
    assert Q.shape == (3, 3)


def test_failing_inputs_of_a_theorem_shrink():
    strategy = testing.theorem_inputs(theorems.collapse)
    x = find(strategy, lambda x: x["rounds"] > 1, settings=settings(max_examples=3000, deadline=None))
    assert len(x["P"]) == 2
    assert x["rounds"] == 2
    assert x["alpha"] == 0.0
    assert x["objective"] == "ipo"
    np.testing.assert_allclose(x["log_initial"], -np.log(2))


def test_log_policies_are_normalised_and_reach_the_vertex_and_its_opposite():
    @FEW
    @given(testing.log_policies())
    def check(log_pi):
        assert np.isfinite(log_pi).all()
        assert np.exp(log_pi).sum() == pytest.approx(1.0, abs=1e-12)

    check()
    quick = settings(max_examples=3000, deadline=None)
    find(testing.log_policies(3), lambda z: z.min() < -1e4, settings=quick)
    find(testing.log_policies(3), lambda z: 0 < np.ptp(z) < 1e-5, settings=quick)
    with pytest.raises(NoSuchExample):
        find(testing.log_policies(3, vertex=False), lambda z: z.min() < -10, settings=settings(max_examples=100))


def test_samplers_lose_responses_and_reach_vertices():
    @FEW
    @given(testing.samplers((2, 4)))
    def check(log_mu):
        assert not np.isnan(log_mu).any()
        assert np.exp(log_mu).sum() == pytest.approx(1.0, abs=1e-12)

    check()
    quick = settings(max_examples=3000, deadline=None)
    find(testing.samplers(3), lambda z: np.isneginf(z).sum() == 2, settings=quick)
    find(testing.samplers(3), lambda z: np.isneginf(z).sum() == 1, settings=quick)
    find(testing.samplers(3), lambda z: np.isfinite(z).all(), settings=quick)


SMOOTH = ("any", "cyclic", "strongly transitive", "bradley-terry")


step = eqx.filter_jit(lambda loop, logits: loop(logits))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(testing.loops(kinds=SMOOTH, sizes=(2, 3), beta=(0.1, 10.0)), st.data())
def test_loops_run_a_round_that_agrees_with_the_oracle(loop, data):
    assert isinstance(loop, SelfSampling)
    assert 0.1 <= loop.objective.beta <= 10.0
    log_pi = data.draw(testing.log_policies(loop.preference.shape[0]))
    name = type(loop.objective).__name__.lower()
    args = (loop.alpha, loop.lam, loop.objective.beta, loop.log_reference, loop.log_offline)
    expected = oracles.mrs_round(loop.preference, log_pi, *(np.asarray(a) for a in args), name)
    measured = oracles.centre(np.asarray(step(loop, jnp.asarray(log_pi))))
    np.testing.assert_allclose(measured, oracles.centre(expected), rtol=1e-10, atol=1e-10)


def test_loops_keep_to_what_they_are_asked_for():
    @FEW
    @given(testing.loops(kinds=("cyclic",), objectives=("ipo",), sizes=3, alpha=(0.5, 0.5), lam=(0.0, 0.25)))
    def check(loop):
        assert type(loop.objective).__name__ == "IPO"
        assert loop.preference.shape == (3, 3)
        assert loop.alpha == 0.5
        assert loop.lam <= 0.25

    check()


@pytest.mark.parametrize("name", theorems.all())
def test_theorem_inputs_are_inside_the_assumptions(name):
    theorem = theorems.all()[name]

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(testing.theorem_inputs(theorem))
    def check(inputs):
        assert theorem(**inputs).applicable

    check()


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="kind = 'circular'"):
        testing.preference_matrices("circular")
    with pytest.raises(ValueError, match="sizes = 1"):
        testing.preference_matrices("any", 1)
    with pytest.raises(ValueError, match="3 ≤ low"):
        testing.preference_matrices("cyclic", 2)
    with pytest.raises(ValueError, match="sizes"):
        testing.log_policies((4, 3))


def test_without_hypothesis_the_extra_is_named():
    script = """
        import sys
        sys.modules["hypothesis"] = None
        import dynamics
        try:
            dynamics.testing
        except ImportError as error:
            assert "alignment-dynamics[testing]" in str(error), error
        else:
            raise SystemExit("imported without Hypothesis")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)
