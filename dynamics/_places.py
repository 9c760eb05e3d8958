"""Where a store lies: a folder, or an address such as ``s3://bucket/name`` that fsspec reaches."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)(://|::)")
COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/")
"""What ``pathlib`` makes of an address."""


class Place(ABC):
    """A folder of files, on disk or elsewhere. Names of files are relative, with ``/``."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Writes a file, completely or not at all where the medium allows."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file if it exists."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Every file with its number of bytes; empty where nothing is."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files in a subfolder, without those below."""

    @abstractmethod
    def store(self, *, read_only: bool) -> Any:
        """What zarr and xarray open."""


@dataclasses.dataclass(frozen=True)
class Folder(Place):
    """A folder of this machine, or one that it has mounted."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        target = self.path / name
        scratch = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        target.parent.mkdir(exist_ok=True)
        try:
            scratch.write_bytes(content)
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        files = (f for f in sorted(self.path.rglob("*")) if f.is_file())
        return {f.relative_to(self.path).as_posix(): f.stat().st_size for f in files}

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.path / folder) if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def store(self, *, read_only: bool) -> Any:
        return str(self.path)


@dataclasses.dataclass(frozen=True)
class Remote(Place):
    """An address of fsspec; writing a file is atomic there, renaming a folder is not."""

    url: str

    def __str__(self) -> str:
        return self.url

    def _reach(self, name: str = "") -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(self.url)
        return system, f"{path.rstrip('/')}/{name}".rstrip("/")

    def read(self, name: str) -> bytes | None:
        system, path = self._reach(name)
        system.invalidate_cache()
        try:
            return system.cat_file(path)
        except (FileNotFoundError, IsADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        system, path = self._reach(name)
        system.pipe_file(path, content)

    def remove(self, name: str) -> None:
        system, path = self._reach(name)
        if system.exists(path):
            system.rm_file(path)

    def sizes(self) -> dict[str, int]:
        system, path = self._reach()
        system.invalidate_cache()
        found = system.find(path, detail=True)
        return {name[len(path) :].lstrip("/"): int(told["size"] or 0) for name, told in sorted(found.items())}

    def names(self, folder: str) -> list[str]:
        return [n.rsplit("/", 1)[1] for n in self.sizes() if n.startswith(f"{folder}/") and n.count("/") == 1]

    def store(self, *, read_only: bool) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.url, read_only=read_only)


def place_of(where: str | os.PathLike[str], name: str = "store") -> Place:
    """The place of a path, or of an address with ``://``; nothing is made there.

    Args:
        where: a path, or an address as text.
        name: of the argument, for the message.

    Raises:
        ValueError: an address, without fsspec or without the package that reaches its protocol.

    >>> str(place_of("results/map.zarr"))
    'results/map.zarr'
    """
    text = os.fspath(where)
    known = ADDRESS.match(text)
    if known is None:
        collapsed = COLLAPSED.match(text)
        if collapsed is not None and not isinstance(where, str):
            raise ValueError(
                f"{name} = {text}: a Path drops a slash of the address; pass it as text, or pass a folder."
            )
        return Folder(Path(where))
    protocol = known[1].lower()
    if protocol in ("file", "local") and known[2] == "://":
        return Folder(Path(text[known.end() :]))
    if importlib.util.find_spec("fsspec") is None:
        raise ValueError(f"{name} = {text} is not on this machine, and fsspec is not installed; {_remedy(protocol)}.")
    from fsspec.core import url_to_fs

    try:
        url_to_fs(text)
    except (ImportError, ValueError) as error:
        said = str(error).rstrip(".").replace("\n", " ")
        raise ValueError(f"{name} = {text} cannot be reached ({said}); {_remedy(protocol)}.") from None
    return Remote(text)


def folder_of(where: str | os.PathLike[str], name: str) -> Path:
    """The path of what must be a folder or file of this machine.

    Raises:
        ValueError: an address such as ``s3://``.

    >>> str(folder_of("run", "out"))
    'run'
    """
    text = os.fspath(where)
    if ADDRESS.match(text) or (COLLAPSED.match(text) and not Path(text.split("/", 1)[0]).exists()):
        raise ValueError(f"{name} = {text} is an address and not a folder of this machine; pass a folder, and copy it.")
    return Path(where)


def _remedy(protocol: str) -> str:
    package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}.get(protocol)
    return f"pip install {'fsspec' if package is None else f'fsspec {package}'}, or pass a folder of this machine"
