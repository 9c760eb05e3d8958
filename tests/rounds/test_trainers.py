"""Configurations of trainers as rounds."""

import argparse
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from scipy.optimize import minimize

import dynamics as dyn
from dynamics.rounds import from_openrlhf, from_trl, from_verl

P = dyn.preferences.cyclic(3, 0.2)
EVEN = jnp.full(3, -jnp.log(3.0))
START = jnp.array([0.3, 0.0, -0.3]) - jnp.log(jnp.exp(jnp.array([0.3, 0.0, -0.3])).sum())


def same(mine, theirs):
    np.testing.assert_allclose(np.asarray(mine(START)), np.asarray(theirs(START)), atol=1e-13)


@pytest.mark.parametrize(
    ("config", "objective", "options"),
    [
        ({}, dyn.DPO(0.1), {}),
        ({"loss_type": "sigmoid", "beta": 0.3}, dyn.DPO(0.3), {}),
        ({"loss_type": ["ipo"], "beta": 20.0}, dyn.IPO(0.2), {"tokens": 100}),
        ({"loss_type": "sigmoid_norm", "beta": 20.0}, dyn.DPO(0.2), {"tokens": 100}),
        ({"loss_type": "sppo_hard", "beta": 0.4}, dyn.IPO(0.4), {}),
        ({"loss_type": ["sft", "sigmoid"], "loss_weights": [0.0, 1.0]}, dyn.DPO(0.1), {}),
    ],
)
def test_losses_of_an_iterated_recipe(config, objective, options):
    loop = from_trl(config, alpha=1.0, lam=1.0, **options).rounds(P)
    same(loop, dyn.SelfSampling(P, objective, 1.0, 1.0))


def test_one_fit_has_a_fixed_reference_and_fixed_pairs_and_online_its_own():
    once = from_trl({"beta": 0.3})
    assert (once.alpha, once.lam) == (0.0, 0.0)
    same(once.rounds(P, log_reference=START), dyn.SelfSampling(P, dyn.DPO(0.3), 0.0, 0.0, START, START))
    online = from_trl({"beta": 0.3, "reward_model_path": "rm", "temperature": 1.0})
    assert (online.alpha, online.lam, online.unmatched) == (0.0, 1.0, ())
    same(online.rounds(P), dyn.SelfSampling(P, dyn.DPO(0.3), 0.0, 1.0))
    assert from_trl({"max_new_tokens": 64}).unmatched == ("temperature = 0.9",)


def test_online_ipo_sums_over_tokens_and_words_for_yes_and_no_are_read():
    online = from_trl({"loss_type": "ipo", "beta": 0.1, "max_new_tokens": 64})
    assert str(online).startswith("TRL online DPO: IPO(0.1), reference alpha 0, lam 1")
    assert from_trl({"beta": 0.1, "sync_ref_model": "false"}).rate is None
    assert str(from_openrlhf({"beta": "0.1", "ipo": "false"})).startswith("OpenRLHF DPO: DPO(0.1)")


def test_synchronised_references_are_moving_averages_over_kept_steps():
    setup = from_trl({"sync_ref_model": True, "ref_model_mixup_alpha": 0.3, "ref_model_sync_steps": 7}, lam=1.0)
    assert (setup.alpha, setup.rate, setup.sync_steps) == (None, 0.3, 7)
    loop = setup.rounds(P, optimizer=optax.adam(0.1))
    assert float(loop.learner.steps) == 7
    assert not loop.learner.reset_state
    assert float(loop.reference.rate) == pytest.approx(0.3)
    # Uniform loses stability where ema_threshold says.
    edge = float(dyn.theorems.ema_threshold(P=np.asarray(P), rate=0.3, lam=1.0).upper)
    for share, stable in ((1.01, True), (0.99, False)):
        tight = from_trl(
            {"loss_type": "sppo_hard", "beta": share * edge, "sync_ref_model": True, "ref_model_mixup_alpha": 0.3},
            lam=1.0,
        )
        assert (float(dyn.stability.spectral_radius(tight.rounds(P), EVEN)) < 1) == stable


