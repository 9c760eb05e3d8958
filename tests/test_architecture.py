"""The lines of the house: who may import whom, what loads lazily, and that the public face is what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Root modules that every room may use in private: their names start with an underscore for users, not for rooms.
SHARED = {
    "_numerics",
    "_checks",
    "_parameters",
    "_progress",
    "_provenance",
    "_identity",
    "_noun",
    "_parts",
    "_vectors",
    "_laplacian",
}
SHARED |= {"_identity_code", "_identity_values", "_source_digest"}
FIRST = {"_numerics", "_checks", "_noun", "schema"}
SEEN = FIRST | {"preferences", "_parts", "_vectors", "_laplacian"}
MAY_IMPORT: dict[str, set[str]] = {
    "_numerics": set(),
    "_checks": {"_numerics"},
    "_noun": set(),
    "_parts": {"_numerics", "_checks"},
    "_vectors": set(),
    "_laplacian": set(),
    "_source_digest": set(),
    "_identity_code": {"_source_digest"},
    "_identity_values": {"_source_digest", "_identity_code"},
    "_identity": {"_source_digest", "_identity_values"},
    "_parameters": {"_numerics", "_checks", "_identity"},
    "_progress": set(),
    "_provenance": set(),
    "schema": set(),
    "preferences": FIRST | {"_laplacian", "_parts"},
    "samplers": SEEN,
    "references": SEEN,
    "policies": SEEN,
    "rewards": SEEN,
    "data": FIRST,
    "margins": FIRST,
    "diagnostics": FIRST,
    "theorems": {"_numerics", "_checks", "preferences"},
    "plot": {"schema", "diagnostics"},
}
FEEDBACK = SEEN | {"samplers", "references", "policies", "rewards"}
MAY_IMPORT["feedback"] = MAY_IMPORT["objectives"] = FEEDBACK
MAY_IMPORT["learners"] = FEEDBACK | {"feedback", "objectives", "_parameters"}
FITS = MAY_IMPORT["learners"] | {"learners", "diagnostics"}
MAY_IMPORT["rounds"] = MAY_IMPORT["flows"] = MAY_IMPORT["games"] = FITS
MAY_IMPORT["engine"] = FITS | {"rounds", "flows", "games"}
MAY_IMPORT["solve"] = MAY_IMPORT["engine"] | {
    "engine",
    "_progress",
    "_provenance",
    "_identity",
    "_noun",
    "_parts",
    "_vectors",
}
SHARED |= {"_identity_code", "_identity_values", "_source_digest"}
MAY_IMPORT["sweeps"] = MAY_IMPORT["solve"] | {"solve"}
MAY_IMPORT["stability"] = MAY_IMPORT["sweeps"] | {"sweeps", "theorems"}
MAY_IMPORT["ledger"] = MAY_IMPORT["stability"] | {"stability", "margins", "data"}
MAY_IMPORT["testing"] = {"_checks", "_numerics", "preferences", "objectives", "rounds", "theorems"}
MAY_IMPORT["cli"] = (set(MAY_IMPORT) - {"testing"}) | {"ledger"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = set(MAY_IMPORT)
# Imports of another room's private module that are still there; it may only shrink.
STILL_PRIVATE: set[str] = set()


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """Absolute names of the modules that a file imports, relative ones resolved."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def room_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "dynamics" and len(parts) > 1 else None


def private_imports(path: Path, root: Path = ROOT) -> set[str]:
    """What a file imports of the private modules and names of rooms that are not its own."""
    parts = path.relative_to(root).with_suffix("").parts
    own = parts[1] if parts[0] == "dynamics" else None
    names = {n for n in imports(path, root) if room_of(n) not in (None, own)}
    private = lambda part: part.startswith("_") and not part.startswith("__")
    return {
        n
        for n in names
        if any(map(private, n.split(".")[2:])) or (private(n.split(".")[1]) and n.split(".")[1] not in SHARED)
    }


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("dynamics"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT / "dynamics").with_suffix("").parts
    names = imports(path)
    assert not {n for n in names if n.split(".")[0] in ("experiments", "figures")}
    if parts[0] != "llm":
        assert not {n for n in names if n.split(".")[0] == "torch"}
    assert parts[0] in MAY_IMPORT, f"say in MAY_IMPORT what {parts[0]} may import"
    used = {room_of(n) for n in names} - {None, parts[0], "__version__"}
    assert used <= MAY_IMPORT[parts[0]], f"{parts[0]} imports {used - MAY_IMPORT[parts[0]]}"
    if parts[0] == "plot":
        assert not {n for n in names if n.split(".")[0] == "jax"}


