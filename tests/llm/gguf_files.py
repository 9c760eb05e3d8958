"""Tiny Gemma 3 models as GGUF files, as llama.cpp would have written them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra llm: pip install '.[llm]'")
gguf = pytest.importorskip("gguf", reason="needs the extra llm: pip install '.[llm]'")

NORMAL, CONTROL, DEFINED, BYTE = 1, 3, 4, 6
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
WORDS = ["th", "▁th", "▁the", "▁b", "an", "▁ban", "▁band", "nd", "and", "▁and", "ba", "ana", "na", "▁▁x"]
DEFINED_TEXTS = ["\n", "  ", "   ", "<table>"]


def vocabulary():
    """(texts, scores, kinds) of a SentencePiece BPE: special, user-defined, bytes, words by rank, letters."""
    letters = [chr(c) for c in range(97, 123)] + ["▁", ".", "é"]
    texts = [*SPECIAL, *DEFINED_TEXTS, *(f"<0x{b:02X}>" for b in range(256)), *WORDS, *letters]
    kinds = [CONTROL] * 4 + [DEFINED] * 4 + [BYTE] * 256 + [NORMAL] * (len(WORDS) + len(letters))
    scores = [-1000.0] * 8 + [0.0] * 256 + [-float(i) for i in range(len(WORDS) + len(letters))]
    return texts, scores, kinds


def tiny(**change):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    settings = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2} | change
    config = Gemma3TextConfig(
        vocab_size=len(vocabulary()[0]),
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=8,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma3ForCausalLM(config).eval()
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.data.uniform_(-0.5, 0.5)
    return model


def write(path, model, *, quantised=False, skip=(), more=None, architecture="gemma3", setup=None):
    """The model as a GGUF file, as llama.cpp would have written it."""
    writer = gguf.GGUFWriter(path, architecture)
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base(1e6)
    texts, scores, kinds = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    for name, index in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    if setup is not None:
        setup(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.num_hidden_layers)  # llama.cpp's own
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" or name in skip:
            continue
        given = names.get_name(name, try_suffixes=(".weight",))
        array = weight.numpy() + np.float32(name.endswith("norm.weight"))
        if quantised and array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(given, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(given, array)
    for name, array in (more or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
