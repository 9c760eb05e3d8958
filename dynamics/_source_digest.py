"""The modules that a computation imports, with a digest of the code of each; comments, docstrings and layout do not count."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

LIBRARY = __name__.split(".")[0]
_STARTED = time.time()  # a module written later may differ from the one in memory

Origin = Literal["library", "own", "installed"]

# Top-level statements that only define names; others have an effect when the module is imported.
_DEFINES = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign),
    *((getattr(ast, "TypeAlias"),) if hasattr(ast, "TypeAlias") else ()),  # noqa: B009
)


@functools.cache
def origin(module: str) -> Origin:
    """Whether a module is this library's, the user's own, or installed: Python's and packages', identified by version."""
    top = module.split(".")[0]
    if top in (LIBRARY, "__main__"):
        return "library" if top == LIBRARY else "own"
    if top in sys.stdlib_module_names:
        return "installed"
    places = [str(place) for place in _places(top)]
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    inside = lambda place: (
        place.startswith(tuple(installed)) or {"site-packages", "dist-packages"} & {*Path(place).parts}
    )
    return "installed" if places and all(inside(place) for place in places) else "own"


@functools.cache
def version(module: str) -> str:
    """The version of the installed package that a module belongs to; Python's version for its own modules."""
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return sys.version.split()[0]
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(top, [])
        return ",".join(f"{name} {metadata.version(name)}" for name in sorted(names)) or "unknown"


def imported(start: Iterable[str]) -> dict[str, str]:
    """By name, a digest of the code of ``start`` and of every module that it imports; installed packages are not read.

    Names are followed to the module that defines them: of a package whose ``__init__`` re-exports many names, only those
    imported count, and what the ``__init__`` imports for its effect (without listing it in ``__all__``).

    Raises:
        OSError: the source of one of them cannot be read.
        ValueError: a module of the library was edited after it was imported.
    """
    found: dict[str, str] = {}
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in found or origin(name) == "installed":
            continue
        source = _source(name)
        if source is None and not _places(name.split(".")[0]):
            continue  # an optional package that is not installed
        if source is None:
            raise OSError(f"the source of module {name} cannot be read; install the package with its source files.")
        if origin(name) == "library" and name in sys.modules and source.written > _STARTED:
            raise ValueError(
                f"{name} was edited after this process imported it, so stored results would not match the new code; restart "
                f"Python."
            )
        found[name] = source.digest
        waiting += source.brings
    return dict(sorted(found.items()))


class _Source:
    """What the source file of a module shows: a digest, its imports, and the names that it re-exports."""

    def __init__(self, name: str, path: Path, written: int):
        tree = ast.parse(path.read_bytes())
        self.name, self.written = name, written / 1e9
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.digest = hashlib.sha256(ast.dump(_bare(tree)).encode()).hexdigest()[:16]
        self.imports = list(self._imports(tree))
        listed = {
            n.value for node in tree.body if _lists_names(node) for n in ast.walk(node) if isinstance(n, ast.Constant)
        }
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        self.gives = {bound: (module, name) for module, name, bound in self._bindings(top) if name}
        self.effects = [(module, name) for module, name, bound in self._bindings(top) if bound not in listed]
        self.acts = any(not isinstance(n, _DEFINES) and not _is_typing(n) for n in tree.body)
        if any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in tree.body):
            # A lazy module: its re-exports are imported under TYPE_CHECKING.
            blocks = [n for block in tree.body if _is_typing(block) for n in block.body]  # pyright: ignore[reportAttributeAccessIssue]
            self.gives = {bound: (module, name) for module, name, bound in self._bindings(blocks) if name} | self.gives

    @functools.cached_property
    def brings(self) -> list[str]:
        """The modules imported with this one, without those that only a parent package re-exports."""
        parts = self.name.split(".")
        above = [package for depth in range(1, len(parts)) if (package := _source(".".join(parts[:depth]))) is not None]
        wanted = [*self.imports, *(pair for package in above for pair in package.effects)]
        found = [target for pair in wanted for target in _targets(*pair)]
        return sorted({*found, *(package.package for package in above if package.acts)})

    def _bindings(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str, str]]:
        """(module, name in it or "", local name) for each name in import statements."""
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, "", alias.asname or alias.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                module = importlib.util.resolve_name(module, self.package) if node.level else module
                for alias in node.names:
                    yield module, alias.name, alias.asname or alias.name

    def _imports(self, tree: ast.AST) -> Iterator[tuple[str, str]]:
        nodes = list(_nodes(tree))
        chains = {}
        for node in nodes:
            chain = _chain(node)
            if chain:
                chains.setdefault(chain[0], set()).add(chain[1:])
        for module, name, bound in self._bindings(nodes):
            yield module, name
            if name:
                if origin(module) != "installed" and _file(f"{module}.{name}") is not None:
                    yield from _along(f"{module}.{name}", chains.get(bound, ()))
            else:
                yield from _along(bound if bound == module.split(".")[0] else module, chains.get(bound, ()))


def _along(module: str, chains: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """The imports behind ``module.a.b`` for each of the chains ``("a", "b")``."""
    if origin(module) == "installed":
        return
    for chain in chains:
        here = module
        for name in chain:
            yield here, name
            if _file(f"{here}.{name}") is None:
                break
            here = f"{here}.{name}"


def _targets(module: str, name: str) -> Iterator[str]:
    """The modules that ``from module import name`` imports; an empty name stands for ``import module``."""
    if origin(module) == "installed":
        return
    if name and name != "*" and _file(f"{module}.{name}") is not None:
        yield f"{module}.{name}"
        return
    source = _source(module)
    if name in ("", "*") or source is None or source.package != module or name not in source.gives:
        yield module
        return
    yield from _targets(*source.gives[name])


def _source(name: str) -> _Source | None:
    path = _file(name)
    return None if path is None else _read(name, path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _read(name: str, path: Path, written: int) -> _Source:
    """Cached by modification time, since the user's own modules may be edited and reloaded."""
    return _Source(name, path, written)


def _file(name: str) -> Path | None:
    return _library_file(name) if origin(name) == "library" else _look_up(name)


def _look_up(name: str) -> Path | None:
    """The source file of a module, found without importing it."""
    top, *rest = name.split(".")
    for place in _places(top):
        folder = place.parent if place.suffix == ".py" else place
        if not rest and place.suffix == ".py":
            return place
        if rest and place.suffix == ".py" and place.name != "__init__.py":
            continue
        base = folder.joinpath(*rest)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
    return None


_library_file = functools.cache(_look_up)


def _places(top: str) -> list[Path]:
    """The file, or the folders, of a top-level module."""
    module = sys.modules.get(top)
    spec = getattr(module, "__spec__", None)
    try:
        spec = spec or (importlib.util.find_spec(top) if module is None else None)
    except (ImportError, ValueError):
        spec = None
    file = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    if file:
        return [Path(file)]
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _lists_names(node: ast.AST) -> bool:
    names = {t.id for t in node.targets if isinstance(t, ast.Name)} if isinstance(node, ast.Assign) else set()
    return "__all__" in names


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under TYPE_CHECKING."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if _is_typing(child):
            for other in child.orelse:  # pyright: ignore[reportAttributeAccessIssue]
                yield from _nodes(other)
        else:
            yield from _nodes(child)


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("a", "b", "c") for the expression ``a.b.c``; empty for others."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) and names else ()


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and ``pass``, so that adding a docstring changes nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            node.body = [n for n in text if not isinstance(n, ast.Pass)]
    return tree
