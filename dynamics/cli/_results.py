"""The command ``dynamics results``: the content and progress of a store, be it of a sweep, an experiment or a training run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

SUFFIXES = (".zarr", ".sweeps")


@dataclasses.dataclass(frozen=True)
class Results:
    """The content and progress of a store: a sweep, an experiment's result, a training run's record, or a folder of these."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """What `dyn.sweep(..., store=PATH)` or `python -m experiments` made; an address such as s3://bucket/name where fsspec
    reaches it."""
    json: bool = False
    """Print JSON instead of a card."""

    def run(self) -> None:
        from . import _tables

        inside = _inside(self.path)
        if inside:
            found = [_of_list(path) for path in inside]
            _tables.print_json(found) if self.json else _tables.print_parts(_table(found))
            return
        found = _look(self.path)
        if self.json:
            _tables.print_json(found)
        else:
            _tables.print_card(_sweep_rows(found) if found["kind"] == "sweep" else _rows(found))


def _inside(path: str) -> list[Path]:
    """The stores in a folder that is none itself."""
    folder = Path(path)
    if not folder.is_dir() or (folder / ".zgroup").exists() or (folder / "checks").exists():
        return []
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_dir() and not p.name.startswith("."))
    parts = [[p] if p.suffix == ".zarr" else sorted(inner for inner in p.iterdir() if inner.is_dir()) for p in found]
    return [store for part in parts for store in part]


def _of_list(path: Path) -> dict[str, Any]:
    """One store of several: what is wrong with it is an entry and not an error."""
    try:
        return _look(str(path))
    except ValueError as error:
        return {"path": str(path), "kind": "not readable", "error": str(error)}


def _look(path: str) -> dict[str, Any]:
    from .._places import place_of
    from .._seal import attributes, contents, damage
    from ..sweeps import summary

    place = place_of(path, "path")
    told, attrs = contents(place), attributes(place)
    experiment = "experiment" in attrs and "identity" not in attrs
    if not (experiment or "rows" in attrs or (told and told["kind"] == "result")):
        return summary(path)
    wrong = None if told is None else damage(place)
    if wrong is not None:
        raise ValueError(
            f"result {place} is damaged: {wrong}; delete it and run the experiment again, or restore the file from a copy."
        )
    return _described(place, attrs, sealed=told is not None)


def _described(place: Any, attrs: dict[str, Any], *, sealed: bool) -> dict[str, Any]:
    import json

    arrays = {}
    for name, size in place.sizes().items():
        parts = name.split("/")
        if len(parts) == 2 and parts[1] == ".zarray" and size:
            try:
                array, told = json.loads(place.read(name)), json.loads(place.read(f"{parts[0]}/.zattrs") or b"{}")
                arrays[parts[0]] = dict(zip(told["_ARRAY_DIMENSIONS"], array["shape"], strict=True))
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"store {place} is damaged: its file {parts[0]}/.zarray or {parts[0]}/.zattrs cannot be read; restore it "
                    f"from a copy, or compute the store again."
                ) from None
    config = attrs.get("config", "{}")
    return {
        "path": str(place),
        "kind": "record" if "rows" in attrs else "result",
        "experiment": attrs.get("experiment"),
        "config": json.loads(config) if isinstance(config, str) else config,
        "rows": attrs.get("rows"),
        "ended": attrs.get("result"),
        "checked": sealed,
        "variables": arrays,
        "versions": {k: v for k, v in attrs.items() if k.startswith("version_")},
        "bytes": sum(place.sizes().values()),
    }


def _progress(found: dict[str, Any]) -> str:
    if found["kind"] == "not readable":
        return found["error"]
    if found["kind"] == "record":
        return f"{found['rows']} rows, {found['ended'] or 'running'}"
    if found["kind"] == "result":
        return "complete" if found["checked"] else "complete, without checksums"
    done, blocks, lost = found["blocks_done"], found["blocks"], found["damaged"]
    end = ", complete" if done == blocks else f", {len(lost)} damaged ({lost[0]}, …)" if lost else ""
    return f"{done} of {blocks} blocks ({int(100 * done / blocks)}%){end.replace(', …', '') if len(lost) == 1 else end}"


def _table(found: list[dict[str, Any]]) -> Any:
    from . import _tables

    table = _tables.new_table(("store", "kind", "progress", "MB"), numbers={"MB"})
    for one in found:
        size = f"{one['bytes'] / 1e6:.3g}" if "bytes" in one else ""
        table.add_row(*map(_tables.text, (one["path"], one["kind"], _progress(one), size)))
    return table


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    sizes: dict[str, int] = {}
    for dims in found["variables"].values():
        sizes |= dims
    of = lambda dims: f" ({', '.join(dims)})" if dims else ""
    rows = [
        ("store", found["path"]),
        ("experiment", found["experiment"]),
        ("progress", _progress(found)),
        ("grid", " × ".join(f"{dim} {n}" for dim, n in sizes.items())),
        ("variables", ", ".join(f"{name}{of(dims)}" for name, dims in found["variables"].items() if name not in sizes)),
        ("config", ", ".join(f"{k} = {v}" for k, v in found["config"].items())),
    ]
    return [(label, value) for label, value in rows if value] + _common(found)


def _sweep_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    grid = " × ".join(f"{name} {n}" for name, n in found["over"].items())
    process = found["process"]
    numbers = (f"{k} = {v:g}" for k, v in process.items() if isinstance(v, int | float) and not isinstance(v, bool))
    rows = [
        ("store", found["path"]),
        ("progress", _progress(found)),
        ("grid", f"{grid}: {found['runs']} runs of {found['rounds']} rounds"),
        ("variables", ", ".join(f"{name} ({kind})" for name, kind in found["variables"].items())),
        ("process", ", ".join([process["process"], *filter(None, [process.get("objective")]), *numbers])),
    ]
    if found["damaged"]:
        rows.insert(2, ("to do", "repeat the sweep, which computes damaged blocks again"))
    return rows + _common(found)


def _common(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("on disk", f"{found['bytes'] / 1e6:.3g} MB"),
        ("computed by", ", ".join(f"{k.removeprefix('version_')} {v}" for k, v in found["versions"].items())),
    ]
