"""A training run on disk, from which it goes on bit for bit, with the reference that it began with."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._probe import WrongReference

STATE = "state.pt"


def weights_sha256(model: Any) -> str:
    """SHA-256 of all weights and buffers of a model, adapters included."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(array.shape)} {array.dtype}\n".encode())
        digest.update(array.reshape(-1).view(_bytes()).numpy().data)
    return digest.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def texts_sha256(*texts: Sequence[str]) -> str:
    """SHA-256 of lists of texts."""
    return hashlib.sha256(json.dumps([list(x) for x in texts]).encode()).hexdigest()


def save(
    folder: Path,
    *,
    step: int,
    config: Mapping[str, Any],
    model: Any,
    optimizer: Any,
    log_reference: Mapping[str, np.ndarray],
    rows: int,
    since: Sequence[float],
) -> None:
    """Writes the state of a run in one file, completely or not at all.

    Args:
        folder: of the run.
        step: how many steps were taken; the position in the data and the learning rate follow from it.
        config: everything that two runs which are the same share.
        model: whose trainable weights are kept; the others are those of the file that it was loaded from.
        optimizer: of torch.
        log_reference: the reference's log-probabilities by name, which are never computed again.
        rows: finished rows of the record.
        since: sum and number of the batch losses since the last row.
    """
    import torch

    state = {
        "step": step,
        "config": json.dumps(dict(config), sort_keys=True),
        "weights": trainable(model),
        "optimizer": optimizer.state_dict(),
        "log_reference": {name: torch.as_tensor(value) for name, value in log_reference.items()},
        "rows": rows,
        "since": [float(x) for x in since],
        "random": _generators(),
    }
    write(folder, state)


def trainable(model: Any) -> dict[str, Any]:
    """The trainable weights of a model by name, on the CPU."""
    return {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes a state in one file, completely or not at all."""
    import torch

    scratch = folder / f".{STATE}.{os.getpid()}"
    with scratch.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, folder / STATE)


def load(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the run in a folder, or None where there is none.

    Raises:
        WrongReference: the model is not the one that the run began with.
        ValueError: the folder holds another run, and the message names what differs; or the file is damaged.
    """
    if not (folder / STATE).is_file():
        return None
    state = _whole(folder)
    there, here = json.loads(state["config"]), json.loads(json.dumps(dict(config)))
    for name in sorted({*there, *here}, key=lambda n: (n != "weights_sha256", n)):
        if there.get(name) != here.get(name):
            kind = WrongReference if name == "weights_sha256" else ValueError
            raise kind(_difference(folder, name, there.get(name), here.get(name)))
    return state


def _whole(folder: Path) -> dict[str, Any]:
    """The state in a folder, after every part of the file is compared with its checksum."""
    import torch

    path = folder / STATE
    try:
        with zipfile.ZipFile(path) as file:
            bad = file.testzip()
        if bad is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        ValueError,
        NotImplementedError,
    ):
        pass
    raise ValueError(
        f"the checkpoint of the run in {folder} is damaged: its file {STATE} is not as it was written; restore it from a copy, "
        "or delete the folder and train anew."
    )


def _difference(folder: Path, name: str, there: Any, here: Any) -> str:
    if name == "weights_sha256":
        return (
            f"the model's weights are not those that the run in {folder} began with, which are its reference (sha256 "
            f"{str(there)[:12]}, here {str(here)[:12]}); load the model anew from where it was first loaded, not from a "
            "checkpoint."
        )
    return f"{folder} holds another run: its {name} is {there!r}, here {here!r}; pass another out=, or that run's arguments."


def restore(state: Mapping[str, Any], model: Any, optimizer: Any) -> None:
    """Puts weights, optimizer and random generators back; the model and the optimizer are changed."""
    import torch

    put_back(state["weights"], model)
    optimizer.load_state_dict(state["optimizer"])
    kept = state["random"]
    torch.set_rng_state(kept["torch"])
    if torch.cuda.is_available() and kept["cuda"]:
        torch.cuda.set_rng_state_all(kept["cuda"])
    name, keys, *rest = kept["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = kept["python"]
    random.setstate((version, tuple(internal), gauss))


def put_back(weights: Mapping[str, Any], model: Any) -> None:
    """Puts the trainable weights of a model back; the model is changed."""
    import torch

    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if set(own) != set(weights):
        odd = sorted(set(own) ^ set(weights))[0]
        raise ValueError(f"the run trained other weights ({odd}); freeze and adapt the model as before.")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(weights[name])


def _generators() -> dict[str, Any]:
    import torch

    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.as_tensor(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }
