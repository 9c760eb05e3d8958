"""Gemma 3 from a GGUF file: dequantised weights, config and tokenizer as a folder that transformers loads."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ._models import file_sha256, need

ARCHITECTURE = "gemma3"
SCHEMA = 1  # of the converted folder
PARTS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of a block's tensors: in GGUF, and in transformers."""
SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
}
"""Settings of the architecture: in GGUF, and in transformers."""
NORMAL, CONTROL, DEFINED, BYTE = 1, 3, 4, 6  # kinds of tokens
LAYERS_27B = 62  # Gemma 3 27B alone scales its queries by width/heads in place of head_dim


def convert(path: str | Path, folder: str | Path) -> Path:
    """A folder of float32 safetensors, config and tokenizer made of a Gemma 3 GGUF file.

    Args:
        path: a .gguf file of architecture gemma3 with a SentencePiece vocabulary.
        folder: to be made; it must not exist, and appears only when complete.

    Raises:
        ValueError: a missing file, an existing folder, another architecture, or a tensor or setting that is not understood.

    Returns:
        The folder.
    """
    path, folder = Path(path).expanduser(), Path(folder).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pass a .gguf file.")
    if folder.exists():
        raise ValueError(f"{folder} exists already; pass a new folder.")
    need("gguf", "safetensors", "tokenizers", "transformers")
    import gguf
    import safetensors.numpy

    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a complete GGUF file ({error}); download it again.") from None
    config = _config(reader, path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        weights = {_name(t.name, path): _dequantised(t, gguf) for t in reader.tensors}
        safetensors.numpy.save_file(weights, scratch / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(scratch)
        _tokenizer(reader, path).save_pretrained(scratch)
        told = {"source": path.name, "sha256": file_sha256(path), "schema": SCHEMA}
        (scratch / "conversion.json").write_text(json.dumps(told, indent=2) + "\n")
        scratch.chmod(0o755)
        if not folder.exists():  # another process may have converted the same file meanwhile
            os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where converted models lie: the given folder, or ``dynamics`` in the user's cache folder, or, without a home folder or
    where it cannot be written to, a folder of the user's among the temporary files.
    """
    if cache is not None:
        return Path(cache).expanduser()
    try:
        folder = _user_cache() / "dynamics"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        pass
    owner = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / ("dynamics" if owner is None else f"dynamics-{owner}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if owner is not None and folder.stat().st_uid != owner:  # another user's, whose files are not to be trusted
        return Path(tempfile.mkdtemp(prefix="dynamics-"))
    return folder


def _user_cache() -> Path:
    system = platform.system()
    if system == "Windows":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    inside = "Library/Caches" if system == "Darwin" else ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / inside)


def converted(path: Path, cache: str | Path | None = None) -> Path:
    """The folder of a .gguf file in the cache, converted at the first call."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pass a .gguf file.")
    folder = cache_folder(cache) / f"{path.stem}-{file_sha256(path)[:12]}-v{SCHEMA}"
    return folder if folder.is_dir() else convert(path, folder)


def _value(reader: Any, key: str, path: Path) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ValueError(f"{path.name} has no {key}; pass a complete GGUF file of Gemma 3.")
    return field.contents()


def _config(reader: Any, path: Path) -> Any:
    import transformers

    kind = _value(reader, "general.architecture", path)
    if kind != ARCHITECTURE:
        raise ValueError(f"{path.name} has the architecture {kind!r}; only {ARCHITECTURE!r} is converted.")
    base = "rope.freq_base"
    for key in reader.fields:
        known = key.removeprefix(f"{ARCHITECTURE}.")
        if key.startswith(f"{ARCHITECTURE}.") and known not in (*SIZES, base, "attention.value_length"):
            raise ValueError(f"{path.name} sets {key}, which is not understood; pass a plain Gemma 3 text model.")
    read = {theirs: _value(reader, f"{ARCHITECTURE}.{ours}", path) for ours, theirs in SIZES.items()}
    if read["head_dim"] != _value(reader, f"{ARCHITECTURE}.attention.value_length", path):
        raise ValueError(f"{path.name} has keys and values of different lengths, which is not understood.")
    by_head = read["num_hidden_layers"] != LAYERS_27B
    read["rms_norm_eps"] = float(np.float32(read["rms_norm_eps"]).astype(str))
    read["query_pre_attn_scalar"] = read["head_dim"] if by_head else read["hidden_size"] // read["num_attention_heads"]
    special = {
        f"{name}_token_id": _value(reader, f"tokenizer.ggml.{key}_token_id", path) for name, key in _SPECIAL.items()
    }
    special.pop("unk_token_id")
    vocabulary = len(reader.get_field("tokenizer.ggml.tokens").data)
    config = transformers.Gemma3TextConfig(
        vocab_size=vocabulary,
        architectures=["Gemma3ForCausalLM"],
        dtype="float32",
        tie_word_embeddings=all(t.name != "output.weight" for t in reader.tensors),
        **read,
        **special,
    )
    theta: Any = config.rope_parameters
    if float(theta["full_attention"]["rope_theta"]) != _value(reader, f"{ARCHITECTURE}.{base}", path):
        raise ValueError(f"{path.name} has another {base} than Gemma 3, which is not understood.")
    return config


_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}


