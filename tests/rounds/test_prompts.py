"""Several prompts: independent ones against a loop over them, shared features against rounds in NumPy, measures, stability."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from differences import by_differences
from scipy.optimize import minimize

import dynamics as dyn
from dynamics import schema

X, K, D = 3, 4, 2
RNG = np.random.default_rng(5)
A = RNG.uniform(-0.45, 0.45, (X, K, K))
P = 0.5 + (A - A.swapaxes(1, 2)) / 2
WEIGHTS = np.array([1.0, 2.0, 0.5])
SHARES = WEIGHTS / WEIGHTS.sum()
PHI = RNG.normal(size=(X, K, D))
START = np.log(RNG.dirichlet(np.ones(K), X))
OFFLINE = np.log(RNG.dirichlet(np.ones(K), X))
KINDS = [dyn.IPO, dyn.DPO]


def loops(kind, **options):
    """The process of all prompts, and one process for each."""
    every = dyn.SelfSampling(P, kind(0.3), 0.5, 0.8, OFFLINE, OFFLINE, weights=WEIGHTS, **options)
    alone = [dyn.SelfSampling(P[x], kind(0.3), 0.5, 0.8, OFFLINE[x], OFFLINE[x], **options) for x in range(X)]
    return every, alone


def shared(kind, beta=0.3, alpha=0.5, lam=0.8, weights=WEIGHTS, matrix=P, **options):
    return dyn.SelfSampling(matrix, kind(beta), alpha, lam, policy=dyn.LogLinear(PHI), weights=weights, **options)


def numpy_rounds(kind, theta, rounds, beta=0.3, alpha=0.5, lam=0.8, shares=SHARES):
    """theta' = alpha theta + w/beta, w the minimiser over all prompts' pairs, found by BFGS with its gradient."""
    for _ in range(rounds):
        pi = np.exp(oracles.log_softmax(PHI @ theta))
        mu = lam * pi + (1 - lam) / K
        mass = shares[:, None, None] * mu[:, :, None] * mu[:, None, :]

        def loss(v, mass=mass):
            f = PHI @ v
            gap = f[:, :, None] - f[:, None, :]
            rows = PHI[:, :, None] - PHI[:, None, :]
            if kind is dyn.IPO:
                value, slope = (gap - (P - 0.5)) ** 2, 2 * (gap - (P - 0.5))
            else:
                value, slope = P * np.logaddexp(0, -gap), -P / (1 + np.exp(gap))
            return (mass * value).sum(), np.einsum("xij,xijd->d", mass * slope, rows)

        v = minimize(loss, np.zeros(D), jac=True, method="BFGS", options={"gtol": 1e-13}).x
        theta = alpha * theta + v / beta
    return oracles.log_softmax(PHI @ theta)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_tabular_prompts_are_independent(kind):
    every, alone = loops(kind)
    measures = ["entropy", "verdict", "cycle_strength"]
    found = dyn.iterate(every, 15, initial=START, measure=measures)
    each = [dyn.iterate(loop, 15, initial=s, measure=measures) for loop, s in zip(alone, START, strict=True)]
    np.testing.assert_allclose(found.log_policy, np.stack([s.log_policy for s in each], axis=1), atol=1e-12)
    np.testing.assert_allclose(found.entropy, np.stack([s.entropy for s in each], axis=1), atol=1e-12)
    np.testing.assert_allclose(found.cycle_strength, [s.cycle_strength for s in each], atol=1e-12)
    np.testing.assert_allclose(found.mean_cycle_strength, SHARES @ [float(s.cycle_strength) for s in each], atol=1e-12)
    np.testing.assert_allclose(found.mean_entropy, np.asarray(found.entropy) @ SHARES, atol=1e-13)
    np.testing.assert_array_equal(found.verdict, [int(s.verdict) for s in each])


@pytest.mark.parametrize("kind", KINDS)
def test_shared_features_are_one_fit(kind):
    theta = np.array([0.4, -0.7])
    sol = dyn.iterate(shared(kind), 6, initial=oracles.log_softmax(PHI @ theta))
    np.testing.assert_allclose(sol.log_policy[-1], numpy_rounds(kind, theta, 6), atol=2e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_of_no_weight_is_not_heard(kind):
    theta, heard = np.array([0.4, -0.7]), np.array([1.0, 2.0, 0.0])
    sol = dyn.iterate(shared(kind, weights=heard), 4, initial=oracles.log_softmax(PHI @ theta))
    np.testing.assert_allclose(sol.log_policy[-1], numpy_rounds(kind, theta, 4, shares=heard / 3), atol=2e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_joint_spectrum_is_that_of_differences(kind):
    loop = shared(kind)
    theta, h = np.array([0.2, 0.1]), 1e-5
    at = lambda t: oracles.log_softmax(PHI @ t)
    back = np.linalg.pinv((PHI - PHI.mean(axis=1, keepdims=True)).reshape(-1, D))
    centred = lambda z: (z - z.mean(axis=-1, keepdims=True)).ravel()
    move = lambda t: back @ centred(np.asarray(loop(jnp.asarray(at(t)))))
    numeric = np.stack([(move(theta + h * e) - move(theta - h * e)) / (2 * h) for e in np.eye(D)], axis=1)
    np.testing.assert_allclose(dyn.stability.jacobian(loop, at(theta)), numeric, atol=1e-6)
    found = np.sort_complex(np.asarray(dyn.stability.eigenvalues(loop, at(theta))))
    np.testing.assert_allclose(found, np.sort_complex(np.linalg.eigvals(numeric)), atol=1e-5)


EMA = dyn.references.Ema(0.4)
KEPT = dyn.Descend(optax.sgd(0.05, momentum=0.8), 3, reset_state=False)
ON = dyn.samplers.OnPolicy()


@pytest.mark.parametrize(
    "process",
    [
        dyn.Rounds(P, dyn.DPO(0.3), sampler=ON, reference=EMA, policy=dyn.LogLinear(PHI), weights=WEIGHTS),
        dyn.Rounds(P, dyn.IPO(0.3), sampler=ON, reference=EMA, weights=WEIGHTS),
        shared(dyn.IPO, inner=KEPT),
        dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 0.9, weights=WEIGHTS, inner=KEPT),
    ],
    ids=["ema, shared", "ema", "momentum, shared", "momentum"],
)
def test_joint_states_of_prompts(process):
    state = dyn.iterate(process, 2, initial=oracles.log_softmax(PHI @ np.array([0.3, -0.4]))).final
    basis = np.asarray(process.state_basis())
    numeric = np.linalg.eigvals(basis.T @ by_differences(process, state.carried) @ basis)
    found = np.abs(np.asarray(dyn.stability.eigenvalues(process, state)))
    np.testing.assert_allclose(np.sort(found), np.sort(np.abs(numeric)), atol=2e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [None, PHI], ids=["tabular", "features"])
def test_one_prompt_among_several_is_one_prompt(kind, features):
    policies = (None, None) if features is None else (dyn.LogLinear(features[0]), dyn.LogLinear(features[:1]))
    start = oracles.log_softmax(PHI[0] @ np.array([0.3, -0.4]))
    alone, several = (
        dyn.SelfSampling(matrix, kind(0.2), 0.5, 0.9, policy=policy)
        for matrix, policy in zip((P[0], P[:1]), policies, strict=True)
    )
    a, b = dyn.iterate(alone, 20, initial=start), dyn.iterate(several, 20, initial=start[None])
    np.testing.assert_allclose(b.log_policy[:, 0], a.log_policy, atol=1e-12)
    moduli = [np.sort(np.abs(dyn.stability.eigenvalues(*x))) for x in ((alone, start), (several, start[None]))]
    np.testing.assert_allclose(moduli[1], moduli[0], atol=1e-12)


@pytest.mark.thorough
def test_one_cyclic_prompt_shakes_its_neighbours():
    """Three features that three prompts share: the second and third prompt have no cycle, and move with the first."""
    cycle = np.asarray(dyn.preferences.cyclic(3, 0.4))
    calm = np.full((3, 3), 0.5)
    features = np.eye(3)[None, :, :] * np.array([1.0, 0.5, -0.5])[:, None, None]
    loop = dyn.SelfSampling(
        np.stack([cycle, calm, calm]), dyn.IPO(0.03), 0.7, 1.0, policy=dyn.LogLinear(features[..., :2])
    )
    start = loop.policy.log_policy(jnp.array([0.3, -0.2]))
    report = dyn.stability.analyze(loop, start, rounds=400, starts=2)
    assert report.verdict == "oscillating"
    assert report.verdicts == ("oscillating",) * 3
    assert report.spectral_radius > 1
    apart = dyn.SelfSampling(np.stack([cycle, calm]), dyn.IPO(0.03), 0.7, 1.0)
    tabular = dyn.stability.analyze(apart, np.log([[0.5, 0.3, 0.2]] * 2), rounds=400, starts=2)
    assert tabular.verdicts == ("oscillating", "converged")
    assert tabular.verdict == "oscillating"
    assert tabular.certificate == "proven unstable"
    assert [p.verdict for p in tabular.prompts] == list(tabular.verdicts)
    assert "1 oscillating, 1 converged" in str(tabular)
    assert len(tabular.to_dict()["prompts"]) == 2


@pytest.mark.thorough
def test_the_fixed_point_of_independent_prompts_is_a_state_at_rest():
    """Its moving reference stands where the policy does, not where runs begin."""
    reference = dyn.references.Ema(0.4, np.log([0.5, 0.3, 0.2]))
    matrices = np.stack([dyn.preferences.cyclic(3, a) for a in (0.1, 0.2)])
    process = dyn.Rounds(matrices, dyn.IPO(0.5), sampler=dyn.samplers.OnPolicy(), reference=reference)
    (point,) = dyn.stability.analyze(process, rounds=100, starts=2).fixed_points
    moved = dyn.iterate(process, 5, initial=point.state).log_policy
    np.testing.assert_allclose(moved, np.broadcast_to(point.log_policy, moved.shape), atol=1e-9)


@pytest.mark.thorough
def test_a_prompt_is_judged_as_if_it_stood_alone():
    many = np.stack([dyn.preferences.cyclic(3, 0.1)] * 23)  # more than 64 logits in all
    loop = dyn.SelfSampling(many, dyn.IPO(0.5), 0.5, 1.0)
    start = np.tile(np.log([0.5, 0.3, 0.2]), (23, 1))
    report = dyn.stability.analyze(loop, start, starts=1)
    assert report.rounds == 3000
    assert report.verdict == "converged"


@pytest.mark.thorough
def test_critical_values_of_prompts():
    weak, strong = dyn.preferences.cyclic(3, 0.1), dyn.preferences.cyclic(3, 0.4)
    both = dyn.SelfSampling(np.stack([weak, strong]), dyn.IPO(0.2), 0.5, 1.0)
    found = dyn.stability.critical(both, "beta")
    each = [
        dyn.stability.critical(dyn.SelfSampling(M, dyn.IPO(0.2), 0.5, 1.0), "beta")[0].value for M in (weak, strong)
    ]
    np.testing.assert_allclose([c.value for c in found], each, rtol=1e-10)
    assert [c.prompt for c in found] == [0, 1]
    # Two prompts with the same features and preferences are one prompt.
    phi = np.eye(3)[:, :2]
    twice = dyn.SelfSampling(
        np.stack([strong, strong]), dyn.IPO(0.2), 0.5, 1.0, policy=dyn.LogLinear(np.stack([phi, phi]))
    )
    once = dyn.SelfSampling(strong, dyn.IPO(0.2), 0.5, 1.0, policy=dyn.LogLinear(phi))
    got, want = (dyn.stability.critical(loop, "beta", (0.05, 1.0)) for loop in (twice, once))
    np.testing.assert_allclose([c.value for c in got], [c.value for c in want], rtol=1e-8)


def test_steps_of_an_optimizer_over_prompts():
    """Three steps of gradient descent on the weighted loss, by hand."""
    loop = shared(dyn.IPO, inner=dyn.Descend(optax.sgd(0.05), 3))
    theta = np.array([0.4, -0.7])
    out = dyn.iterate(loop, 1, initial=oracles.log_softmax(PHI @ theta)).log_policy[-1]
    pi = np.exp(oracles.log_softmax(PHI @ theta))
    mu = 0.8 * pi + 0.2 / K
    mass = SHARES[:, None, None] * mu[:, :, None] * mu[:, None, :]
    log_ref = 0.5 * PHI @ theta
    rows = PHI[:, :, None] - PHI[:, None, :]
    v = theta.copy()
    for _ in range(3):
        h = PHI @ v - log_ref
        gap = h[:, :, None] - h[:, None, :]
        v = v - 0.05 * np.einsum("xij,xijd->d", mass * 2 * (gap - (P - 0.5) / 0.3), rows)
    np.testing.assert_allclose(out, oracles.log_softmax(PHI @ v), atol=1e-12)


@pytest.mark.thorough
def test_samples_and_batches_of_prompts():
    key = jax.random.key(2)
    exact = dyn.iterate(loops(dyn.IPO)[0], 1, initial=START).log_policy[-1]
    drawn = dyn.iterate(loops(dyn.IPO, samples=10**7)[0], 1, initial=START, key=key).log_policy[-1]
    np.testing.assert_allclose(drawn, exact, atol=0.02)
    inner = dyn.Descend(optax.sgd(0.02), 2, batch=10**7)
    whole = shared(dyn.DPO, inner=dyn.Descend(optax.sgd(0.02), 2))
    start = oracles.log_softmax(PHI @ np.array([0.4, -0.7]))
    close = dyn.iterate(shared(dyn.DPO, inner=inner), 1, initial=start, key=key).log_policy[-1]
    np.testing.assert_allclose(close, dyn.iterate(whole, 1, initial=start).log_policy[-1], atol=1e-4)


@pytest.mark.thorough
def test_datasets_sweeps_and_sets():
    every, _ = loops(dyn.IPO)
    ds = dyn.iterate(every, 8, initial=START, measure=["entropy", "reward_margin", "verdict"]).to_dataset()
    schema.validate(ds)
    assert ds.log_policy.dims == ("round", "context", "response")
    assert ds.entropy.dims == ("round", "context")
    assert ds.mean_entropy.dims == ("round",)
    np.testing.assert_allclose(ds.weight, SHARES)
    swept = dyn.sweep(
        every, {"alpha": [0.2, 0.5]}, rounds=8, measure=["final_entropy", "verdict"], initial=START, progress=False
    )
    schema.validate(swept)
    assert swept.final_entropy.dims == ("alpha", "context")
    one = dyn.iterate(every, 8, initial=START, measure=["final_entropy", "verdict"])
    np.testing.assert_allclose(swept.final_entropy[1], one.final_entropy, atol=1e-12)
    np.testing.assert_allclose(swept.mean_final_entropy[1], one.mean_final_entropy, atol=1e-12)
    np.testing.assert_array_equal(swept.verdict_of_all[1], one.verdict_of_all)
    several = dyn.preferences.PreferenceSet(list(P))
    from_set = dyn.SelfSampling(several, dyn.IPO(0.3), 0.5, 0.8, OFFLINE, OFFLINE, weights=WEIGHTS)
    np.testing.assert_array_equal(from_set.preference, every.preference)
    single = dyn.SelfSampling(P[0], dyn.IPO(0.3), 0.5, 0.8)
    axis = dyn.sweep(
        single, {"preference": several}, rounds=3, measure="final_entropy", progress=False, initial=START[0]
    )
    assert axis.final_entropy.dims == ("preference",)
    both = dyn.sweep(
        every,
        {"preference": np.stack([P, P.swapaxes(1, 2)])},
        rounds=3,
        measure="final_entropy",
        progress=False,
        initial=START,
    )
    assert both.final_entropy.shape == (2, X)


class Highest(dyn.diagnostics.Series):
    """The largest entropy so far."""

    name: str = eqx.field(static=True, kw_only=True, default="highest")

    def observe(self, snapshot):
        return dyn.diagnostics.entropy(snapshot.log_policy)

    def update(self, state, snapshot):
        return jnp.maximum(state, self.observe(snapshot))


def test_a_running_series_keeps_its_own_statistic():
    sol = dyn.iterate(loops(dyn.IPO)[0], 8, initial=START, measure=[Highest()])
    np.testing.assert_array_equal(sol.statistics["highest"], np.max(sol.values["highest"], axis=0))
    assert (sol.statistics["highest"] > sol.values["highest"][-1]).any()


def test_the_worst_verdict_is_that_of_all():
    worst = dyn.diagnostics.worst_verdict
    codes = {name: code for code, name in enumerate(schema.VERDICTS)}
    ordered = ["converged", "collapsed", "undecided", "oscillating"]
    for n, name in enumerate(ordered):
        assert int(worst(jnp.array([codes[v] for v in ordered[: n + 1]]))) == codes[name]


RAMP = jnp.arange(float(K))


class Leaky(dyn.samplers.Sampler):
    """Mixes what the prompts say."""

    def log_sampler(self, log_policy):
        return jax.nn.log_softmax(log_policy + jnp.max(log_policy) * jnp.broadcast_to(RAMP, log_policy.shape))


UNIFORM = np.full(K, -np.log(K))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, weights=[1.0, 2.0]), r"weights have shape \(2,\)"),
        (lambda: dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, weights=[1.0, -2.0, 1.0]), "negative"),
        (lambda: dyn.SelfSampling(P[0], dyn.IPO(0.3), 0.5, 1.0, weights=[1.0]), "weights are for several prompts"),
        (lambda: dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, policy=dyn.LogLinear(PHI[0])), r"logits of shape \(4,\)"),
        (lambda: dyn.SelfSampling(P, dyn.IPO(0.3), 0.5, 1.0, START[:2]), "log_reference has shape"),
        (lambda: dyn.SelfSampling(np.concatenate([P, P[:1] + 0.1]), dyn.IPO(0.3), 0.5, 1.0), r"preference\[3\] as P"),
        (
            lambda: dyn.SelfSampling(dyn.preferences.PreferenceSet([P[0], P[0][:3, :3]]), dyn.IPO(0.3), 0.5, 1.0),
            "matrices of sizes 3, 4",
        ),
        (lambda: dyn.iterate(loops(dyn.IPO)[0], 3, initial=START[:2]), r"initial has shape \(2, 4\)"),
        (
            lambda: dyn.Rounds(P, dyn.IPO(0.3), sampler=Leaky(), reference=dyn.references.Fixed(UNIFORM)),
            "Leaky.log_sampler mixes prompts",
        ),
        (
            lambda: dyn.Rounds(
                P,
                dyn.IPO(0.3),
                sampler=dyn.samplers.OnPolicy(),
                reference=dyn.references.Fixed(UNIFORM),
                feedback=dyn.feedback.Observed(np.ones((K, K)) - np.eye(K)),
            ),
            r"wins has shape \(4, 4\)",
        ),
    ],
)
def test_bad_prompts(make, message):
    with pytest.raises(ValueError, match=message):
        make()
