"""The phases: which matrices they run on, what their findings catch, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from toy_experiments import TINY, toy_results

import dynamics as dyn
from experiments import _ratings, phases
from experiments.phases import checks


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return toy_results(tmp_path_factory)["phases"]


def statuses(ds: xr.Dataset, word: str) -> list[str]:
    return [f.status for f in phases.check(ds) if word in f.claim]


@pytest.mark.thorough
def test_kinds_at_once_are_those_of_classify():
    rng = np.random.default_rng(2)
    P = np.asarray(dyn.preferences.from_ratings(_ratings.rated(1500, rng), key=None))
    drawn = 0.5 + np.sign(P - 0.5) * 0.1 * rng.integers(0, 4, P.shape)
    upper = np.triu(drawn, 1)
    drawn = upper + np.where(np.tri(4, k=-1), 1 - upper.transpose(0, 2, 1), 0) + 0.5 * np.eye(4)
    five = rng.uniform(size=(300, 5, 5))
    five = np.where(np.tri(5, k=-1), 1 - five.transpose(0, 2, 1), five)
    five[:, np.arange(5), np.arange(5)] = 0.5
    for stack in (P, drawn, five):
        seen = [dyn.preferences.classify(matrix) for matrix in stack]
        assert _ratings.has_cycle(stack).tolist() == [s.has_cycle for s in seen]
        assert _ratings.strictly_strong(stack).tolist() == [s.transitivity == "strict strong" for s in seen]


def test_ratings_look_like_ratings():
    r = _ratings.rated(4000, np.random.default_rng(0))
    assert set(np.unique(r)) == {0.0, 1.0, 2.0, 3.0, 4.0}
    correlation = np.corrcoef(r.reshape(-1, 5).T)
    assert correlation[0, 1] > 0.6 > correlation[0, 4] > -0.1
    cyclic, transitive, draws = _ratings.drawn_until(3, 2, 0)
    assert (cyclic.shape, transitive.shape) == ((3, 4, 4), (2, 4, 4))
    assert draws >= 3


def test_settings_and_statistics_are_those_of_single_runs(result):
    config = TINY["phases"]
    cyclic, _, _ = _ratings.drawn_until(config.cyclic, config.transitive, config.seed)
    (kept, count) = phases._distinct(list(cyclic), config.most)
    assert count.tolist() == result.cyclic_count.values.tolist()
    for name, setting in (("IPO", 2), ("IPO", -3), ("DPO", 5), ("DPO", -1)):
        one = result.sel(objective=name).isel(setting=setting)
        loop = dyn.SelfSampling(kept[1], getattr(dyn, name)(float(one.beta)), float(one.alpha), float(one.lam))
        run = dyn.iterate(loop, config.rounds, initial=phases.start(4))
        expected = dyn.diagnostics.cycle_strength(run.log_policy)
        assert float(one.cycle_strength[1]) == pytest.approx(float(expected), rel=1e-9, abs=1e-15)


def test_repeated_matrices_weigh_as_often_as_they_occur():
    kept, count = phases._distinct([np.eye(2) / 2, np.eye(3), np.eye(2) / 2, np.eye(2)], 10)
    assert [len(P) for P in kept] == [2, 2, 3]
    assert count.tolist() == [2, 1, 1]
    values = np.array([[1.0], [4.0], [0.0]])
    mean, error = checks._mean(values, count)
    plain = np.array([1.0, 1.0, 4.0, 0.0])
    assert mean[0] == plain.mean()
    assert error[0] == pytest.approx(plain.std(ddof=1) / 2)


def test_findings_fail_when_the_data_contradict_them(result):
    ds = result.copy(deep=True)
    ds["cycle_strength"] = ds.cycle_strength.isel(setting=slice(None, None, -1))
    assert statuses(ds, "cycles grow stronger") == ["fails", "fails"]
    assert statuses(ds, "7.2 proves") == ["fails"]
    ds = result.copy(deep=True)
    ds["entropy_bound"] = 0.5 * ds.entropy_bound
    assert statuses(ds, "stays below the bound") == ["fails", "fails"]
    ds = result.copy(deep=True)
    ds["final_entropy"] = xr.where(ds.lam == 0, 1.0, ds.final_entropy).transpose(*result.final_entropy.dims)
    assert statuses(ds, "without self-sampling") == ["fails", "fails"]
    ds = result.copy(deep=True)
    published = (ds.lam / (ds.beta * (1 - ds.alpha).where(ds.alpha < 1))).transpose("objective", "setting").values
    ds["final_entropy"] = ds.final_entropy.copy(
        data=np.broadcast_to(np.exp(-published)[:, None], ds.final_entropy.shape)
    )
    assert statuses(ds, "follows 1/(beta(1 - alpha))") == ["fails", "fails"]


@pytest.mark.thorough
def test_files(tmp_path):
    cycle, chain = dyn.preferences.cyclic(3, 0.4), dyn.preferences.bradley_terry([2.0, 1.0, 0.0, -0.5])
    np.savez(
        tmp_path / "a.npz",
        P_0=np.asarray(cycle),
        P_1=np.asarray(chain),
        P_2=np.asarray(cycle),
        P_3=np.tri(3) + np.eye(3) * -0.5,
    )
    (tmp_path / "b.csv").write_text("nothing\n")
    (tmp_path / "c.txt").write_text("passed over")
    config = phases.Config(preferences=(str(tmp_path),), cells=3, betas=3, rounds=20)
    ds = phases.run(config)
    assert ds.cyclic_count.values.tolist() == [2]
    assert ds.sizes["transitive"] == 1
    assert "4 matrices read, 1 without 0 < P < 1 left out\n1 unreadable file(s) skipped: " in ds.attrs["notes"]
    assert json.loads(ds.attrs["config"])["preferences"] == [str(tmp_path)]
    phases.check(ds)
    np.savez(tmp_path / "a.npz", P=np.asarray(cycle))
    with pytest.raises(ValueError, match=r"1 matrices hold no transitive one with 0 < P < 1.*pass files with both"):
        phases.run(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": 2}, "cells = 2 is outside"),
        ({"alpha": 1.0}, r"alpha = 1 is outside \[0, 1\)"),
        ({"lams": (0.5, 0.0)}, "lams is not ascending"),
        ({"lams": (0.5,)}, "two or more values"),
        ({"lowest_beta": 2.0}, "lowest_beta = 2 is not below highest_beta = 1.28"),
        ({"rounds": 1}, "rounds = 1 is outside"),
    ],
)
def test_config_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        phases.Config(**options)
