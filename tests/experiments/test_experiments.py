"""Experiments at toy size: run, check, store, read back; findings that can fail; a command line that says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from toy_experiments import TINY, ToyResults, toy_results

import dynamics as dyn
from dynamics._source_digest import imported
from experiments import (
    ON_MODELS,
    TITLES,
    TOUR,
    _store,
    critical_beta,
    evolution,
    experiment,
    figure,
    onset,
    stability_map,
)
from experiments.__main__ import main
from experiments._framework import Finding, binomial_interval, decide
from experiments._sweeps import keeping

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ToyResults:
    """Every experiment at toy size, each run on first use."""
    return toy_results(tmp_path_factory)


def statuses(findings: list[Finding], word: str) -> list[str]:
    return [f.status for f in findings if word in f.claim]


@pytest.mark.thorough
@pytest.mark.parametrize("name", TITLES)
def test_no_finding_fails_and_each_is_complete(results: ToyResults, name: str):
    findings = experiment(name).check(results[name])
    assert findings
    for f in findings:
        assert f.status != "fails", f
        assert f.source.startswith(("[paper] ", "[derived] statement"))
        assert f.claim
        assert f.measured
        assert f.interval
    assert any(f.status == "holds" for f in findings)


@pytest.mark.thorough
@pytest.mark.parametrize("name", TITLES)
def test_a_dataset_says_how_to_repeat_it(results: ToyResults, name: str):
    attrs = results[name].attrs
    assert set(json.loads(attrs["config"])) == set(vars(TINY[name]))
    assert attrs["seed"] == 0
    assert attrs["version_jax"]


@pytest.mark.thorough
@pytest.mark.parametrize("name", TITLES)
def test_what_is_stored_is_read_back_and_checks_alike(results: ToyResults, name: str, tmp_path: Path):
    path = tmp_path / "result.zarr"
    assert _store.load(path) is None
    _store.save(results[name], path)
    back = _store.load(path)
    assert back is not None
    xr.testing.assert_identical(back, results[name].load())
    assert experiment(name).check(back) == experiment(name).check(results[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.zarr"]


def test_an_interrupted_write_leaves_nothing_to_read(results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(self, store, **kwargs):
        Path(store).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_zarr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _store.save(results["evolution"], tmp_path / "result.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_computed_again(tmp_path: Path):
    (tmp_path / "result.zarr").mkdir()
    with pytest.warns(UserWarning, match="computed again"):
        assert _store.load(tmp_path / "result.zarr") is None


@pytest.mark.thorough
def test_the_fingerprint_follows_configuration_and_files(tmp_path: Path):
    base = critical_beta.Config()
    assert _store.fingerprint("critical_beta", base) == _store.fingerprint("critical_beta", critical_beta.Config())
    assert _store.fingerprint("critical_beta", base) != _store.fingerprint(
        "critical_beta", critical_beta.Config(seed=1)
    )
    file = tmp_path / "a.npz"
    np.savez(file, P=np.asarray(dyn.preferences.cyclic(3, 0.2)))
    config = critical_beta.Config(preferences=(str(file),))
    before = _store.fingerprint("critical_beta", config)
    np.savez(file, P=np.asarray(dyn.preferences.cyclic(3, 0.3)))
    assert _store.fingerprint("critical_beta", config) != before


@pytest.mark.thorough
def test_the_fingerprint_covers_run_and_checks_and_no_other_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(ROOT / "experiments", tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    code = lambda: imported(["copied.evolution"])

    def edited(path: str, old: str, new: str) -> dict[str, str]:
        file = tmp_path / "copied" / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000_000))
        return code()

    before = code()
    assert {"copied.evolution", "copied.evolution.checks", "copied._framework"} <= set(before)
    assert edited("evolution/checks.py", "DECISIVE = 100.0", "# A comment.\nDECISIVE = 100.0") == before
    assert edited("onset/__init__.py", "STRETCH = 2000", "STRETCH = 2001") == before
    own_check = edited("evolution/checks.py", "DECISIVE = 100.0", "DECISIVE = 99.0")
    assert {name for name in before if own_check[name] != before[name]} == {"copied.evolution.checks"}
    own_run = edited("evolution/__init__.py", "rounds: int = ", "rounds: int = 1 + ")
    assert {name for name in before if own_run[name] != own_check[name]} == {"copied.evolution"}


# Findings fail when the data contradict the claim.


def test_evolution_fails_on_a_wrong_radius_and_a_wrong_bound(results: ToyResults):
    ds = results["evolution"].copy(deep=True)
    ds["spectral_radius"] = 1 / ds.spectral_radius
    assert "fails" in statuses(evolution.check(ds), "spectral radius")
    ds = results["evolution"].copy(deep=True)
    ds["entropy_upper"] = 0.9 * ds.entropy_upper
    assert statuses(evolution.check(ds), "within the bounds") == ["fails", "fails"]
    ds = results["evolution"].copy(deep=True)
    ds["log_policy"] = ds.log_policy.roll(response=1)
    assert statuses(evolution.check(ds), "Condorcet") == ["fails"]


@pytest.mark.thorough
def test_the_map_fails_on_verdicts_against_the_theory(results: ToyResults):
    ds = results["stability_map"].copy(deep=True)
    swap = {1: 2, 2: 1}
    ds["verdict"] = ds.verdict.copy(data=np.vectorize(lambda v: swap.get(v, v))(ds.verdict.values))
    findings = stability_map.check(ds)
    assert statuses(findings, "rounds settle iff") == ["fails", "fails"]
    assert statuses(findings, "no orbit keeps moving") == ["fails"]
    assert statuses(findings, "no orbit tried keeps moving") == ["fails"]
    ds = results["stability_map"].copy(deep=True)
    ds.boundary.loc[{"statement": "7.2 global"}] *= 0.5
    assert statuses(stability_map.check(ds), "factor 1.5") == ["fails"]
    assert statuses(stability_map.check(ds), "larger part") == ["fails"]


def test_the_curves_of_the_map_are_those_of_the_theorems(results: ToyResults):
    ds, th = results["stability_map"].sel(objective="IPO"), dyn.theorems
    P = np.asarray(dyn.preferences.cyclic(3, advantage=0.4))
    asked = (th.published_contraction, th.span_contraction, th.contraction)
    asked += (th.global_convergence, th.dimension_free_convergence)
    for i, alpha in enumerate(ds.alpha.values):
        for j, ratio in enumerate(ds.lam_over_beta.values):
            inputs = {"P": P, "alpha": float(alpha), "lam": 1.0, "beta": 1 / float(ratio)}
            expected = [theorem(**inputs).applicable for theorem in asked]
            expected.append(float(th.uniform_spectrum(**inputs).lower.max()) > 1)
            np.testing.assert_array_equal(ds.proven.values[:, i, j], expected)


@pytest.mark.thorough
def test_onset_fails_on_shifted_thresholds_amplitudes_and_basins(results: ToyResults):
    ds = results["onset"].copy(deep=True)
    ds["critical_found"] = ds.critical_found * (1 + 1e-7)
    assert statuses(onset.check(ds), "loses stability at") == ["fails", "fails"]
    ds["amplitude_squared"] = 1.2 * ds.amplitude_squared
    assert statuses(onset.check(ds), "amplitude of 7.5")[0] == "fails"
    ds["lyapunov_exponent"] = -ds.lyapunov_exponent
    assert statuses(onset.check(ds), "orbits settle") == ["fails", "fails"]
    ds["swing"] = ds.swing.roll(direction=1)
    assert statuses(onset.check(ds), "subcritical, with hysteresis") == ["fails"]
    ds["verdict"] = ds.verdict * 0 + 1
    assert statuses(onset.check(ds), "every start converge") == ["fails"]


def test_critical_beta_fails_above_the_proven_bound(results: ToyResults):
    ds = results["critical_beta"].copy(deep=True)
    ds["critical_beta"] = ds.critical_beta.copy(data=ds.critical_beta.values[::-1])
    findings = critical_beta.check(ds)
    assert statuses(findings, "from which on 7.2") == ["fails"]
    assert statuses(findings, "larger beta than IPO") == ["fails"]


# What is changed in a Dataset, and the claim that must then fail: {variable: from its values to wrong ones}.
WRONG = [
    ("features", {"library_radius": lambda x: 1.01 * x}, "radius 1 where that is found"),
    ("features", {"uniform_beta": lambda x: x[..., ::-1]}, "leaving out features never"),
    ("continuous", {"force": lambda x: x + 1e-6}, "rests where the rounds"),
    ("continuous", {"formula": lambda x: x + 1e-4}, "Jacobian at a fixed point is"),
    ("continuous", {"damping": lambda x: -x}, "every fixed point attracts the flow"),
    ("continuous", {"damping": lambda x: 0.5 * x}, "|Im| ≤ rho |Re|"),
    ("continuous", {"damping": lambda x: -x}, "no fixed point tried repels"),
    ("margins", {"lower": lambda x: 3 * x}, "lies between the bounds"),
    ("margins", {"margin": lambda x: 1.1 * x}, "follows the mean field"),
    ("margins", {"test_error": lambda x: x + 0.01}, "ranked rightly from the first step"),
    ("margins", {"median_margin": lambda x: x[::-1]}, "own tokens: at a common time"),
    ("margins", {"test_error": lambda x: x[::-1]}, "the test error grows with the number"),
    ("margins", {"cosine": lambda x: x[::-1]}, "class means look alike"),
    ("distinguishability", {"head_change": lambda x: 0.98 * x}, "first speed is sqrt(2) beta delta/4"),
    ("distinguishability", {"head_change": lambda x: 1.01 * x}, "stays below sqrt(2) beta delta t/4"),
    ("distinguishability", {"general_slope": lambda x: 0.9 * x}, "the bound by delta fails"),
    ("distinguishability", {"head_change": lambda x: x[:, ::-1]}, "the faster its head moves at first"),
    ("distinguishability", {"first_interval": lambda x: 0 * x + [-1e-4, 1e-4], "accuracy": lambda x: x - 0.1}, "b ⟂ m"),
    ("priority", {"speed": lambda x: 1.01 * x}, "mean margins begin at the speeds"),
    ("priority", {"learned": lambda x: -x}, "reaches the mean margin"),
    ("priority", {"learned": lambda x: -x}, "the most distinguishable of four"),
    ("priority", {"speed": lambda x: -x}, "orders sixteen behaviours better"),
    ("priority", {"learned": lambda x: -x}, "rank correlation above 0.8"),
    ("rankings", {"outcome": lambda x: x[..., [0, 1, 3, 2, 4], :]}, "skewed away from the top than towards it"),
    ("rankings", {"disagreements": lambda x: x + 1}, "order every pair of responses alike"),
    ("rankings", {"strongly_transitive": lambda x: ~x}, "on strongly transitive matrices nothing fails"),
    ("rankings", {"constructed": lambda x: 1 - x}, "that fails all three desiderata"),
    ("rankings", {"constructed": lambda x: 1 - x}, "fitted to the constructed matrix"),
    ("rankings", {"outcome": lambda x: x[..., ::-1, :]}, "restores Condorcet-top and Smith-top"),
    ("rankings", {"margin": lambda x: -x}, "iff its margin t* is positive"),
    ("rankings", {"margin": lambda x: -x}, "at K = 3 some sampler keeps every"),
    ("entropy", {"verdict": lambda x: np.where(x == 1, 2, 1)}, "win-rate rewards: rounds with entropy"),
    ("entropy", {"verdict": lambda x: np.where(x == 1, 2, 1)}, "bradley-terry rewards: rounds with entropy"),
    ("entropy", {"verdict": lambda x: np.full_like(x, 2)}, "no orbit keeps moving"),
    ("entropy", {"verdict": lambda x: np.full_like(x, 2)}, "makes rounds settle at every beta"),
    ("entropy", {"square": lambda x: 1.01 * x}, "no gamma is safe"),
    ("losses", {"measured": lambda x: 1.01 * x}, "whatever the loss"),
    ("losses", {"growth": lambda x: -x}, "a perturbation of the uniform policy grows"),
    ("losses", {"noisy": lambda x: 1.01 * x}, "multiply DPO's critical beta by 1 - 2 rho"),
    ("losses", {"noisy": lambda x: 1.01 * x}, "label smoothing at that rate"),
    ("losses", {"noisy": lambda x: 1.01 * x}, "the robust loss at that rate"),
    ("destinations", {"to_nash": lambda x: x + 0.01}, "mirror descent in all its forms"),
    ("destinations", {"mixture_to_nash": lambda x: x + 0.01}, "its mixture with the magnet does"),
    ("destinations", {"gap": lambda x: x + 0.01}, "runs of the proximal point"),
    ("destinations", {"against_borda": lambda x: x + 0.1}, "orders the responses by their average win rates"),
    ("destinations", {"against_borda": lambda x: 0 * x}, "reverses pairs of that order"),
    ("neighbours", {"orbit": lambda x: x[..., :1, :] + 0 * x}, "keep moving where they share one parameter"),
    ("neighbours", {"rate_alone": lambda x: x + 0.1}, "though each by itself"),
    ("neighbours", {"slope": lambda x: 1.01 * x}, "a round's spectral radius"),
    ("neighbours", {"beside": lambda x: x[::-1]}, "begins to alternate"),
    ("neighbours", {"exponent": lambda x: np.abs(x) + 1}, "then among four"),
    ("neighbours", {"plane": lambda x: x[::-1]}, "only prompts that pull"),
    ("neighbours", {"amplitude": lambda x: x + 0.01}, "whatever the overlap"),
    ("neighbours", {"amplitude": lambda x: x * np.array([1.0, 0.0])}, "shakes its neighbours"),
    ("practices", {"radius": lambda x: 0.5 * x}, "best-of-n pairs"),
    ("practices", {"critical_ratio": lambda x: 1 / x}, "ask for a larger beta"),
    ("practices", {"expected": lambda x: 1.01 * x}, "a moving average of the checkpoints"),
    ("practices", {"radius": lambda x: 2 * x}, "few steps of gradient descent"),
    ("practices", {"radius": lambda x: x[:, :, ::-1]}, "momentum .9 that is kept"),
    ("practices", {"sampled": lambda x: x[..., ::-1], "sampled_error": lambda x: 0 * x}, "the mean round"),
    ("every_matrix", {"tournament": lambda x: x[::-1]}, "grows with K towards 1/pi"),
    ("every_matrix", {"searched": lambda x: 1.2 * x + 0.1}, "no matrix of certain wins"),
    ("every_matrix", {"edge_verdict": lambda x: x[:, ::-1]}, "the local threshold the tournament"),
    ("every_matrix", {"verdict": lambda x: np.full_like(x, 2)}, "settle from every start"),
    ("every_matrix", {"verdict": lambda x: np.full_like(x, 2)}, "keeps moving"),
    ("every_matrix", {"proven_threshold": lambda x: 3 * x}, "within a factor of pi"),
    ("roster", {"critical": lambda x: 1.01 * x}, "table are reproduced"),
    ("roster", {"rate": lambda x: 1.02 * x}, "at the rate ln radius"),
    ("roster", {"rate": lambda x: -x}, "at the rate ln radius"),
    ("roster", {"verdict": lambda x: np.where(x == 1, 2, 1)}, "from far away too"),
    ("roster", {"critical": lambda x: x[::-1]}, "looking ahead allows"),
    ("roster", {"critical_drawn": lambda x: np.full_like(x, 2.0)}, "is not that of every matrix"),
    ("skewed", {"change": lambda x: -x}, "never shrinks IPO's gap"),
    ("skewed", {"bound": lambda x: 0.9 * x}, "grows by at most"),
    ("skewed", {"change": lambda x: x[..., ::-1]}, "the more the sampler is skewed"),
    ("skewed", {"change_away": lambda x: -x}, "without dominance 1.7 turns round"),
    ("skewed", {"change": abs, "qualifies": np.ones_like}, "inside the assumption DPO's gap shrinks"),
    ("skewed", {"change": abs, "qualifies": np.zeros_like}, "outside the assumption IPO's gap shrinks"),
    ("skewed", {"change": lambda x: x - 10}, "never reverses a pair"),
    ("buying", {"V": lambda x: 0.98 * x}, "every sampler costs"),
    ("buying", {"V": lambda x: x * np.array([1, 1, 1.01, 1, 1])[:, None, None]}, "is the best sampler as gamma"),
    ("buying", {"V": lambda x: x[[1, 0, 2, 3, 4]]}, "as gamma → 0 on-policy"),
    ("buying", {"V": lambda x: x[[1, 0, 2, 3, 4]]}, "few cases and by little"),
    ("buying", {"V": lambda x: x[[0, 1, 2, 4, 3]]}, "the best law of pairs costs less"),
    ("buying", {"V": lambda x: x[[0, 1, 1, 3, 4]]}, "the square-root rule beats uniform"),
    ("buying", {"error": lambda x: 1.3 * x}, "the mean error of policies"),
    ("buying", {"error": lambda x: x[[4, 1, 2, 3, 0]]}, "at equal n the errors"),
    ("misspecified", {"log_policy": lambda x: x[::-1]}, "ignore the sampler iff P is Bradley–Terry"),
    ("misspecified", {"log_policy": lambda x: x[::-1]}, "ignore the sampler iff P is 1/2 + x_i"),
    ("misspecified", {"log_policy": lambda x: x[[0, 2, 1, 3, 4, 5, 6]]}, "misspecified or not, RLHF = DPO"),
    ("misspecified", {"slope": lambda x: x + 1e-5}, "misspecified or not, RLHF = DPO"),
    ("misspecified", {"win_rate": lambda x: x[..., ::-1]}, "orders the responses as the win rates"),
    ("misspecified", {"win_rate": lambda x: np.repeat(x[:, :1], x.shape[1], 1)}, "that all methods rank first"),
    ("misspecified", {"log_policy": lambda x: x[[0, 1, 2, 6, 4, 5, 3]]}, "move least with the sampler"),
    ("misspecified", {"nudged": lambda x: x + 1e-6}, "only through the win rates"),
    ("misspecified", {"nudged": lambda x: 0 * x}, "sees more of P"),
    ("restricted", {"V": lambda x: x[[1, 0, 2, 3]]}, "PMLE errs least"),
    ("restricted", {"V": lambda x: x[[2, 1, 0, 3]]}, "no sampler of distilled pairs"),
    ("restricted", {"error": lambda x: 1.5 * x}, "are those of the linearisation"),
    ("restricted", {"floor": lambda x: x[::-1]}, "PMLE's limit follows the sampler"),
    ("restricted", {"floor": lambda x: x[[2, 1, 0, 3]]}, "ends nearer than PMLE"),
    ("restricted", {"list_error": lambda x: x + np.arange(3)[:, None, None]}, "choose the same policy"),
    ("restricted", {"list_error": lambda x: x[::-1]}, "PMLE's error grows"),
    ("restricted", {"list_error": lambda x: x[..., ::-1]}, "reverse KL's error follows C_R"),
    ("restricted", {"list_error": lambda x: x[[1, 0, 2]]}, "distillation shares"),
    ("misalignment", {"head_change": lambda x: 1.01 * x}, "the head starts at speed"),
    ("misalignment", {"loss_time": lambda x: x[::-1]}, "sooner than the base"),
    ("misalignment", {"undo_time": lambda x: 1.01 * x}, "in the time it took"),
    ("misalignment", {"undone_margin": lambda x: x + 1e-3}, "identical samples lose margin along"),
    ("integrators", {"error": lambda x: x**2}, "by the first power of the step"),
    ("integrators", {"ratio_adam": lambda x: 0.1 * x}, "Adam takes another path"),
    ("integrators", {"turned_flow": lambda x: x + 1}, "coordinates, not behaviours"),
    (
        "toy_distribution",
        {"error": lambda x: np.concatenate([0.3 * x[:1], x[1:]])},
        "PMLE and reverse KL err less than RLHF",
    ),
    ("toy_distribution", {"identity_gap": lambda x: x + 1e-6}, "seven methods are four curves"),
    ("toy_distribution", {"error_constant": lambda x: 1.2 * x}, "n E_x KL tends to ΣV_x"),
    ("toy_distribution", {"error": lambda x: x**0.9}, "slope -1 within .05"),
    ("toy_distribution", {"error": lambda x: np.concatenate([0.3 * x[:1], x[1:]])}, "11 to 17 times"),
    ("toy_distribution", {"law": lambda x: 1.3 * x}, "reverse KL at its best beta follows its law"),
    ("toy_distribution", {"law": lambda x: 1.3 * x}, "RLHF at its best beta follows its law"),
    ("toy_distribution", {"error": lambda x: x[[0, 3, 2, 3]]}, "PMLE at its best beta errs as much"),
    ("toy_distribution", {"exists": lambda x: ~x}, "no finite unregularised reward"),
    ("dilemma", {"plateau": lambda x: 0.9 * x}, "does not fall below a plateau"),
    ("dilemma", {"error": lambda x: x[:, :, :, ::-1] ** 0 * x[:, :, :, :1]}, "errs more with a small beta"),
    ("dilemma", {"theorem_gap": lambda x: x + 1e-9}, "in one context the best k"),
    ("dilemma", {"moment": lambda x: x[[0, 2, 1]] * [[1.0], [0.2], [1.0]]}, "best beta falls with n"),
    ("dilemma", {"error": lambda x: 1.3 * x}, "reverse KL has no plateau"),
    ("dilemma", {"at_power": lambda x: 1.3 * x}, "no dilemma with pi_0 ∝ pi*^0.5"),
    ("dilemma", {"at_power": lambda x: 1.3 * x}, "no dilemma with pi_0 ∝ pi*^0:"),
    ("dilemma", {"error": lambda x: x[:, :, :, ::-1]}, "with pi_0 = pi* the best beta is infinite"),
    ("bound_worth", {"covered": lambda x: 0.8 * x}, "no proven bound is violated"),
    ("bound_worth", {"bound": lambda x: 0.1 * x}, "470 to 10^5 times"),
    ("bound_worth", {"bound": lambda x: 1e-6 * x}, "Theorem 4 is vacuous"),
    ("bound_worth", {"bound": lambda x: x[[1, 0, 2, 3, 4, 5]]}, "below Theorem 4 by its factor"),
    ("bound_worth", {"bound": lambda x: 5 * x}, "within a factor 10"),
    ("bound_worth", {"bound": lambda x: 5 * x}, "at most 19 times"),
    ("bound_worth", {"covered": lambda x: 0.9 * x}, "the law of 7.9 at pi* covers"),
    ("bound_worth", {"covered": lambda x: 0.7 * x}, "with the estimate for pi*"),
    ("prior_smoothing", {"fitted": lambda x: x[:, ::-1]}, "a prior enters reverse KL's log-odds"),
    ("prior_smoothing", {"even": lambda x: x[::-1]}, "even votes"),
    ("prior_smoothing", {"error": lambda x: x[:, ::-1]}, "reverse KL's error grows with beta"),
    ("prior_smoothing", {"mass": lambda x: x[::-1]}, "at every equal beta"),
    ("prior_smoothing", {"mass": lambda x: 1.5 * x}, "at the best beta of each RLHF gives"),
    ("prior_smoothing", {"error": lambda x: 0.99 * x}, "no beta brings RLHF below"),
    ("prior_smoothing", {"limit": lambda x: x * [[1.0], [1.001]]}, "no beta brings RLHF below"),
    ("prior_smoothing", {"error": lambda x: x[::-1]}, "the more peaked the prior"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "wrong", "claim"), WRONG, ids=[f"{name}-{claim}" for name, _, claim in WRONG])
def test_a_claim_fails_on_wrong_data(results: ToyResults, name: str, wrong: dict, claim: str):
    ds = results[name].copy(deep=True)
    for variable, change in wrong.items():
        ds[variable] = ds[variable].copy(data=change(ds[variable].values))
    assert "fails" in statuses(experiment(name).check(ds), claim)


@pytest.mark.thorough
def test_critical_beta_of_the_three_cycle_is_the_formula(tmp_path: Path):
    np.savez(tmp_path / "cycle.npz", P=np.asarray(dyn.preferences.cyclic(3, 0.3)))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    ds = critical_beta.run(critical_beta.Config(preferences=(str(tmp_path),)))
    np.testing.assert_allclose(ds.critical_beta.values[:, 0], [0.3 / 1.5, 4 * 0.3 / 1.5], rtol=1e-8)
    assert "1 unreadable file(s) skipped" in ds.attrs["notes"]
    assert "broken.npz" in ds.attrs["notes"]


def test_dpo_is_undefined_where_a_group_always_wins():
    P = np.full((4, 4), 0.5)
    P[:3, :3] = dyn.preferences.cyclic(3, 0.3)
    P[:3, 3], P[3, :3] = 1.0, 0.0
    value, outcome, _ = critical_beta._critical(P, "DPO", critical_beta.Config())
    assert np.isnan(value)
    assert outcome == critical_beta.UNDEFINED


def test_decide_and_the_binomial_interval():
    assert [decide(True), decide(False), decide(False, False)] == ["holds", "fails", "not decided"]
    assert binomial_interval(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1, rel=1e-12))
    assert binomial_interval(10, 10) == (pytest.approx(0.025**0.1, rel=1e-12), 1.0)


# The command line: one sentence and exit status 2.

BAD = [
    (["run", "onste"], "did you mean 'onset'"),
    (["onset"], "run onset"),
    (["frobnicate"], "known: run, list"),
    (["run", "onset", "--alhpa", "0.3"], "did you mean --alpha"),
    (["run", "onset", "--alpha", "x"], "could not convert"),
    (["run", "onset", "--alpha", "1.5"], "alpha = 1.5 is outside (0, 1)"),
    (["run", "onset", "evolution", "--alpha", "0.3"], "belongs to one experiment"),
    (["run", "onset", "--preferences", "a.npz"], "onset reads no preferences"),
    (["run", "critical_beta", "--preferences", "/nowhere/a.npz"], "does not exist"),
    (["run", "critical_beta", "--preferences"], "--preferences"),
    (["run", "onset", "--workers", "0"], "--workers 0 is below 1"),
    (["run", "onset", "--width", "5.5", "--width", "3.25"], "--width is given twice"),
    (["run", "critical_beta", "--preferences", "a.csv", "--preferences", "b.csv"], "--preferences is given twice"),
    (["run", "onset", "--all"], "--all runs every experiment"),
]


@pytest.mark.parametrize(("argv", "said"), BAD)
def test_bad_input_is_one_sentence_and_status_two(argv, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len([line for line in error.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in error


def test_an_out_that_is_a_file_is_refused_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.__main__._run_all", lambda *_, **__: pytest.fail("ran"))
    (tmp_path / "file").touch()
    assert main(["run", "evolution", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [first for first, *_ in words] == list(TITLES | ON_MODELS)
    assert {first for first, second, *_ in words if second == "tour"} == set(TOUR)


@pytest.mark.parametrize(("argv", "names"), [([], TOUR), (["run"], TOUR), (["--all"], TITLES), (["--full"], TOUR)])
def test_the_tour_runs_unless_all_are_asked_for(argv, names, tmp_path, monkeypatch):
    ran = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.__main__._run_all", lambda configs, *_, **__: ran.append(configs) or 0)
    assert main(argv) == 0
    assert list(ran[0]) == list(names)
    for name, config in ran[0].items():
        default = experiment(name).Config
        assert config == (default.full() if "--full" in argv else default())


@pytest.mark.thorough
def test_a_second_run_reads_back(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    argv = ["run", "evolution", "--rounds", "60", "--out", str(tmp_path)]
    assert main(argv) == 0
    first = capsys.readouterr()
    monkeypatch.setattr(evolution, "run", lambda *args: pytest.fail("computed again"))
    assert main(argv) == 0
    second = capsys.readouterr()
    assert "computed in" in first.err
    assert "read back" in second.err
    assert first.out == second.out
    (store,) = tmp_path.glob("evolution-*.zarr")
    assert (tmp_path / "figures" / f"{store.stem}.png").stat().st_size > 10_000
    assert (tmp_path / "figures" / f"{store.stem}.pdf").stat().st_size > 10_000
    found = json.loads((tmp_path / "findings.json").read_text())
    assert {f["status"] for f in found["evolution"]} <= {"holds", "not decided"}
    assert "| claim | source |" in (tmp_path / "findings.md").read_text()


@pytest.mark.thorough
def test_a_failing_finding_gives_status_one(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments._jobs.set_up_jax", lambda out, quick: None)
    monkeypatch.setattr(evolution, "check", lambda ds: [Finding("c", "[derived] statement 0", "m", "i", "fails")])
    assert main(["run", "evolution", "--rounds", "60", "--out", str(tmp_path)]) == 1


def test_help_lists_the_options_of_a_config(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "onset", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--hysteresis-steps" in out
    assert "--preferences" in out


def test_full_configurations_are_larger_and_valid():
    for name in TITLES:
        module = experiment(name)
        assert module.Config.full() != module.Config()


@pytest.mark.thorough
def test_an_interrupted_experiment_goes_on_with_the_sweeps_that_it_has(results, tmp_path):
    folder, config, told = tmp_path / "map.sweeps", TINY["stability_map"], []

    def interrupt(share, what):
        told.append(what)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), keeping(folder):
        stability_map.run(config, interrupt)
    assert sorted(path.name for path in folder.iterdir()) == ["IPO-0"]
    with keeping(folder):
        ds = stability_map.run(config)
    xr.testing.assert_allclose(ds, results["stability_map"], rtol=1e-9, atol=1e-12)
    assert not folder.exists()


def test_figures_are_named_like_experiments():
    for name in TITLES:
        assert callable(figure(name).draw)


def test_the_entry_point_runs_as_a_module(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", "nothing"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown experiment 'nothing'")
    assert done.stdout == ""
