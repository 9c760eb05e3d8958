"""TRL's DPOTrainer beside the plain loop and the theory, and the recorder in its runs."""

import copy

import numpy as np
import optax
import pytest

import dynamics as dyn
from dynamics import llm

torch = pytest.importorskip("torch", reason="needs the extra llm")
pytest.importorskip("trl", reason="needs the extra llm-trl")
import small  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import TrainerCallback  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402
from trl.trainer.dpo_trainer import DataCollatorForPreference  # noqa: E402

# What transformers, trl and peft say to each other about arguments of the next version is not ours to mend.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    *(pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("FutureWarning", "DeprecationWarning")),
]
STEPS, BATCH, LR, BETA = 6, 4, 1e-3, 0.1


class Tape:
    """Keeps every batch that a collator makes."""

    def __init__(self, collator):
        self.collator, self.batches = collator, []

    def __call__(self, rows):
        self.batches.append(self.collator(rows))
        return self.batches[-1]


class WithoutEnd(DataCollatorForPreference):
    """Drops the last token of each answer, which TRL has appended."""

    def torch_call(self, examples):
        cut = lambda row: row | {name: row[name][:-1] for name in ("chosen_ids", "rejected_ids")}
        return super().torch_call([cut(row) for row in examples])


def rows(pairs):
    return Dataset.from_dict({name: list(getattr(pairs, name)) for name in ("prompt", "chosen", "rejected")})


def trainer(language, pairs, folder, *, reference=None, collator=None, callbacks=(), peft_config=None, **options):
    usual = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "max_length": 128,
        "beta": BETA,
        "learning_rate": LR,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "max_steps": STEPS,
        "seed": 0,
    }
    return DPOTrainer(
        language.model,
        ref_model=reference,
        args=DPOConfig(**usual | options),
        train_dataset=rows(pairs),
        eval_dataset=rows(pairs),
        processing_class=language.tokenizer,
        data_collator=collator,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )


def logged(run, name):
    return np.array([row[name] for row in run.state.log_history if name in row])


