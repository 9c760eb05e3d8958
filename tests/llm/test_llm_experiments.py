"""Experiments on models, run on a made model: nothing is decided, figures and tables hold what was computed."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra llm")

from experiments import ON_MODELS, _language, experiment, figure, llm_head, llm_rounds, llm_training
from experiments.__main__ import main
from experiments.llm_head import _data, _flows
from experiments.llm_rounds import _descend
from experiments.llm_rounds._cases import CASES

QUICK = {
    "llm_head": llm_head.Config(model="made", rows=16, splits=2, span=5.0),
    "llm_training": llm_training.Config(model="made", rows=8, steps=3, batch=4),
    "llm_rounds": llm_rounds.Config(rounds=8),
}
IDENTITY = "are those of the simulator from the same start"  # what a made model can decide


class Results(dict):
    """Every experiment at toy size, each run on first use."""

    def __missing__(self, name):
        self[name] = experiment(name).run(QUICK[name])
        return self[name]


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm_head, "MADE", 8)  # of sixteen behaviours, each number of values compiles flows of its own
        yield Results()


@pytest.mark.parametrize("name", ON_MODELS)
def test_nothing_is_decided_of_a_made_model(results, name):
    found = experiment(name).check(results[name])
    assert {finding.status for finding in found if IDENTITY not in finding.claim} == {"not decided"}
    assert all("nan" not in finding.claim for finding in found)


@pytest.mark.parametrize("name", ON_MODELS)
def test_the_figure_shows_what_was_computed(results, name):
    drawn = figure(name).draw(results[name])
    assert all(ax.has_data() for ax in drawn.axes)
    assert all(text.get_fontsize() >= 7 for ax in drawn.axes for text in ax.texts)


def test_findings_on_a_real_model_can_fail(results):
    real = results["llm_head"].assign_attrs(made_model=0, made_data=0)
    slower = real.assign(first_speed=0.5 * real.first_speed)
    by_claim = lambda ds: {f.claim: f.status for f in llm_head.check(ds)}
    before, after = by_claim(real), by_claim(slower)
    changed = [claim for claim in before if before[claim] != after[claim]]
    assert [after[claim] for claim in changed] == ["fails"]
    assert "sqrt(2) beta delta/4" in changed[0]


def status_of_rounds(ds):
    """The statuses of exact and drawn rounds, above and below the critical beta, collapse, few steps."""
    return [f.status for f in llm_rounds.check(ds)]


def test_rounds_of_a_made_model_are_the_simulators(results):
    ds = results["llm_rounds"]
    assert status_of_rounds(ds)[:2] == ["holds", "holds"]
    assert status_of_rounds(ds.assign_attrs(made_model=0))[:5] == ["holds"] * 5
    exact = ds.sel(case=ds.kind != "adam")
    assert float(exact.total_variation.max()) < 1e-4
    moved = 0.5 * np.abs(np.exp(exact.log_policy) - np.exp(exact.log_policy.isel(round=0))).sum("response")
    assert (moved.max("round") > 0.2).all()
    low, high = ds.sel(case="IPO, beta 0.35"), ds.sel(case="IPO, beta 0.20")
    assert low.beta > low.critical_beta
    assert high.beta < high.critical_beta
    assert float(low.critical_beta) == pytest.approx(0.4 / np.sqrt(3 * (1 - 0.5**2)))


def test_findings_on_rounds_can_fail(results):
    real = results["llm_rounds"].assign_attrs(made_model=0)
    before = status_of_rounds(real)
    swapped = {"IPO, beta 0.35": 0.2, "IPO, beta 0.20": 0.35, "DPO, beta 1.2": 1.2}
    beta = [swapped.get(str(name), float(b)) for name, b in zip(real.case.values, real.beta.values, strict=True)]
    wrong_side = real.assign_coords(beta=("case", beta))
    assert status_of_rounds(wrong_side) == [*before[:2], "fails", "fails", *before[4:]]
    backwards = real.assign(
        log_policy=real.log_policy.isel(round=slice(None, None, -1)).assign_coords(round=real["round"])
    )
    assert status_of_rounds(backwards)[4] == "fails"
    away = real.assign(total_variation=real.total_variation + 2e-3)
    assert status_of_rounds(away)[:2] == ["fails", "fails"]
    stopped = real.assign(finished=real.finished & False)
    assert status_of_rounds(stopped)[:2] == ["not decided", "not decided"]
    still = real.assign(
        log_policy=real.log_policy.isel(round=0).expand_dims(round=real["round"]).transpose(*real.log_policy.dims)
    )
    assert status_of_rounds(still)[:2] == ["not decided", "not decided"]
    follows = real.assign(log_policy_descend=real.log_policy)
    leaves = real.assign(log_policy_descend=real.log_policy.roll(response=1))
    exactly = leaves.assign(log_policy_predicted=real.log_policy)
    assert [status_of_rounds(ds)[5] for ds in (follows, exactly)] == ["holds", "fails"]


def test_steps_on_logits_begin_as_far_as_the_model(results):
    """The first round has the model's length, and one step of Adam moves every logit by the learning rate."""
    name = "IPO, beta 0.35, Adam, 3 steps"
    own = results["llm_rounds"].sel(case=name)
    log_policy, found = own.log_policy.values, own.log_policy_descend.values
    length = lambda x: np.std(x[1] - x[0])
    assert length(found) == pytest.approx(length(log_policy), rel=1e-5)
    assert np.allclose(found[0], log_policy[0], atol=1e-9)
    one = np.log([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]])
    one[1] += 0.05 * np.sign([-1.0, -1.0, 1.0])
    one -= np.logaddexp.reduce(one, axis=1, keepdims=True)
    single = dataclasses.replace(CASES[name], settings={"inner": "adam", "steps": 1, "lr": 1e-3})
    assert _descend.beside(single, one)[1] == pytest.approx(0.05, rel=1e-3)
    still = np.repeat(one[:1], 3, axis=0)
    assert np.isnan(_descend.beside(single, still)[1])  # no rate is that slow


def test_cases_that_an_adapter_does_not_run_are_refused():
    with pytest.raises(ValueError, match=r"pass some of IPO, beta 0\.35"):
        llm_rounds.Config(cases=("IPO, beta 0.20, float64",))
    with pytest.raises(ValueError, match="pass some of"):
        llm_rounds.Config(cases=())


def test_scaling_in_the_flow_agrees_with_a_flow_of_its_own(results):
    """Errors and margins of one draw, from a flow built by hand."""
    rng = np.random.default_rng(0)
    one = _data.Examples(rng.normal(size=(2, 8, 3)), np.tile([1, 0], (2, 4)), np.tile([0, 1], (2, 4)))
    at = _flows.times(2.0, _flows.unit(one, 0.1))
    found = _flows.scaling(one, [[(0, 1)]], 0.1, at, float(at[-1]), np.random.default_rng(1))
    train, test = _data.halves(8, np.random.default_rng(1))
    _, sol = _flows.solved(_data.Examples(*(x[None] for x in one.of((0, 1), train).flat())), 0.1, at)
    assert found["train_margin"][0, 0] == pytest.approx(float(sol.reward_margin[0, -1].mean()), rel=1e-5)
    sign = np.where(one.chosen == 0, 1.0, -1.0)
    head = np.asarray(sol.coefficient)[0, -1] @ (sign[:, train].ravel()[:, None] * one.feature[:, train].reshape(-1, 3))
    unseen = 2 * 0.01 * sign[:, test].ravel() * (one.feature[:, test].reshape(-1, 3) @ head)
    assert found["test_margin"][0, 0] == pytest.approx(unseen.mean(), rel=1e-5)
    assert found["test_error"][0, 0] == np.mean(unseen < 0)


def test_halves_share_no_statement_and_hold_either_answer_equally():
    train, test = _data.halves(20, np.random.default_rng(0))
    assert not set(train) & set(test)
    assert (train % 2).sum() == len(train) / 2 == (test % 2).sum()


def test_behaviours_are_those_that_the_papers_drew(shared_data):
    found = _data.behaviours(f"persona:{shared_data / 'persona'}")
    assert found.published
    assert [len(found.draws[k]) for k in _data.SIZES] == list(_data.SIZES)
    assert found.names[found.draws[1][0]] == "subscribes-to-rule-utilitarianism"


def test_the_command_writes_figure_findings_and_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    words = [
        "run",
        "llm_training",
        "--model",
        "made",
        "--rows",
        "8",
        "--steps",
        "3",
        "--batch",
        "4",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    assert len(list((tmp_path / "figures").glob("llm_training-*.png"))) == 1
    (file,) = tmp_path.glob("llm_training-*.csv")
    table = file.read_text().splitlines()
    assert table[0].startswith("# python -m experiments run llm_training --model made")
    header = next(line for line in table if not line.startswith("#"))
    assert header == "quantity,of,value,low,high"
    assert main(words) == 0  # read back
    assert "read back" in capsys.readouterr().err


def test_a_missing_model_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    assert main(["run", "llm_training", "--model", str(tmp_path / "absent"), "--out", str(tmp_path)]) == 2
    assert "absent does not exist" in capsys.readouterr().err


def test_a_file_of_other_content_is_other_data(tmp_path):
    file = tmp_path / "rows.jsonl"
    found = []
    for text in ("one", "two"):
        file.write_text(text)
        found += [_language.data_identity(name) for name in (str(file), f"hh:{file}", f"persona:{tmp_path}")]
    assert found[0] == found[1] != found[3] == found[4]
    assert found[2] != found[5]


def test_other_layouts_than_a_folder_of_behaviours_are_refused():
    with pytest.raises(ValueError, match="pass data=persona:DIR"):
        _data.behaviours("hh:rows.jsonl")
