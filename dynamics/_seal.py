"""Checksums of a store's files, so that a store that lost something is recognised before a number is read from it."""

from __future__ import annotations

import json
import zlib
from typing import Any

from ._places import Place

CHECKS = "checks"
"""The subgroup of a zarr store that holds checksums; xarray does not look into it."""
CONTENTS = f"{CHECKS}/contents.json"
BEGUN = f"{CHECKS}/.zgroup"


def seal(place: Place, kind: str) -> None:
    """Records the checksum of every file that is there; what is added later is not covered.

    Args:
        place: a zarr group in format 2.
        kind: what the store is, such as "sweep".
    """
    begin(place)
    names = [name for name in place.sizes() if name != CONTENTS]
    files = {name: checksum(place.read(name)) for name in names}
    place.write(CONTENTS, json.dumps({"kind": kind, "files": files}, indent=1).encode())


def begin(place: Place) -> None:
    """Makes the subgroup of checksums, which marks a store that is not sealed yet as one that is being made."""
    place.write(BEGUN, json.dumps({"zarr_format": 2}).encode())


def checksum(content: bytes | None) -> int | None:
    """CRC-32 of a file's content; None of a file that does not exist.

    >>> checksum(b"chunk") == checksum(b"Chunk")
    False
    """
    return None if content is None else zlib.crc32(content)


def contents(place: Place) -> dict[str, Any] | None:
    """What ``seal`` recorded, or None where it recorded nothing; {} where that cannot be read."""
    found = place.read(CONTENTS)
    if found is None:
        return None
    try:
        told = json.loads(found)
        return told if isinstance(told["kind"], str) and isinstance(told["files"], dict) else {}
    except (ValueError, KeyError, TypeError):
        return {}


def damage(place: Place) -> str | None:
    """What is wrong with the first damaged file of a sealed store, such as "its file alpha/0 is missing"; None if nothing."""
    told = contents(place)
    if not told:
        return f"its file {CONTENTS} {'is missing' if told is None else 'cannot be read'}"
    for name, known in told["files"].items():
        found = checksum(place.read(name))
        if found != known:
            return f"its file {name} {'is missing' if found is None else 'is not as it was written'}"
    return None


def attributes(place: Place) -> dict[str, Any]:
    """The attributes of the group at ``place``; {} where they cannot be read."""
    try:
        found = json.loads(place.read(".zattrs") or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
