"""Tests run in float64 and under jaxtyping's run-time checks; real data is used where it is present."""

import gc
import itertools
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


# Every compiled function holds memory maps, of which a Linux process may have 65,530; a worker that compiles a thousand
# functions comes close and would be killed.
MAPS = Path("/proc/self/maps")
MANY_MAPS, LOOK_EVERY = 30_000, 10
_seen = itertools.count(1)


@pytest.fixture(autouse=True)
def _few_enough_memory_maps():
    yield
    if next(_seen) % LOOK_EVERY == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()
