"""``python -m experiments.gpu.stages``: all measurements that need a GPU, stage by stage, each useful alone.

A stage that fails or runs out of time is noted, and the next one begins; what a stage finished is on disk already.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STAGES = {
    "s0": ("identity", 0.06),
    "s1": ("rounds", 0.36),
    "s2": ("adapters", 0.22),
    "s3": ("whole", 0.22),
    "s4": ("throughput", 0.06),
    "s5": ("sweeps", 0.08),
}
"""By stage: its module and its share of the budget; time that a stage leaves goes to those after it."""
GRACE = 1.25  # a stage that passes its deadline by this factor is stopped
SUMMARY = "stages.json"


class Stopped(Exception):
    """A stage ran far past its deadline."""


def main(argv: list[str]) -> int:
    """Runs the command line and returns the exit status: 0 where every stage that was asked for ended."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gpu.stages", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--pack", type=Path, help="a folder from experiments.gpu.prepare, with all parts")
    parser.add_argument("--budget", type=float, default=400.0, help="seconds for all stages")
    parser.add_argument("--part-size", type=float, default=15.5, help="of a result file at most, in MiB")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(STAGES), help="stages, such as s0,s1")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="the GPU where there is one, unless given")
    options = parser.parse_args(argv)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in STAGES]:
        parser.error(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}.")
    if options.pack is None and names != ["s5"]:
        parser.error("pass --pack DIR, from experiments.gpu.prepare; only s5 needs none.")
    _environment()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    say = lambda text: print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)
    summary: dict[str, Any] = {"command": " ".join(["python -m experiments.gpu.stages", *map(_word, argv)])}
    summary["stages"] = {}
    with tempfile.TemporaryDirectory() as scratch:
        return _run(options, names, summary, Path(scratch), began, say)


def _word(argument: str) -> str:
    """A path by its last part: folders are others elsewhere."""
    return Path(argument).name if "/" in argument else argument


def _environment() -> None:
    """Before torch and JAX are imported: JAX stays on the CPU, and nothing is looked up in a network."""
    for key, value in {
        "JAX_PLATFORMS": "cpu",  # JAX would take most of the GPU's memory
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }.items():
        os.environ[key] = value


def _run(options: Any, names: list[str], summary: dict[str, Any], scratch: Path, began: float, say: Any) -> int:
    say("importing torch and JAX")
    import jax
    import torch

    jax.config.update("jax_enable_x64", True)
    torch.set_float32_matmul_precision("highest")

    from ._context import Context, device_facts, free
    from ._kept import MIB, Kept
    from ._pack import Pack

    device = options.device or ("cuda" if torch.cuda.is_available() and not options.toy else "cpu")
    summary["device"] = device_facts(device)
    say(json.dumps(summary["device"]))
    pack: Any = None
    folder = scratch
    if options.pack is not None:
        pack = Pack.read(options.pack)
        summary["pack"] = {k: v for k, v in pack.manifest.items() if k != "model"}
        folder = pack.model(scratch)
        say(f"the model {pack.manifest['name']} is put together")
    failed = 0
    for i, name in enumerate(names):
        module, share = STAGES[name]
        rest = sum(STAGES[n][1] for n in names[i:])
        seconds = max(options.budget - (time.monotonic() - began), 1.0) * share / rest
        say(f"{name} {module}: {seconds:.0f} s")
        start = time.monotonic()
        kept = Kept(options.out, name, int(options.part_size * MIB))
        context = Context(pack, folder, device, options.toy, began, start + seconds, kept, say)
        told: dict[str, Any] = {"result": "complete"}
        summary["stages"][name] = told
        try:
            with _limit(seconds * GRACE + 5):
                importlib.import_module(f".{'_stage_' + module}", __package__).run(context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failed += 1
            told["result"] = f"{type(error).__name__}: {error}"
            say(f"{name} FAILED: {told['result']}\n{traceback.format_exc()}")
            with contextlib.suppress(Exception):
                kept.note(told["result"])
        told |= {"seconds": time.monotonic() - start, "cases": list(kept.facts["cases"]), "notes": kept.facts["notes"]}
        told["seconds_of_cases"] = context.took
        (options.out / SUMMARY).write_text(json.dumps(summary, indent=1, default=str) + "\n", encoding="utf-8")
        with contextlib.suppress(Exception):
            free(device)
        say(f"{name} {module}: {told['result']}, {told['seconds']:.1f} s, {len(told['cases'])} cases")
    return int(failed > 0)


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raises ``Stopped`` in the stage once the time is over, where the system has timers."""

    def stop(*_: Any) -> None:
        raise Stopped(f"stopped after {seconds:.0f} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
