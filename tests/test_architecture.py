"""The lines of the house: who may import whom, what loads lazily, and that the public face is what it says."""

import ast
import re
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
    "_where_needed",
    "_interned",
    "_cards",
    "_labels",
}
SHARED |= {"_identity_code", "_identity_values", "_source_digest", "_places", "_seal", "_shares", "_options"}
FIRST = {"_numerics", "_checks", "_noun", "schema"}
SEEN = FIRST | {"preferences", "_parts", "_vectors", "_laplacian", "_where_needed"}
MAY_IMPORT: dict[str, set[str]] = {
    "_numerics": set(),
    "_checks": {"_numerics"},
    "_noun": set(),
    "_shares": set(),
    "_cards": set(),
    "_labels": set(),
    "_options": set(),
    "_parts": {"_numerics", "_checks"},
    "_vectors": set(),
    "_where_needed": set(),
    "_interned": set(),
    "_laplacian": set(),
    "_source_digest": set(),
    "_identity_code": {"_source_digest"},
    "_identity_values": {"_source_digest", "_identity_code"},
    "_identity": {"_source_digest", "_identity_values"},
    "_parameters": {"_numerics", "_checks", "_identity"},
    "_places": set(),
    "_seal": {"_places"},
    "_progress": set(),
    "_provenance": set(),
    "schema": {"_labels"},
    "preferences": FIRST | {"_laplacian", "_parts"},
    "samplers": SEEN,
    "references": SEEN,
    "policies": SEEN,
    "rewards": SEEN,
    "data": FIRST,
    "margins": FIRST,
    "diagnostics": FIRST | {"_parts", "preferences"},
    "theorems": {"_numerics", "_checks", "preferences"},
    "oracle": {"schema"},
    "plot": {"schema", "diagnostics"},
}
FEEDBACK = SEEN | {"samplers", "references", "policies", "rewards"}
MAY_IMPORT["feedback"] = MAY_IMPORT["objectives"] = FEEDBACK
MAY_IMPORT["learners"] = FEEDBACK | {"feedback", "objectives", "_parameters", "_interned"}
FITS = MAY_IMPORT["learners"] | {"learners", "diagnostics"}
MAY_IMPORT["flows"] = FITS
MAY_IMPORT["rounds"] = FITS | {"_progress"}
MAY_IMPORT["games"] = FITS | {"rounds", "oracle"}
MAY_IMPORT["engine"] = FITS | {"rounds", "flows", "games"}
MAY_IMPORT["solve"] = MAY_IMPORT["engine"] | {
    "engine",
    "_progress",
    "_provenance",
    "_interned",
    "_identity",
    "_noun",
    "_parts",
    "_vectors",
    "_where_needed",
}
SHARED |= {"_identity_code", "_identity_values", "_source_digest"}
MAY_IMPORT["sweeps"] = MAY_IMPORT["solve"] | {"solve", "_places", "_seal"}
MAY_IMPORT["stability"] = MAY_IMPORT["sweeps"] | {"sweeps", "theorems", "_shares", "_cards", "oracle"}
MAY_IMPORT["ledger"] = MAY_IMPORT["stability"] | {"stability", "margins", "data", "methods"}
MAY_IMPORT["methods"] = MAY_IMPORT["atlas"] = MAY_IMPORT["stability"] | {"stability"}
MAY_IMPORT["plot"] |= {"atlas"}
MAY_IMPORT["testing"] = {"_checks", "_numerics", "preferences", "objectives", "rounds", "theorems"}
MAY_IMPORT["llm"] = FITS | {"rounds", "flows", "solve", "_progress", "_provenance", "_places", "_seal"}
MAY_IMPORT["explore"] = {"oracle", "plot", "preferences"}
MAY_IMPORT["cli"] = (set(MAY_IMPORT) - {"testing"}) | {"ledger"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = set(MAY_IMPORT)
# Imports of another room's private module that are still there; it may only shrink.
STILL_PRIVATE: set[str] = set()
# Private modules that tests look into, each with what public names would not show.
SMALL = "limits, made small so that tests can reach them"
KERNEL = "numerical kernels with oracles of their own, at inputs that no whole analysis meets"
COMPILED = "compiled functions, called by themselves so that their traces can be counted"
STUBBED = "steps that a test replaces by another, to see what is made of the outcome"
LOOKED_INTO = {
    "cli._draws": "draws and their probabilities, which the printed card rounds",
    "cli._llm": STUBBED,
    "cli._main": STUBBED,
    "cli._remedy": "what to do, at settings for which a whole report takes half a minute each",
    "cli._study": STUBBED,
    "cli._tables": SMALL,
    "diagnostics._period": COMPILED,
    "flows._tokens": SMALL,
    "ledger._lanes": KERNEL,
    "ledger._newton": KERNEL,
    "llm._candidates": STUBBED,
    "llm._checkpoint": "the file of a run, damaged without training",
    "llm._features": KERNEL,
    "llm._gguf": KERNEL,
    "llm._inner": STUBBED,
    "llm._level": STUBBED,
    "llm._loop": SMALL,
    "llm._loss": STUBBED,
    "llm._models": SMALL,
    "llm._packaged": STUBBED,
    "llm._pairs": SMALL,
    "llm._probe": KERNEL,
    "llm._record": SMALL,
    "llm._round_loss": KERNEL,
    "llm._rounds_run": STUBBED,
    "llm._sampling": KERNEL,
    "objectives._newton": KERNEL,
    "objectives._probabilities": KERNEL,
    "objectives._projected": KERNEL,
    "plot._report": "the choice of rounds to draw, which a drawn figure does not tell",
    "preferences._bradley_terry": KERNEL,
    "preferences._csv": SMALL,
    "preferences._hub": "no import: a name that must be absent from what a sweep's identity reads",
    "preferences._jsonl": SMALL,
    "preferences._npz": SMALL,
    "preferences._orders": SMALL,
    "preferences._preflib": SMALL,
    "preferences._ratings": SMALL,
    "preferences._responses": SMALL,
    "preferences._rows": SMALL,
    "preferences._wins": KERNEL,
    "samplers._design": SMALL,
    "solve._descend": COMPILED,
    "solve._flow": SMALL,
    "solve._iterate": SMALL,
    "stability._critical": KERNEL,
    "stability._gibbs": KERNEL,
    "stability._hierarchical": KERNEL,
    "stability._known": KERNEL,
    "stability._laplace": KERNEL,
    "stability._normal_form": KERNEL,
    "stability._orbit": COMPILED,
    "stability._safe": KERNEL,
    "stability._triangles": KERNEL,
    "stability._space": "the coordinates that the kernels of stability are called with",
    "sweeps._blocks": STUBBED,
    "sweeps._axes": "plans of a sweep, built without running it",
    "sweeps._grid": "plans of a sweep, built without running it",
    "sweeps._machine": "what is compiled whole, and threads, neither of which shows in results",
    "sweeps._plan": SMALL,
    "sweeps._store": STUBBED,
    "sweeps._stored": STUBBED,
    "theorems._bound": STUBBED,
}


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


def looked_into(text: str) -> set[str]:
    """Private modules of rooms, "room._module", that a test's text names: imports, attributes, and names within strings."""
    found = {f"{room}.{module}" for room, module in re.findall(r"\bdyn(?:amics)?\.([a-z]+)\.(_[a-z]\w*)", text)}
    for room, names in re.findall(r"\bfrom dynamics\.([a-z]+) import ([^\n(]+|\([^)]*\))", text):
        found |= {f"{room}.{module}" for module in re.findall(r"\b_[a-z]\w*", names)}
    return found


def all_but_this_file() -> list[Path]:
    return [path for path in files("tests") if path != Path(__file__).resolve()]


@pytest.mark.parametrize("path", all_but_this_file(), ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_take_public_names(path):
    assert looked_into(path.read_text()) <= set(LOOKED_INTO), "take the public name, or say in LOOKED_INTO why not"


def test_the_list_of_what_tests_look_into_only_shrinks():
    assert set().union(*(looked_into(path.read_text()) for path in all_but_this_file())) == set(LOOKED_INTO)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import dynamics.solve._flow as f", {"solve._flow"}),
        ("from dynamics.solve._flow import Flow", {"solve._flow"}),
        ("from dynamics.solve import RESULTS, _flow", {"solve._flow"}),
        ("from dynamics.solve import (\n    RESULTS,\n    _flow,\n)", {"solve._flow"}),
        ('monkeypatch.setattr("dynamics.solve._flow.MAX_STEPS", 9)', {"solve._flow"}),
        ("registry = dyn.theorems._bound._REGISTRY", {"theorems._bound"}),
        ("from dynamics._numerics import centre", set()),
        ("from dynamics.solve import RESULTS", set()),
    ],
)
def test_what_tests_look_into_is_seen(text, found):
    assert looked_into(text) == found


@pytest.mark.parametrize("path", all_but_this_file(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_test_imports_another(path):
    assert not {name for name in imports(path) if name.startswith("test_")}, (
        "what tests share lies beside their folders"
    )


def test_tests_lie_in_folders_of_the_rooms():
    rooms = {path.name for path in (ROOT / "dynamics").iterdir() if (path / "__init__.py").is_file()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert folders <= rooms | {"experiments", "figures", "smoke", "theory"}


@pytest.mark.parametrize("path", files("figures"), ids=lambda p: p.name)
def test_figures_read_and_never_simulate(path):
    assert not {n for n in imports(path) if n.split(".")[0] in ("jax", "experiments", "equinox")}


def test_only_entry_points_touch_global_jax_configuration():
    allowed = {ROOT / "dynamics" / "cli" / "_main.py"}
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
