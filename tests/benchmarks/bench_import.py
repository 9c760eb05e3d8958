"""Seconds to import, each in a process of its own, in turn.

python -m pytest tests/benchmarks/bench_import.py -c tests/benchmarks/pytest.ini
"""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = {
    "import jax": "import jax",
    "import dynamics": "import jax, dynamics",
    "dyn.IPO(0.1)": "import jax, dynamics as dyn; dyn.IPO(0.1)",
}


@pytest.mark.parametrize("who", CODE)
@pytest.mark.parametrize("repetition", range(15))
def test_seconds(benchmark, repetition, who):
    benchmark.extra_info.update(table="imports", who=who, amount=1, unit="per second", base="import jax")
    benchmark.pedantic(subprocess.run, args=([sys.executable, "-c", CODE[who]],), kwargs={"check": True}, rounds=1)
