"""Rounds said in parts: every combination is accepted or refused by name, and what is accepted keeps the shared contract."""

import itertools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import dynamics as dyn

P = problems.matrix(4, 3, 0.2, 0.8)
UNIFORM = np.full(4, -np.log(4.0))
OFFLINE = problems.log_policy(4, 2, 0.5)
PHI = np.random.default_rng(1).normal(size=(4, 2))
LISTED = np.stack([problems.log_policy(4, seed) for seed in range(10, 16)])


class Sinh(dyn.policies.Policy):
    """Logits sinh(theta)."""

    def start(self):
        return jnp.zeros(4)

    def logits(self, parameters):
        return jnp.sinh(parameters)


class Tempered(dyn.samplers.Sampler):
    """mu ∝ √pi."""

    def log_sampler(self, log_policy):
        return jax.nn.log_softmax(0.5 * log_policy)


class Half(dyn.references.Reference):
    """ref_t ∝ √pi_t."""

    def log_at(self, logits, memory):
        return 0.5 * logits


class Ties(dyn.feedback.Feedback):
    """A tenth of the comparisons ends in a tie, half a win for each."""

    def observe(self, pairs, key=None):
        wins = pairs.rates()
        return dyn.feedback.Masses(0.95 * wins + 0.05 * wins.T, wins.sum())


class Exponential(dyn.objectives.MarginLoss):
    """f(r) = exp(-r): the boosting loss."""

    def loss(self, margin):
        return jnp.exp(-margin)


class Halfway(dyn.learners.Learner):
    """Half the way to the optimum."""

    def learn(self, fit, logits, memory, key):
        best, _, found = dyn.learners.Optimum().learn(fit, logits, None, None)
        return 0.5 * (logits + best), memory, found


PARTS = {
    "policy": {
        "Tabular": dyn.Tabular(4),
        "LogLinear": dyn.LogLinear(PHI),
        "Finite": dyn.policies.Finite(LISTED),
        "own": Sinh(),
    },
    "sampler": {
        "Fixed": dyn.samplers.Fixed(OFFLINE),
        "OnPolicy": dyn.samplers.OnPolicy(),
        "Mixture": dyn.samplers.Mixture(0.6, OFFLINE),
        "own": Tempered(),
    },
    "reference": {
        "Fixed": dyn.references.Fixed(UNIFORM),
        "Geometric": dyn.references.Geometric(0.4, UNIFORM),
        "Ema": dyn.references.Ema(0.3),
        "own": Half(),
    },
    "feedback": {
        "Population": dyn.feedback.Population(),
        "Samples": dyn.feedback.Samples(60),
        "Noisy": dyn.feedback.Noisy(0.1),
        "BestOfN": dyn.feedback.BestOfN(3),
        "own": Ties(),
    },
    "learner": {
        "Optimum": dyn.learners.Optimum(),
        "Descend": dyn.Descend(optax.adam(0.05), 3, reset_state=False),
        "own": Halfway(),
    },
    "objective": {"IPO": dyn.IPO(0.5), "DPO": dyn.DPO(0.5), "own": Exponential(0.5)},
}
NAMES = list(PARTS)
ALL = list(itertools.product(*PARTS.values()))


def refused(combination) -> str | None:
    """The name by which a combination is refused, or None."""
    chosen = dict(zip(NAMES, combination, strict=True))
    if chosen["policy"] == "Finite" and chosen["learner"] == "Descend":
        return "Finite is a list of policies, which has no gradient"
    return None


def loop_of(combination) -> dyn.Rounds:
    parts = {name: PARTS[name][choice] for name, choice in zip(NAMES, combination, strict=True)}
    return dyn.Rounds(P, parts.pop("objective"), **parts)


def start_of(combination) -> np.ndarray:
    policy = PARTS["policy"][combination[0]]
    if combination[0] == "Finite":
        return LISTED[2]
    return np.asarray(policy.log_policy(jnp.array([0.3, -0.2, 0.1, -0.2])[: policy.start().shape[0]]))


def covering(choices: list[list[str]], allowed) -> list[tuple[str, ...]]:
    """Combinations in which every allowed pair of choices occurs, found greedily."""
    fitting = [c for c in itertools.product(*choices) if allowed(c)]
    pairs = lambda c: {(a, c[a], b, c[b]) for a, b in itertools.combinations(range(len(c)), 2)}
    missing = set().union(*map(pairs, fitting))
    found = []
    while missing:
        best = max(fitting, key=lambda c: len(pairs(c) & missing))
        found.append(best)
        missing -= pairs(best)
    return found


