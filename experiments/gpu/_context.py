"""What every stage is given: the model, statements, a clock and a place for results."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from dynamics import llm

from ._kept import Kept
from ._pack import Pack

PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy", "jax", "jaxlib", "equinox", "diffrax")


class OutOfTime(Exception):
    """The next case would not end before its stage's deadline."""


@dataclasses.dataclass
class Context:
    """A stage under way.

    Attributes:
        pack: what was carried.
        folder: of the model, put together.
        device: "cuda" or "cpu".
        toy: tiny sizes.
        began: of the whole run, by ``time.monotonic``.
        deadline: of this stage, likewise.
        kept: its results.
        say: prints a line with the time.
    """

    pack: Pack
    folder: Path
    device: str
    toy: bool
    began: float
    deadline: float
    kept: Kept
    say: Callable[[str], None]
    took: dict[str, float] = dataclasses.field(default_factory=dict)

    def left(self) -> float:
        """Seconds until this stage's deadline."""
        return self.deadline - time.monotonic()

    def load(self, **settings: Any) -> llm.Language:
        """The model anew."""
        return llm.load(self.folder, device=self.device, **settings)

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    @contextlib.contextmanager
    def case(self, name: str, expected: float = 0.0) -> Iterator[None]:
        """Times a case; raises ``OutOfTime`` before one that would take ``expected`` seconds where fewer are left."""
        if self.left() < max(expected, 0.0):
            raise OutOfTime(f"{name} was left out: {self.left():.0f} s were left, about {expected:.0f} s are needed")
        self.say(f"  {name} …")
        self.wait()
        start = time.monotonic()
        yield
        self.wait()
        self.took[name] = time.monotonic() - start
        self.say(f"  {name}: {self.took[name]:.2f} s")

    def attempt(self, name: str, expected: float, action: Callable[[], Any]) -> Any:
        """What ``action`` returns, as a case; None where there was no time for it or it failed, which is noted."""
        try:
            with self.case(name, expected):
                return action()
        except OutOfTime as error:
            note = str(error)
        except Exception as error:
            note = f"{name} failed: {type(error).__name__}: {error}"
        finally:
            free(self.device)
        self.say(f"    {note}")
        self.kept.note(note)
        return None


def free(device: str) -> None:
    """Gives unused memory back."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def device_facts(device: str) -> dict[str, Any]:
    """What computes: the device, its memory, and the versions of packages."""
    import torch

    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine(), "device": device}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[f"version_{package}"] = metadata.version(package)
    found["threads"] = torch.get_num_threads()
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"device_name": properties.name, "memory_GiB": properties.total_memory / 2**30}
        found |= {"capability": f"{properties.major}.{properties.minor}", "cuda": str(torch.version.cuda)}
        found["multiprocessors"] = properties.multi_processor_count
    return found
