"""Small models with their own tokenizer, made in seconds, for tests and for a first look without a download."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .._checks import check_count
from ._models import need, quiet

END, PAD = "<|endoftext|>", "<|pad|>"
CONTEXT, HEADS = 1024, 4
BLOCK, ROWS, RATE = 128, 16, 1e-3  # of the training: tokens of a row, rows of a batch, AdamW's step


def make_model(
    folder: str | Path,
    texts: Iterable[str],
    *,
    vocab: int = 2048,
    width: int = 64,
    layers: int = 2,
    steps: int = 0,
    family: str = "llama",
    seed: int = 0,
) -> Path:
    """A model of random weights and a byte-level BPE tokenizer of the texts, saved as safetensors; not a language model.

    Args:
        folder: where to save it; made where it does not exist.
        texts: what the tokenizer, and the model if ``steps`` > 0, learn from.
        vocab: largest number of tokens, int ≥ 258 (256 bytes, end of text, padding).
        width: d, a multiple of 4.
        layers: int ≥ 1.
        steps: of training as a language model (AdamW at 1e-3, 16 rows of 128 tokens): a few dozen are enough for answers of
            different probability.
        family: a key of `FAMILIES`: "llama", "gpt2", "gemma2", …
        seed: of weights and of the order of training.

    Raises:
        ValueError: a bad size, an unknown family, or texts too short to train on.

    Returns:
        The folder.
    """
    check_count(vocab, "vocab", 258)
    check_count(layers, "layers", 1)
    check_count(steps, "steps", 0)
    if check_count(width, "width", HEADS) % HEADS:
        raise ValueError(f"width = {width} is not a multiple of {HEADS}; pass {HEADS * (width // HEADS + 1)}.")
    if family not in FAMILIES:
        raise ValueError(f"family = {family!r} is unknown; pass one of {', '.join(FAMILIES)}.")
    lines = [texts] if isinstance(texts, str) else list(texts)
    if not any(lines):
        raise ValueError("texts are empty; pass some text for the tokenizer.")
    need("torch", "transformers", "tokenizers")
    import torch
    import transformers

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(lines, vocab)
    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    kind, settings = FAMILIES[family](width, layers)
    config = getattr(transformers, f"{kind}Config")(**common, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        if steps:
            _train(model, tokenizer, lines, steps, seed)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(lines: list[str], vocab: int) -> Any:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END, PAD],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END, eos_token=END, pad_token=PAD, padding_side="right"
    )


def _train(model: Any, tokenizer: Any, lines: list[str], steps: int, seed: int) -> None:
    import torch

    ids = torch.tensor([i for line in tokenizer(lines)["input_ids"] for i in (*line, tokenizer.eos_token_id)])
    block = min(BLOCK, len(ids) - 1)
    if block < 2:
        raise ValueError(f"texts have {len(ids)} tokens, too few to train on; pass more, or steps=0.")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    model.train()
    for _ in range(steps):
        start = torch.randint(len(ids) - block, (ROWS, 1), generator=generator)
        batch = ids[start + torch.arange(block)]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _like_llama(kind: str, **more: Any) -> Callable[[int, int], tuple[str, dict[str, Any]]]:
    def settings(width: int, layers: int) -> tuple[str, dict[str, Any]]:
        return kind, {
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "tie_word_embeddings": False,
            **more,
        }

    return settings


def _like_gemma(kind: str, **more: Any) -> Callable[[int, int], tuple[str, dict[str, Any]]]:
    def settings(width: int, layers: int) -> tuple[str, dict[str, Any]]:
        _, common = _like_llama(kind)(width, layers)
        return kind, {**common, "head_dim": width // HEADS, "tie_word_embeddings": True, **more}

    return settings


def _neox(width: int, layers: int) -> tuple[str, dict[str, Any]]:
    kind, common = _like_llama("GPTNeoX")(width, layers)
    return kind, {k: v for k, v in common.items() if k != "num_key_value_heads"}


def _gpt2(width: int, layers: int) -> tuple[str, dict[str, Any]]:
    return "GPT2", {"n_embd": width, "n_layer": layers, "n_head": HEADS, "n_positions": CONTEXT}


def _opt(width: int, layers: int) -> tuple[str, dict[str, Any]]:
    _, common = _like_llama("OPT")(width, layers)
    kept = ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    return "OPT", {k: common[k] for k in kept} | {"ffn_dim": 2 * width, "word_embed_proj_dim": width}


FAMILIES: dict[str, Callable[[int, int], tuple[str, dict[str, Any]]]] = {
    "llama": _like_llama("Llama"),
    "llama-tied": _like_llama("Llama", tie_word_embeddings=True),
    "qwen2": _like_llama("Qwen2"),
    "qwen3": _like_llama("Qwen3"),
    "mistral": _like_llama("Mistral"),
    "gpt-neox": _neox,
    "gpt2": _gpt2,
    "gemma3": _like_gemma("Gemma3Text"),
    "olmo2": _like_llama("Olmo2"),
    "phi": _like_llama("Phi"),
    "phi3": _like_llama("Phi3"),
    "opt": _opt,
    "gemma2": _like_gemma("Gemma2"),
    "granite": _like_llama("Granite", logits_scaling=8.0),
    "cohere": _like_llama("Cohere", logit_scale=0.0625),
}
"""The families that `make_model` knows: a function of width and layers that gives the config's name and settings."""