@pytest.mark.thorough
def test_every_combination_is_accepted_or_refused_by_name():
    for combination in ALL:
        if "own" in combination[:5]:
            continue  # parts of one's own are combined below
        reason = refused(combination)
        if reason is None:
            loop = loop_of(combination)
            assert loop.stochastic == (combination[3] == "Samples")
            assert loop.keeps_state == (combination[2] == "Ema" or combination[4] == "Descend")
        else:
            with pytest.raises(ValueError, match=reason):
                loop_of(combination)


ROWS = covering([list(choices) for choices in PARTS.values()], lambda c: refused(c) is None)


def keeps_the_contract(combination):
    """Three rounds: found, finite, centred, in the class, and blind to the gauge."""
    loop, start = loop_of(combination), start_of(combination)
    advance = eqx.filter_jit(lambda state, key: loop.advance(state, key))
    state = eqx.filter_jit(loop.start)(jnp.asarray(start))
    for t in range(3):
        key = jax.random.fold_in(jax.random.key(3), t) if loop.stochastic else None
        after, found = advance(state, key)
        out = after.logits
        assert bool(found)
        assert np.isfinite(np.asarray(out)).all()
        np.testing.assert_allclose(jnp.sum(out), 0.0, atol=1e-12)
        if combination[4] != "own":  # half the way between two policies may leave a list, or a curved class
            loop.policy.check_member(out, "a round's policy")
        if combination[2] != "Ema":  # the memory of which has a gauge of its own
            shifted = eqx.tree_at(lambda s: s.logits, state, state.logits + 7.0)
            np.testing.assert_allclose(advance(shifted, key)[0].logits, out, atol=1e-9)
        state = after


@pytest.mark.thorough
@pytest.mark.parametrize("combination", ROWS, ids="-".join)
def test_every_pair_of_parts_keeps_the_contract(combination):
    keeps_the_contract(combination)


@pytest.mark.slow
@pytest.mark.parametrize("combination", [c for c in ALL if refused(c) is None and c not in ROWS], ids="-".join)
def test_every_combination_keeps_the_contract(combination):
    keeps_the_contract(combination)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [dyn.IPO, dyn.DPO])
@pytest.mark.parametrize("policy", [None, dyn.LogLinear(PHI)], ids=["tabular", "features"])
def test_self_sampling_is_a_named_case(kind, policy):
    reference = UNIFORM if policy is None else np.asarray(policy.log_policy(jnp.array([0.1, 0.4])))
    start = UNIFORM if policy is None else np.asarray(policy.log_policy(jnp.array([-0.5, 0.2])))
    named = dyn.SelfSampling(P, kind(0.3), 0.4, 0.7, reference, OFFLINE, policy)
    parts = dyn.Rounds(
        P,
        kind(0.3),
        sampler=dyn.samplers.Mixture(0.7, OFFLINE),
        reference=dyn.references.Geometric(0.4, reference),
        policy=policy,
    )
    one, other = (np.asarray(dyn.iterate(loop, 20, initial=start).log_policy) for loop in (named, parts))
    if kind is dyn.IPO or policy is not None:
        np.testing.assert_array_equal(one, other)
    else:  # the parameters come in another order, in which the compiler rounds the steps of Newton's method differently
        np.testing.assert_allclose(one, other, rtol=1e-13)
    assert isinstance(named, dyn.SelfSampling)
    assert repr(named).startswith("SelfSampling(")


def test_parameters_are_addressed_by_their_parts_or_by_the_last_name():
    loop = loop_of(("Tabular", "Mixture", "Geometric", "Population", "Optimum", "IPO"))
    full = {"reference.alpha": [0.1, 0.8], "sampler.lam": [0.2, 0.9]}
    short = {"alpha": [0.1, 0.8], "lam": [0.2, 0.9]}
    start = start_of(("Tabular",))
    tables = [dyn.sweep(loop, over, rounds=20, measure="final_entropy", initial=start) for over in (full, short)]
    np.testing.assert_array_equal(*(ds.final_entropy.values for ds in tables))
    named = dyn.SelfSampling(P, dyn.IPO(0.5), 0.4, 0.6, UNIFORM, OFFLINE)
    want = dyn.sweep(named, short, rounds=20, measure="final_entropy", initial=start)
    np.testing.assert_array_equal(tables[0].final_entropy.values, want.final_entropy.values)
    with pytest.raises(ValueError, match=r"sampler.lam = 1\.5 is outside \[0, 1\]"):
        dyn.sweep(loop, {"sampler.lam": [0.5, 1.5]}, rounds=2, measure="final_entropy", initial=start)


