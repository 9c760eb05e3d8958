"""The lines of the house: who may import whom, what loads lazily, and that the public face is what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "_numerics": set(),
    "preferences": {"_numerics"},
    "theorems": {"_numerics", "preferences"},
    "diagnostics": {"_numerics"},
    "plot": {"diagnostics"},
    "objectives": {"_numerics", "preferences"},
    "_source_digest": set(),
    "_identity_code": {"_source_digest"},
    "_identity_values": {"_source_digest", "_identity_code"},
    "_identity": {"_source_digest", "_identity_values"},
    "_parameters": {"_numerics", "_identity"},
    "policies": {"_numerics"},
    "samplers": {"_numerics", "preferences"},
    "data": {"_numerics"},
    "margins": {"_numerics"},
    "rounds": {"_numerics", "_parameters", "preferences", "policies", "objectives"},
    "flows": {"_numerics", "preferences", "policies", "samplers", "objectives", "diagnostics"},
    "solve": {
        "_numerics",
        "preferences",
        "objectives",
        "rounds",
        "flows",
        "diagnostics",
        "_parameters",
        "_progress",
        "_provenance",
    },
}
MAY_IMPORT["sweeps"] = MAY_IMPORT["solve"] | {"solve", "_identity"}
MAY_IMPORT["stability"] = MAY_IMPORT["sweeps"] | {"sweeps", "theorems", "policies"}
MAY_IMPORT["ledger"] = (set(MAY_IMPORT) | {"_progress", "_provenance"}) - {"plot"}


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
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


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("dynamics"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT / "dynamics").with_suffix("").parts
    names = imports(path)
    assert not {n for n in names if n.split(".")[0] in ("experiments", "figures")}
    if parts[0] != "llm":
        assert not {n for n in names if n.split(".")[0] == "torch"}
    if parts[0] in MAY_IMPORT:
        used = {room_of(n) for n in names} - {None, parts[0], "__version__"}
        assert used <= MAY_IMPORT[parts[0]], f"{parts[0]} imports {used - MAY_IMPORT[parts[0]]}"
    if parts[0] == "plot":
        assert not {n for n in names if n.split(".")[0] == "jax"}


@pytest.mark.parametrize("path", files("figures"), ids=lambda p: p.name)
def test_figures_read_and_never_simulate(path):
    assert not {n for n in imports(path) if n.split(".")[0] in ("jax", "experiments", "equinox")}


def test_only_entry_points_touch_global_jax_configuration():
    # use_machine is what entry points call, and says that it does it.
    allowed = {ROOT / "dynamics" / "cli.py", ROOT / "dynamics" / "sweeps" / "_machine.py"}
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


def test_the_public_face_resolves():
    import dynamics

    for name in dynamics.__all__:
        assert getattr(dynamics, name) is not None
    assert set(dynamics.__all__) <= set(dir(dynamics))


def test_modules_stay_small():
    for path in [*files("dynamics"), *files("experiments"), *files("figures")]:
        assert len(path.read_text().splitlines()) <= 300, f"{path} is long; ask what else lives there"
