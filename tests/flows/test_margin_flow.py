"""Reward margins under last-layer training, against a dense head trained through its softmax and against SciPy."""

import diffrax
import jax
import jax.numpy as jnp
import margin_oracles as oracles
import numpy as np
import optax
import pytest

import dynamics as dyn

OBJECTIVES = {"DPO": dyn.DPO, "SquaredMargin": dyn.SquaredMargin, "IPO": dyn.IPO, "SLiC": dyn.SLiC}


def samples(seed=0, N=24, d=5, V=7, used=5):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(N, d))
    chosen = rng.integers(0, used, N)
    rejected = (chosen + rng.integers(1, used, N)) % used
    return g, chosen, rejected, 0.3 * rng.normal(size=(V, d))


def flow_of(kind, data, beta=0.7, **options):
    g, chosen, rejected, _ = data
    return dyn.MarginFlow(features=g, chosen=chosen, rejected=rejected, objective=OBJECTIVES[kind](beta), **options)


def at(ts):
    return diffrax.SaveAt(ts=jnp.asarray(ts, float))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_explicit_euler_on_the_full_head_approaches_the_flow_linearly(kind):
    data = samples()
    g, chosen, rejected, W0 = data
    t1 = 0.5
    exact = np.asarray(dyn.gradient_flow(flow_of(kind, data), t1, saveat=at([t1])).reward_margin[0])
    errors = []
    for steps in (200, 400):
        W = oracles.dense_steps(g, chosen, rejected, W0, 0.7, kind, t1 / steps, steps)[-1]
        r = oracles.dense_rewards(W, W0, g, chosen, 0.7) - oracles.dense_rewards(W, W0, g, rejected, 0.7)
        errors.append(np.abs(r - exact).max())
    assert errors[0] < 0.05 * np.abs(exact).max()
    if kind == "SLiC" and np.abs(exact).max() < 1:
        assert max(errors) < 1e-12  # before the first kink the flow is a straight line
    else:
        assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["dual", "primal"])
