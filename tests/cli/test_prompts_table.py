"""Many prompts in a file: shares and the worst, instead of a row for each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dynamics import cli, preferences

CYCLE = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
ORDER = np.array([[0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.3, 0.4, 0.5]])


def test_survey():
    found = preferences.survey(["a", "b", "a", "a"], [0.0, 2.0, 1.0, 2.0], worst=2)
    assert (found.total, found.shares, found.worst) == (4, {"a": 0.75, "b": 0.25}, (1, 3))
    assert preferences.survey(["a"], [-np.inf]).worst == ()
    with pytest.raises(ValueError, match="1 labels and 2 badnesses"):
        preferences.survey(["a"], [0.0, 1.0])
    with pytest.raises(ValueError, match="0 labels"):
        preferences.survey([], [])
    with pytest.raises(ValueError, match=r"badness\[0\] is nan"):
        preferences.survey(["a"], [np.nan])
    with pytest.raises(ValueError, match="worst = -1"):
        preferences.survey(["a"], [0.0], worst=-1)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Thirty orders and ten cycles, of which the third is the weakest."""
    weak = 0.5 + 0.5 * (CYCLE - 0.5)
    stack = [ORDER] * 30 + [CYCLE, CYCLE, weak] + [CYCLE] * 7 + [ORDER, 0.5 + 0.9 * (CYCLE - 0.5)]
    path = tmp_path_factory.mktemp("many") / "many.npz"
    np.savez(path, P=np.stack(stack))
    return path


def test_classify(many, capsys):
    cli.main(["classify", str(many)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"42 prompts, from {many}"
    assert any(line.split() == ["Condorcet", "winner", "73.8%", "31"] for line in lines)
    assert any(line.split() == ["majority", "cycle", "26.2%", "11"] for line in lines)
    worst = [
        line.split()[:3] for line in lines if line.split()[:1] and line.split()[0].isdigit() and line.split()[1] == "3"
    ]
    # Ten of eleven: the strongest first, of equals the first, and the weakest not at all.
    assert worst == [[str(m), "3", "0.4"] for m in (30, 31, 33, 34, 35, 36, 37, 38, 39)] + [["41", "3", "0.36"]]
    cli.main(["classify", str(many), "--json"])
    assert len(json.loads(capsys.readouterr().out)["matrices"]) == 42


@pytest.mark.thorough
def test_stability(many, capsys):
    cli.main(["stability", str(many), "--alpha", "0.5", "--lam", "1", "--beta", "0.2", "--rounds", "1000"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("42 prompts, many.npz: IPO")
    shares = {words[0]: int(words[-1]) for words in map(str.split, lines) if len(words) == 3 and words[1].endswith("%")}
    assert shares == {"converged": 32, "oscillating": 10}
    worst = [int(line.split()[0]) for line in lines if "oscillating" in line and not line.split()[1].endswith("%")]
    assert worst == [30, 31, 33, 34, 35, 36, 37, 38, 39, 41]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Files with one vote on two answers of each of 25 and of three prompts."""
    folder = tmp_path_factory.mktemp("pairs")
    row = lambda k: json.dumps({"prompt": f"p{k}", "chosen": f"good {k}", "rejected": f"bad {k}"})
    for name, count in (("many", 25), ("few", 3)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(row, range(count))) + "\n")
    return folder


WHY = "why: one vote on two answers of a prompt cannot show a cycle"


def test_single_votes_get_a_reason_and_a_remedy(pairs, capsys):
    command = ["stability", str(pairs / "many.jsonl"), "--alpha", "0.5", "--lam", "1", "--beta", "0.1"]
    cli.main([*command, "--objective", "dpo"])
    lines = capsys.readouterr().out.splitlines()
    assert f"{WHY}, and DPO has no optimum on a certain win" in lines
    assert "Do: collect several votes on three or more answers of a prompt, or pass --smoothing 0.5" in lines
    assert not any(line.startswith("worst") for line in lines)  # of equals none is
    cli.main([*command[:1], str(pairs / "few.jsonl"), *command[2:], "--objective", "dpo"])
    out = " ".join(capsys.readouterr().out.split())
    assert "verdict: no optimum 3" in out
    for k in range(3):  # by the names of its own responses
        assert f"good {k} always wins" in out
    assert WHY in out


@pytest.mark.thorough
def test_advise_says_no_optimum_too(pairs, capsys):
    cli.main(["advise", str(pairs / "few.jsonl"), "--draws", "40"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split()[:1] in (["0"], ["1"], ["2"])]
    assert [" ".join(row[-6:]) for row in rows] == ["no optimum no optimum every beta"] * 3
    assert "40 draws of each model; ≤" in " ".join(lines)
    cli.main(["advise", str(pairs / "few.jsonl"), "--index", "1", "--draws", "40"])
    out = capsys.readouterr().out
    assert "no optimum: DPO has no finite optimum: good 1 always wins against bad 1; pass --smoothing 0.5" in out
    cli.main(["advise", str(pairs / "few.jsonl"), "--draws", "40", "--json"])
    row = json.loads(capsys.readouterr().out)["matrices"][0]
    assert row["dpo"] is None
    assert "no finite optimum" in row["dpo_error"]
