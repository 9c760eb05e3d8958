"""The last layer under torch's optimizers: the same steps as the library's descent, and its gradient flow in the limit."""

import itertools

import diffrax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import dynamics as dyn
from dynamics import llm

pytest.importorskip("torch", reason="needs the extra llm")

OBJECTIVES = [dyn.DPO(0.7), dyn.IPO(0.7), dyn.SquaredMargin(0.7), dyn.SLiC(0.7)]
STEPS = 100


def made(N=12, d=5, tokens=(3, 7, 8, 20), vocabulary=40, seed=0, only=None):
    """Features as ``llm.features`` has them, and W."""
    rng = np.random.default_rng(seed)
    W, g = np.random.default_rng(99).normal(size=(vocabulary, d)), rng.normal(size=(N, d))
    answers = np.array([rng.permutation(tokens)[:2] for _ in range(N)])
    answers[: len(tokens) - 1] = list(itertools.pairwise(tokens))  # each occurs
    ids = np.unique(answers)
    z = g @ W.T
    others = np.setdiff1d(np.arange(vocabulary), ids)
    ds = xr.Dataset(
        {
            "feature": (("example", "width"), g),
            "chosen_token": ("example", answers[:, 0]),
            "rejected_token": ("example", answers[:, 1]),
            "unembedding": (("token", "width"), W[ids]),
            "log_rest": ("example", np.logaddexp.reduce(z[:, others], axis=1)),
        },
        {"token": ids, "example": [f"{seed}-{i}" for i in range(N)]},
    )
    return ds, W


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_step_is_that_of_descend(objective, optimizer):
    ds, _ = made()
    optax_twin = optax.sgd(0.05) if optimizer == "sgd" else optax.adam(0.05)
    theory = dyn.descend(llm.margin_flow(ds, objective), optax_twin, STEPS)
    found = llm.train_head(ds, None, objective, optimizer=optimizer, lr=0.05, steps=STEPS)
    assert np.abs(theory.reward_margin[-1]).max() > 0.1  # something was learned
    for name in ("reward_margin", "loss", "accuracy", "head_change"):
        np.testing.assert_allclose(found[name], theory.values[name], rtol=0, atol=1e-12, err_msg=name)
    dyn.schema.validate(found)


@pytest.mark.parametrize("objective", [dyn.DPO(0.7), dyn.IPO(0.7)], ids=["DPO", "IPO"])
def test_sgd_approaches_the_gradient_flow_at_order_one(objective):
    ds, _ = made()
    time, counts = 2.0, (32, 64, 128)
    flow = dyn.gradient_flow(
        llm.margin_flow(ds, objective), t1=time, saveat=diffrax.SaveAt(t1=True), rtol=1e-11, atol=1e-12
    )
    truth = np.asarray(flow.reward_margin[-1])
    runs = [llm.train_head(ds, None, objective, lr=time / n, steps=n, every=n) for n in counts]
    errors = np.array([np.abs(run.reward_margin.values[-1] - truth).max() for run in runs])
    orders = np.log2(errors[:-1] / errors[1:])
    assert np.abs(orders - 1.0).max() < 0.1


def test_log_probabilities_are_those_of_the_whole_vocabulary():
    ds, W = made()
    found = llm.train_head(ds, None, dyn.DPO(0.7), optimizer="adam", lr=0.1, steps=20)
    theory = dyn.descend(llm.margin_flow(ds, dyn.DPO(0.7)), optax.adam(0.1), 20)
    moved = W.copy()
    moved[ds.token.values] += np.asarray(theory.head[-1])
    logits = ds.feature.values @ moved.T
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    base = ds.feature.values @ W.T
    log_0 = base - np.logaddexp.reduce(base, axis=1, keepdims=True)
    each = np.arange(len(log_p))
    for name, ids in (("chosen", ds.chosen_token.values), ("rejected", ds.rejected_token.values)):
        np.testing.assert_allclose(found[f"log_prob_{name}"][-1], log_p[each, ids], atol=1e-12)
        np.testing.assert_allclose(found[f"log_reference_{name}"], log_0[each, ids], atol=1e-12)
    kl = (np.exp(log_p) * (log_p - log_0)).sum(axis=1).mean()
    assert kl > 0.01
    np.testing.assert_allclose(found.kl_to_reference[-1], kl, rtol=1e-10)
    change = (found.log_prob_chosen - found.log_reference_chosen) - (
        found.log_prob_rejected - found.log_reference_rejected
    )
    np.testing.assert_allclose(0.7 * change.values, found.reward_margin.transpose(*change.dims).values, atol=1e-12)


