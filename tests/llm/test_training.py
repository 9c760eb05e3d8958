"""Training a made model: losses, rows, resuming, what is sampled, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import llm

torch = pytest.importorskip("torch", reason="needs the extra llm")
import small  # noqa: E402

from dynamics.llm._probe import Probe  # noqa: E402
from dynamics.llm._record import open_record  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # peft's own
]
HERE = Path(__file__).resolve().parent
USUAL = {"steps": 4, "batch": 4, "lr": 1e-3, "seed": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with everything measured, its model and its folder."""
    out = tmp_path_factory.mktemp("run") / "out"
    language, pairs = small.language(), small.sentences(20)
    options = {"held_out": pairs[16:], "entropy_samples": 6, "entropy_tokens": 4, "at": range(5)}
    ds = llm.train(language, pairs[:16], dyn.DPO(0.1), out=out, **options, **USUAL)
    return ds, language, pairs, out


def alone(language, pair, answer):
    """log pi of one answer, token by token, from logits of transformers without padding."""
    tokenizer = language.tokenizer
    ids = tokenizer(pair.prompt + answer)["input_ids"] + [tokenizer.eos_token_id]
    begin = len(tokenizer(pair.prompt)["input_ids"])
    with torch.no_grad():
        log_p = torch.log_softmax(language.model(torch.tensor([ids])).logits[0].double(), -1)
    return sum(float(log_p[t - 1, ids[t]]) for t in range(begin, len(ids)))


def test_log_probabilities_are_sums_over_the_tokens_of_each_answer_alone():
    language, pairs = small.language(), small.sentences(6)
    w, l = llm.log_probs(language.model, llm.encode(pairs, language.tokenizer, eos=True))
    assert w.dtype == torch.float32
    for i, pair in enumerate(pairs):
        np.testing.assert_allclose(float(w[i].detach()), alone(language, pair, pair.chosen), rtol=2e-6)
        np.testing.assert_allclose(float(l[i].detach()), alone(language, pair, pair.rejected), rtol=2e-6)


def test_batches_that_cannot_be_scored_are_named():
    language, pairs = small.language(), small.sentences(3)
    batch = llm.encode(pairs, language.tokenizer, eos=True)
    left = llm.Batch(batch.ids[:, ::-1], batch.attention[:, ::-1], batch.completion[:, ::-1], batch.truncated)
    with pytest.raises(ValueError, match="padded on the left"):
        llm.log_probs(language.model, left)
    none = batch.completion.copy()
    none[4] = False
    with pytest.raises(ValueError, match="rejected answer of pair 1 has no tokens"):
        llm.log_probs(language.model, llm.Batch(batch.ids, batch.attention, none, batch.truncated))


@pytest.mark.parametrize("objective", [dyn.DPO(0.3), dyn.IPO(0.3), dyn.SquaredMargin(0.3), dyn.SLiC(0.3)])
def test_losses_are_those_of_the_library(objective):
    rng = np.random.default_rng(0)
    w, l, ref_w, ref_l = (torch.tensor(rng.normal(size=9) * 5) for _ in range(4))
    r = 0.3 * ((w - ref_w) - (l - ref_l))
    np.testing.assert_allclose(llm.loss(objective, w, l, ref_w, ref_l), objective.loss(jnp.array(r)), rtol=1e-12)
    r = r.clone().requires_grad_()
    llm.loss(objective, r / 0.3, 0 * r, 0 * r, 0 * r).sum().backward()
    np.testing.assert_allclose(r.grad, objective.slope(jnp.array(r.detach())), rtol=1e-12)


def test_ipo_is_by_sums_and_per_token_by_name_only():
    w, l, zero = torch.tensor([-3.0]), torch.tensor([-8.0]), torch.zeros(1)
    lengths = (torch.tensor([3.0]), torch.tensor([4.0]))
    assert float(llm.loss(dyn.IPO(0.25), w, l, zero, zero)) == (5.0 - 2.0) ** 2
    assert float(llm.loss(dyn.IPO(0.25), w, l, zero, zero, normalise=True, lengths=lengths)) == (1.0 - 2.0) ** 2
    with pytest.raises(ValueError, match="lengths"):
        llm.loss(dyn.IPO(0.25), w, l, zero, zero, normalise=True)
    with pytest.raises(ValueError, match="form of IPO"):
        llm.loss(dyn.DPO(0.25), w, l, zero, zero, normalise=True, lengths=lengths)


