"""A GGUF file with the tokens that some texts need and no others: the same ids up to numbering, the same blocks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

TOKENS, SCORES, KINDS = (f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type"))
IDS = {f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "unknown", "padding")}
EMBEDDING = "token_embd.weight"
NORMAL, BYTE = 1, 6  # kinds of tokens


def prune(source: str | Path, target: str | Path, ids: Iterable[int]) -> np.ndarray:
    """Writes the GGUF file ``source`` with a part of its vocabulary; the tensors of the blocks stay byte for byte.

    Kept are the ``ids``, all bytes, the special tokens and every token that is a part of a kept one. So texts which needed only
    ``ids`` are cut into the same tokens: a merge that happened on the way to a token still happens.

    Args:
        source: of a model whose last layer is its embedding.
        target: to be written.
        ids: that occur.

    Raises:
        ValueError: a last layer of its own.

    Returns:
        The kept ids, increasing: the old id of each new one.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    if any(t.name == "output.weight" for t in reader.tensors):
        raise ValueError(
            f"{source} has a last layer of its own, which is not pruned; pass a model with tied embeddings."
        )
    texts, scores, kinds = (_contents(reader, key) for key in (TOKENS, SCORES, KINDS))
    special = {int(_contents(reader, key)) for key in IDS}
    kept = closed(set(map(int, ids)) | special | {i for i, k in enumerate(kinds) if k == BYTE}, texts, kinds)
    writer = gguf.GGUFWriter(target, _contents(reader, "general.architecture"))
    new = {int(old): i for i, old in enumerate(kept)}
    replaced = {key: [values[i] for i in kept] for key, values in ((TOKENS, texts), (SCORES, scores), (KINDS, kinds))}
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = replaced.get(key, new[int(field.contents())] if key in IDS else field.contents())
        writer.add_key_value(key, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        data = tensor.data[kept] if tensor.name == EMBEDDING else tensor.data
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def closed(ids: set[int], texts: list[str], kinds: list[int]) -> np.ndarray:
    """``ids`` with every normal token whose text is a part of the text of a normal one among them."""
    index = {text: i for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)) if kind == NORMAL}
    found = set(ids)
    for i in ids:
        if kinds[i] == NORMAL:
            text = texts[i]
            parts = (text[a:b] for a in range(len(text)) for b in range(a + 1, len(text) + 1))
            found |= {index[part] for part in parts if part in index}
    return np.array(sorted(found))


def _contents(reader: Any, key: str) -> Any:
    return reader.fields[key].contents()
