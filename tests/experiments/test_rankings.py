"""The experiment on rankings: matrices from files and families, outcomes by hand, shares that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import problems
import pytest
import sampling_oracles
import xarray as xr
from toy_experiments import toy_results

import dynamics as dyn
from experiments import _matrices, rankings, skewed


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """The toy result twenty times over: enough matrices for shares to be decided."""
    ds = toy_results(tmp_path_factory)["rankings"]
    return xr.concat([ds] * 20, "matrix", data_vars="minimal").assign_attrs(ds.attrs)


def status(ds: xr.Dataset, word: str) -> str:
    (found,) = [f.status for f in rankings.check(ds) if word in f.claim]
    return found


def test_shares_fail_on_matrices_of_which_none_does(many):
    assert status(many, "uniform sampling") == "holds"
    many = many.copy(deep=True)
    many["outcome"] = many.outcome.where(many.outcome != rankings.FAILS, rankings.KEPT)
    assert status(many, "uniform sampling") == "fails"


def test_ranking_by_pi_is_compared_with_ranking_by_h(many):
    assert status(many, "ranking by pi") == "holds"
    swapped = many.assign(outcome=(many.outcome.dims, many.outcome.values[:, ::-1]))
    assert status(swapped, "ranking by pi") == "fails"


def test_outcomes_are_those_of_the_oracles():
    P = problems.from_upper([0.55, 0.55, 0.55], [0.9, 0.5], [0.6])
    mu = oracles.log_softmax(np.random.default_rng(0).normal(size=(6, 4)))
    scores = np.stack([oracles.ipo_reward(P, mu), oracles.dpo_reward(P, mu)])
    found = rankings.outcomes(P, scores, 1e-9)
    for d, target in enumerate(rankings.DESIDERATA):
        pairs = sampling_oracles.ordered_pairs(P, target) if target != "order" else []
        for s in range(5):
            for m in range(2):
                row = scores[m, s if s < 4 else 4]
                want = rankings.NOT_ASKED if not pairs else int(sampling_oracles.least(row, pairs) <= 1e-9)
                assert found[m, s, d] == want, (target, s, m)


def test_the_rewards_are_those_of_the_oracles_and_missing_where_there_is_none():
    beaten = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
    P = np.stack([problems.matrix(3, n) for n in range(3)] + [beaten])
    log_mu = oracles.log_softmax(np.random.default_rng(1).normal(size=(4, 6, 3)))
    f = rankings.rewards(P, log_mu, np.array([True, True, True, False]))
    for n in range(4):
        np.testing.assert_allclose(f[n, 0], oracles.ipo_reward(P[n], log_mu[n]), atol=1e-14)
    for n in range(3):
        np.testing.assert_allclose(f[n, 1], oracles.dpo_reward(P[n], log_mu[n]), atol=1e-12)
    assert np.isnan(f[3, 1]).all()


def test_a_fitted_sampler_with_uniform_mixed_in_keeps_half_of_its_margin():
    P = problems.from_upper([0.55, 0.6, 0.9], [0.95, 0.7], [0.55])
    for target in ("smith", "order"):
        log_mu, margin = rankings.fitted(P, target)
        gaps = sampling_oracles.row_gaps(P, sampling_oracles.ordered_pairs(P, target))
        assert np.isfinite(log_mu).all()
        assert (gaps @ np.exp(log_mu)).min() >= margin / 2 - 1e-12
        assert np.exp(log_mu).sum() == pytest.approx(1)
    assert np.isnan(rankings.fitted(np.asarray(dyn.preferences.cyclic(3, 0.2)), "order")[1])


def test_an_order_that_no_sampler_keeps_is_counted(tmp_path: Path):
    P = dyn.theorems.lost_order.witness(4, 1 / 14)
    np.savez(tmp_path / "lost.npz", P=P)
    np.savez(tmp_path / "certain.npz", P=np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]]))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    config = rankings.Config(preferences=(str(tmp_path),), sizes=(3,), constructed=1)
    ds = rankings.run(config)
    assert sorted(ds.source.values) == ["certain", "lost"]
    assert float(ds.margin.sel(desideratum="order").isel(matrix=1)) == pytest.approx(-1 / 28, abs=1e-10)
    undefined = ds.outcome.isel(matrix=0).sel(objective="DPO")
    assert (undefined == rankings.NOT_ASKED).all()
    assert (ds.disagreements.isel(matrix=0) == -1).all()
    assert "broken.npz" in ds.attrs["notes"]
    assert all(f.status != "fails" for f in rankings.check(ds))


def test_folders_without_matrices_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nothing could be read \(no file that `read` takes\)"):
        rankings.run(rankings.Config(preferences=(str(tmp_path),)))
    np.savez(tmp_path / "large.npz", P=problems.matrix(5, 0))
    with pytest.raises(ValueError, match="all 1 are larger than 4"):
        rankings.run(rankings.Config(preferences=(str(tmp_path),), max_responses=4))


@pytest.mark.parametrize("family", _matrices.FAMILIES)
def test_families_are_what_they_are_called(family):
    cases = [case for case in _matrices.drawn(5, (3, 4), 11, 0) if case.source == family]
    assert [len(case.P) for case in cases] == [3] * 5 + [4] * 5
    for case in cases:
        dyn.preferences.check(case.P)
        seen = dyn.preferences.classify(case.P)
        assert _matrices.cyclic(case.P) == seen.has_cycle
        wanted = {"transitive": "weak", "strongly transitive": "strict strong"}.get(family)
        assert wanted in (None, seen.transitivity)
        assert family != "cyclic" or seen.has_cycle


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"amounts": (1.0, 0.3)}, "do not ascend"),
        ({"amounts": (0.3, 2.0)}, "leave out amount = 1"),
        ({"amounts": (0.0, 1.0)}, r"amounts = 0 is outside \(0, 1000\]"),
        ({"sizes": (2,)}, r"sizes = 2 is outside \[3, 40\]"),
    ],
)
def test_bad_amounts_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        skewed.Config(**options)
