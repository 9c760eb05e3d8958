"""What travels to the machine with the GPU: a model in parts, statements, and values to compare with."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dynamics import llm

MANIFEST, STATEMENTS, EXPECTED, MODEL = "pack.json", "statements.jsonl.gz", "expected.npz", "model.gguf"
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Pack:
    """A folder that ``write`` filled, whole or put together again from its parts."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Pack:
        """The pack in a folder; its parts may lie in folders inside."""
        found = sorted(Path(folder).rglob(MANIFEST))
        if len(found) != 1:
            raise ValueError(
                f"{folder} holds {len(found)} files {MANIFEST}; pass a folder from experiments.gpu.prepare."
            )
        manifest = json.loads(found[0].read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"{found[0]} has schema {manifest['schema']}, here {SCHEMA}; prepare it anew.")
        return cls(Path(folder), manifest)

    def find(self, name: str) -> Path:
        """The file of this name, anywhere in the folder."""
        found = sorted(self.folder.rglob(name))
        if not found:
            raise ValueError(f"{self.folder} lacks {name}; carry all parts of the pack.")
        return found[0]

    def pairs(self) -> llm.Pairs:
        """All statements."""
        return llm.read(str(self.find(STATEMENTS)))

    def expected(self) -> dict[str, np.ndarray]:
        """Log-probabilities and features that the CPU computed, with the ids of their statements."""
        with np.load(self.find(EXPECTED)) as file:
            return dict(file)

    def draws(self) -> dict[int, tuple[str, ...]]:
        """The behaviours for each number of values."""
        return {int(k): tuple(names) for k, names in self.manifest["draws"].items()}

    def model(self, scratch: Path) -> Path:
        """The folder of the model, put together and converted in ``scratch``."""
        if "model" in self.manifest:
            return Path(self.manifest["model"])
        whole, digest = scratch / MODEL, hashlib.sha256()
        with whole.open("wb") as file:
            for name in self.manifest["parts"]:
                data = self.find(name).read_bytes()
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != self.manifest["sha256"]:
            raise ValueError(f"the parts in {self.folder} do not make the file that was packed; carry them again.")
        self._reader()
        return llm.convert(whole, scratch / "model")

    def _reader(self) -> None:
        """Makes gguf importable, from the wheel in the pack where it is not installed."""
        if importlib.util.find_spec("gguf") is None:
            sys.path.insert(0, str(self.find("gguf-*.whl")))
            importlib.invalidate_caches()


def write_statements(folder: Path, pairs: llm.Pairs) -> None:
    """Rows that ``llm.read`` reads."""
    with gzip.open(folder / STATEMENTS, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(pair._asdict()) + "\n" for pair in pairs)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """``pack.json``, which is written last."""
    text = json.dumps({"schema": SCHEMA} | manifest, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def split(whole: Path, folder: Path, size: int) -> tuple[list[str], str]:
    """Writes ``whole`` in parts of ``size`` bytes at most, each in a folder 1, 2, … of its own: their names, and SHA-256."""
    data = whole.read_bytes()
    names = []
    for i, start in enumerate(range(0, len(data), size), 1):
        names.append(f"part-{i}.bin")
        place = folder / str(i)
        place.mkdir(parents=True, exist_ok=True)
        (place / names[-1]).write_bytes(data[start : start + size])
    return names, hashlib.sha256(data).hexdigest()


def measure(language: llm.Language, pairs: llm.Pairs, batch: int = 32) -> dict[str, np.ndarray]:
    """log pi of both answers, ``(2, N)``, and features, ``(N, width)``, in float64, with the ids of the statements."""
    ds = llm.features(language, pairs, batch=batch, progress=False)
    return {"id": np.array(pairs.id), "log_prob": log_probs(language.model, language.tokenizer, pairs, batch)} | {
        "feature": ds.feature.values,
    }


def log_probs(model: Any, tokenizer: Any, pairs: llm.Pairs, batch: int = 128) -> np.ndarray:
    """log pi of chosen and rejected answers, ``(2, N)``, float64, many statements at a time and similar lengths together."""
    import torch

    encoded = llm.encode(pairs, tokenizer, eos=False)
    order = np.argsort(encoded.attention[: len(pairs)].sum(axis=1), kind="stable")
    found = np.empty((2, len(pairs)))
    with torch.no_grad():
        for start in range(0, len(pairs), batch):
            rows = order[start : start + batch]
            w, l = llm.log_probs(model, encoded.take(rows))
            found[:, rows] = torch.stack([w, l]).double().cpu().numpy()
    return found
