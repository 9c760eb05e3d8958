"""Experiments on models, run on a made model: nothing is decided, figures and tables hold what was computed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra llm")

from experiments import ON_MODELS, _language, experiment, figure, llm_head, llm_training
from experiments.__main__ import main
from experiments.llm_head import _data, _flows

QUICK = {
    "llm_head": llm_head.Config(model="made", rows=16, splits=2, span=5.0),
    "llm_training": llm_training.Config(model="made", rows=8, steps=3, batch=4),
}


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm_head, "MADE", 8)  # of sixteen behaviours, each number of values compiles flows of its own
        return {name: experiment(name).run(config) for name, config in QUICK.items()}


@pytest.mark.parametrize("name", ON_MODELS)
def test_nothing_is_decided_of_a_made_model(results, name):
    found = experiment(name).check(results[name])
    assert {finding.status for finding in found} == {"not decided"}
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
    monkeypatch.setattr("experiments.__main__._set_up_jax", lambda out: None)
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
    assert (tmp_path / "figures" / "llm_training.png").is_file()
    table = (tmp_path / "llm_training.csv").read_text().splitlines()
    assert table[0].startswith("# python -m experiments run llm_training --model made")
    header = next(line for line in table if not line.startswith("#"))
    assert header == "quantity,of,value,low,high"
    assert main(words) == 0  # read back
    assert "read back" in capsys.readouterr().err


def test_a_missing_model_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.__main__._set_up_jax", lambda out: None)
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
