"""The weights in the files that a model names as its source, which TRL takes as reference unless it is given one."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def weights_on_disk(model: Any) -> tuple[list[Any], list[Any]] | None:
    """The model's parameters and the values in the files of ``config._name_or_path``; None where they are not at hand.

    Args:
        model: of transformers, without an adapter.
    """
    folder = _folder(str(getattr(model.config, "_name_or_path", "") or ""))
    if folder is None:
        return None
    from safetensors import safe_open

    own, values = dict(model.named_parameters()), {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name in own:
                    values[name] = file.get_tensor(name).to(own[name].device, own[name].dtype)
    if set(values) != set(own) or any(values[n].shape != p.shape for n, p in own.items()):
        return None
    return list(own.values()), [values[name] for name in own]


def same_weights(model: Any, found: tuple[list[Any], list[Any]]) -> bool:
    """Whether the parameters have the values in the files."""
    import torch

    return all(torch.equal(p.detach(), value) for p, value in zip(*found, strict=True))


def _folder(name: str) -> Path | None:
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        return None