def test_margins_start_at_exactly_zero_and_say_what_they_are(run):
    ds, *_ = run
    dyn.schema.validate(ds)
    assert (ds.reward_margin[0] == 0).all()
    assert (ds.kl_to_reference[0], ds.loss[0], ds.accuracy[0]) == (0, np.log(2), 0.5)
    change = (ds.log_prob_chosen - ds.log_reference_chosen) - (ds.log_prob_rejected - ds.log_reference_rejected)
    np.testing.assert_allclose(ds.reward_margin, 0.1 * change, atol=1e-12)
    assert np.abs(ds.reward_margin[-1]).min() > 1e-3
    train, held = (ds.isel(example=ds.split == name) for name in ("train", "held_out"))
    assert (train.sizes["example"], held.sizes["example"]) == (16, 4)
    for part, prefix in ((train, ""), (held, "held_out_")):
        np.testing.assert_allclose(
            ds[f"{prefix}loss"], np.logaddexp(0, -part.reward_margin).mean("example"), rtol=1e-12
        )
    np.testing.assert_array_equal(ds.accuracy_raw, (train.log_prob_chosen > train.log_prob_rejected).mean("example"))
    assert ds.attrs["eos"] == "True"
    assert {"version_torch", "version_transformers", "sha256", "dtype", "config"} <= set(ds.attrs)


def test_margins_grow_against_the_reference_of_the_start():
    language, pairs = small.language(), small.sentences(8)
    start = [alone(language, pair, pair.chosen) - alone(language, pair, pair.rejected) for pair in pairs]
    ds = llm.train(language, pairs, dyn.DPO(0.1), **USUAL)
    end = [alone(language, pair, pair.chosen) - alone(language, pair, pair.rejected) for pair in pairs]
    np.testing.assert_allclose(ds.reward_margin[-1], 0.1 * (np.array(end) - start), atol=1e-5)
    assert ds.reward_margin[-1].mean() > 0.01


def test_training_mode_and_dropout_leave_the_first_margin_at_zero():
    language = small.language()
    for module in language.model.modules():  # attention drops weights in training mode
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    language.model.train()
    batch = llm.encode(small.sentences(4), language.tokenizer, eos=True)
    assert not torch.equal(llm.log_probs(language.model, batch)[0], llm.log_probs(language.model, batch)[0])
    probe = Probe.of(small.sentences(4), None, language.tokenizer, eos=True, max_length=None)
    np.testing.assert_array_equal(probe.log_probs(language.model), probe.log_probs(language.model))
    assert all(module.training for module in language.model.modules())  # as it was
    ds = llm.train(language, small.sentences(8), dyn.DPO(0.1), **USUAL)
    assert (ds.reward_margin[0] == 0).all()
    again = llm.train(small.language(), small.sentences(8), dyn.DPO(0.1), **USUAL)
    np.testing.assert_array_equal(ds.reward_margin, again.reward_margin)


def test_the_model_itself_is_what_the_last_row_measures(run):
    ds, language, pairs, _ = run
    for i in (0, 17):
        np.testing.assert_allclose(ds.log_prob_chosen[-1, i], alone(language, pairs[i], pairs[i].chosen), rtol=2e-6)


def test_the_first_step_is_the_gradient_of_the_mean_loss():
    pairs, lr = small.sentences(4), 0.1
    ours, plain = small.language(dtype="float64"), small.language(dtype="float64")
    llm.train(ours, pairs, dyn.IPO(0.5), steps=1, batch=4, microbatch=3, lr=lr, optimizer="sgd", clip=None)
    w, l = llm.log_probs(plain.model, llm.encode(pairs, plain.tokenizer, eos=True))
    (((w - w.detach()) - (l - l.detach()) - 1.0) ** 2).mean().backward()  # 1/(2 beta) = 1
    for own, p in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        np.testing.assert_allclose(own.detach(), (p - lr * p.grad).detach(), atol=1e-12)