def test_the_least_of_a_list_wins_and_ties_go_to_the_first():
    listed = np.concatenate([LISTED, LISTED])
    loop = dyn.Rounds(
        P,
        dyn.DPO(0.5),
        sampler=dyn.samplers.Fixed(OFFLINE),
        reference=dyn.references.Fixed(UNIFORM),
        policy=dyn.policies.Finite(listed),
    )
    mu = np.exp(OFFLINE)

    def loss(log_policy):
        h = 0.5 * (log_policy - UNIFORM)
        return np.sum(2 * np.outer(mu, mu) * P * np.log1p(np.exp(-(h[:, None] - h[None, :]))) * (1 - np.eye(4)))

    best = min(range(len(listed)), key=lambda m: loss(listed[m]))
    assert best < len(LISTED)
    final = dyn.iterate(loop, 2, initial=LISTED[2]).log_policy[-1]
    np.testing.assert_allclose(final, jax.nn.log_softmax(listed[best]), atol=1e-14)
    with pytest.raises(ValueError, match=r"initial is .* nats off the nearest of the 12 policies"):
        dyn.iterate(loop, 2, initial=OFFLINE)
    with pytest.raises(ValueError, match="Finite is a list of policies"):
        dyn.stability.analyze(loop)
    with pytest.raises(ValueError, match="Finite, a list of policies without a gradient"):
        dyn.PreferenceFlow(dyn.policies.Finite(listed), P, dyn.DPO(0.5), dyn.samplers.OnPolicy())


@pytest.mark.thorough
def test_what_is_proven_does_not_depend_on_how_rounds_are_said():
    cycle = dyn.preferences.cyclic(3, 0.4)
    even = np.full(3, -np.log(3.0))
    named = dyn.SelfSampling(cycle, dyn.IPO(0.6), 0.5, 1.0)
    geometric = dyn.references.Geometric(0.5, even)
    # SquaredMargin's optimum is that of IPO(beta/2), and a tenth of the labels flipped leaves 0.8 of A.
    same = dyn.Rounds(
        cycle,
        dyn.SquaredMargin(2 * 0.6 * 0.8),
        sampler=dyn.samplers.OnPolicy(),
        reference=geometric,
        feedback=dyn.feedback.Noisy(0.1),
    )
    got, want = (dyn.stability.analyze(x, rounds=200, starts=4) for x in (same, named))
    assert (got.certificate, got.certificate_reason) == (want.certificate, want.certificate_reason)
    assert got.certificate == "proven stable"
    np.testing.assert_allclose(got.contraction_rate.rate, want.contraction_rate.rate, rtol=1e-12)
    (point,) = got.fixed_points
    np.testing.assert_allclose(point.spectral_radius, want.fixed_points[0].spectral_radius, rtol=1e-9)
    own = dyn.Rounds(cycle, dyn.IPO(0.6), sampler=Tempered(), reference=geometric)
    assert dyn.stability.analyze(own, rounds=200, starts=4).certificate == "none"


@pytest.mark.thorough
def test_critical_and_suggest_work_on_parts():
    cycle, even = dyn.preferences.cyclic(3, 0.4), np.full(3, -np.log(3.0))
    loop = dyn.Rounds(
        cycle,
        dyn.IPO(0.25),
        sampler=dyn.samplers.Mixture(1.0, even),
        reference=dyn.references.Geometric(0.5, even),
    )
    (crossing,) = dyn.stability.critical(loop, "beta")
    np.testing.assert_allclose(crossing.value, 0.4 / np.sqrt(3 * 0.75), rtol=1e-8)
    assert crossing.criticality_source == "statement 7.5 [derived]"
    assert {s.parameter for s in dyn.stability.suggest(loop)} == {"objective.beta", "reference.alpha", "sampler.lam"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("loss", "kappa"),
    [
        (Exponential(1.0), 2.0),
        (dyn.objectives.Link(1.0, "probit", label_smoothing=0.1), 0.8 * np.sqrt(2 * np.pi)),
    ],
    ids=["own", "probit, smoothed labels"],
)
def test_any_smooth_loss_loses_stability_where_its_kappa_says(loss, kappa):
    """Statement 7.17; exp(-r) has f'(0) = -1 and f''(0) = 1, so kappa = 2."""
    np.testing.assert_allclose(dyn.objectives.kappa(loss), kappa, rtol=1e-12)
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.2), loss, 0.5, 1.0)
    crossing = dyn.stability.first_crossing(loop, "beta", (0.05, 5.0), downward=True)
    np.testing.assert_allclose(crossing.value, kappa * 0.2 * np.sqrt(3) / 3 / np.sqrt(0.75), rtol=1e-8)