def test_no_room_imports_from_behind_a_later_one():
    for room, allowed in MAY_IMPORT.items():
        assert room not in allowed or room == "__init__"
        for earlier in allowed & set(MAY_IMPORT):
            assert room not in MAY_IMPORT[earlier], f"{room} and {earlier} may import each other"


@pytest.mark.parametrize(
    "path", [*files("dynamics"), *files("experiments"), *files("figures")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_rooms_are_private(path):
    assert private_imports(path) - STILL_PRIVATE == set()


def test_the_list_of_private_imports_only_shrinks():
    everywhere = [*files("dynamics"), *files("experiments"), *files("figures")]
    assert set().union(*map(private_imports, everywhere)) >= STILL_PRIVATE


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import dynamics.solve._flow", "dynamics.solve._flow"),
        ("import dynamics.solve._flow as f", "dynamics.solve._flow"),
        ("from dynamics.solve import _flow", "dynamics.solve._flow"),
        ("from dynamics.solve._flow import Flow", "dynamics.solve._flow.Flow"),
        ("from ..solve._flow import Flow", "dynamics.solve._flow.Flow"),
        ("from ..solve import iterate, _flow", "dynamics.solve._flow"),
        ("from .. import _secret", "dynamics._secret"),
        ("from .._secret import thing", "dynamics._secret.thing"),
        ("def f():\n    from ..solve import _flow", "dynamics.solve._flow"),
        ("if TYPE_CHECKING:\n    from ..solve._flow import Flow", "dynamics.solve._flow.Flow"),
        ("from ..solve import iterate", None),
        ("from ._own import thing", None),
        ("from . import _own", None),
        ("from .._numerics import centre", None),
        ("from .. import _numerics", None),
        ("from .. import __version__", None),
        ("import numpy._core", None),
    ],
)
def test_private_imports_are_seen(tmp_path, line, found):
    path = tmp_path / "dynamics" / "room" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    seen = private_imports(path, tmp_path)
    assert (found in seen) if found else not seen


@pytest.mark.parametrize("path", files("figures"), ids=lambda p: p.name)
def test_figures_read_and_never_simulate(path):
    assert not {n for n in imports(path) if n.split(".")[0] in ("jax", "experiments", "equinox")}


def test_only_entry_points_touch_global_jax_configuration():
    # use_machine is what entry points call, and says that it does it.
    allowed = {ROOT / "dynamics" / "cli" / "_main.py", ROOT / "dynamics" / "sweeps" / "_machine.py"}
    for path in set(files("dynamics")) - allowed:
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(call.endswith("config.update") for call in calls), path


def test_import_is_lazy():
    code = (
        "import sys, dynamics\n"
        "heavy = {'matplotlib', 'xarray', 'zarr', 'scipy', 'diffrax', 'optax', 'hypothesis', 'rich', 'tyro', 'equinox'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "dynamics.IPO\n"
        "print(sorted(({'matplotlib', 'xarray', 'zarr', 'hypothesis', 'tyro'}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_the_schema_is_free_of_jax():
    code = "import sys\nfrom dynamics import schema\nprint(schema.VERDICTS[0], sorted({'jax', 'xarray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["collapsed", "[]"]


def test_the_public_face_resolves():
    import dynamics

    for name in dynamics.__all__:
        assert getattr(dynamics, name) is not None
    assert set(dynamics.__all__) <= set(dir(dynamics))


def test_modules_stay_small():
    for path in [*files("dynamics"), *files("experiments"), *files("figures")]:
        assert len(path.read_text().splitlines()) <= 300, f"{path} is long; ask what else lives there"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "dynamics" / "py.typed").is_file()
