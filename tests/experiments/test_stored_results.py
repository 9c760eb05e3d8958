"""Results of experiments on disk: damage is seen, and `dynamics results` knows them."""

import json
import os

import numpy as np
import pytest
import xarray as xr

from dynamics.cli import main
from experiments import _store


@pytest.fixture
def result(tmp_path):
    attrs = {"experiment": "onset", "config": json.dumps({"seed": 0, "rounds": 7}), "version_jax": "1.2"}
    ds = xr.Dataset({"radius": ("beta", np.linspace(0.5, 1.5, 9))}, {"beta": np.arange(9.0)}, attrs)
    path = tmp_path / "onset-0123456789ab.zarr"
    _store.save(ds, path)
    xr.testing.assert_identical(_store.load(path), ds)
    return path


@pytest.mark.parametrize("damage", [os.remove, lambda p: p.write_bytes(p.read_bytes()[:-3] + b"abc")])
@pytest.mark.parametrize("file", ["radius/0", "beta/0", "radius/.zarray", ".zmetadata", ".zattrs"])
def test_a_damaged_result_is_computed_again(result, file, damage, capsys):
    damage(result / file)
    with pytest.warns(UserWarning, match=rf"onset\S+ cannot be read \(its file {file} is .*; it is computed again"):
        assert _store.load(result) is None
    with pytest.raises(SystemExit) as stop:
        main(["results", str(result)])
    assert stop.value.code == 2
    assert f"its file {file} is" in capsys.readouterr().err


def test_results_knows_a_result_and_a_folder(result, capsys):
    main(["results", str(result)])
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("onset", "complete", "beta 9", "radius (beta)", "seed = 0, rounds = 7", "jax 1.2"):
        assert part in shown
    main(["results", str(result.parent), "--json"])
    assert [one["experiment"] for one in json.loads(capsys.readouterr().out)] == ["onset"]
    main(["results", str(result.parent)])
    assert "complete" in capsys.readouterr().out


def test_results_go_to_a_folder_and_not_to_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(_store.UserError, match="is an address and not a folder of this machine"):
        _store.writable(_store.Path("s3://bucket/results"))
    assert list(tmp_path.iterdir()) == []
