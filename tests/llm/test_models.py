"""Models load from safetensors alone, run no code of their source, and compute one function in every mode."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dynamics import llm
from dynamics.llm import _models

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")


@pytest.fixture
def copied(make, tmp_path):
    """A made model that a test may spoil."""
    return shutil.copytree(make("llama-tied"), tmp_path / "model")


def edit(path, **change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def logits(language, text="Most rivers"):
    with torch.no_grad():
        return language.model(**language.tokenizer(text, return_tensors="pt")).logits


def test_importing_costs_little_and_no_torch():
    code = (
        "import sys, time\n"
        "import dynamics\n"
        "start = time.process_time()\n"
        "import dynamics.llm\n"
        "print(time.process_time() - start < 0.1, sorted({'torch', 'transformers', 'xarray'} & set(sys.modules)))\n"
        "dynamics.llm.read, dynamics.llm.Pairs, dynamics.llm.load, dynamics.llm.make_model\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True []", "[]"]


def test_a_model_is_ready_to_measure(make):
    language = llm.load(make("llama-tied"))
    assert not language.model.training
    assert language.tokenizer.padding_side == "right"
    assert language.tokenizer.pad_token_id is not None
    assert (language.dtype, str(language.device), language.context) == ("float32", "cpu", 1024)
    weight, bias = llm.unembedding(language)
    assert bias is None
    assert weight is language.model.get_input_embeddings().weight
    assert llm.load(make("llama-tied"), dtype="float64").dtype == "float64"


def test_the_digest_is_of_the_weights_and_of_the_tokenizer_apart(copied):
    first = llm.load(copied)
    assert first.sha256 == _models.file_sha256(copied / "model.safetensors")
    edit(copied / "config.json", rms_norm_eps=1e-5)
    second = llm.load(copied)
    assert (first.sha256, first.tokenizer_sha256 == second.tokenizer_sha256) == (second.sha256, False)
    with torch.no_grad():
        second.model.base_model.norm.weight.add_(0.1)
    second.model.save_pretrained(copied)
    assert llm.load(copied).sha256 != first.sha256


def test_a_model_in_several_files_has_the_digest_of_their_list(copied):
    llm.load(copied).model.save_pretrained(copied / "parts", max_shard_size="20KB")
    parts = copied / "parts"
    shutil.copy(copied / "tokenizer.json", parts)
    shutil.copy(copied / "tokenizer_config.json", parts)
    assert len(list(parts.glob("*.safetensors"))) > 1
    language = llm.load(parts)
    assert len(language.sha256) == 64
    assert torch.equal(logits(language), logits(llm.load(copied)))


@pytest.mark.parametrize("family", ["gpt2", "phi", "opt", "gpt-neox"])
def test_training_mode_has_no_dropout(make, tmp_path, family):
    folder = shutil.copytree(make(family), tmp_path / "model")
    rates = {k: 0.5 for k in json.loads((folder / "config.json").read_text()) if k.endswith(("pdrop", "dropout"))}
    assert rates
    edit(folder / "config.json", **rates)
    language = llm.load(folder)
    still = logits(language)
    language.model.train()
    assert torch.equal(logits(language), still)


def test_an_untied_layer_trains_alone_and_stays_untied(make, tmp_path):
    language, tied = llm.load(make("gpt2"), untie=True), llm.load(make("gpt2"))
    assert torch.equal(logits(language), logits(tied))
    weight, _ = llm.unembedding(language)
    with torch.no_grad():
        weight.mul_(2.0)
    assert torch.allclose(logits(language), 2 * logits(tied))  # the embedding did not move
    language.model.save_pretrained(tmp_path)
    language.tokenizer.save_pretrained(tmp_path)
    assert torch.allclose(logits(llm.load(tmp_path)), 2 * logits(tied))


def test_a_hub_id_is_read_from_the_hubs_cache(make, tmp_path, monkeypatch):
    import huggingface_hub.constants

    snapshot = tmp_path / "models--some--model" / "snapshots" / ("0" * 40)
    shutil.copytree(make("llama"), snapshot)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    language = llm.load("some/model")
    assert language.name == "some/model"
    assert language.sha256 == llm.load(make("llama")).sha256
    for missing in ("some/other", "gpt2"):
        with pytest.raises(
            ValueError, match=f"{missing} is neither a folder nor a model that the hub gives .*; pass a folder"
        ):
            llm.load(missing)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_the_source_is_never_run(copied, name):
    edit(copied / name, auto_map={"AutoModelForCausalLM": "modeling.Own"})
    (copied / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ValueError, match=rf"{name} asks to run code .*auto_map"):
        llm.load(copied)


def test_pickles_are_refused(copied):
    torch.save({}, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no safetensors; save the model with save_pretrained"):
        llm.load(copied)


def test_a_missing_weight_is_not_drawn_at_random(copied):
    import safetensors.torch

    weights = safetensors.torch.load_file(copied / "model.safetensors")
    del weights["model.norm.weight"]
    safetensors.torch.save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights .* such as model\.norm\.weight"):
        llm.load(copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype = 'bfloat16'; pass 'float32' or 'float64' .*autocast"),
        pytest.param(
            {"device": "cuda"},
            "finds no CUDA device; pass device='cpu'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device"),
        ),
    ],
)
def test_bad_options_name_the_remedy(make, options, message):
    with pytest.raises(ValueError, match=message):
        llm.load(make("llama"), **options)


def test_bad_places_name_the_remedy(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for source, message in (
        (tmp_path, "has no config.json"),
        (tmp_path / "notes.txt", "is a file; pass the folder"),
        (tmp_path / "none", "does not exist; pass the folder"),
        (tmp_path / "none.gguf", "does not exist; pass a .gguf file"),
    ):
        with pytest.raises(ValueError, match=message):
            llm.load(source)


def test_made_models_repeat_and_learn(make, texts, tmp_path):
    again = llm.make_model(tmp_path / "again", texts, vocab=400, width=32, steps=30)
    assert llm.load(again).sha256 == llm.load(make("llama", steps=30)).sha256
    other = llm.make_model(tmp_path / "other", texts, vocab=400, width=32, steps=30, seed=1)
    assert llm.load(other).sha256 != llm.load(again).sha256

    def loss(folder):
        language = llm.load(folder)
        ids = language.tokenizer(texts[:20], return_tensors="pt", padding=True)
        with torch.no_grad():
            return float(language.model(**ids, labels=ids["input_ids"]).loss)

    assert loss(again) < 0.9 * loss(make("llama"))
    assert np.isclose(loss(make("llama")), np.log(400), rtol=0.05)


def test_no_text_is_lost_to_the_tokenizer(make):
    tokenizer = llm.load(make("llama")).tokenizer
    text = "Ünïcode 漢字 🎉\n\tand\x00 more"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab": 257}, "vocab = 257"),
        ({"width": 30}, "width = 30 is not a multiple of 4; pass 32"),
        ({"layers": 0}, "layers = 0"),
        ({"steps": -1}, "steps = -1"),
        ({"family": "lama"}, "family = 'lama' is unknown"),
        ({"texts": [""]}, "texts are empty"),
        ({"texts": ["a"], "steps": 1}, "2 tokens, too few"),
    ],
)
def test_bad_sizes_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        llm.make_model(tmp_path / "m", **({"texts": ["some text"]} | options))


def test_missing_packages_are_named_with_their_remedy(monkeypatch, tmp_path, language):
    found = _models.importlib.util.find_spec
    absent = {"torch"}
    monkeypatch.setattr(_models.importlib.util, "find_spec", lambda name: None if name in absent else found(name))
    for call in (lambda: llm.load(tmp_path), lambda: llm.make_model(tmp_path / "m", ["a"])):
        with pytest.raises(ImportError, match=r"needs the package torch; pip install '\.\[llm\]'\."):
            call()
    absent = {"peft"}
    with pytest.raises(ImportError, match=r"needs the package peft; pip install '\.\[llm-trl\]'\."):
        llm.adapt(language)
