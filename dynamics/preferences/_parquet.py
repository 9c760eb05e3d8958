"""Rows of `.parquet` files, through pyarrow where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

_BATCH = 1024


def parquet_rows(stream: BufferedIOBase) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with the label `row N`, counted from 0."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("the package pyarrow is not installed; run pip install pyarrow, or save it as .csv.") from None
    try:
        file = parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"it is damaged or not Parquet content ({type(error).__name__}); write it again.") from None
    with file:
        number = 0
        try:
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    yield f"row {number}", row
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"it is damaged after row {number} ({type(error).__name__}); write it again.") from None
