"""Results on disk: one zarr store per configuration, named by a hash of configuration and source code."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import xarray as xr

from dynamics._identity import identify
from dynamics._places import Folder, folder_of
from dynamics._provenance import provenance
from dynamics._seal import contents, damage, seal
from dynamics._source_digest import imported


class UserError(Exception):
    """A mistake that the user can correct, described in one sentence."""


def fingerprint(name: str, config: Any) -> str:
    """A hash of the configuration, the files that it names, the code that the experiment imports, and versions.

    An experiment whose results are dear says with ``store_key(config)`` what they depend on.
    """
    module = importlib.import_module(f"experiments.{name}")
    if "store_key" in module.__all__:
        return module.store_key(config)
    known = identify(config, "config")
    code = imported([f"experiments.{name}", *sorted(known.modules)])
    versions = {k: v for k, v in provenance().items() if k.startswith("version")}
    digest = hashlib.sha256(json.dumps([name, known.digest, code, versions], sort_keys=True).encode())
    for path in getattr(config, "files", tuple)():
        digest.update(f"\0{path}\0".encode())
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            digest.update(str(error.errno).encode())
    return digest.hexdigest()[:12]


def writable(folder: Path) -> Path:
    """Creates ``folder`` if needed and returns it; raises ``UserError`` if it cannot be written to."""
    try:
        folder_of(folder, "--out")
    except ValueError as error:
        raise UserError(str(error)) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"--out {folder} cannot be written to ({reason}); pass a folder of your own.") from None
    return folder


def location(folder: Path, name: str, key: str) -> Path:
    """The path of the result of a configuration."""
    return folder / f"{name}-{key}.zarr"


def load(path: Path) -> xr.Dataset | None:
    """The Dataset stored at ``path``, or None if there is none or it cannot be read."""
    if not path.is_dir():
        return None
    place = Folder(path)
    # Dear results of earlier versions have no checksums; they are read as they are.
    wrong = None if contents(place) is None else damage(place)
    try:
        if wrong is None:
            with xr.open_dataset(path, engine="zarr", chunks=None) as ds:
                return ds.load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        wrong = str(error) or type(error).__name__
    warnings.warn(f"{path} cannot be read ({wrong}); it is computed again.", stacklevel=2)
    return None


def save(ds: xr.Dataset, path: Path) -> None:
    """Writes to a temporary folder and renames it, so that an interrupted write is never mistaken for a result."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        # Every reader of zarr understands how format 2 stores text.
        ds.to_zarr(scratch / "data", mode="w", zarr_format=2, consolidated=True)
        seal(Folder(scratch / "data"), "result")
        if path.exists():
            shutil.rmtree(path)
        os.replace(scratch / "data", path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
