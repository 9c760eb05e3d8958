"""Rounds on a made model against the simulator, levelling, resuming, and what is refused."""

import dataclasses
import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import llm

torch = pytest.importorskip("torch", reason="needs the extra llm")
pytest.importorskip("peft", reason="needs the extra llm-trl")
import small  # noqa: E402

from dynamics.llm import _candidates, _inner, _level, _rounds_run  # noqa: E402
from dynamics.llm._round_loss import round_loss, scale  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # peft's own
]
PROMPT = "Is the cat even?"
ANSWERS = [" No.", " Yes, it is.", " No, it is not true."]
START = np.log([0.5, 0.3, 0.2])
CYCLE = dyn.preferences.cyclic(3, 0.4)
CRITICAL = 0.4 / np.sqrt(3 * (1 - 0.5**2))  # of IPO's beta at alpha = 1/2, lambda = 1: .2667
CHAIN = jnp.array([[0.5, 0.6, 0.8], [0.4, 0.5, 0.7], [0.2, 0.3, 0.5]])


@functools.cache
def shared(dtype="float32"):
    """A model that tests level and train as they like: where levelling begins does not matter to them."""
    return small.language(dtype=dtype)


def cycle(objective, **options):
    return dyn.SelfSampling(CYCLE, objective, **{"alpha": 0.5, "lam": 1.0} | options)


def run(loop, rounds, start=START, dtype="float32", language=None, **options):
    language = shared(dtype) if language is None else language
    trainable = options.pop("trainable", "all")
    llm.level(language, PROMPT, ANSWERS, start, trainable=trainable)
    return llm.self_sample(language, PROMPT, ANSWERS, loop, rounds, trainable=trainable, **options)


def radius(ds):
    """Distance of the policy from uniform, the fixed point of the cycle, in logits, by round."""
    z = ds.log_policy.values
    return np.linalg.norm(z - z.mean(axis=1, keepdims=True), axis=1)


CASES = {
    "IPO stable": (cycle(dyn.IPO(0.35)), 12),
    "IPO oscillating": (cycle(dyn.IPO(0.20)), 12),
    "DPO stable": (cycle(dyn.DPO(1.2)), 8),
    "transitive": (dyn.SelfSampling(CHAIN, dyn.IPO(1.0), alpha=1.0, lam=1.0), 8),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_a_model_takes_the_simulators_rounds(case, dtype, tolerance):
    loop, rounds = CASES[case]
    ds = run(loop, rounds, dtype=dtype)
    assert dict(ds.sizes) == {"round": rounds + 1, "response": 3, "pair": 3}
    assert float(ds.total_variation.max()) <= tolerance
    assert float(ds.total_variation_one_round.max()) <= tolerance
    # The prediction is iterate's, from the model's own start, and it moves far more than the model is away from it.
    alone = dyn.iterate(loop, rounds, initial=jnp.asarray(ds.log_policy.values[0])).log_policy
    np.testing.assert_allclose(ds.log_policy_predicted, alone, atol=1e-12)
    assert np.abs(np.exp(alone[-1]) - np.exp(alone[0])).max() > 0.03
    moved = np.abs(ds.log_policy.values[-1] - ds.log_policy.values[0]).max()
    assert moved > 0.2
    # One gradient within its tolerance per round, the policies as they are measured from the model at the end.
    assert float(ds.gradient[1:].max()) <= _inner.TOLERANCE
    assert int(ds.evaluations[1:].max()) <= 25
    dyn.schema.validate(ds)
    assert ds.attrs["result"] == "successful"
    assert ds.attrs["dtype"] == dtype


@pytest.mark.parametrize("beta", [0.35, 0.20])
def test_the_model_does_what_analyze_says(beta):
    loop = cycle(dyn.IPO(beta))
    assert dyn.stability.analyze(loop).verdict == ("converged" if beta > CRITICAL else "oscillating")
    grows = radius(run(loop, 12, start=np.log(np.array([1.02, 0.99, 0.99]) / 3)))
    assert (grows[-1] > 3 * grows[0]) == (beta < CRITICAL)
    assert (grows[-1] < grows[0] / 3) == (beta > CRITICAL)


def test_an_adapter_or_a_last_layer_is_enough():
    loop = cycle(dyn.IPO(0.2))
    language = small.language(steps=300)
    adapter = llm.adapt(language, rank=8)
    base = [p.clone() for p in language.model.parameters()]
    assert float(run(loop, 4, language=adapter, trainable="lora").total_variation.max()) <= 1e-4
    assert all(torch.equal(p, q) for p, q in zip(base, language.model.parameters(), strict=True))
    language = small.language(untie=True)
    body = language.model.model.state_dict()
    body = {name: value.clone() for name, value in body.items()}
    ds = run(loop, 4, language=language, trainable="head")
    assert float(ds.total_variation.max()) <= 1e-4
    assert ds.attrs["trained"] == language.model.lm_head.weight.numel()
    assert all(torch.equal(value, body[name]) for name, value in language.model.model.state_dict().items())


EMA = dyn.references.Ema(0.4)
PARTS = {
    "fixed reference": {"reference": dyn.references.Fixed(START)},
    "moving average": {"reference": EMA},
    "mixed sampler": {"sampler": dyn.samplers.Mixture(0.6, jnp.log(jnp.array([0.2, 0.3, 0.5])))},
    "flipped labels": {"feedback": dyn.feedback.Noisy(0.1)},
    "best of three": {"feedback": dyn.feedback.BestOfN(3), "objective": dyn.DPO(1.0)},
    "comparisons": {"feedback": dyn.feedback.Samples(400), "objective": dyn.DPO(1.0)},
    "squared margin": {"objective": dyn.SquaredMargin(0.6)},
    "probit": {"objective": dyn.objectives.Link(0.6, link="probit")},
    "reverse KL": {"objective": dyn.objectives.ReverseKL(gamma=0.3, beta=0.6)},
    "maximum likelihood": {"objective": dyn.objectives.PMLE(gamma=1.0, beta=0.0)},
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_rounds_is_that_of_the_loop(part):
    usual = {
        "objective": dyn.IPO(0.35),
        "sampler": dyn.samplers.OnPolicy(),
        "reference": dyn.references.Geometric(0.5, START),
    }
    objective = (usual | PARTS[part]).pop("objective")
    parts = {name: value for name, value in (usual | PARTS[part]).items() if name != "objective"}
    loop = dyn.Rounds(CYCLE, objective, **parts)
    ds = run(loop, 3, seed=5)
    assert float(ds.total_variation_one_round.max()) <= 1e-5
    assert float(ds.total_variation.max()) <= 1e-4
    # Another loop would have been seen.
    plain = dyn.Rounds(CYCLE, usual.pop("objective"), **usual)
    other = np.exp(dyn.iterate(plain, 3, initial=jnp.asarray(ds.log_policy.values[0])).log_policy[-1])
    assert np.abs(other - np.exp(ds.log_policy.values[-1])).max() > 1e-2


def test_samples_draws_in_every_round_as_the_feedback_does():
    loop = cycle(dyn.IPO(0.35))
    drawn = run(loop, 2, samples=200, seed=3)
    same = run(cycle(dyn.IPO(0.35), samples=200), 2, seed=3)
    other = run(loop, 2, samples=200, seed=4)
    np.testing.assert_allclose(drawn.log_policy, same.log_policy, atol=1e-4)
    assert np.abs(drawn.log_policy - other.log_policy).max() > 1e-2
    ds = run(loop, 3, samples=1, throw=False)
    assert "do not link all candidates" in ds.attrs["result"]
    assert ds.sizes["round"] == 1


@pytest.mark.parametrize(
    "objective",
    [dyn.IPO(0.2), dyn.DPO(1.3), dyn.SquaredMargin(0.4), dyn.SLiC(0.3), dyn.objectives.Link(0.6, link="probit"),
     dyn.objectives.ReverseKL(0.3, 0.6), dyn.objectives.PMLE(0.7, 0.2)],
    ids=lambda objective: type(objective).__name__,
)  # fmt: skip
def test_a_rounds_loss_is_the_objectives_value(objective):
    """Value and gradient, up to the constant; of DPO on counts with the pseudo-wins of its optimum."""
    z, ref = jnp.array([0.4, -1.1, 0.3]), jnp.array([-1.0, -0.5, -2.0])
    mu = jax.nn.softmax(jnp.array([0.2, 0.5, -0.3]))
    seen = dyn.feedback.Pairs(CYCLE, jnp.log(mu), mu)
    x = torch.tensor(np.asarray(z) - 40.0, requires_grad=True)
    round_loss(objective, seen, np.asarray(ref) + 3.0)(x).backward()
    want = objective.gradient(z, ref, seen) / scale(objective)
    np.testing.assert_allclose(x.grad, want, atol=1e-12)
    y = torch.tensor(np.asarray(z[::-1]))
    gap = round_loss(objective, seen, np.asarray(ref))(y) - round_loss(objective, seen, np.asarray(ref))(x)
    value = lambda logits: objective.value(jax.nn.log_softmax(logits), ref, seen)
    np.testing.assert_allclose(float(gap.detach()), (value(z[::-1]) - value(z)) / scale(objective), atol=1e-12)


def test_adam_approaches_the_optimum_and_keeps_its_moments_if_asked():
    loop = cycle(dyn.IPO(0.35))
    few, many = (run(loop, 2, inner="adam", steps=n, lr=1e-3) for n in (5, 80))
    assert float(many.total_variation.max()) <= 5e-3
    assert float(few.total_variation.max()) > 3 * float(many.total_variation.max())
    assert (many.evaluations[1:] == 80).all()
    options = {"inner": "adam", "steps": 5, "lr": 1e-3}
    kept, reset = (run(loop, 2, moments=m, language=small.language(), **options) for m in ("kept", "reset"))
    np.testing.assert_array_equal(kept.log_policy[1], reset.log_policy[1])
    assert np.abs(kept.log_policy[2] - reset.log_policy[2]).max() > 1e-3


@pytest.mark.parametrize("options", [{"inner": "lbfgs"}, {"inner": "adam", "steps": 6, "moments": "kept"}], ids=str)
def test_a_run_that_was_killed_goes_on_bit_for_bit(options, tmp_path, monkeypatch):
    loop = dyn.Rounds(
        CYCLE, dyn.IPO(0.2), sampler=dyn.samplers.OnPolicy(), reference=EMA, feedback=dyn.feedback.Samples(300)
    )
    go = lambda rounds, out: run_from_disk(loop, rounds, out, tmp_path, **options)
    straight, weights = go(4, None)
    real, calls = _rounds_run.minimise, []

    def mortal(*args):
        calls.append(0)
        if len(calls) == 3:
            real(*args)  # the weights have moved when it dies
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(_rounds_run, "minimise", mortal)
    with pytest.raises(KeyboardInterrupt):
        go(4, tmp_path / "run")
    resumed, there = go(4, tmp_path / "run")
    assert len(calls) == 3 + 2
    for name in straight.data_vars:
        np.testing.assert_array_equal(straight[name], resumed[name], err_msg=str(name))
    assert all(torch.equal(p, q) for p, q in zip(weights, there, strict=True))
    further, _ = go(5, tmp_path / "run")  # more rounds go on with it
    assert len(calls) == 6
    np.testing.assert_array_equal(further.log_policy[:5], straight.log_policy)
    with pytest.raises(ValueError, match="holds 5 rounds"):
        go(2, tmp_path / "run")
    with pytest.raises(ValueError, match="seed"):
        run_from_disk(loop, 5, tmp_path / "run", tmp_path, seed=8, **options)


def run_from_disk(loop, rounds, out, folder, **options):
    """A run on a model as it is loaded; levelled once, then restored."""
    language = small.language()
    llm.level(language, PROMPT, ANSWERS, START, trainable="all", out=folder / "level")
    ds = llm.self_sample(language, PROMPT, ANSWERS, loop, rounds, trainable="all", out=out, **options)
    return ds, [p.detach().clone() for p in language.model.parameters()]


def test_levelling_reaches_a_policy_and_is_restored(tmp_path, monkeypatch):
    language = small.language()
    wanted = np.log([0.7, 0.25, 0.05])
    report = llm.level(language, PROMPT, ANSWERS, wanted, trainable="all", out=tmp_path / "level")
    assert report.kl < 1e-8
    assert 3 < report.evaluations < 60
    np.testing.assert_allclose(report.log_policy, wanted, atol=1e-3)
    # Of the model as another function computes it, with the end of text counted.
    tokenizer = language.tokenizer
    for k, answer in enumerate(ANSWERS):
        ids = [*tokenizer(PROMPT + answer)["input_ids"], tokenizer.eos_token_id]
        begin = len(tokenizer(PROMPT)["input_ids"])
        with torch.no_grad():
            log_p = torch.log_softmax(language.model(torch.tensor([ids])).logits[0].double(), -1)
        total = sum(float(log_p[t - 1, ids[t]]) for t in range(begin, len(ids)))
        np.testing.assert_allclose(report.log_prob[k], total, rtol=1e-6)
    monkeypatch.setattr(_level, "minimise", None)
    again = llm.level(small.language(), PROMPT, ANSWERS, wanted, trainable="all", out=tmp_path / "level")
    for field in dataclasses.fields(report):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(report, field.name))
    with pytest.raises(ValueError, match="log_policy"):
        llm.level(small.language(), PROMPT, ANSWERS, START, trainable="all", out=tmp_path / "level")


def test_what_was_frozen_and_the_precision_come_back():
    language = small.language()
    frozen = next(language.model.parameters()).requires_grad_(False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with _candidates.training(language, "all") as weights:
            assert torch.get_float32_matmul_precision() == "highest"
            assert all(p.requires_grad for p in weights)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert not frozen.requires_grad
    assert sum(not p.requires_grad for p in language.model.parameters()) == 1


LONG = [" No.", " Yes, it is true that the cat sat on the mat and that the dog lay by the door."]


def test_answers_that_are_far_apart_have_to_be_levelled():
    loop = dyn.SelfSampling(dyn.preferences.from_wins([[0, 6], [4, 0]]), dyn.IPO(0.3), 0.5, 1.0)
    with pytest.raises(
        ValueError, match=r"nats apart.*call llm.level\(language, prompt, candidates, log_policy\) first"
    ):
        llm.self_sample(small.language(), PROMPT, LONG, loop, 1, trainable="all")


def test_a_mutant_is_far_away(monkeypatch):
    """What the tolerances of the first test are worth: the reference is the current policy, and IPO of means."""
    loop, _ = CASES["IPO oscillating"]
    real = _rounds_run.round_loss
    log_policy = np.log([0.5, 0.3, 0.2])
    with monkeypatch.context() as patch:
        patch.setattr(_rounds_run, "round_loss", lambda objective, seen, ref: real(objective, seen, log_policy))
        assert float(run(loop, 1).total_variation.max()) > 1e-2
    with monkeypatch.context() as patch:
        lengths = lambda batch: torch.as_tensor(batch.completion.sum(axis=1))
        patch.setattr(
            _rounds_run, "minimise", lambda i, w, logs, loss, o: _inner.minimise(i, w, logs, mean_of(loss), o)
        )
        mean_of = lambda loss: lambda x: loss(x / lengths(_candidates.Candidates.of(shared(), PROMPT, ANSWERS, True)))
        assert float(run(loop, 1).total_variation.max()) > 1e-2


def test_a_number_that_is_not_finite_stops_the_run():
    loop = cycle(dyn.IPO(0.35))
    language = small.language()
    llm.level(language, PROMPT, ANSWERS, START, trainable="all")
    with pytest.raises(RuntimeError, match=r"round [12]: .*left the finite numbers"):
        llm.self_sample(language, PROMPT, ANSWERS, loop, 3, inner="adam", lr=1e30, steps=3, trainable="all")
    with pytest.raises(ValueError, match="nan or -inf"):
        llm.self_sample(language, PROMPT, ANSWERS, loop, 3, trainable="all")


REFUSED = {
    "candidates holds 2 answers and loop is of 3": {"candidates": ANSWERS[:2]},
    "loop has 2 prompts": {"loop": dyn.SelfSampling(jnp.stack([CYCLE, CYCLE]), dyn.IPO(0.3), 0.5, 1.0)},
    "prompt holds several prompts": {"prompt": [PROMPT, PROMPT]},
    "whose parts are not known": {"loop": 3},
    "the model is the policy": {
        "loop": dyn.SelfSampling(CYCLE, dyn.IPO(0.3), 0.5, 1.0, policy=dyn.LogLinear(jnp.eye(3)[:, :1]))
    },
    "never samples": {"loop": cycle(dyn.IPO(0.3), lam=0.0, log_offline=jnp.log(jnp.array([0.5, 0.5, 0.0])))},
    "pass one of the two": {"loop": cycle(dyn.IPO(0.3), samples=5), "samples": 5},
    "inner = 'sgd'": {"inner": "sgd"},
    "moments = 'none'": {"moments": "none"},
    "tolerance = 0.0": {"tolerance": 0.0},
    "rounds = -1": {"rounds": -1},
    "pass llm.adapt": {"trainable": "lora"},
    "trainable = 'some'": {"trainable": "some"},
    "have the same tokens": {"candidates": [*ANSWERS[:2], ANSWERS[0]]},
    "is empty; drop it": {"candidates": [*ANSWERS[:2], " "]},
    "candidates is ' No'": {"candidates": " No"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_supported_is_named(message):
    usual = {"prompt": PROMPT, "candidates": ANSWERS, "loop": cycle(dyn.IPO(0.3)), "rounds": 1, "trainable": "all"}
    with pytest.raises(ValueError, match=re.escape(message)):
        llm.self_sample(shared(), **(usual | REFUSED[message]))


def test_weights_that_something_else_shares_are_not_trained(make):
    with pytest.raises(ValueError, match="untie=True"):
        llm.level(llm.load(make("gpt2")), PROMPT, ANSWERS, START, trainable="head")
    for trainable in ("all", "head"):
        with pytest.raises(ValueError, match=r"before llm\.adapt"):
            llm.level(llm.adapt(small.language()), PROMPT, ANSWERS, START, trainable=trainable)


def test_a_policy_that_cannot_be_reached_is_told():
    with pytest.raises(RuntimeError, match=r"levelling ended .* nats"):
        llm.level(small.language(), PROMPT, ANSWERS, START, trainable="all", evaluations=2)
    with pytest.raises(ValueError, match="log_policy has shape"):
        llm.level(small.language(), PROMPT, ANSWERS, np.log([0.5, 0.5]), trainable="all")
    with pytest.raises(ValueError, match="total probability"):
        llm.level(small.language(), PROMPT, ANSWERS, [0.5, 0.3, 0.2], trainable="all")


def test_a_double_model_needs_doubles_in_jax():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        llm.self_sample(shared("float64"), PROMPT, ANSWERS, cycle(dyn.IPO(0.3)), 1, trainable="all")


def test_the_alarms_read_rounds_on_models():
    found = {alarm.name: alarm for alarm in llm.alarms(run(cycle(dyn.IPO(0.1)), 24))}
    assert found["oscillation"].raised is True


def test_the_page_on_models_runs():
    page = (Path(__file__).resolve().parents[2] / "docs" / "llm.md").read_text()
    (block,) = re.findall(r"<!-- rounds -->\n```py\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(compile(block, "llm.md", "exec"), names)
    assert float(names["ds"].total_variation.max()) < 1e-3


@pytest.mark.slow
def test_the_critical_beta_of_a_model_is_the_simulators():
    """Growth over 8 rounds from 1e-2 off the fixed point, by bisection."""
    low, high = 0.2, 0.35
    start = np.log(np.array([1.01, 0.995, 0.995]) / 3)
    while high - low > 0.01:
        beta = (low + high) / 2
        sizes = radius(run(cycle(dyn.IPO(beta)), 8, start=start, dtype="float64"))
        low, high = (beta, high) if sizes[-1] > sizes[0] else (low, beta)
    (crossing,) = dyn.stability.critical(cycle(dyn.IPO(0.3)), "beta", bounds=(0.1, 1.0))
    assert abs(0.5 * (low + high) / crossing.value - 1) < 0.05
    assert abs(crossing.value / CRITICAL - 1) < 1e-6
