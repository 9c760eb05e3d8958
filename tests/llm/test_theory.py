"""Theory on a model's features: the flow of the model's own last layer, and how separable behaviours are."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import expit

import dynamics as dyn
from dynamics import llm

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")

BETA = 0.7


def trained_by_autograd(model_weight, g, chosen, rejected, time):
    """Margins and log-probabilities after gradient flow of DPO in the whole last layer, its gradient taken by torch."""
    W0 = model_weight
    start = torch.log_softmax(g @ W0.T, dim=1)
    each = torch.arange(len(g))

    def margins(W):
        change = torch.log_softmax(g @ W.T, dim=1) - start
        return BETA * (change[each, chosen] - change[each, rejected])

    def velocity(_, flat):
        W = torch.tensor(flat.reshape(W0.shape), requires_grad=True)
        (gradient,) = torch.autograd.grad(-torch.nn.functional.logsigmoid(margins(W)).mean(), W)
        return -gradient.numpy().ravel()

    out = solve_ivp(velocity, (0, time), W0.numpy().ravel(), "DOP853", rtol=1e-9, atol=1e-10)
    return margins(torch.tensor(out.y[:, -1].reshape(W0.shape))).numpy()


@pytest.mark.parametrize("family", ["llama", "phi"])
def test_the_flow_is_that_of_the_models_whole_last_layer(make, pairs, family):
    language = llm.load(make(family), dtype="float64")
    ds = llm.features(language, pairs[:8])
    weight, bias = (None if x is None else x.detach() for x in llm.unembedding(language))
    whole = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
    g = torch.from_numpy(ds.feature.values)
    tokens = (torch.from_numpy(ds[f"{name}_token"].values) for name in ("chosen", "rejected"))
    expected = trained_by_autograd(whole, g, *tokens, time=2.0)
    flow = llm.margin_flow(ds, dyn.DPO(BETA))
    sol = dyn.gradient_flow(flow, t1=2.0, saveat=diffrax.SaveAt(t1=True), rtol=1e-10, atol=1e-12)
    assert np.abs(expected).max() > 0.02
    np.testing.assert_allclose(sol.reward_margin[-1], expected, rtol=0, atol=1e-8)


def test_the_flow_needs_features_and_tokens_within_the_vocabulary(language, pairs):
    ds = llm.features(language, pairs)
    with pytest.raises(ValueError, match="has no feature"):
        llm.margin_flow(ds.drop_vars("feature"), dyn.DPO(BETA))
    with pytest.raises(ValueError, match="is not a token id; pass ids in 0 … 399"):
        llm.margin_flow(ds.assign(chosen_token=ds.chosen_token + 400), dyn.DPO(BETA))


def test_value_diversity_is_that_of_the_diagnostics(language, pairs):
    ds = llm.features(language, pairs)
    found = llm.value_diversity(ds)
    dyn.schema.validate(found)
    assert found.behaviour.values.tolist() == ["even", "odd"]
    yes = min(ds.token.values)  # the smaller id is the + answer
    for name in ("even", "odd"):
        mine = ds.behaviour.values == name
        g, chosen = ds.feature.values[mine], ds.chosen_token.values[mine]
        plus, minus = g[chosen == yes], g[chosen != yes]
        difference = plus.mean(axis=0) - minus.mean(axis=0)
        row = found.sel(behaviour=name)
        np.testing.assert_allclose(row.difference, difference, rtol=1e-12)
        np.testing.assert_allclose(row.distinguishability, np.linalg.norm(difference), rtol=1e-12)
        spread = [np.cov(x.T, bias=True) for x in (plus, minus)]
        np.testing.assert_allclose(row.concentration, max(np.linalg.eigvalsh(c)[-1] for c in spread), rtol=1e-9)
        np.testing.assert_allclose(row.trace, max(np.trace(c) for c in spread), rtol=1e-9)
        assert float(row.share_positive) == (chosen == yes).mean()
    mean = found.difference.mean("behaviour")
    np.testing.assert_allclose(found.speed, found.difference @ mean, rtol=1e-12)
    assert found.priority.values[0, 1] == -found.priority.values[1, 0] != 0
    for name in ("similarity", "similarity_centred"):
        assert found[name].shape == (4, 4)
        np.testing.assert_allclose(np.diag(found[name]), 1.0)
    # Random features share a large mean: the classes look alike until it is removed.
    off = ~np.eye(4, dtype=bool)
    assert found.similarity.values[off].min() > 0.5 > found.similarity_centred.values[off].max()


def test_the_speed_orders_first_growth_of_margins(language, pairs):
    # One behaviour each of Yes and No tokens: the initial velocity of mean margins is (beta²/4) <dbar, d> in both (3.6).
    balanced = [i for i in range(24) if i % 6 < 4]
    chosen = tuple(" Yes" if (i // 2) % 2 else " No" for i in range(len(balanced)))
    some = pairs[balanced]
    some = llm.Pairs(
        some.prompt, chosen, tuple(" No" if c == " Yes" else " Yes" for c in chosen), behaviour=some.behaviour
    )
    ds = llm.features(language, some)
    found = llm.value_diversity(ds)
    assert (found.share_positive == 0.5).all()
    flow = llm.margin_flow(ds, dyn.DPO(BETA))
    C = np.asarray(flow.pairs.gram())
    rate = BETA**2 * C @ (expit(0.0) * np.ones(len(some))) / len(some)
    for name in ("even", "odd"):
        mean = rate[ds.behaviour.values == name].mean()
        np.testing.assert_allclose(mean, BETA**2 / 4 * float(found.speed.sel(behaviour=name)), rtol=1e-9)


def test_behaviours_without_two_answers_are_refused(language, pairs):
    ds = llm.features(language, pairs)
    with pytest.raises(ValueError, match=r"behaviour 'odd' .* are chosen; pass behaviours with two answers"):
        llm.value_diversity(ds.isel(example=np.flatnonzero(np.array(pairs.chosen) == " Yes")))
    with pytest.raises(ValueError, match="has no behaviour"):
        llm.value_diversity(ds.drop_vars("behaviour"))


def test_features_enter_jax_unchanged(language, pairs):
    ds = llm.features(language, pairs)
    flow = llm.margin_flow(ds, dyn.DPO(BETA))
    assert jnp.array_equal(flow.features, ds.feature.values)
    assert flow.tokens.tolist() == ds.token.values.tolist()
