"""Stores that lost or changed a file, stores behind an address, and folders that are there already."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import dynamics as dyn
from dynamics.cli import main
from dynamics.sweeps import _plan, summary

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = 5
START = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    path.write_bytes(bytes(255 - b for b in path.read_bytes()))


def flip(path):
    """One bit of the last byte, which no decoder notices."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def blank(path):
    path.write_bytes(b"")


DAMAGE = {"lost": os.remove, "cut": cut, "garbage": garble, "flipped": flip, "empty": blank}


@pytest.fixture(scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_plan, "MIN_RUNS_PER_BLOCK", 16)
        patch.setattr(_plan, "MAX_RUNS_PER_BLOCK", 16)
        yield


def swept(store=None, **options):
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.1), 0.5, 1.0)
    over = {"alpha": np.linspace(0, 1, BLOCKS), "lam": np.linspace(0, 1, 12)}
    measure = ["final_entropy", "cycle_strength"]
    return dyn.sweep(loop, over, measure=measure, rounds=20, initial=START, store=store, **options)


@pytest.fixture(scope="module")
def whole(small_blocks):
    return swept().drop_attrs()


@pytest.fixture
def store(small_blocks, tmp_path_factory, tmp_path):
    made = tmp_path_factory.getbasetemp() / "whole.zarr"
    if not made.exists():
        swept(made)
    return Path(shutil.copytree(made, tmp_path / "map.zarr"))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("file", ["final_entropy/3.0", "result/0.0", "cycle_strength/4.0"])
def test_a_damaged_chunk_is_computed_again(store, whole, file, kind, capsys):
    DAMAGE[kind](store / file)
    told = summary(store)
    assert (told["blocks"], told["blocks_done"], told["damaged"]) == (BLOCKS, BLOCKS - 1, [file])
    main(["results", str(store)])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{BLOCKS - 1} of {BLOCKS} blocks" in shown
    assert "complete" not in shown
    assert file in shown
    with pytest.warns(UserWarning, match=rf"map\.zarr is damaged: {file} is missing or not .* 1 of {BLOCKS} blocks"):
        again = swept(store)
    xr.testing.assert_identical(again.load().drop_attrs(), whole)
    assert summary(store)["damaged"] == []
    assert summary(store)["blocks_done"] == BLOCKS
    swept(store)  # without a warning


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_of_a_block_makes_it_missing(store, whole, kind):
    DAMAGE[kind](store / "checks" / "block.2.0.json")
    assert summary(store)["blocks_done"] == BLOCKS - 1
    xr.testing.assert_identical(swept(store).load().drop_attrs(), whole)
    assert summary(store)["blocks_done"] == BLOCKS


WRITTEN_ONCE = (
    ".zattrs", ".zgroup", "alpha/0", "alpha/.zarray", "final_entropy/.zarray", "final_entropy/.zattrs", "checks/.zgroup",
)  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("file", WRITTEN_ONCE)
def test_damaged_metadata_are_refused_by_store_and_file(store, file, kind, capsys):
    DAMAGE[kind](store / file)
    reason = "missing" if kind == "lost" else "not as it was written"
    said = f"store {store} is damaged: its file {file} is {reason}; restore it from a copy, or delete the store"
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        swept(store)
    assert str(refused.value).startswith(said)
    with pytest.raises(SystemExit) as stop:
        main(["results", str(store)])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lost", "cut", "garbage", "empty"])
def test_damaged_checksums_are_refused(store, kind):
    DAMAGE[kind](store / "checks" / "contents.json")
    with pytest.raises(
        ValueError, match=r"map\.zarr (has no checksums|is damaged: its file checks/contents\.json cannot)"
    ):
        summary(store)
    with pytest.raises(ValueError, match=r"delete"):
        swept(store)


