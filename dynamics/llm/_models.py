"""Language models from a folder, the hub or a GGUF file, as they enter every measurement."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WEIGHTS = ".safetensors"
MULTIPLIERS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
DIVISORS = ("logits_scaling",)
CAP = "final_logit_softcapping"
DTYPES = ("float32", "float64")
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]


def need(*packages: str, extra: str = "llm") -> None:
    """Raises ``ImportError``, with the remedy, unless the packages are installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"this needs the package {name}; pip install '.[{extra}]'.", name=name)


@dataclasses.dataclass(frozen=True)
class Language:
    """logits = c (W h + b) of a causal language model, tokenizer beside it; cap tanh(logits/cap) where it has a soft cap.

    Attributes:
        model: the torch module, in evaluation mode and without dropout even in training mode.
        tokenizer: pads on the right.
        name: what was asked for.
        sha256: of the safetensors: of the one file, or of the list of their digests.
        tokenizer_sha256: of the config's and the tokenizer's files.
        scale: c, 1 unless the config says otherwise.
        bias: whether there is a b.
        cap: of the logits, or None.
    """

    model: Any = dataclasses.field(repr=False)
    tokenizer: Any = dataclasses.field(repr=False)
    name: str
    sha256: str
    tokenizer_sha256: str
    scale: float = 1.0
    bias: bool = False
    cap: float | None = None

    @property
    def dtype(self) -> str:
        """Of W."""
        return str(unembedding(self)[0].dtype).removeprefix("torch.")

    @property
    def device(self) -> Any:
        """Where W lies."""
        return unembedding(self)[0].device

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens that the config allows, where it says so."""
        config = self.model.config.get_text_config()
        return next(
            (int(n) for n in (getattr(config, k, None) for k in ("max_position_embeddings", "n_positions")) if n), None
        )


def unembedding(language: Language) -> tuple[Any, Any]:
    """(W, b): the weight, ``(tokens, width)``, and the bias, ``(tokens,)`` or None, of the last layer, as torch parameters."""
    layer = language.model.get_output_embeddings()
    return layer.weight, getattr(layer, "bias", None)


def load(
    source: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    untie: bool = False,
) -> Language:
    """A causal language model with its tokenizer; safetensors and GGUF only, and no code from the source is ever run.

    Args:
        source: a folder, a hub id such as "org/name", or a .gguf file, which is converted once into the user's cache folder.
        dtype: "float32" or "float64". Weights in half precision are widened: their sums of log-probabilities are too coarse
            to be compared with a theory.
        device: "cpu", "cuda", …
        revision: of a hub id.
        untie: whether to give the last layer its own copy of a weight that it shares with the embedding, so that it can be
            trained alone.

    Raises:
        ValueError: a source that does not exist, has no safetensors, asks for its own code, or lacks weights.

    >>> language = dyn.llm.load("path/to/model")  # doctest: +SKIP
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r}; pass 'float32' or 'float64' (train in half precision with autocast).")
    need("torch", "transformers", "safetensors")
    folder = _folder(source, revision)
    _check(folder)
    import torch
    import transformers

    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device = {device!r}, but torch finds no CUDA device; pass device='cpu'.")
    with quiet():
        config = _without_dropout(transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False))
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    model, told = loaded
    lacking = [*told["missing_keys"], *told["mismatched_keys"]]
    if lacking:
        raise ValueError(
            f"{source} lacks {len(lacking)} weights that its config names, such as {lacking[0]}; save it anew."
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if untie:
        _untie(model)
    model = model.to(device).eval()
    scale, cap = convention(model.config)
    layer = model.get_output_embeddings()
    if layer is None:
        raise ValueError(f"{source} has no last layer on tokens; pass a causal language model.")
    bias = getattr(layer, "bias", None) is not None
    return Language(model, tokenizer, str(source), *digests(folder), scale, bias, cap)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of transformers, which is left as it was found."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def convention(config: Any) -> tuple[float, float | None]:
    """(c, cap) of a config: what multiplies the logits and what caps them softly."""
    settings: dict[str, Any] = {
        key: getattr(config.get_text_config(), key, None) for key in (*MULTIPLIERS, *DIVISORS, CAP)
    }
    given = {key: float(value) for key, value in settings.items() if value is not None}
    scale = math.prod(given.get(key, 1.0) for key in MULTIPLIERS) / math.prod(given.get(key, 1.0) for key in DIVISORS)
    return scale, given.get(CAP)


def digests(folder: Path) -> tuple[str, str]:
    """SHA-256 of the safetensors and of the files of config and tokenizer in a folder."""
    weights = sorted(folder.glob(f"*{WEIGHTS}"))
    ours = [p for p in sorted(folder.iterdir()) if p.suffix in (".json", ".txt", ".model") and ".index." not in p.name]
    return _digest(weights), _digest([p for p in ours if p.name != "conversion.json"])


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(paths: list[Path]) -> str:
    if len(paths) == 1:
        return file_sha256(paths[0])
    return hashlib.sha256("".join(f"{p.name} {file_sha256(p)}\n" for p in paths).encode()).hexdigest()


def _folder(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        from ._gguf import converted

        return converted(path)
    if path.is_file():
        raise ValueError(f"{source} is a file; pass the folder of a model, a hub id, or a .gguf file.")
    name = str(source)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise ValueError(f"{source} does not exist; pass the folder of a model, a hub id, or a .gguf file.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"{name} is neither a folder nor a model that the hub gives ({type(error).__name__}); pass a folder, or check "
            "the name and the connection."
        ) from None


def _check(folder: Path) -> None:
    """Raises unless the folder holds safetensors and a config that needs no code of its own."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; pass the folder of a model.")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in json.loads((folder / name).read_text(encoding="utf-8")):
            raise ValueError(
                f"{folder / name} asks to run code from the model's source (auto_map), which is never done; pass a model "
                "that transformers knows by itself."
            )
    if not list(folder.glob(f"*{WEIGHTS}")):
        raise ValueError(f"{folder} holds no safetensors; save the model with save_pretrained, or pass a .gguf file.")


def _without_dropout(config: Any) -> Any:
    """The config with every rate of dropout at 0, so that training mode computes the same function as evaluation mode."""
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for key, value in list(vars(part).items()):
            if re.search(r"dropout|pdrop|layerdrop", key) and isinstance(value, float):
                setattr(part, key, 0.0)
    return config


def _untie(model: Any) -> None:
    """Gives the last layer its own weight, which stays its own when the model is saved and loaded."""
    import torch

    layer, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if layer.weight is embedding.weight:
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone())
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False
