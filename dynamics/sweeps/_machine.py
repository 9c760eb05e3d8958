"""Settings of JAX that use all cores of a machine, made before JAX starts."""

from __future__ import annotations

import os

import jax

# A loop whose buffers are smaller than this many bytes is compiled to one function rather than a list of kernel calls.
WHOLE_LOOPS = "xla_cpu_small_while_loop_byte_threshold=1048576"


def loops_are_whole() -> bool:
    """Whether this process compiles loops whole."""
    return WHOLE_LOOPS in os.environ.get("XLA_FLAGS", "")


def use_machine(cores: int | None = None) -> None:
    """On CPU: one JAX device for each core, and loops of sweeps compiled whole. Sweeps then use all of them.

    Sets ``jax_num_cpu_devices`` and adds to ``XLA_FLAGS``, for this process; call it before anything is computed. The
    command line and the experiments do. Results do not depend on it, except for rounding.

    Args:
        cores: how many to use, ≥ 1; as many as this process may run on unless given.

    Raises:
        ValueError: cores is not a whole number of at least 1.
        RuntimeError: JAX has started already.
    """
    if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int) or cores < 1):
        raise ValueError(f"cores = {cores!r}; pass a whole number of at least 1.")
    count = cores or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError("JAX has started already; call use_machine() before anything is computed.") from None
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options={WHOLE_LOOPS}".strip()
