"""The card of a model tells every fault at once, and the command line prints it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dynamics import llm
from dynamics.cli import _llm, _main

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")


@pytest.mark.parametrize(
    ("family", "scale", "bias", "cap", "tied"),
    [
        ("llama", 1.0, False, None, False),
        ("gpt2", 1.0, False, None, True),
        ("phi", 1.0, True, None, False),
        ("granite", 0.125, False, None, False),
        ("gemma2", 1.0, False, 30.0, True),
    ],
)
def test_a_card_of_each_kind(make, family, scale, bias, cap, tied):
    language = llm.load(make(family))
    card = llm.check(language)
    assert (card.scale, card.bias, card.cap, card.tied) == (scale, bias, cap, tied)
    assert (card.width, card.vocabulary, card.padding, card.context) == (32, 400, "right", 1024)
    assert card.parameters == language.model.num_parameters()
    assert card.sha256 == language.sha256
    assert card.end == ("<|endoftext|>", 0)
    assert card.features == (cap is None) == (not card.problems)
    if cap is None:
        assert card.identity < 2e-6
    else:
        assert "capped softly at 30" in card.problems[0]
    assert "one token counts two" in card.conventions[0]


def test_a_card_names_a_broken_identity(make):
    language = llm.load(make("granite"))
    language = llm.Language(language.model, language.tokenizer, "m", "a", "b", scale=1.0)
    card = llm.check(language)
    assert not card.features
    assert card.identity > 1.0
    assert "differs from the logits by" in card.problems[0]


def test_a_card_of_pairs(language, pairs):
    card = llm.check(language, pairs)
    assert (card.pairs, card.one_token, card.problems) == (24, 1.0, ())
    assert card.longest == 1 + max(len(language.tokenizer(p)["input_ids"]) for p in pairs.prompt)
    assert {a.text: a.ids for a in card.answers} == {
        text: tuple(language.tokenizer(text)["input_ids"]) for text in (" Yes", " No")
    }
    assert json.loads(json.dumps(card.to_dict()))["features"] is True


def test_a_card_counts_what_is_wrong_with_pairs(language, pairs):
    bad = llm.Pairs(
        (pairs.prompt[0], pairs.prompt[1], " Yes" * 1023, " Yes" * 1024, ""),
        (" Yes", " Yes, the sea", " Yes", " No", " Yes"),
        (" No",) * 2 + (" No, nobody",) + (" Yes", " No"),
    )
    card = llm.check(language, bad)
    told = " ".join(card.problems)
    assert "1 of 5 pairs cannot be used; the first: pair" in told
    assert "prompt without tokens" in told
    assert f"1 of 5 pairs have a prompt that fills the context; the first: {bad.id[3]}, 1024 tokens" in told
    assert "1 of 5 pairs are longer than the context" in told
    assert card.one_token == 0.6


def run(*args, capsys):
    code = 0
    try:
        _main.main(["llm", *map(str, args)])
    except SystemExit as stop:
        code = stop.code
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(autouse=True)
def no_global_changes(monkeypatch):
    monkeypatch.setattr(_main, "_prepare", lambda **_: None)


@pytest.fixture
def data(pairs, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_check_prints_a_card_or_json(make, data, capsys):
    folder = make("llama")
    code, out, err = run("check", folder, "--data", data, capsys=capsys)
    assert (code, err) == (0, "")
    assert "features" in out
    assert "usable" in out
    assert "' Yes'" in out
    assert llm.load(folder).sha256 in out.replace("\n", "").replace(" ", "")
    code, out, _ = run("check", folder, "--json", "--data", data, "--rows", 5, capsys=capsys)
    assert code == 0
    found = json.loads(out)
    assert (found["features"], found["pairs"], found["family"]) == (True, 5, "llama")


def test_check_fails_where_a_model_has_problems(make, capsys):
    code, out, err = run("check", make("gemma2"), capsys=capsys)
    assert code == 1
    assert "refused" in out
    assert "soft cap 30" in out
    assert err.startswith("dynamics: The logits are capped softly at 30")


def test_make_model_and_check_it(tmp_path, texts, capsys):
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    options = ("--texts", tmp_path / "texts.txt", "--vocab", 300, "--family", "gpt2", "--steps", 1)
    code, out, _ = run("make-model", tmp_path / "m", *options, capsys=capsys)
    assert (code, out.strip()) == (0, str(tmp_path / "m"))
    card = llm.check(llm.load(tmp_path / "m"))
    assert (card.family, card.vocabulary) == ("gpt2", 300)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("check", "none/such/model"), "none/such/model does not exist; pass the folder of a model"),
        (("check", "{model}", "--data", "x.csv"), "x.csv is not a file of rows"),
        (("convert", "none.gguf", "out"), "none.gguf does not exist"),
        (("alarms", "none.zarr"), "none.zarr does not exist"),
        (("make-model", "{tmp}/m", "--texts", "none.txt"), "none.txt"),
        (("check",), "MODEL"),
    ],
)
def test_bad_calls_end_in_one_sentence(make, tmp_path, args, message, capsys):
    args = [a.format(model=make("llama"), tmp=tmp_path) for a in args]
    code, out, err = run(*args, capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("dynamics: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_missing_extra_is_one_sentence(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    (tmp_path / "t.txt").write_text("text")
    code = (
        "import sys, importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else found(name, *a)\n"
        "from dynamics.cli import main\n"
        f"main(['llm', 'make-model', {str(tmp_path / 'm')!r}, '--texts', {str(tmp_path / 't.txt')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "dynamics: this needs the package torch; pip install '.[llm]'."


@pytest.mark.parametrize(("name", "extra"), [("torch", "llm"), ("trl", "llm-trl")])
def test_any_missing_package_has_its_remedy(monkeypatch, name, extra):
    def fail(self):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(_llm.Alarms, "run", fail)
    with pytest.raises(ValueError, match=rf"No module named '{name}'; pip install '\.\[{extra}\]'"):
        _llm.Llm(_llm.Alarms(Path())).run()
