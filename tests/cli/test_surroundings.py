"""The command line without a home folder, and with one that cannot be written to: a cache is a convenience."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from dynamics._options import quick_flags
from dynamics.cli import _main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(monkeypatch):
    """Notes what would be set, and leaves JAX as it is; no cache is set by the user."""
    told = {}
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    with monkeypatch.context() as patch:
        patch.setattr(jax.config, "update", told.__setitem__)
        yield told
    jax.config.update("jax_compilation_cache_dir", before)


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_folder_there_is_no_cache(settings, monkeypatch):
    monkeypatch.setattr(Path, "home", no_home)
    _main._prepare()
    assert settings == {"jax_enable_x64": True}


def test_in_a_home_folder_that_cannot_be_made_there_is_no_cache(settings, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/proc/nowhere"))
    _main._prepare()
    assert settings == {"jax_enable_x64": True}


def test_a_cache_that_cannot_be_written_to_is_not_used(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        _main._prepare()
    assert settings == {"jax_enable_x64": True}
    _main._prepare()
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / ".cache" / "alignment-dynamics" / "xla")


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_the_command_goes_on(home, tmp_path):
    clean = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")}
    script = (
        "import pathlib, sys\n"
        "if sys.argv[1] == 'None':\n"
        "    def home(): raise RuntimeError('no home')\n"
        "    pathlib.Path.home = home\n"
        "from dynamics.cli import main\n"
        "main(['classify', sys.argv[2]])\n"
    )
    (tmp_path / "wins.csv").write_text("winner,loser,count\na,b,3\nb,a,1\n")
    command = [sys.executable, "-c", script, str(home), str(tmp_path / "wins.csv")]
    environment = clean if home is None else clean | {"HOME": home}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Condorcet winner" in done.stdout


WATCHED = """
import collections, sys
import jax
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.rsplit("/", 1)[-1]]))
from dynamics import cli
cli.main(sys.argv[1:])
print(seen["compile_requests_use_cache"], seen["cache_hits"], file=sys.stderr)
"""


@pytest.mark.thorough
def test_a_second_process_compiles_nothing(tmp_path):
    (tmp_path / "P.csv").write_text("0.5,0.7,0.3\n0.3,0.5,0.7\n0.7,0.3,0.5\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", WATCHED, "stability", str(tmp_path / "P.csv")]
    command += ["--alpha", "0.5", "--lam", "1", "--beta", "0.2", "--rounds", "50"]
    said, hits = [], []
    for _ in range(2):
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
        requests, found = map(int, done.stderr.splitlines()[-1].split())
        assert requests > 10
        hits.append((requests, found))
        said.append(done.stdout)
    # Every program is kept, however quickly it was compiled, and found again.
    assert hits[0][1] == 0
    assert hits[1][1] == hits[1][0] == hits[0][0]
    assert said[1] == said[0]
    assert said[0].splitlines()[1].startswith("first answer")


def test_a_flag_is_given_only_to_compilers_that_know_it():
    # A process ends at a flag that its XLA does not know.
    assert quick_flags("", "0.7.0") == quick_flags("", "0.11.0") == "--xla_cpu_use_fusion_emitters=false"
    assert quick_flags("", "0.11.1") == quick_flags("", "0.12.0.1") == quick_flags("", "1.0") == ""
    assert quick_flags("--a=1", "0.10.2") == "--a=1 --xla_cpu_use_fusion_emitters=false"
    chosen = "--xla_cpu_use_fusion_emitters=true"
    assert quick_flags(chosen, "0.10.2") == chosen