@pytest.mark.parametrize("kind", ["DPO", "SquaredMargin", "IPO"])
def test_margins_agree_with_scipy(kind, form):
    data = samples(1)
    ts = np.array([0.0, 0.1, 1.0, 3.0])
    weights = np.random.default_rng(2).uniform(0.1, 1, 24)
    sol = dyn.gradient_flow(flow_of(kind, data, form=form, weights=weights), 3.0, saveat=at(ts))
    expected = oracles.margin_flow(*data[:3], 0.7, kind, ts, weights / weights.sum())
    np.testing.assert_allclose(sol.reward_margin, expected, rtol=1e-7, atol=1e-8)
    C = oracles.gram(*data[:3])
    np.testing.assert_allclose(sol.reward_margin, 0.49 * np.asarray(sol.coefficient) @ C, rtol=1e-9, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("shape", [(24, 3), (8, 12)], ids=["more examples than weights", "fewer"])
def test_both_forms_are_the_same_flow(kind, shape):
    data = samples(3, *shape, used=3)
    solutions = [dyn.gradient_flow(flow_of(kind, data, form=form), 5.0) for form in ("dual", "primal")]
    for name in ("reward_margin", "loss", "accuracy", "head_change"):
        np.testing.assert_allclose(getattr(solutions[0], name), getattr(solutions[1], name), rtol=1e-10, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("shape", [(24, 3), (8, 12)])
def test_split_interval_restart_and_long_time(kind, shape):
    flow = flow_of(kind, samples(4, *shape, used=3))
    whole = dyn.gradient_flow(flow, 4.0, saveat=at([4.0]))
    half = dyn.gradient_flow(flow, 1.5)
    rest = dyn.gradient_flow(flow, 4.0, t0=1.5, initial=half.final, saveat=at([1.5, 4.0]))
    np.testing.assert_allclose(rest.reward_margin[0], half.reward_margin[-1], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(rest.reward_margin[-1], whole.reward_margin[-1], rtol=1e-6, atol=1e-7)
    from_coefficients = dyn.gradient_flow(flow, 4.0, t0=1.5, initial=half.coefficient[-1], saveat=at([4.0]))
    np.testing.assert_allclose(from_coefficients.reward_margin, rest.reward_margin[-1:], rtol=1e-6, atol=1e-7)


def test_squared_losses_end_at_least_squares():
    g, chosen, rejected, _ = data = samples(5, N=40, d=3, used=3)
    for kind, target in (("SquaredMargin", 1.0), ("IPO", 0.5)):
        sol = dyn.gradient_flow(flow_of(kind, data), 1e6, saveat=at([1e6]))
        V = 3
        X = ((oracles.one_hot(chosen, V) - oracles.one_hot(rejected, V))[:, :, None] * g[:, None, :]).reshape(40, -1)
        fitted = X @ np.linalg.lstsq(X, np.full(40, target), rcond=None)[0]
        np.testing.assert_allclose(sol.reward_margin[-1], fitted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [(30, 2), (12, 6)])
def test_hinge_flow_where_margins_slide_against_small_explicit_steps(shape):
    """An explicit method chatters about the kink; the smaller its step, the closer it stays to the sliding path."""
    data = samples(6, *shape, used=3)
    B, N = 4.0 * oracles.gram(*data[:3]), shape[0]
    sol = dyn.gradient_flow(flow_of("SLiC", data, beta=2.0), 6.0, saveat=at([3.0, 6.0]))
    assert (np.abs(np.asarray(sol.reward_margin[-1]) - 1) < 1e-9).sum() >= 2  # some slide
    errors = []
    for steps in (20_000, 80_000):
        r = np.zeros(N)
        for _ in range(steps):
            r = r + 6.0 / steps * B @ ((r < 1) / N)
        errors.append(np.abs(r - np.asarray(sol.reward_margin[-1])).max())
    assert errors[1] < 1e-3
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("form", ["dual", "primal"])
@pytest.mark.parametrize("t1", [1e5, 1e9])
def test_conflicting_labels_leave_margins_and_head_where_least_squares_puts_them(form, t1):
    g, half = np.random.default_rng(0).normal(size=(5, 3)), np.array([0] * 5 + [1] * 5)
    data, w = (np.concatenate([g, g]), half, 1 - half), np.array([3.0] * 5 + [1.0] * 5) / 20
    sol = dyn.gradient_flow(dyn.MarginFlow(*data, dyn.SquaredMargin(1.0), weights=w, form=form), t1, saveat=at([t1]))
    # Row 0 less row 1 of the head, x: margins ±x·g, pulled to 1 three times as hard by the first half.
    x = np.linalg.lstsq(g, np.full(5, 0.5), rcond=None)[0]
    np.testing.assert_allclose(sol.reward_margin[0], np.concatenate([g @ x, -g @ x]), rtol=1e-12, atol=1e-12)
    assert float(sol.head_change[0]) == pytest.approx(np.linalg.norm(x) / np.sqrt(2), rel=1e-10)


@pytest.mark.thorough
def test_head_change_of_a_dual_flow_with_conflicting_labels_is_that_of_the_primal():
    rng = np.random.default_rng(1)
    g, y = rng.normal(size=(60, 8)), rng.integers(0, 2, 60)
    change = [
        dyn.gradient_flow(dyn.MarginFlow(g, y, 1 - y, dyn.DPO(1.0), form=form), 1e4, saveat=at([1e4])).head_change[0]
        for form in ("dual", "primal")
    ]
    assert float(change[0]) == pytest.approx(float(change[1]), rel=1e-9)


def test_a_batch_of_sliding_margins_is_its_members():
    rng = np.random.default_rng(0)
    g, y = rng.normal(size=(20, 5)), rng.integers(0, 2, 20)
    both = dyn.gradient_flow(dyn.MarginFlow(np.stack([g, 2 * g]), y, 1 - y, dyn.SLiC(1.0)), 5.0)
    one = dyn.gradient_flow(dyn.MarginFlow(2 * g, y, 1 - y, dyn.SLiC(1.0)), 5.0)
    np.testing.assert_array_equal(both.reward_margin[1], one.reward_margin)
    np.testing.assert_array_equal(both.final.margin[1], one.final.margin)


@pytest.mark.thorough
def test_rows_of_a_batch_after_a_failure_repeat_the_last_one_before(monkeypatch):
    rng = np.random.default_rng(0)
    g, y = rng.normal(size=(20, 5)), rng.integers(0, 2, 20)
    monkeypatch.setattr("dynamics.solve._flow.MAX_STEPS", 2000)
    flow = dyn.MarginFlow(np.stack([g, 2 * g]), y, 1 - y, dyn.SLiC(1.0))
    sol = dyn.gradient_flow(flow, 5.0, solver=diffrax.Tsit5(), throw=False)
    assert np.isfinite(sol.reward_margin).all()
    for margin, ended in zip(sol.reward_margin, sol.stats["ended"], strict=True):
        late = np.asarray(sol.coordinate) > float(ended)
        assert 0 < late.sum() < len(late)
        np.testing.assert_array_equal(margin[late], np.broadcast_to(margin[~late][-1], margin[late].shape))


def test_unseen_samples_follow_from_the_coefficients():
    g, chosen, rejected, _ = data = samples(7)
    rng = np.random.default_rng(8)
    g2, chosen2 = rng.normal(size=(6, 5)), np.array([0, 1, 2, 9, 4, 9])
    rejected2 = np.array([1, 2, 6, 0, 3, 8])  # 6, 8 and 9 never occur in training
    flow = flow_of("DPO", data)
    sol = dyn.gradient_flow(flow, 2.0, saveat=at([0.0, 1.0, 2.0]))
    V = 10
    y = oracles.one_hot(chosen, V) - oracles.one_hot(rejected, V)
    y2 = oracles.one_hot(chosen2, V) - oracles.one_hot(rejected2, V)
    expected = 0.49 * np.asarray(sol.coefficient) @ ((y @ y2.T) * (g @ g2.T))
    np.testing.assert_allclose(flow.predict(sol, g2, chosen2, rejected2), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(flow.predict(sol, g, chosen, rejected), sol.reward_margin, rtol=1e-10, atol=1e-11)


def test_each_responses_own_reward_against_the_dense_head():
    g, chosen, rejected, W0 = data = samples(9)
    flow = flow_of("DPO", data)
    sol = dyn.gradient_flow(flow, 2.0, saveat=at([0.0, 2.0]))
    V = len(W0)
    y = oracles.one_hot(chosen, V) - oracles.one_hot(rejected, V)
    W = W0 + 0.7 * (y * np.asarray(sol.coefficient[-1])[:, None]).T @ g
    own = flow.response_rewards(sol, W0)
    for mine, token in zip(own, (chosen, rejected), strict=True):
        np.testing.assert_allclose(mine[-1], oracles.dense_rewards(W, W0, g, token, 0.7), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(mine[0], 0.0, atol=1e-13)
    np.testing.assert_allclose(own.chosen - own.rejected, sol.reward_margin, rtol=1e-10, atol=1e-11)
    assert float(sol.head_change[-1]) == pytest.approx(np.linalg.norm(W - W0), rel=1e-11)
    rest = np.asarray(flow.response_rewards(sol, W0, g[:3], np.array([6, 5, 6]), chosen[:3]).chosen)[-1]
    np.testing.assert_allclose(rest, oracles.dense_rewards(W, W0, g[:3], [6, 5, 6], 0.7), rtol=1e-11, atol=1e-12)


def test_loss_and_accuracy_rows():
    data = samples(10)
    for kind in OBJECTIVES:
        sol = dyn.gradient_flow(flow_of(kind, data), 2.0, saveat=at([0.0, 2.0]))
        r = np.asarray(sol.reward_margin)
        np.testing.assert_allclose(sol.loss, oracles.loss(kind, r, 0.7).mean(1), rtol=1e-12)
        np.testing.assert_allclose(sol.accuracy, ((r > 0) + 0.5 * (r == 0)).mean(1))


@pytest.mark.thorough
def test_a_batch_is_its_members_and_float32_features_are_kept():
    many = [samples(seed, N=10, d=4) for seed in range(5)]
    features, chosen, rejected = (np.stack([m[k] for m in many]) for k in range(3))
    for kind in ("DPO", "IPO"):
        batch = dyn.MarginFlow(features, chosen, rejected, OBJECTIVES[kind](0.7))
        sol = dyn.gradient_flow(batch, 2.0, saveat=at([1.0, 2.0]))
        assert sol.reward_margin.shape == (5, 2, 10)
        for b, one in enumerate(many):
            alone = dyn.gradient_flow(flow_of(kind, one), 2.0, saveat=at([1.0, 2.0]))
            np.testing.assert_allclose(sol.reward_margin[b], alone.reward_margin, rtol=1e-8, atol=1e-9)
    single = dyn.MarginFlow(many[0][0].astype(np.float32), *many[0][1:3], dyn.DPO(0.7))
    assert single.features.dtype == np.float32
    rounded = (many[0][0].astype(np.float32).astype(float), *many[0][1:])
    a, b = (dyn.gradient_flow(f, 2.0).reward_margin for f in (single, flow_of("DPO", rounded)))
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_blocks_of_examples_are_one_sum():
    from dynamics.flows import _tokens

    rng = np.random.default_rng(0)
    N, d = 8 * 16 * 3 + 5, _tokens.BLOCK_NUMBERS // 16
    g = rng.normal(size=(N, d)).astype(np.float32)
    for R in (3, 12):
        w, l = jnp.asarray(rng.integers(0, R, N)), jnp.asarray(rng.integers(0, R, N))
        head, a = jnp.asarray(rng.normal(size=(R, d))), jnp.asarray(rng.normal(size=N))
        y = np.eye(R)[np.asarray(w)] - np.eye(R)[np.asarray(l)]
        np.testing.assert_allclose(
            _tokens.apply(head, jnp.asarray(g), w, l), np.einsum("nr,rd,nd->n", y, head, g, optimize=True), atol=1e-9
        )
        np.testing.assert_allclose(
            _tokens.combine(a, jnp.asarray(g), w, l, R), (y * np.asarray(a)[:, None]).T @ g.astype(float), atol=1e-9
        )


@pytest.mark.thorough
def test_full_batch_sgd_is_the_dense_loop_and_first_order_in_the_step():
    g, chosen, rejected, W0 = data = samples(11)
    flow = flow_of("DPO", data)
    sol = dyn.descend(flow, optax.sgd(0.2), steps=40, every=20)
    W = oracles.dense_steps(g, chosen, rejected, W0, 0.7, "DPO", 0.2, 40)
    np.testing.assert_allclose(sol.head[-1], (W[-1] - W0)[np.asarray(flow.tokens)], rtol=1e-11, atol=1e-13)
    exact = dyn.gradient_flow(flow, 2.0, saveat=at([2.0])).reward_margin[0]
    errors = [
        float(jnp.abs(dyn.descend(flow, optax.sgd(2.0 / n), steps=n, every=n).reward_margin[-1] - exact).max())
        for n in (100, 200)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(flow.predict(sol, g, chosen, rejected), sol.reward_margin, rtol=1e-11, atol=1e-12)


@pytest.mark.thorough
def test_minibatches_are_unbiased_and_restarts_are_exact():
    flow = flow_of("DPO", samples(12))
    H = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)))
    draws = jax.vmap(lambda k: flow.gradient(H, k, 8))(jax.random.split(jax.random.key(0), 4000))
    error = np.abs(draws.mean(0) - flow.gradient(H, None, None)) / (draws.std(0) / np.sqrt(4000) + 1e-12)
    assert error.max() < 4.5
    adam, key = optax.adam(1e-2), jax.random.key(1)
    whole = dyn.descend(flow, adam, steps=30, key=key, batch=4, every=10)
    half = dyn.descend(flow, adam, steps=10, key=key, batch=4)
    kept = dyn.descend(flow, adam, steps=20, key=key, batch=4, initial=half.final, reset_state=False, every=10)
    np.testing.assert_array_equal(kept.head[-1], whole.head[-1])
    assert [int(s) for s in kept.coordinate] == [10, 20, 30]
    anew = dyn.descend(flow, adam, steps=20, key=key, batch=4, initial=half.final, reset_state=True)
    assert float(jnp.abs(anew.head[-1] - whole.head[-1]).max()) > 1e-6


@pytest.mark.thorough
def test_events_solvers_and_custom_saves_pass_through_to_diffrax():
    flow = flow_of("DPO", samples(13))
    stop = diffrax.Event(lambda t, y, args, **_: jnp.max(y.margin) - 0.5 > 0)
    sol = dyn.gradient_flow(flow, 50.0, event=stop)
    assert bool(sol.stats["event"])
    assert float(sol.stats["ended"]) < 50.0
    assert np.isfinite(np.asarray(sol.reward_margin)).all()
    assert len(sol.coordinate) < 101
    other = dyn.gradient_flow(flow, 2.0, solver=diffrax.Kvaerno5(), saveat=at([2.0]))
    np.testing.assert_allclose(
        other.reward_margin, dyn.gradient_flow(flow, 2.0, saveat=at([2.0])).reward_margin, rtol=1e-6
    )
    mine = dyn.gradient_flow(
        flow, 2.0, saveat=diffrax.SaveAt(ts=jnp.array([1.0, 2.0]), fn=lambda t, y, args: y.margin.max())
    )
    assert mine.saved.shape == (2,)
    with pytest.raises(ValueError, match="without fn="):
        flow.predict(mine, *samples(13)[:3])
    with pytest.raises(ValueError, match="no names"):
        mine.to_dataset()
    steps = dyn.gradient_flow(flow, 2.0, saveat=diffrax.SaveAt(steps=True, dense=True))
    assert len(steps.coordinate) == int(steps.stats["steps"])
    assert np.isfinite(np.asarray(steps.coordinate)).all()


def test_dataset_and_large_arrays_in_its_attributes():
    import json

    sol = dyn.gradient_flow(flow_of("DPO", samples(14)), 1.0)
    ds = sol.to_dataset()
    assert ds["reward_margin"].dims == ("time", "example")
    assert json.loads(ds.attrs["config"])["objective"] == "DPO"
    big = dyn.MarginFlow(
        np.random.default_rng(0).normal(size=(200, 60)), np.zeros(200, int), np.ones(200, int), dyn.DPO(1.0)
    )
    config = json.loads(dyn.gradient_flow(big, 0.1).to_dataset().attrs["config"])
    assert set(config["features"]) == {"shape", "sha256"}


@pytest.mark.thorough
def test_a_failed_solve_names_the_remedy_and_keeps_its_rows():
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 2, 60)
    flow = dyn.MarginFlow(rng.normal(size=(60, 4)) * [1, 1, 1e-3, 1e-3], chosen, 1 - chosen, dyn.DPO(1.0), form="dual")
    with pytest.raises(RuntimeError, match=r"used up its .* steps .*form='primal'.*throw=False"):
        dyn.gradient_flow(flow, 1e9)
    sol = dyn.gradient_flow(flow, 1e9, throw=False, saveat=at([0.0, 1.0, 1e9]))
    assert len(sol.coordinate) == 2
    assert np.isfinite(np.asarray(sol.reward_margin)).all()


def test_compiled_once_for_new_values():
    from dynamics.solve import _flow

    first = flow_of("DPO", samples(15), beta=0.3)
    dyn.gradient_flow(first, 1.0)
    compiled = _flow._solve._cached._cache_size() if hasattr(_flow._solve, "_cached") else None
    dyn.gradient_flow(flow_of("DPO", samples(16), beta=0.4), 1.5)
    if compiled is not None:
        assert _flow._solve._cached._cache_size() == compiled


def test_accuracy_is_never_above_one():
    """Equal weights of some numbers of examples add up to more than 1 by rounding."""
    above = 0
    for N in range(2, 120):
        which = jnp.zeros(N, int)
        features = jnp.arange(1.0, N + 1)[:, None]
        flow = dyn.MarginFlow(features=features, chosen=which, rejected=which + 1, objective=dyn.DPO(1.0))
        above += float(flow.weights @ jnp.ones(N)) > 1
        assert float(flow.summary(jnp.ones(N))["accuracy"]) <= 1
    assert above > 0
