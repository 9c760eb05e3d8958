"""Tests run in float64 and under jaxtyping's run-time checks; real data is used where it is present."""

import contextlib
import ctypes
import functools
import gc
import itertools
import os
import runpy
from pathlib import Path

# Most of the time goes into compiling: workers, subprocesses and notebook kernels share what one of them has compiled, and
# compile quickly rather than well. The last bits differ from those of the optimised compiler; see ``optimised``.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# Read by its path, because the package is imported under the checks below.
OPTIONS = runpy.run_path(str(Path(__file__).resolve().parents[1] / "dynamics" / "_options.py"))
os.environ["XLA_FLAGS"] = OPTIONS["quick_flags"](os.environ.get("XLA_FLAGS", ""))
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
# A wrong shape or a wrong dtype, which JAX would otherwise promote in silence, is an error.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
install_import_hook("dynamics", "beartype.beartype")

import optax  # after x64, as nothing of JAX is to be made before


def _promoting(function):
    """``function`` of another package as it runs by default, whatever its dtypes."""

    @functools.wraps(function)
    def called(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return called


# Optax divides by 1 - decay^count with a count in int32 (Adam, averages without bias), whatever it is given.
optax.tree.bias_correction = _promoting(optax.tree.bias_correction)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout")
    return folder


@pytest.fixture(scope="module")
def optimised():
    """XLA as users have it: for tests of speed, of bits that must agree, and of numbers at their last digits."""
    name = "JAX_DISABLE_MOST_OPTIMIZATIONS"
    before, inherited = jax.config.read(name.lower()), os.environ[name]
    jax.config.update(name.lower(), False)
    os.environ[name] = "false"  # for subprocesses
    jax.clear_caches()
    yield
    jax.config.update(name.lower(), before)
    os.environ[name] = inherited
    jax.clear_caches()


# Every compiled function holds memory, and memory maps, of which a Linux process may have 65,530; a worker that compiles a
# thousand functions comes close to both limits and would be killed.
MAPS, STATM = Path("/proc/self/maps"), Path("/proc/self/statm")
MAX_MAPS, MAX_BYTES, LOOK_EVERY = 30_000, 2 << 30, 10
_seen = itertools.count(1)


def _holds_too_much() -> bool:
    resident = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident > MAX_BYTES or MAPS.read_bytes().count(b"\n") > MAX_MAPS


@pytest.fixture(autouse=True)
def _little_memory():
    yield
    if next(_seen) % LOOK_EVERY == 0 and STATM.exists() and _holds_too_much():
        jax.clear_caches()
        gc.collect()
        _trim()


def _trim() -> None:
    """Gives freed memory back to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
