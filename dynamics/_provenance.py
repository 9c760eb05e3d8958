"""The origin of a result: versions of the packages that computed it, and the commit of a source checkout."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("alignment-dynamics", "jax", "jaxlib", "equinox", "numpy")


@functools.cache
def provenance() -> dict[str, str]:
    """Attributes for a Dataset: ``version_*`` of Python and of packages, and ``git_commit`` of a source checkout."""
    found = {"version_python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[f"version_{package.replace('-', '_')}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
            found["git_commit"] = done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return found
