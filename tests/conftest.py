"""Tests run in float64 and under jaxtyping's run-time checks; real data is used where it is present."""

import os
from pathlib import Path

# Most of the time goes into compiling: workers, subprocesses and notebook kernels share what one of them has compiled.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Compiling makes the first example slow, whatever it is. The gate repeats the same examples; elsewhere they are fresh.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")

jax.config.update("jax_enable_x64", True)
install_import_hook("dynamics", "beartype.beartype")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout")
    return folder