def test_held_out_examples_are_predicted_by_the_flow_and_not_trained_on():
    ds, _ = made()
    fresh, _ = made(N=7, seed=1)
    alone = llm.train_head(ds, None, dyn.DPO(0.7), lr=0.1, steps=30)
    both = llm.train_head(ds, None, dyn.DPO(0.7), lr=0.1, steps=30, held_out=fresh)
    inside, outside = both.isel(example=both.split == "train"), both.isel(example=both.split == "held_out")
    np.testing.assert_array_equal(inside.reward_margin, alone.reward_margin)
    flow = llm.margin_flow(ds, dyn.DPO(0.7))
    expected = flow.predict(
        dyn.descend(flow, optax.sgd(0.1), 30),
        fresh.feature.values,
        fresh.chosen_token.values,
        fresh.rejected_token.values,
    )
    np.testing.assert_allclose(outside.reward_margin, expected, atol=1e-12)
    np.testing.assert_allclose(both.held_out_loss[-1], np.logaddexp(0, -np.asarray(expected)[-1]).mean(), rtol=1e-12)


def test_rows_are_saved_at_every_so_many_steps_and_at_both_ends():
    ds, _ = made()
    found = llm.train_head(ds, None, dyn.DPO(0.7), lr=0.1, steps=7, every=3)
    assert found.step.values.tolist() == [0, 3, 6, 7]
    assert (found.reward_margin[0] == 0).all()
    assert found.kl_to_reference[0] == 0


def test_a_float32_head_is_close_but_not_the_same():
    ds, _ = made()
    double, single = (llm.train_head(ds, None, dyn.DPO(0.7), lr=0.1, steps=30, dtype=t) for t in ("float64", "float32"))
    apart = float(np.abs(double.reward_margin - single.reward_margin).max())
    assert 0 < apart < 1e-5


def test_what_cannot_be_trained_is_named():
    ds, _ = made()
    usual = {"objective": dyn.DPO(0.7), "lr": 0.1, "steps": 2}
    run = lambda ds=ds, **options: llm.train_head(ds, None, **usual | options)
    with pytest.raises(ValueError, match="log_rest"):
        run(ds=ds.drop_vars("log_rest"))
    with pytest.raises(ValueError, match="optimizer = 'lion'"):
        run(optimizer="lion")
    with pytest.raises(ValueError, match="lr = -1"):
        run(lr=-1.0)
    with pytest.raises(ValueError, match="pass the language"):
        run(held_out=made(tokens=(3, 7), seed=2)[0])

    class Own(dyn.objectives.MarginLoss):
        def loss(self, margin):
            return jnp.exp(-margin)

    with pytest.raises(ValueError, match=r"Own.*dyn\.DPO, dyn\.IPO"):
        run(objective=Own(1.0))
    with pytest.raises(RuntimeError, match=r"step [0-9]+ left the finite numbers"):
        run(objective=dyn.IPO(0.7), lr=1e9, steps=60)
    kept = run(objective=dyn.IPO(0.7), lr=1e9, steps=60, throw=False)
    assert np.isfinite(kept.reward_margin).all()
    assert kept.attrs["result"] == "nonfinite"