def test_the_robust_loss_undoes_flipped_labels_and_is_no_label_smoothing():
    noisy = dyn.feedback.Noisy(0.1).flipped(jnp.asarray(P))
    setup = from_trl({"loss_type": "robust", "label_smoothing": 0.1, "beta": 0.3}, alpha=0.5, lam=1.0)
    same(setup.rounds(noisy), dyn.SelfSampling(P, dyn.DPO(0.3), 0.5, 1.0))
    # Its own loss, summed over labels, is DPO's on the cleaned P up to a constant in the margin.
    r = np.linspace(-3, 3, 7)
    loss = lambda r: (0.9 * np.logaddexp(0, -r) - 0.1 * np.logaddexp(0, r)) / 0.8
    p = 0.73
    mine = p * loss(r) + (1 - p) * loss(-r)
    clean = (p - 0.1) / 0.8
    np.testing.assert_allclose(mine, clean * np.logaddexp(0, -r) + (1 - clean) * np.logaddexp(0, r), atol=1e-12)
    with pytest.raises(ValueError, match=r"preference\[.*is below label_smoothing = 0.4"):
        from_trl({"loss_type": "robust", "label_smoothing": 0.4}).rounds(P)
    assert "not used by loss_type sigmoid" in str(from_trl({"label_smoothing": 0.1}))


def test_files_and_objects(tmp_path):
    entries = {"loss_type": "sigmoid", "beta": 0.05, "model_name_or_path": "some/model", "learning_rate": 5.0e-7}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(entries))
    (tmp_path / "a.json").write_text(json.dumps(entries))
    for config in (entries, tmp_path / "a.yaml", str(tmp_path / "a.json"), argparse.Namespace(**entries)):
        assert str(from_trl(config)).startswith("TRL DPO: DPO(0.05), reference alpha 0, lam 0")


def test_objects_are_known_by_their_class():
    """A trainer's own class, or one derived from it; another trainer's object has entries of the same names."""
    entries = {"loss_type": "sigmoid", "beta": 0.05, "label_smoothing": 0.0}
    own = type("Mine", (type("DPOConfig", (), {}),), {})()
    vars(own).update(entries)
    assert str(from_trl(own)).startswith("TRL DPO: DPO(0.05)")
    online = type("OnlineDPOConfig", (), {})()
    vars(online).update(entries)
    assert from_trl(online).lam == 1.0
    other = type("ORPOConfig", (), {})()
    vars(other).update(entries)
    with pytest.raises(ValueError, match="config is ORPOConfig"):
        from_trl(other)


def test_openrlhf():
    same(
        from_openrlhf({"beta": 0.2, "ipo": True}, alpha=1.0, lam=1.0).rounds(P),
        dyn.SelfSampling(P, dyn.IPO(0.2), 1.0, 1.0),
    )
    smooth = from_openrlhf(argparse.Namespace(beta=0.2, label_smoothing=0.1, nll_loss_coef=0.2), alpha=0.5, lam=1.0)
    same(smooth.rounds(P), dyn.SelfSampling(P, dyn.objectives.Link(0.2, label_smoothing=0.1), 0.5, 1.0))
    assert smooth.unmatched == ("nll_loss_coef = 0.2",)


def test_verl():
    spin = {"algorithm": {"dpo_beta": 0.2, "dpo_loss_type": "ipo"}, "trainer": {"ref_update_freq": 1}}
    same(from_verl(spin).rounds(P), dyn.SelfSampling(P, dyn.IPO(0.2), 1.0, 1.0))
    kept = from_verl({"algorithm": {"dpo_beta": 0.2}, "trainer": {"ref_update_freq": -1}})
    same(kept.rounds(P), dyn.SelfSampling(P, dyn.DPO(0.2), 0.0, 1.0))
    sppo = from_verl({"actor_rollout_ref": {"actor": {"sppo_eta": 2.0, "use_kl_loss": True}}})
    centred = lambda z: np.asarray(z) - np.asarray(z).mean()
    np.testing.assert_allclose(centred(sppo.rounds(P)(START)), centred(dyn.games.SPPO(P, 2.0)(START)), atol=1e-13)
    assert sppo.unmatched == ("use_kl_loss = True",)