def test_every_pair_comes_once_in_an_epoch():
    from dynamics.llm._loop import Plan

    plan = Plan(dyn.DPO(0.1), 9, 4, 1e-3, "adam", 0.0, "linear", 2, 1.0, False, True, 3, (0,), 1, 4)
    stream = np.concatenate([plan.pairs_at(step, 6) for step in range(9)])
    epochs = stream.reshape(6, 6)
    assert (np.sort(epochs) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1
    np.testing.assert_allclose([plan.factor(s) for s in range(9)], [0.5, 1.0, *(1 - np.arange(7) / 7)])


def test_a_record_on_disk_is_the_run(run, tmp_path):
    ds, _, _, out = run
    assert llm.read_record(out).identical(ds)
    packed = llm.pack(out / "record.zarr")
    assert llm.read_record(packed).identical(ds)
    assert [a.raised for a in llm.alarms(packed)] == [a.raised for a in llm.alarms(ds)]
    packed.unlink()


def test_a_row_that_a_crash_left_unfinished_is_not_read(tmp_path):
    loss = dyn.schema.VARIABLES["loss"]
    record = llm.Record(tmp_path / "r.zarr", {"loss": loss})
    record.append(0, {"loss": 1.0})
    record.append(5, {"loss": 0.5})
    import zarr

    group = zarr.open_group(str(tmp_path / "r.zarr"), mode="r+", zarr_format=2)
    group["loss"].resize((3,))
    group["loss"][2] = 9.0
    assert llm.read_record(tmp_path / "r.zarr").loss.values.tolist() == [1.0, 0.5]
    again = open_record(tmp_path / "r.zarr")
    again.truncate(1)
    again.append(6, {"loss": 0.25})
    assert llm.read_record(tmp_path / "r.zarr").loss.values.tolist() == [1.0, 0.25]
    with pytest.raises(ValueError, match="step 6 does not come after 6"):
        again.append(6, {"loss": 0.0})
    with pytest.raises(ValueError, match="pass \\['loss'\\]"):
        again.append(7, {"margin": 0.0})
    with pytest.raises(ValueError, match="exists"):
        llm.Record(tmp_path / "r.zarr", {"loss": loss})


def test_sampled_entropy_is_that_of_the_distribution():
    """Two tokens after one prompt, whose entropy can be summed up over all 300² answers."""
    from dynamics.llm._sampling import Sampler, on_policy

    language = small.language(steps=30)
    model, end = language.model, language.tokenizer.eos_token_id
    prompt = tuple(language.tokenizer("Is the cat even?")["input_ids"])
    with torch.no_grad():
        first = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
        follow = torch.tensor([[*prompt, y] for y in range(len(first))])
        second = torch.log_softmax(model(follow).logits[:, -1].double(), -1)
    p = first.exp()
    later = -(second.exp() * second).sum(-1)
    later[end] = 0.0
    exact = float(-(p * first).sum() + (p * later).sum())
    found = on_policy(model, Sampler((prompt,), 64, 2, end, seed=0), None, step=0)
    assert 0 < found["entropy_error"] < 0.1 * exact
    assert abs(found["entropy"] - exact) < 3 * found["entropy_error"]
    alone = on_policy(model, Sampler((prompt,), 64, 1, end, seed=0), None, step=0)
    np.testing.assert_allclose(alone["entropy"], float(-(p * first).sum()), rtol=1e-6)


def test_the_divergence_is_that_from_the_model_that_training_began_with():
    start, language = small.language(), small.language()
    pairs = small.sentences(8)
    options = {"steps": 5, "batch": 8, "lr": 3e-3, "at": [0, 5], "entropy_samples": 6, "entropy_tokens": 1}
    ds = llm.train(language, pairs, dyn.DPO(0.1), **options)
    prompts = [small.language().tokenizer(p)["input_ids"] for p in pairs.prompt[:6]]
    found = []
    for ids in prompts:  # of one token the divergence is exact whatever is drawn
        with torch.no_grad():
            p, q = (
                torch.log_softmax(m.model(torch.tensor([ids])).logits[0, -1].double(), -1) for m in (language, start)
            )
        found.append(float((p.exp() * (p - q)).sum()))
    np.testing.assert_allclose(ds.kl_to_reference[-1], np.mean(found), rtol=1e-3)
    np.testing.assert_allclose(ds.kl_error[-1], np.std(found, ddof=1) / np.sqrt(6), rtol=1e-3)


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
import jax
jax.config.update("jax_enable_x64", True)
import small
import dynamics as dyn
from dynamics import llm

llm.train(llm.load({model!r}), small.sentences(10), dyn.DPO(0.1), optimizer=small.mortal, out={out!r}, **{options!r})
"""
LONG = {"steps": 8, "batch": 4, "lr": 1e-3, "schedule": "cosine", "warmup": 2, "at": [0, 1, 4, 6, 8], "checkpoint": 3}
LONG |= {"entropy_samples": 4, "entropy_tokens": 3, "seed": 2}


def long(out, language=None):
    """The run of SCRIPT in this process."""
    language = language or small.language()
    return llm.train(language, small.sentences(10), dyn.DPO(0.1), optimizer=small.mortal, out=out, **LONG)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    part = tmp_path / "part"
    code = SCRIPT.format(here=str(HERE), model=str(small.folder()), out=str(part), options=LONG)
    env = os.environ | {"OMP_NUM_THREADS": "1", "DIE_IN_STEP": "6"}
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert llm.read_record(part).step.values.tolist() == [0, 1, 4]  # of which the checkpoint at step 3 knows two
    whole, resumed = long(tmp_path / "whole"), long(part)
    assert resumed.drop_attrs().identical(whole.drop_attrs())
    assert llm.read_record(part).identical(resumed)
    assert np.abs(resumed.reward_margin[-1]).min() > 0
    one, two = (torch.load(out / "state.pt", weights_only=True) for out in (tmp_path / "whole", part))
    for name, value in one["weights"].items():
        assert torch.equal(value, two["weights"][name]), name
    states = zip(one["optimizer"]["state"].values(), two["optimizer"]["state"].values(), strict=True)
    assert all(torch.equal(a[name], b[name]) for a, b in states for name in a)


def test_a_resumed_run_keeps_its_reference_and_refuses_another(tmp_path):
    state = lambda: torch.load(tmp_path / "out" / "state.pt", weights_only=True)
    language = small.language()
    ds = long(tmp_path / "out", language)
    kept = state()["log_reference"]["probe"].numpy()
    np.testing.assert_array_equal(kept, np.stack([ds.log_reference_chosen, ds.log_reference_rejected]))
    with pytest.raises(llm.WrongReference, match="not from a checkpoint"):
        long(tmp_path / "out", language)  # its weights are the trained ones
    language.model.save_pretrained(tmp_path / "half")
    language.tokenizer.save_pretrained(tmp_path / "half")
    with pytest.raises(llm.WrongReference, match="load the model anew"):
        long(tmp_path / "out", llm.load(tmp_path / "half"))
    assert (
        llm.train(language, small.sentences(10), dyn.DPO(0.1), **USUAL).reward_margin[0] == 0
    ).all()  # a new run may


def test_a_finished_run_is_read_and_another_is_refused(run):
    ds, _, pairs, out = run
    options = {"held_out": pairs[16:], "entropy_samples": 6, "entropy_tokens": 4, "at": range(5), "out": out}
    fresh = small.language()
    assert llm.train(fresh, pairs[:16], dyn.DPO(0.1), **options, **USUAL).identical(ds)
    np.testing.assert_allclose(alone(fresh, pairs[0], pairs[0].chosen), ds.log_prob_chosen[-1, 0], rtol=2e-6)
    with pytest.raises(ValueError, match=r"its lr is 0.001, here 0.002"):
        llm.train(small.language(), pairs[:16], dyn.DPO(0.1), **options, **USUAL | {"lr": 2e-3})
    with pytest.raises(ValueError, match="its objective is 'DPO"):
        llm.train(small.language(), pairs[:16], dyn.IPO(0.1), **options, **USUAL)
    with pytest.raises(ValueError, match="its pairs is"):
        llm.train(small.language(), pairs[:15], dyn.DPO(0.1), probe=pairs[:16], **options, **USUAL)
    with pytest.raises(llm.WrongReference, match="load the model anew"):
        llm.train(small.language(seed=5), pairs[:16], dyn.DPO(0.1), **options, **USUAL)


def test_a_run_that_leaves_the_finite_numbers_stops_and_keeps_its_rows(tmp_path):
    options = {"steps": 12, "batch": 8, "lr": 1e30, "optimizer": "sgd", "clip": None, "at": range(13)}
    with pytest.raises(RuntimeError, match=r"step (\d+) left the finite numbers.*record.zarr") as caught:
        llm.train(small.language(), small.sentences(8), dyn.IPO(0.1), out=tmp_path / "o", **options)
    kept = llm.read_record(tmp_path / "o")
    assert kept.attrs["result"] == "nonfinite"
    failed = int(str(caught.value).split()[1])
    assert kept.step.values.tolist() == list(range(failed + 1))[: kept.sizes["step"]]
    assert kept.sizes["step"] >= 1
    again = llm.train(small.language(), small.sentences(8), dyn.IPO(0.1), throw=False, **options)
    np.testing.assert_array_equal(again.reward_margin, kept.reward_margin)


def test_a_device_without_enough_memory_is_told_what_to_lower(monkeypatch):
    from dynamics.llm import _loop

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_loop, "log_probs", full)
    with pytest.raises(RuntimeError, match=r"step 0 .* 4 pairs at a time; pass a smaller microbatch="):
        llm.train(small.language(), small.sentences(8), dyn.DPO(0.1), **USUAL)


def test_an_adapter_is_trained_alone_and_its_base_stays():
    pytest.importorskip("peft", reason="needs the extra llm-trl")
    language = small.language()
    before = {name: p.detach().clone() for name, p in language.model.named_parameters()}
    adapted = llm.adapt(language, rank=2)
    ds = llm.train(adapted, small.sentences(8), dyn.DPO(0.1), entropy_samples=4, entropy_tokens=2, **USUAL)
    assert (ds.reward_margin[0] == 0).all()
    assert ds.kl_to_reference[0] == 0
    assert np.abs(ds.reward_margin[-1]).max() > 1e-4
    assert ds.kl_to_reference[-1] > 0
    for name, p in language.model.named_parameters():
        assert torch.equal(p, before[name]), name


def test_what_cannot_be_trained_is_named():
    language, pairs = small.language(), small.sentences(8)
    train = lambda language=language, **options: llm.train(language, pairs, dyn.DPO(0.1), **USUAL | options)
    half = small.language()
    half.model.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"weight .* is bfloat16"):
        train(half)
    with pytest.raises(ValueError, match="optimizer = 'lion'"):
        train(optimizer="lion")
    with pytest.raises(ValueError, match="schedule = 'step'"):
        train(schedule="step")
    with pytest.raises(ValueError, match="steps from 0 to 4"):
        train(at=[5])
    with pytest.raises(ValueError, match="lr = 0"):
        train(lr=0.0)
    with pytest.raises(ValueError, match="clip = 0"):
        train(clip=0.0)
    with pytest.raises(ValueError, match="share the pair"):
        train(held_out=pairs[:2])
    with pytest.raises(ValueError, match=r"the probe's pair .* longer than max_length"):
        train(max_length=int(llm.encode(pairs, language.tokenizer, eos=True).ids.shape[1]) - 1)
    with pytest.raises(ValueError, match="entropy_samples = 1 has no standard error"):
        train(entropy_samples=1)
    frozen = small.language()
    frozen.model.requires_grad_(False)
    with pytest.raises(ValueError, match="requires_grad"):
        train(frozen)


TWICE = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
import jax
jax.config.update("jax_enable_x64", True)
import small
import dynamics as dyn
from accelerate import Accelerator
from dynamics import llm

accelerator = Accelerator()
assert accelerator.num_processes == 2, accelerator.distributed_type
pairs = small.sentences(20)
llm.train(llm.load({model!r}), pairs[:19], dyn.DPO(0.1), probe=pairs[:17], accelerator=accelerator, out={out!r}, **{options!r})
"""


def test_two_processes_are_one(tmp_path):
    options = USUAL | {"at": [0, 1, 2, 3, 4], "entropy_samples": 4, "entropy_tokens": 3}
    script, out, pairs = tmp_path / "twice.py", tmp_path / "out", small.sentences(20)
    script.write_text(TWICE.format(here=str(HERE), model=str(small.folder()), out=str(out), options=options))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    two = llm.read_record(out)
    assert int(two.attrs["processes"]) == 2
    one = llm.train(small.language(), pairs[:19], dyn.DPO(0.1), probe=pairs[:17], **options)
    assert one.example.values.tolist() == two.example.values.tolist()
    assert (two.reward_margin[0] == 0).all()
    assert np.abs(one.reward_margin[-1]).max() > 0.01
    for name in ("reward_margin", "loss", "batch_loss", "log_prob_chosen", "entropy", "kl_to_reference"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["displacement", "saturation", "entropy_collapse", "wrong_reference"])
def test_made_models_raise_each_alarm(name):
    pairs = small.sentences(8)
    usual = {"steps": 6, "batch": 8, "at": [0, 3, 6], "lr": 1e-2}
    match name:
        case "displacement":  # an answer against its own continuation: nearly all tokens are shared
            long = " No, it is not true that stones float."
            alike = llm.Pairs(pairs.prompt, (long,) * 8, (f"{long} No.",) * 8)
            ds = llm.train(small.language(steps=30), alike, dyn.DPO(0.1), **usual | {"steps": 10, "at": [0, 10]})
        case "saturation":  # both answers are far from what the model samples
            odd = llm.Pairs(pairs.prompt, (" " + "z" * 8,) * 8, (" " + "q" * 8,) * 8)
            sampled = {"entropy_samples": 8, "entropy_tokens": 4, "lr": 2e-4}
            ds = llm.train(small.language(steps=30), odd, dyn.DPO(20.0), **usual | sampled)
        case "entropy_collapse":  # a small beta allows the model to say one thing only
            one = llm.Pairs(pairs.prompt, (" Yes.",) * 8, (" No.",) * 8)
            sampled = {"entropy_samples": 8, "entropy_tokens": 2, "steps": 80, "at": [0, 80]}
            ds = llm.train(small.language(), one, dyn.IPO(0.01), **usual | sampled)
        case _:
            ds = llm.train(small.language(), pairs, dyn.DPO(0.1), **usual)
            half = llm.train(small.language(), pairs, dyn.DPO(0.1), **usual | {"steps": 3, "at": [0, 3]})
            base = {f"log_reference_{side}": half[f"log_prob_{side}"][-1] for side in ("chosen", "rejected")}
            h = (ds.log_prob_chosen - base["log_reference_chosen"]) - (
                ds.log_prob_rejected - base["log_reference_rejected"]
            )
            ds = ds.assign(reward_margin=ds.reward_margin.copy(data=0.1 * h.values))
    found = {alarm.name: alarm for alarm in llm.alarms(ds)}
    assert found[name].raised is True, found[name]


def test_a_healthy_made_model_is_silent(run):
    ds, *_ = run
    assert [alarm.name for alarm in llm.alarms(ds) if alarm.raised is True] == []


def test_the_configuration_is_on_record(run):
    ds, *_ = run
    config = json.loads(ds.attrs["config"])
    assert config["objective"] == "DPO(beta=0.1)"
    assert (config["lr"], config["batch"], config["seed"]) == (1e-3, 4, 1)
    assert config["sha256"] == small.language().sha256


def means(objective, w, l, ref_w, ref_l, lengths=None):
    return float(objective.beta) * ((w - ref_w) / 3 - (l - ref_l) / 4)


ENCODE = llm.encode


def without_end_of_chosen(pairs, tokenizer, *, eos, max_length=None):
    batch = ENCODE(pairs, tokenizer, eos=eos, max_length=max_length)
    counted = batch.completion.copy()
    for row in range(len(batch)):
        counted[row, np.flatnonzero(counted[row])[-1]] = False
    return llm.Batch(batch.ids, batch.attention, counted, batch.truncated)


@pytest.mark.parametrize(
    "mutant", ["IPO by means", "reference is the model of now", "no end of text in chosen answers"]
)
def test_mutants_are_caught(mutant, monkeypatch):
    """What other code gets wrong fails the test that is named here."""
    from dynamics.llm import _loop, _loss

    match mutant:
        case "IPO by means":
            monkeypatch.setattr(_loss, "margin", means)
            test = test_ipo_is_by_sums_and_per_token_by_name_only
        case "reference is the model of now":
            true = _loop.Run._row

            def row(run, log_prob, found):
                run.log_reference["probe"] = log_prob
                return true(run, log_prob, found)

            monkeypatch.setattr(_loop.Run, "_row", row)
            test = test_margins_grow_against_the_reference_of_the_start
        case _:
            monkeypatch.setattr(llm, "encode", without_end_of_chosen)
            test = test_log_probabilities_are_sums_over_the_tokens_of_each_answer_alone
    with pytest.raises(AssertionError):
        test()
