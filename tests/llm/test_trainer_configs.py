"""Every entry that ``from_trl`` reads, against TRL's own classes."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.rounds import from_trl

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")
trl = pytest.importorskip("trl", reason="needs the extra llm-trl: pip install '.[llm,llm-trl]'")
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")


def config(**entries):
    return trl.DPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none", **entries)


def test_the_fields_exist_with_the_defaults_that_are_assumed():
    fields = {f.name: f for f in dataclasses.fields(trl.DPOConfig)}
    made = config()
    assert made.beta == 0.1
    assert made.loss_type == ["sigmoid"]
    assert made.label_smoothing == 0.0
    assert (made.sync_ref_model, made.ref_model_mixup_alpha, made.ref_model_sync_steps) == (False, 0.6, 512)
    assert getattr(made.f_divergence_type, "value", made.f_divergence_type) == "reverse_kl"
    assert {"ld_alpha", "use_weighting", "loss_weights"} <= set(fields)
    told = fields["loss_type"].metadata["help"]
    losses = re.findall(r"`'(\w+)'`", told)
    assert len(losses) == 15
    for loss in losses:  # each is read, or refused for what it is
        told = _refusal(loss)
        assert told is None or "has no counterpart here" in told, loss


def _refusal(loss):
    try:
        from_trl({"loss_type": loss}, tokens=10)
    except ValueError as error:
        return str(error)
    return None


def test_a_real_object_is_read():
    assert str(from_trl(config(beta=0.3))).startswith("TRL DPO: DPO(0.3), reference alpha 0, lam 0")
    assert from_trl(config(loss_type="robust", label_smoothing=0.1)).label_noise == 0.1
    assert from_trl(config(sync_ref_model=True, ref_model_mixup_alpha=0.2)).rate == 0.2
    assert float(from_trl(config(loss_type="ipo"), tokens=50).objective.beta) == pytest.approx(0.002)
    assert from_trl(config(ld_alpha=0.5)).unmatched == ("ld_alpha = 0.5",)


def test_an_online_object_is_read():
    online = pytest.importorskip("trl.experimental.online_dpo")
    made = online.OnlineDPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none")
    setup = from_trl(made)
    assert (setup.trainer, setup.alpha, setup.lam) == ("TRL online DPO", 0.0, 1.0)
    assert "temperature = 0.9" in setup.unmatched


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm"])
def test_the_losses_are_those_of_the_trainer(loss):
    """TRL's formulas in torch, written from its documentation, against the objectives that a configuration gives."""
    beta, n, noise = 0.4, 5, 0.1 if loss == "robust" else 0.0
    delta = torch.linspace(-4, 4, 9, dtype=torch.float64)
    F = torch.nn.functional
    theirs = {
        "sigmoid": -F.logsigmoid(beta * delta),
        "hinge": torch.relu(1 - beta * delta),
        "ipo": (delta / n - 1 / (2 * beta)) ** 2,
        "robust": (-(1 - noise) * F.logsigmoid(beta * delta) + noise * F.logsigmoid(-beta * delta)) / (1 - 2 * noise),
        "sigmoid_norm": -F.logsigmoid(beta * delta / n),
    }[loss].numpy()
    setup = from_trl(config(loss_type=loss, beta=beta, label_smoothing=noise), tokens=n)
    margin = float(setup.objective.beta) * delta.numpy()
    mine = np.asarray(setup.objective.loss(jnp.asarray(margin)))
    if (
        loss == "robust"
    ):  # on cleaned labels: of a label that is always won, (1 - e)/(1 - 2e) times f(r), less e/(1 - 2e) f(-r)
        other = np.asarray(setup.objective.loss(jnp.asarray(-margin)))
        mine = ((1 - setup.label_noise) * mine - setup.label_noise * other) / (1 - 2 * setup.label_noise)
    # IPO's square is scaled by a constant, which no optimum sees.
    ratio = np.polyfit(mine, theirs, 1)
    np.testing.assert_allclose(np.polyval(ratio, mine), theirs, atol=1e-9)
    assert ratio[0] > 0
    if loss != "ipo":
        np.testing.assert_allclose(ratio, [1.0, 0.0], atol=1e-9)


def test_ipo_on_tokens_has_the_optimum_of_beta_over_tokens():
    """The mean of TRL's loss over labels of probability p is least at delta = n (p - 1/2)/beta, IPO's at beta/n."""
    beta, n, p = 0.4, 5, 0.7
    delta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([delta], max_iter=100, tolerance_grad=1e-14, tolerance_change=1e-16)

    def closure():
        optimizer.zero_grad()
        loss = p * (delta / n - 1 / (2 * beta)) ** 2 + (1 - p) * (-delta / n - 1 / (2 * beta)) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    loop = from_trl(config(loss_type="ipo", beta=beta), tokens=n, lam=0.0).rounds(np.array([[0.5, p], [1 - p, 0.5]]))
    z = np.asarray(loop(jnp.zeros(2)))
    assert z[0] - z[1] == pytest.approx(delta.item(), rel=1e-6)
    assert delta.item() == pytest.approx(n * (p - 0.5) / beta, rel=1e-6)
