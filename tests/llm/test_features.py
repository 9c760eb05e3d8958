"""The feature is what the last layer reads: for every family, padded or alone, and refused where it is not."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

import dynamics as dyn
from dynamics import llm
from dynamics.llm import _features, _pairs

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")

PLAIN = [name for name in llm.FAMILIES if name not in ("gemma2", "granite", "cohere")]
SCALED = {"granite": 0.125, "cohere": 0.0625}


def own_logits(language, prompt):
    """The model's logits after a prompt, by its own forward pass."""
    with torch.no_grad():
        return language.model(**language.tokenizer(prompt, return_tensors="pt")).logits[0, -1].double().numpy()


def jolted(language, low=0.5, high=1.5):
    """The same model with norm weights and biases that differ from those of a fresh one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in language.model.named_parameters():
            if weight.ndim == 1 and name.endswith("weight"):
                weight.copy_(low + (high - low) * torch.rand(weight.shape, generator=generator))
            elif weight.ndim == 1:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return language


@pytest.mark.parametrize("family", [*PLAIN, *SCALED])
def test_the_last_layer_of_the_feature_is_the_logit(make, pairs, family):
    language = jolted(llm.load(make(family)))
    ds = llm.features(language, pairs, batch=7)
    assert language.scale == SCALED.get(family, 1.0)
    assert language.bias == (family == "phi")
    assert ds.feature.shape == (24, 32 + language.bias)
    for i in (0, 11, 23):
        logits = own_logits(language, pairs.prompt[i])
        scale = np.abs(logits).max()
        np.testing.assert_allclose(
            ds.unembedding.values @ ds.feature.values[i], logits[ds.token.values], rtol=0, atol=3e-6 * scale
        )
        # Log-probabilities are those of the whole vocabulary.
        whole = np.logaddexp.reduce(logits)
        chosen, rejected = ds.chosen_token.values[i], ds.rejected_token.values[i]
        others = np.delete(logits, ds.token.values)
        found = [ds[name].values[i] for name in ("log_normaliser", "log_rest", "log_prob_chosen", "log_prob_rejected")]
        expected = [whole, np.logaddexp.reduce(others), logits[chosen] - whole, logits[rejected] - whole]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, scale))
        assert language.tokenizer.decode([chosen]) == pairs.chosen[i]
        assert language.tokenizer.decode([rejected]) == pairs.rejected[i]


def test_the_dataset_says_where_it_comes_from(language, pairs):
    ds = llm.features(language, pairs)
    dyn.schema.validate(ds)
    assert ds.attrs["model_sha256"] == language.sha256
    assert ds.attrs["dtype"] == "float32"
    assert {"version_torch", "version_transformers", "version_alignment_dynamics"} <= set(ds.attrs)
    assert json.loads(ds.attrs["config"])["pairs"] == 24
    assert ds.example.values.tolist() == list(pairs.id)
    assert ds.behaviour.values.tolist() == list(pairs.behaviour)
    assert ds.feature.dtype == np.float64
    other = llm.features(language, pairs[:5])
    assert other.attrs["data_sha256"] != ds.attrs["data_sha256"]
    np.testing.assert_allclose(other.feature, ds.feature[:5], rtol=0, atol=2e-6 * np.abs(ds.feature).max())


def test_the_dataset_is_stored_and_read_back(language, pairs, tmp_path):
    ds = llm.features(language, pairs)
    ds.to_zarr(tmp_path / "features.zarr", zarr_format=2, consolidated=False)
    again = xr.open_zarr(tmp_path / "features.zarr", consolidated=False).load()
    assert again.identical(ds)
    assert llm.value_diversity(again).equals(llm.value_diversity(ds))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_a_padded_feature_is_that_of_the_prompt_alone(make, pairs, family):
    language = llm.load(make(family))
    alone = np.concatenate([llm.features(language, pairs[i : i + 1]).feature.values for i in range(6)])
    together = llm.features(language, pairs, batch=24).feature.values[:6]
    assert np.abs(together - alone).max() <= 2e-6 * np.abs(alone).max()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_left_padding_is_refused(make, pairs, family):
    language = llm.load(make(family))
    ids, attention = _features.prompts_of(llm.encode(pairs, language.tokenizer, eos=False))
    left = np.stack([np.roll(row, -int(keep.sum())) for row, keep in zip(ids, attention, strict=True)])
    with pytest.raises(ValueError, match="padded on the left"):
        _features.prompt_features(language, left, attention[:, ::-1])


def test_positions_counted_from_padding_are_caught_by_the_identity(make, pairs, monkeypatch):
    # A GPT-2 that sees prompts shifted to the right, as left padding would shift them.
    language = llm.load(make("gpt2"))
    plain = _features.prompt_features

    def shifted(language, ids, attention):
        with monkeypatch.context() as patch:
            body = language.model.base_model
            forward = type(body).forward
            later = torch.arange(ids.shape[1])[None] + 3
            patch.setattr(type(body), "forward", lambda self, **k: forward(self, **k, position_ids=later))
            return plain(language, ids, attention)

    monkeypatch.setattr(_features, "prompt_features", shifted)
    with pytest.raises(ValueError, match="differs from the model's logits"):
        llm.features(language, pairs)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_a_second_norm_is_caught(make, pairs, monkeypatch, family):
    language = jolted(llm.load(make(family)))
    body = language.model.base_model
    norm = body.ln_f if family == "gpt2" else body.norm
    plain = _features.prompt_features

    def twice(language, ids, attention):
        with torch.no_grad():
            return norm(torch.from_numpy(plain(language, ids, attention)).float()).double().numpy()

    encoded = _features.prompts_of(llm.encode(pairs, language.tokenizer, eos=False))
    good = _features.identity_error(language, *encoded, plain(language, *encoded))
    bad = _features.identity_error(language, *encoded, twice(language, *encoded))
    assert good < 2e-6
    assert bad > 1e-2
    monkeypatch.setattr(_features, "prompt_features", twice)
    with pytest.raises(ValueError, match="a second norm"):
        llm.features(language, pairs)


@pytest.mark.parametrize(
    ("family", "change"),
    [("granite", {"scale": 1.0}), ("cohere", {"scale": 16.0}), ("phi", {"scale": 1.0 + 1e-4})],
)
def test_a_scale_read_wrongly_is_caught(make, pairs, family, change):
    language = dataclasses.replace(jolted(llm.load(make(family))), **change)
    with pytest.raises(ValueError, match="differs from the model's logits"):
        llm.features(language, pairs)


def test_a_soft_cap_is_refused_by_name(make, pairs):
    language = llm.load(make("gemma2"))
    assert language.cap == 30.0
    with pytest.raises(ValueError, match=r"final_logit_softcapping = 30\)"):
        llm.features(language, pairs)
    # Read as uncapped, it would be caught by its logits.
    with torch.no_grad():
        language.model.get_output_embeddings().weight.mul_(50.0)
    with pytest.raises(ValueError, match="a cap"):
        llm.features(dataclasses.replace(language, cap=None), pairs)


def test_features_that_are_not_finite_are_refused(make, pairs):
    language = llm.load(make("llama"))
    with torch.no_grad():
        language.model.base_model.norm.weight[3] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        llm.features(language, pairs)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [(" Yes, of course", r"' Yes, of course' is \d tokens"), ("Yes", r"'Yes' is 2 tokens|merges")],
)
def test_an_answer_of_several_tokens_is_refused(language, pairs, chosen, message):
    one = llm.Pairs(pairs.prompt[:1], (chosen,), (" No",))
    with pytest.raises(ValueError, match=message):
        llm.features(language, one)


def test_a_prompt_that_fills_the_context_is_refused(language, pairs):
    long = llm.Pairs((" Yes" * 1024,), (" Yes",), (" No",))
    with pytest.raises(ValueError, match="1024 tokens, which leaves no room for an answer within 1024"):
        llm.features(language, long)


def test_an_adapter_starts_as_the_same_function(language, pairs):
    pytest.importorskip("peft", reason="needs the extra llm-trl: pip install '.[llm-trl]'")
    adapted = llm.adapt(language, rank=2)
    before = llm.features(language, pairs[:6]).feature.values
    assert np.array_equal(llm.features(adapted, pairs[:6]).feature, before)
    trainable = {name: p for name, p in adapted.model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert not any("lora_" in name for name, _ in language.model.named_parameters())
    assert all(p.requires_grad for p in language.model.parameters())
    weight = {name: p.data_ptr() for name, p in language.model.named_parameters()}
    shared = {p.data_ptr() for p in adapted.model.parameters()}
    assert set(weight.values()) <= shared
    with torch.no_grad():
        for name, p in trainable.items():
            if "lora_B" in name:
                p.add_(0.1)
    assert not np.allclose(llm.features(adapted, pairs[:6]).feature, before)
    assert np.array_equal(llm.features(language, pairs[:6]).feature, before)
    again = llm.adapt(language, rank=2)
    first, second = (next(p for n, p in x.model.named_parameters() if "lora_A" in n) for x in (adapted, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", ["llama-tied", "gpt2"])
def test_an_adapter_keeps_weights_tied(make, pairs, family):
    pytest.importorskip("peft", reason="needs the extra llm-trl: pip install '.[llm-trl]'")
    language = llm.load(make(family))
    adapted = llm.adapt(language, rank=2)
    weight, _ = llm.unembedding(adapted)
    assert weight is adapted.model.get_input_embeddings().weight
    assert weight.data_ptr() == llm.unembedding(language)[0].data_ptr()
    assert np.array_equal(llm.features(adapted, pairs[:3]).feature, llm.features(language, pairs[:3]).feature)
    assert not any("lm_head" in name for name, p in adapted.model.named_parameters() if p.requires_grad)


def test_float64_is_exact_to_its_own_rounding(make, pairs):
    language = llm.load(make("llama"), dtype="float64")
    ids, attention = _features.prompts_of(llm.encode(pairs, language.tokenizer, eos=False))
    feature = _features.prompt_features(language, ids, attention)
    assert _features.identity_error(language, ids, attention, feature) < 1e-13


def test_batch_take_drops_columns_of_padding(language, pairs):
    batch = llm.encode(pairs, language.tokenizer, eos=True)
    short = np.argsort(batch.attention.sum(axis=1)[:24])[:2]
    part = batch.take(short)
    assert len(part) == 2
    assert part.ids.shape[1] == part.attention.sum(axis=1).max() < batch.ids.shape[1]
    alone = _pairs.encode(pairs[short], language.tokenizer, eos=True)
    assert all(np.array_equal(getattr(part, name), getattr(alone, name)) for name in ("ids", "attention", "completion"))
