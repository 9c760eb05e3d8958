"""One experiment of a run: computed or read back, drawn, and judged."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dynamics._options import EMITTERS, quick_flags

from . import ON_MODELS, experiment, figure
from ._framework import Finding, Tick
from ._store import UserError, fingerprint, load, location, save


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from None


def set_up_jax(out: Path, *, quick: bool) -> None:
    """JAX as the experiments use it. At quick scale compiling takes longer than running, so it is cut short there."""
    import jax

    if quick and EMITTERS not in os.environ.get("XLA_FLAGS", ""):
        # Worker processes inherit environment variables but not the configuration of JAX.
        os.environ["XLA_FLAGS"] = quick_flags(os.environ.get("XLA_FLAGS", ""))
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
        jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "true")
    jax.config.update("jax_enable_x64", True)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str((out / ".jax_cache").resolve())
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@dataclasses.dataclass(frozen=True)
class Job:
    """An experiment to run."""

    name: str
    config: Any
    out: Path
    quick: bool
    width: float | None = None

    @property
    def stem(self) -> str:
        """What its figure and table are called: NAME, and the key of the stored result where options are not the defaults."""
        with one_sentence():
            key = "" if self.config == type(self.config)() else f"-{fingerprint(self.name, self.config)}"
        return f"{self.name}{key}" + ("" if self.width is None else f"-{self.width:g}in")


def is_stored(job: Job) -> bool:
    with one_sentence():
        return location(job.out, job.name, fingerprint(job.name, job.config)).is_dir()


def work(job: Job, tell: Tick, say: Callable[[str], None]) -> list[Finding]:
    """``one`` in a process of its own."""
    set_up_jax(job.out, quick=job.quick)
    return one(job, tell, say, None)


def one(job: Job, tell: Tick, say: Callable[[str], None], client: Any) -> list[Finding]:
    """Computes a result or reads it back, draws its figure, and returns its findings."""
    from ._report import write_table
    from ._sweeps import keeping

    name, began = job.name, time.monotonic()
    with one_sentence():
        path = location(job.out, name, fingerprint(name, job.config))
    ds = load(path)
    if ds is None:
        with keeping(path.with_suffix(".sweeps"), client):
            with one_sentence():
                ds = experiment(name).run(job.config, tell)
            save(ds, path)
        say(f"{name}: computed in {time.monotonic() - began:.0f} s, stored in {path}")
    else:
        say(f"{name}: read back from {path}")
    for note in ds.attrs.get("notes", "").splitlines():
        say(f"{name}: {note}")
    findings = experiment(name).check(ds)
    tell(0.95, "figure")
    draw(name, ds, job.out / "figures" / job.stem, job.width)
    if name in ON_MODELS:
        write_table(ds, name, job.out / f"{job.stem}.csv")
    return findings


def draw(name: str, ds: Any, stem: Path, width: float | None = None) -> None:
    """Writes a figure for papers, STEM.pdf with its caption in STEM.txt, and one with the caption in it, STEM.png.

    Args:
        name: of the experiment.
        ds: its result.
        stem: path of the files without their endings.
        width: of the page, in inches; that of the figure unless given.
    """
    from PIL import Image

    from dynamics import plot
    from figures import latex

    drawn, image = figure(name).draw(ds, width=width), io.BytesIO()
    with plot.style():
        drawn.savefig(image, dpi=200)
        drawn.fit(caption=False)
        # The creation date is left out so that the same result gives the same file.
        drawn.savefig(f"{stem}.pdf", metadata={"CreationDate": None})
    Path(f"{stem}.txt").write_text(latex(drawn.caption) + "\n", encoding="utf-8")
    # With 256 colours the file has a third of the size and looks the same.
    Image.open(image).convert("RGB").quantize(256).save(f"{stem}.png", optimize=True, dpi=(200, 200))