def test_results_that_are_all_blank_have_no_chunk_and_are_whole(small_blocks, tmp_path):
    class Blank(dyn.RoundMap):
        preference: jax.Array
        rate: jax.Array

        def __call__(self, logits, key=None):
            return logits * self.rate

    ask = lambda: dyn.sweep(
        Blank(jnp.full((3, 3), 0.5), jnp.asarray(0.1)),
        {"rate": np.linspace(0.1, 0.2, 40)},
        rounds=5,
        measure="period",
        initial=START,
        store=tmp_path / "blank",
    )
    first = ask()["period"].values
    assert np.isnan(first).all()
    assert not list((tmp_path / "blank" / "period").glob("[0-9]*"))
    np.testing.assert_array_equal(ask()["period"].values, first)
    assert summary(tmp_path / "blank")["damaged"] == []


def test_an_empty_folder_is_a_store(small_blocks, whole, tmp_path):
    (tmp_path / "empty").mkdir()
    xr.testing.assert_identical(swept(tmp_path / "empty").load().drop_attrs(), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.fixture
def address():
    fsspec = pytest.importorskip("fsspec")
    yield "memory://bucket/map.zarr"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_an_address_of_fsspec_keeps_goes_on_and_recovers(small_blocks, whole, address, capsys):
    import fsspec

    memory = fsspec.filesystem("memory")
    xr.testing.assert_identical(swept(address).load().drop_attrs(), whole)
    assert summary(address)["blocks_done"] == BLOCKS
    swept(address)
    memory.rm("/bucket/map.zarr/final_entropy/3.0")
    main(["results", address])
    assert "final_entropy/3.0" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="is damaged: final_entropy/3.0"):
        xr.testing.assert_identical(swept(address).load().drop_attrs(), whole)
    memory.rm("/bucket/map.zarr/checks/contents.json")
    with pytest.raises(ValueError, match="has no checksums"):
        swept(address)
    # A creation that died leaves neither seal nor blocks, and begins anew.
    for name in memory.glob("/bucket/map.zarr/checks/block.*"):
        memory.rm(name)
    xr.testing.assert_identical(swept(address).load().drop_attrs(), whole)
    memory.pipe_file("/bucket/map.zarr/final_entropy/.zarray", b"{")
    with pytest.raises(ValueError, match=r"memory://bucket/map\.zarr is damaged: its file final_entropy/\.zarray"):
        swept(address)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "s3://bucket/map.zarr",
            r"s3://bucket/map\.zarr cannot be reached .*pip install fsspec s3fs, or pass a folder",
        ),
        ("gs://bucket/map.zarr", r"gs://bucket/map\.zarr cannot be reached .*pip install fsspec gcsfs"),
        ("nowhere://bucket/map.zarr", "nowhere://bucket/map.zarr cannot be reached"),
        (Path("s3://bucket/map.zarr"), "a Path drops a slash of the address"),
    ],
)
def test_an_address_that_cannot_be_reached_is_refused_before_anything_is_made(
    where, said, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("fsspec")
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        swept(where)
    with pytest.raises(SystemExit) as stop:
        main(["results", str(where)])
    assert stop.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_fsspec_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"s3://b/map\.zarr is not on this machine, and fsspec is not installed; pip install"
    ):
        swept("s3://b/map.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_file_address_is_a_folder(small_blocks, whole, tmp_path):
    xr.testing.assert_identical(swept(f"file://{tmp_path}/map").load().drop_attrs(), whole)
    assert (tmp_path / "map" / ".zattrs").exists()


def test_a_store_of_an_earlier_version_is_named(store):
    shutil.rmtree(store / "checks")
    with pytest.raises(ValueError, match=r"has no checksums.*earlier version or damaged"):
        summary(store)
    assert json.loads((store / ".zattrs").read_text())["identity"]


@pytest.mark.thorough
def test_the_module_says_it_too(store):
    (store / "final_entropy" / "3.0").unlink()
    command = [sys.executable, "-m", "dynamics", "results", "--json", str(store)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["damaged"] == ["final_entropy/3.0"]
