"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for path in sorted((ROOT / "dynamics").rglob("*.py")) if re.search(r"^ +>>> ", path.read_text(), re.M)]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The examples of the functions, classes and methods that a module defines."""
    own: dict[str, Any] = {n: x for n, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__}
    for name, kind in [(n, x) for n, x in own.items() if inspect.isclass(x)]:
        own |= {f"{name}.{n}": x for n, x in vars(kind).items() if inspect.isfunction(x)}
    names = {"dyn": dyn, "jax": jax, "jnp": jnp, "np": np}
    finder = doctest.DocTestFinder(recurse=False)
    found = [test for n, x in own.items() for test in finder.find(x, n, globs=vars(module) | names)]
    return [test for test in found if test.examples]


@pytest.mark.thorough
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_run(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tests = examples(importlib.import_module(name))
    lines = re.findall(r"^ +>>> ", path.read_text(), re.MULTILINE)
    assert sum(len(test.examples) for test in tests) == len(lines)  # none is overlooked
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0