def _name(name: str, path: Path) -> str:
    """The name of a tensor in transformers."""
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    whole |= {"output.weight": "lm_head.weight"}
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if block and block[2] in PARTS:
        return f"model.layers.{block[1]}.{PARTS[block[2]]}.weight"
    if name not in whole:
        raise ValueError(
            f"{path.name} holds the tensor {name}, which is not understood; pass a plain Gemma 3 text model."
        )
    return whole[name]


def _dequantised(tensor: Any, gguf: Any) -> np.ndarray:
    """Float32; norms are stored with 1 added, which transformers adds itself."""
    array = np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
    return array - np.float32(1.0) if tensor.name.endswith("norm.weight") else array


def _tokenizer(reader: Any, path: Path) -> Any:
    """SentencePiece's BPE: of two neighbours, those are merged first whose union has the best score."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    if (kind := _value(reader, "tokenizer.ggml.model", path)) != "llama":
        raise ValueError(f"{path.name} has a tokenizer of kind {kind!r}; only SentencePiece ('llama') is converted.")
    if reader.get_field("tokenizer.ggml.add_space_prefix") is None or _value(
        reader, "tokenizer.ggml.add_space_prefix", path
    ):
        raise ValueError(f"{path.name} has a tokenizer that begins texts with a space, which is not understood.")
    texts, scores, kinds = (_value(reader, f"tokenizer.ggml.{key}", path) for key in ("tokens", "scores", "token_type"))
    if unknown := set(kinds) - {NORMAL, CONTROL, DEFINED, BYTE}:
        raise ValueError(f"{path.name} has tokens of kind {unknown}, which are not understood.")
    vocabulary = {text: i for i, text in enumerate(texts)}
    special = {name: texts[_value(reader, f"tokenizer.ggml.{key}_token_id", path)] for name, key in _SPECIAL.items()}
    bpe = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(texts, scores, kinds),
            unk_token=special["unk"],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    of = lambda wanted: [text for text, kind in zip(texts, kinds, strict=True) if kind == wanted]
    bpe.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in of(CONTROL)])
    bpe.add_tokens([AddedToken(text, normalized=False, special=False) for text in of(DEFINED)])
    if _value(reader, "tokenizer.ggml.add_bos_token", path):
        first = special["bos"]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first} $B", special_tokens=[(first, vocabulary[first])]
        )
    names = {f"{name}_token": text for name, text in special.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="right", **names)


def _merges(texts: list[str], scores: list[float], kinds: list[int]) -> list[tuple[str, str]]:
    """Every split of a token into two tokens, best score of the whole first."""
    score = {text: s for text, s, kind in zip(texts, scores, kinds, strict=True) if kind == NORMAL}
    found = []
    for text, s in score.items():
        found += [(-s, i, text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in score and text[i:] in score]
    return [(left, right) for *_, left, right in sorted(found)]
