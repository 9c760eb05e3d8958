"""Packed files (`.gz`, `.xz`, `.zst`), unpacked as they are read and only up to limits."""

from __future__ import annotations

import gzip
import io
import lzma
from io import BufferedIOBase
from typing import Any

MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
PACKED = tuple(MAGIC.values())
_NAMES = {".gz": "gzip", ".xz": "xz", ".zst": "zstd"}
_MAX_BYTES = 2**32
_MAX_UNCHECKED_BYTES = 2**26  # unpacked, up to which any ratio of compression is accepted
_MAX_RATIO = 200  # of unpacked to packed bytes


def unpacked(stream: BufferedIOBase, packing: str, size: int) -> io.BufferedReader:
    """The content of a packed file of ``size`` bytes; errors of its format become sentences."""
    return io.BufferedReader(_Unpacked(_opened(stream, packing), packing, size), 2**16)


def _opened(stream: BufferedIOBase, packing: str) -> Any:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=stream)
    if packing == ".xz":
        return lzma.LZMAFile(stream)  # pyright: ignore[reportArgumentType]
    try:
        from compression import zstd  # pyright: ignore[reportMissingImports]  # Python 3.14 and later
    except ImportError:
        try:
            import zstandard  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError("it is packed with zstd; run pip install zstandard, or unpack it first.") from None
        return _Zstd(stream, zstandard.ZstdDecompressor().decompressobj)
    return zstd.ZstdFile(stream)


class _Zstd:
    """Frames one after the other; unlike the reader of zstandard, it notices that the last one is cut short."""

    def __init__(self, stream: Any, new: Any):
        self._stream, self._new, self._frame = stream, new, None
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            packed = self._stream.read(2**16)
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            while packed:
                frame = self._frame or self._new()
                self._ready += frame.decompress(packed)
                self._frame, packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def close(self) -> None:
        self._ready = b""


class _Unpacked(io.RawIOBase):
    mode, name = "rb", ""  # as files have

    def __init__(self, inner: Any, packing: str, size: int):
        self._inner, self._packing, self._size, self._total = inner, packing, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        # Each library has errors of its own: OSError, EOFError, zlib.error, LZMAError, ZstdError.
        except Exception as error:
            name = _NAMES[self._packing]
            raise ValueError(f"it is damaged or not {name} content ({type(error).__name__}); pack it again.") from None
        self._total += len(data)
        if self._total > _MAX_BYTES:
            raise ValueError(f"it unpacks to more than {_MAX_BYTES // 2**20} MiB; pass fewer rows.")
        if self._total > _MAX_UNCHECKED_BYTES and self._total > _MAX_RATIO * self._size:
            raise ValueError(
                f"its {self._size} bytes unpack to more than {self._total // 2**20} MiB, like a file made to exhaust "
                f"memory; pass it unpacked."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()