@pytest.mark.parametrize(
    ("read", "config", "options", "told"),
    [
        (from_trl, {"loss_type": "sigmod"}, {}, "'sigmod' is unknown.*sigmoid"),
        (from_trl, {"loss_type": "exo_pair"}, {}, "exo_pair.*not convex"),
        (from_trl, {"loss_type": ["sigmoid", "sft"]}, {}, "combines losses"),
        (from_trl, {"loss_type": ["sigmoid"], "loss_weights": [1.0, 2.0]}, {}, "loss_weights has 2"),
        (from_trl, {"loss_type": "ipo"}, {}, "pass tokens="),
        (from_trl, {"loss_type": "ipo"}, {"tokens": 0}, "tokens = 0"),
        (from_trl, {"beta": 0}, {}, "beta = 0"),
        (from_trl, {"beta": "high"}, {}, "beta = 'high'"),
        (from_trl, {"beta": [0.1, 0.2]}, {}, "changes from epoch to epoch"),
        (from_trl, {"f_divergence_type": "js_divergence"}, {}, "js_divergence"),
        (from_trl, {"sync_ref_model": True}, {"alpha": 1.0}, "moving average"),
        (from_trl, {}, {"lam": 2.0}, "lam = 2"),
        (from_trl, {"loss_typ": "ipo", "beta": 0.1}, {}, "loss_typ is unknown; did you mean 'loss_type'"),
        (from_trl, {"dpo": {"beta": 0.5}}, {}, "none of the entries that are read"),
        (from_trl, {"beta": 0.04, "num_generations": 8}, {}, "configuration of GRPO"),
        (from_trl, {"beta": 0.1, "mixture_coef": 0.5, "max_new_tokens": 64}, {}, "configuration of Nash-MD"),
        (from_trl, {"loss_type": "robust", "max_new_tokens": 64}, {}, "not one of TRL's online DPO"),
        (from_trl, {"beta": 0.1, "sync_ref_model": "maybe"}, {}, "neither true nor false"),
        (from_openrlhf, {"advantage_estimator": "reinforce"}, {}, "reinforcement learning"),
        (from_trl, 3, {}, "config is int"),
        (from_trl, "config.toml", {}, "no .json"),
        (from_openrlhf, {"label_smoothing": 0.5}, {}, "label_smoothing = 0.5"),
        (from_verl, {}, {}, "neither dpo_beta"),
        (from_verl, {"algorithm": 3}, {}, "algorithm is 3"),
        (from_verl, {"algorithm": {"dpo_beta": 0.1, "dpo_loss_type": "hinge"}}, {}, "dpo_loss_type"),
    ],
)
def test_bad_configurations_are_refused_by_name(read, config, options, told):
    with pytest.raises(ValueError, match=told):
        read(config, **options)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1")
    (tmp_path / "list.json").write_text("[1]")
    for name, told in (("bad.yaml", "cannot be read"), ("list.json", "holds list")):
        with pytest.raises(ValueError, match=told):
            from_trl(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist"):
        from_trl(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"loss_type": 3}, "loss_type = 3 names no loss"),
        ({"loss_type": []}, r"loss_type = \[\] names no loss"),
        ({"sync_ref_model": True, "ref_model_sync_steps": 1.5}, "ref_model_sync_steps = 1.5 is not whole"),
    ],
)
def test_what_names_no_loss_and_parts_of_steps_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        from_trl(config)


def test_best_of_n_pairs_of_openrlhf_and_a_hinge_without_an_optimizer():
    setup = from_openrlhf({"beta": 0.1, "best_of_n": 4, "iter": 3}, alpha=1.0, lam=1.0)
    feedback = setup.rounds(P).feedback
    assert isinstance(feedback, dyn.feedback.BestOfN)
    assert "best_of_n 4" in str(setup)
    assert "label_smoothing 0.1 is not used with ipo" in str(from_openrlhf({"ipo": True, "label_smoothing": 0.1}))
    with pytest.raises(ValueError, match="pass optimizer="):
        from_trl({"loss_type": "hinge"}).rounds(P)


def test_sppo_hard_is_said_to_be_near_ipo_only():
    """TRL's loss minimised over policies, by the normalisation of which it is not IPO's."""
    said = str(from_trl({"loss_type": "sppo_hard", "beta": 0.3}))
    assert "only near" in said
    mu = np.exp([1.0, 0.0, -1.0]) / np.exp([1.0, 0.0, -1.0]).sum()
    rates, beta = np.asarray(P), 0.3
    weight = mu[:, None] * mu[None, :] * rates

    def loss(z):
        h = z - np.logaddexp.reduce(z) - np.log(mu)
        return (weight * ((h[:, None] - 0.5 / beta) ** 2 + (h[None, :] + 0.5 / beta) ** 2)).sum()

    found = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-10}).x
    ipo = np.log(mu) + rates @ mu / beta
    gap = np.abs(np.exp(found - np.logaddexp.reduce(found)) - np.exp(ipo - np.logaddexp.reduce(ipo))).max()
    assert 1e-4 < gap < 0.05


def test_names_of_a_set_reach_the_rounds():
    votes = dyn.preferences.PreferenceSet([P], names=[["a", "b", "c"]])
    assert from_trl({}, alpha=1.0, lam=1.0).rounds(votes).response_names() == ("a", "b", "c")


def test_entries_of_training_say_that_rounds_go_to_their_optimum():
    said = str(from_trl({"beta": 0.1, "learning_rate": 1e-6, "num_train_epochs": 3}))
    assert "learning_rate, num_train_epochs: a round here goes to its optimum" in said
    assert "goes to its optimum" not in str(from_trl({}))