def test_a_loss_of_ones_own_has_its_own_optimum():
    """exp(-r) is a win-rate loss of no kind: its optimum balances exp(-r) P_ij against exp(r) P_ji."""
    mu = np.exp(OFFLINE)
    f = np.asarray(Exponential(0.5).implicit_reward(P, OFFLINE))
    gap = f[:, None] - f[None, :]
    balance = (mu[None, :] * (P * np.exp(-gap) - P.T * np.exp(gap))).sum(1)
    np.testing.assert_allclose(balance, 0.0, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": dyn.Tabular(3)}, "policy has 3 responses, preference 4"),
        ({"policy": dyn.LogLinear(np.zeros((2, 4, 2)) + PHI)}, r"logits of shape \(2, 4\), preferences ask for \(4,\)"),
        ({"sampler": dyn.samplers.Fixed(UNIFORM[:3] + np.log(4 / 3))}, r"log_mu has shape \(3,\)"),
        ({"policy": dyn.LogLinear(PHI), "reference": dyn.references.Fixed(OFFLINE)}, "log_reference is .* nats off"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, message):
    parts = {"objective": dyn.IPO(0.5), "sampler": dyn.samplers.OnPolicy(), "reference": dyn.references.Fixed(UNIFORM)}
    parts |= change
    with pytest.raises(ValueError, match=message):
        dyn.Rounds(P, parts.pop("objective"), **parts)


@pytest.mark.thorough
def test_a_proof_is_not_contradicted_by_the_numbers_beside_it():
    """P = 1/2 ± 4e-13 on a cycle is within 1e-12 of an order, and at beta = 1e-13 the cycle is all there is."""
    cycle = dyn.preferences.cyclic(3, 4e-13)
    report = dyn.stability.analyze(dyn.SelfSampling(cycle, dyn.IPO(1e-13), 0.5, 1.0), rounds=200, starts=4)
    assert report.fixed_points[0].spectral_radius > 2
    assert report.certificate != "proven stable"
    scores = np.array([0.3, 0.0, -0.2])
    matched = 0.5 + 0.3 * (scores[:, None] - scores[None, :])
    assert (
        dyn.stability.analyze(dyn.SelfSampling(matched, dyn.IPO(0.1), 0.5, 1.0), rounds=200).certificate
        == "proven stable"
    )


def test_traced_rounds_are_refused_where_numbers_are_needed():
    def radius(beta):
        return dyn.stability.analyze(dyn.SelfSampling(P, dyn.IPO(beta), 0.5, 1.0)).fixed_points[0].spectral_radius

    with pytest.raises(ValueError, match="SelfSampling is traced; call this outside jit"):
        jax.grad(radius)(0.3)


@pytest.mark.thorough
def test_a_solution_says_where_a_search_began():
    own = dyn.SelfSampling(P, Exponential(0.5), 0.5, 1.0)
    sol = dyn.iterate(own, 3, initial=OFFLINE)
    assert sol.note == "optimum: the minimum that Newton's method reaches from the round's reference"
    assert sol.to_dataset().attrs["note"] == sol.note
    assert dyn.iterate(dyn.SelfSampling(P, dyn.DPO(0.5), 0.5, 1.0), 3, initial=OFFLINE).note is None
    curved = dyn.iterate(loop_of(("own", "Fixed", "Fixed", "Population", "Optimum", "DPO")), 1, initial=UNIFORM)
    assert "the policy's start" in curved.note


def test_parts_of_another_kind_are_named():
    """In a process of its own: the tests' type checks would speak first."""
    code = """
import jax, numpy as np, optax, dynamics as dyn
jax.config.update("jax_enable_x64", True)
P, even = dyn.preferences.cyclic(3, 0.4), np.full(3, -np.log(3.0))
good = {"objective": dyn.IPO(0.5), "sampler": dyn.samplers.OnPolicy(), "reference": dyn.references.Fixed(even)}
wrong = {"objective": 0.3, "sampler": even, "reference": 0.5, "learner": optax.sgd(0.1), "feedback": "all", "policy": 3}
for name, value in wrong.items():
    parts = good | {name: value}
    try:
        dyn.Rounds(P, parts.pop("objective"), **parts)
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    for line, name in zip(lines, ("objective", "sampler", "reference", "learner", "feedback", "policy"), strict=True):
        assert line.startswith(f"{name} is ")
        assert "; pass dyn." in line


class Logistic(dyn.objectives.Objective):
    """DPO's loss as a plain scalar of policy, reference and what was seen, without a word of margins."""

    beta: jax.Array

    def value(self, log_policy, log_reference, seen):
        h = self.beta * (log_policy - log_reference)
        return jnp.sum(seen.rates() * jnp.logaddexp(0.0, h[None, :] - h[:, None]))


@pytest.mark.thorough
@pytest.mark.parametrize("policy", ["Tabular", "LogLinear", "Finite", "own"])
def test_an_objective_of_ones_own_is_minimised_by_its_value(policy):
    chosen = PARTS["policy"][policy]
    ends = []
    for objective in (Logistic(jnp.asarray(0.5)), dyn.DPO(0.5)):
        loop = dyn.Rounds(
            P,
            objective,
            sampler=PARTS["sampler"]["Mixture"],
            reference=PARTS["reference"]["Geometric"],
            policy=chosen,
        )
        ends.append(np.asarray(dyn.iterate(loop, 4, initial=start_of((policy,))).log_policy[-1]))
    np.testing.assert_allclose(*ends, atol=1e-8)  # a minimum is flat: its place is known to the root of rounding


def test_steps_on_an_objective_of_ones_own():
    ends = []
    for objective in (Logistic(jnp.asarray(0.5)), dyn.DPO(0.5)):
        loop = dyn.SelfSampling(P, objective, 0.4, 0.7, inner=dyn.Descend(optax.sgd(0.5), 4))
        ends.append(np.asarray(dyn.iterate(loop, 4, initial=OFFLINE).log_policy[-1]))
    np.testing.assert_allclose(*ends, atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "objective", [dyn.DPO(0.8), dyn.ReverseKL(0.3, 0.5), dyn.IPO(0.3)], ids=lambda o: type(o).__name__
)
@pytest.mark.parametrize("away", [0.0, 1e-9, 0.3])
def test_derivatives_through_best_of_n_are_those_of_differences(objective, away):
    # Where f = 0, the solver begins at its root, and must move along with it all the same.
    loop = dyn.Rounds(
        dyn.preferences.cyclic(3, 0.3),
        objective,
        sampler=dyn.samplers.OnPolicy(),
        reference=dyn.references.Geometric(0.5, np.full(3, -np.log(3))),
        feedback=dyn.feedback.BestOfN(3),
    )
    z, step = away * np.array([1.0, 0.2, -1.2]), 1e-5
    F = jax.jit(lambda z: loop(z))
    moved = [(F(jnp.asarray(z + step * e)) - F(jnp.asarray(z - step * e))) / (2 * step) for e in np.eye(3)]
    forward = np.asarray(jax.jacfwd(loop)(jnp.asarray(z)))
    np.testing.assert_allclose(forward, np.stack(moved, 1), atol=1e-9)
    np.testing.assert_allclose(np.asarray(jax.jacrev(loop)(jnp.asarray(z))), forward, atol=1e-12)


@pytest.mark.thorough
def test_best_of_n_asks_dpo_for_four_times_the_beta_of_ipo():
    # Statement 7.17 holds for pairs of any law at a fixed point with f = 0: here the uniform policy of a regular tournament.
    even = np.full(5, -np.log(5))
    radius = []
    for loss in (dyn.IPO(0.2), dyn.DPO(0.8)):
        loop = dyn.Rounds(
            dyn.preferences.cyclic(5, 0.3),
            loss,
            sampler=dyn.samplers.OnPolicy(),
            reference=dyn.references.Geometric(0.5, even),
            feedback=dyn.feedback.BestOfN(4),
        )
        radius.append(float(dyn.stability.spectral_radius(loop, even)))
    assert radius[0] == pytest.approx(radius[1], rel=1e-10)
    assert radius[0] > 1.5