CASES = {
    "sigmoid": ({"loss_type": "sigmoid"}, dyn.DPO(BETA), False, False),
    "ipo": ({"loss_type": "ipo"}, dyn.IPO(BETA), True, False),
    "lora": ({"loss_type": "sigmoid"}, dyn.DPO(BETA), False, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_trainer_the_recorder_and_the_plain_loop_agree(case, tmp_path):
    options, objective, normalise, lora = CASES[case]
    pairs = small.sentences(STEPS * BATCH)
    made = lambda: llm.adapt(small.language(), rank=4) if lora else small.language()
    theirs, ours = made(), made()
    tape = Tape(DataCollatorForPreference(pad_token_id=theirs.tokenizer.pad_token_id))
    reference = None if lora else copy.deepcopy(theirs.model)
    recorder = llm.Recorder(tmp_path / "run.zarr", pairs)
    run = trainer(theirs, pairs, tmp_path, reference=reference, collator=tape, callbacks=[recorder], **options)
    run.train()
    encoded = llm.encode(pairs, ours.tokenizer, eos=True)
    for step, batch in enumerate(tape.batches[:STEPS]):  # the same tokens, in the same order
        mine = encoded.take(slice(step * BATCH, (step + 1) * BATCH))
        assert [ids[m.bool()].tolist() for ids, m in zip(batch["input_ids"], batch["attention_mask"], strict=True)] == [
            ids[m].tolist() for ids, m in zip(mine.ids, mine.attention, strict=True)
        ]
        assert batch["completion_mask"].sum(1).tolist() == mine.completion.sum(1).tolist()
    ds = llm.train(
        ours, pairs, objective, steps=STEPS, batch=BATCH, lr=LR, probe=pairs, at=range(STEPS + 1), shuffle=False,
        normalise=normalise, max_length=128,
    )  # fmt: skip
    found = llm.read_record(tmp_path / "run.zarr")
    dyn.schema.validate(found)
    assert np.abs(ds.reward_margin[-1]).max() > 0.01
    np.testing.assert_allclose(ds.batch_loss[1:], logged(run, "loss"), rtol=1e-5)
    for name in ("reward_margin", "loss", "log_prob_chosen", "log_prob_rejected"):
        np.testing.assert_allclose(found[name], ds[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert (found.reward_margin[0] == 0).all()
    assert found.step.values.tolist() == list(range(STEPS + 1))
    evaluated = run.evaluate()
    np.testing.assert_allclose(found.reward_margin[-1].mean(), evaluated["eval_rewards/margins"], atol=1e-5)
    np.testing.assert_allclose(found.loss[-1], evaluated["eval_loss"], rtol=1e-5)
    assert {alarm.name: alarm.raised for alarm in llm.alarms(tmp_path / "run.zarr")}["wrong_reference"] is False
    run.save_state()
    assert {alarm.name: alarm.raised for alarm in llm.alarms(tmp_path / "trainer_state.json")}[
        "wrong_reference"
    ] is False


def test_an_adapter_made_by_the_trainer_is_switched_off_for_the_reference(tmp_path):
    from peft import LoraConfig

    pairs = small.sentences(8)
    recorder = llm.Recorder(tmp_path / "run.zarr", pairs, every=3, entropy_samples=4, entropy_tokens=2)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    run = trainer(small.language(), pairs, tmp_path, peft_config=config, callbacks=[recorder], max_steps=4)
    run.train()
    found = llm.read_record(tmp_path / "run.zarr")
    assert found.step.values.tolist() == [0, 3, 4]
    assert (found.reward_margin[0] == 0).all()
    assert found.kl_to_reference[0] == 0
    assert found.kl_to_reference[-1] > 0
    np.testing.assert_allclose(found.reward_margin[-1].mean(), run.evaluate()["eval_rewards/margins"], atol=1e-5)


def test_the_trainer_on_a_last_layer_takes_the_steps_of_the_theory(tmp_path):
    """Frozen body, one-token answers, no end of text: the trainer's margins are those of ``dyn.descend``."""
    language, pairs, steps = small.language(untie=True), small.words(), 20
    ds = llm.features(language, pairs, progress=False)
    theory = dyn.descend(llm.margin_flow(ds, dyn.DPO(BETA)), optax.adam(LR), steps)
    head = language.model.get_output_embeddings().weight
    language.model.requires_grad_(False)
    head.requires_grad_(True)
    recorder = llm.Recorder(tmp_path / "run.zarr", pairs, eos=False)
    collator = WithoutEnd(pad_token_id=language.tokenizer.pad_token_id)
    run = trainer(
        language, pairs, tmp_path, reference=copy.deepcopy(language.model), collator=collator, max_steps=steps,
        callbacks=[recorder], per_device_train_batch_size=len(pairs), max_grad_norm=1e9,
        weight_decay=0.0,
    )  # fmt: skip
    run.train()
    expected = np.asarray(theory.reward_margin)
    assert np.abs(expected).max() > 0.01
    found = llm.read_record(tmp_path / "run.zarr")
    np.testing.assert_allclose(found.reward_margin, expected, rtol=0, atol=1e-6)
    practice = llm.train_head(ds, language, dyn.DPO(BETA), optimizer="adam", lr=LR, steps=steps)
    for name in (
        "log_prob_chosen",
        "log_prob_rejected",
    ):  # untouched rows of the vocabulary move by rounding under Adam
        np.testing.assert_allclose(found[name], practice[name], rtol=0, atol=1e-4)


def test_a_resumed_run_is_recorded_as_one_and_a_wrong_reference_is_refused(tmp_path):
    pairs = small.sentences(STEPS * BATCH)
    saving = {"save_strategy": "steps", "save_steps": 3}
    probe = pairs[:6]

    def go(name, model, *, resume=None, reference=None, told=None, every=1):
        recorder = llm.Recorder(tmp_path / f"{name}.zarr", probe, reference=told, every=every)
        run = trainer(model, pairs, tmp_path / name, reference=reference, callbacks=[recorder], **saving)
        run.train(resume_from_checkpoint=resume)
        return llm.read_record(tmp_path / f"{name}.zarr")

    base = small.language
    straight = go("straight", base(), reference=base().model)
    # Stopped after five steps; the checkpoint is that of step 3, so two rows have to be taken back.
    recorder = llm.Recorder(tmp_path / "part.zarr", probe)
    run = trainer(base(), pairs, tmp_path / "part", reference=base().model, callbacks=[recorder, Stop(5)], **saving)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert llm.read_record(tmp_path / "part.zarr").step.values.tolist() == [0, 1, 2, 3, 4, 5]
    checkpoint = tmp_path / "part" / "checkpoint-3"
    half = llm.load(checkpoint)
    with pytest.raises(
        llm.WrongReference, match=r"checkpoint-3, which TRL takes as reference.*log-probabilities up to"
    ):
        go("part", half, resume=str(checkpoint))
    with pytest.raises(llm.WrongReference, match="reference=, gives log-probabilities"):
        go("part", base(), resume=str(checkpoint), reference=half.model, told=half.model)
    half = llm.load(checkpoint)  # which the recorder is not told of, and sees in the trainer's first rewards
    with pytest.raises(llm.WrongReference, match="model that it was resumed from"):
        go("part", base(), resume=str(checkpoint), reference=half.model)
    resumed = go("part", base(), resume=str(checkpoint), reference=base().model)
    assert resumed.step.values.tolist() == straight.step.values.tolist()
    np.testing.assert_array_equal(resumed.reward_margin, straight.reward_margin)
    # Without a recorder the run goes through, and its log shows it.
    half = llm.load(checkpoint)
    run = trainer(base(), pairs, tmp_path / "unseen", reference=half.model, **saving)
    run.train(resume_from_checkpoint=str(checkpoint))
    run.save_state()
    alarm = {alarm.name: alarm for alarm in llm.alarms(tmp_path / "unseen")}["wrong_reference"]
    assert alarm.raised is True
    assert alarm.numbers["step"] == 4
    with pytest.raises(ValueError, match="has another config"):
        go("part", base(), resume=str(checkpoint), reference=base().model, every=2)


class Stop(TrainerCallback):
    """Ends a run early, as a crash would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_weights_that_are_not_those_of_their_source_are_refused(tmp_path):
    language, pairs = small.language(), small.sentences(8)
    with torch.no_grad():
        language.model.get_output_embeddings().weight.mul_(3.0)

    def run(name, reference, told=None):
        recorder = llm.Recorder(tmp_path / f"{name}.zarr", pairs, reference=told)
        trainer(language, pairs, tmp_path, reference=reference, callbacks=[recorder], max_steps=2).train()

    with pytest.raises(llm.WrongReference, match="weights are not those of"):
        run("silent", None)  # the trainer takes the weights on disk
    other = small.language().model
    with pytest.raises(llm.WrongReference, match="first batch"):
        run("claimed", other, told=copy.deepcopy(language.model))
    run("told", other, told=other)
    found = llm.read_record(tmp_path / "told.zarr")
    assert np.abs(found.reward_margin[0]).max() > 1e-4  # the truth: the run did not begin at its reference
    assert {alarm.name: alarm.raised for alarm in llm.alarms(found)}["wrong_reference"] is True


def test_what_cannot_be_recorded_is_named(tmp_path):
    pairs = small.sentences(8)
    with pytest.raises(ValueError, match="every = 0"):
        llm.Recorder(tmp_path / "x.zarr", pairs, every=0)
    (tmp_path / "there.zarr").mkdir()
    run = trainer(
        small.language(), pairs, tmp_path, callbacks=[llm.Recorder(tmp_path / "there.zarr", pairs)], max_steps=1
    )
    with pytest.raises(ValueError, match=r"there.zarr exists"):
        run.train()
    half = small.language()
    half.model.to(torch.bfloat16)
    run = trainer(half, pairs, tmp_path, callbacks=[llm.Recorder(tmp_path / "half.zarr", pairs)], max_steps=1)
    with pytest.raises(ValueError, match="is bfloat16"):
        run.train()
