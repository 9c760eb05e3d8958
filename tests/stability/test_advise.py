"""From counted comparisons to probabilities and safe betas: against one by one, closed forms, calibration and the command."""

from __future__ import annotations

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli
from dynamics.stability import (
    critical_betas,
    known_beta,
    posterior,
    proven_beta,
    safe_beta,
    spectral_radii,
    verdict_probability,
)
from dynamics.stability._safe import _quantile

OBJECTIVES = (dyn.IPO, dyn.DPO)
KAPPA = {dyn.IPO: 1.0, dyn.DPO: 4.0}
KEY = jax.random.key(5)


def random_stack(M: int, K: int, seed: int = 0) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).uniform(0.05, 0.95, (M, K, K)), 1)
    return upper + np.tril(1 - np.swapaxes(upper, 1, 2), -1) + 0.5 * np.eye(K)


def distribution(K: int, seed: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=K)
    return np.asarray(jax.nn.log_softmax(jnp.asarray(z)))


def cycle_counts(n: int, advantage: float) -> np.ndarray:
    """Wins on the 3-cycle, as the shares say exactly."""
    return n * np.asarray(dyn.preferences.cyclic(3, advantage)) * (1 - np.eye(3))


class TestManyAtOnce:
    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", OBJECTIVES)
    @pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
    def test_spectral_radii_are_those_of_one_by_one(self, kind, lam):
        stack = random_stack(6, 4)
        log_reference, log_offline = distribution(4, 1), distribution(4, 2)
        found = spectral_radii(stack, kind(0.2), 0.3, lam, log_reference=log_reference, log_offline=log_offline)
        assert (found.status == 0).all()
        for P, radius, log_policy in zip(stack, found.radius, found.log_policy, strict=True):
            loop = dyn.SelfSampling(P, kind(0.2), 0.3, lam, log_reference, log_offline)
            after = dyn.iterate(loop, 1, initial=log_policy).final.log_policy
            np.testing.assert_allclose(after, log_policy, atol=1e-9)  # Newton stops at changes of eps^0.6
            assert radius == pytest.approx(float(dyn.stability.spectral_radius(loop, log_policy)), rel=1e-8)

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", OBJECTIVES)
    def test_the_fixed_point_is_the_one_that_critical_follows(self, kind):
        for P, log_policy in zip(
            stack := random_stack(4, 5, 3), spectral_radii(stack, kind(0.1), 0.5, 1.0)[1], strict=True
        ):
            points = dyn.stability.find_fixed_points(dyn.SelfSampling(P, kind(0.1), 0.5, 1.0), 4)
            gaps = [np.abs(np.asarray(log_policy) - point.log_policy).max() for point in points]
            assert min(gaps) < 1e-8

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", OBJECTIVES)
    def test_critical_betas_are_those_of_one_by_one(self, kind):
        stack, alphas, lams = random_stack(8, 4), (0.0, 0.5, 0.9), (0.7, 1.0)
        found = critical_betas(stack, kind, alphas, lams, floor=0.02)
        assert (found.status == 0).all()
        compared = 0
        for m, a, n in np.argwhere(found.beta > 0)[::4]:
            beta = found.beta[m, a, n]
            loop = dyn.SelfSampling(stack[m], kind(2 * beta), alphas[a], lams[n])
            one = dyn.stability.first_crossing(loop, "beta", (0.7 * beta, 4 * beta), downward=True)
            assert one is not None
            assert beta == pytest.approx(one.value, rel=1e-8)
            compared += 1
        assert compared >= 3
        for m, a, n in np.argwhere(found.beta == 0)[::6]:
            loop = dyn.SelfSampling(stack[m], kind(1.0), alphas[a], lams[n])
            assert dyn.stability.first_crossing(loop, "beta", (0.02, 1.0), downward=True) is None

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", OBJECTIVES)
    def test_closed_form_on_the_cycle(self, kind):
        alphas, lams, advantage = np.array([0.0, 0.3, 0.8]), np.array([0.4, 1.0]), np.array([0.1, 0.3])
        stack = np.stack([np.asarray(dyn.preferences.cyclic(3, a)) for a in advantage])
        found = critical_betas(stack, kind, alphas, lams, floor=1e-4)
        # Statement 2.1: alpha² + (kappa lam a/(√3 beta))² = 1.
        wanted = KAPPA[kind] * advantage[:, None, None] * lams / np.sqrt(3 * (1 - alphas[:, None] ** 2))
        np.testing.assert_allclose(found.beta, wanted, rtol=1e-9)
        radius = spectral_radii(stack, kind(0.2), 0.5, 1.0).radius
        np.testing.assert_allclose(radius, np.hypot(0.5, KAPPA[kind] * advantage / (0.2 * np.sqrt(3))), rtol=1e-10)

    @pytest.mark.thorough
    def test_order_of_matrices_and_blocks_do_not_matter(self):
        stack = random_stack(130, 3)  # a block and two more
        whole = critical_betas(stack, dyn.IPO, [0.5], [1.0], floor=0.01).beta
        alone = critical_betas(stack[128:], dyn.IPO, [0.5], [1.0], floor=0.01).beta
        np.testing.assert_allclose(whole[128:], alone, rtol=1e-9)

    @pytest.mark.thorough
    def test_no_optimum_and_a_fold_are_counted(self):
        certain = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
        stack = np.stack([certain, np.asarray(dyn.preferences.cyclic(3, 0.3))])
        found = spectral_radii(stack, dyn.DPO(0.5), 0.2, 1.0)
        assert found.status.tolist() == [2, 0]
        assert np.isnan(found.radius[0])
        assert np.isfinite(found.radius[1])
        betas = critical_betas(stack, dyn.DPO, [0.2, 0.3, 0.8], [1.0])
        assert np.isinf(betas.beta[0, 0, 0])
        assert np.isfinite(betas.beta[1, 0, 0])

    @pytest.mark.thorough
    def test_a_fold_far_from_the_reference_is_not_stepped_across(self):
        """Rounds started from the fixed point at beta .2605 jump to another vertex at .26; logits there are tens of nats."""
        P = np.full((3, 3), 0.5)
        P[0, 1], P[0, 2], P[1, 2] = 0.0191321216, 0.0739947464, 1e-9
        P = np.triu(P) + np.tril(1 - P.T, -1)
        log_reference = np.asarray(jax.nn.log_softmax(jnp.array([0, -36.2359218, -42.4774064])))
        log_offline = np.asarray(jax.nn.log_softmax(jnp.array([-3.25763595, -0.07609805, -3.35826989])))
        found = critical_betas(P[None], dyn.DPO, [0.3], [0.2], log_reference=log_reference, log_offline=log_offline)
        assert found.status[0, 0] == 1
        assert found.beta[0, 0, 0] == pytest.approx(0.26036, abs=2e-5)

    @pytest.mark.thorough
    def test_where_the_followed_point_disappears_stability_ends(self):
        """The DPO problem of statement 7.1 with two attracting points: the curve from beta = ∞ turns back at a fold."""
        P = np.full((3, 3), 0.5)
        P[0, 1], P[0, 2], P[1, 2] = 0.124, 0.1954, 0.9938
        P = np.triu(P) + np.tril(1 - P.T, -1)
        log_reference = np.asarray(jax.nn.log_softmax(jnp.array([75.643, -103.58, 27.937])))
        log_offline = np.log([0.00093, 0.55943, 0.43964])
        setting = {"log_reference": log_reference, "log_offline": log_offline - np.log(np.exp(log_offline).sum())}
        alpha, lam = 0.272218, 0.371459
        found = critical_betas(np.stack([P, P]), dyn.DPO, [alpha, 0.3, 0.8], [lam], floor=1e-3, **setting)
        loop = dyn.SelfSampling(P, dyn.DPO(1.0), alpha, lam, *setting.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = dyn.stability.first_crossing(loop, "beta", (1e-3, 1.0), downward=True)
        assert found.status[0, 0] == 1
        assert one is not None
        assert one.kind == "fold"
        assert found.beta[0, 0, 0] == pytest.approx(one.value, rel=1e-4)  # the fold is met to the shortest step

    def test_proven_beta_is_where_the_theorems_begin_to_apply(self):
        stack, alphas = random_stack(3, 5), (0.0, 0.6)
        found = proven_beta(stack, alphas, [0.8])[:, :, 0]
        for m, a in np.ndindex(found.shape):
            speak = [
                any(t(P=stack[m], alpha=alphas[a], lam=0.8, beta=found[m, a] * x).applicable for t in PROOFS)
                for x in (1 - 1e-9, 1 + 1e-9)
            ]
            assert speak == [False, True]
        assert (found <= dyn.stability.proven_everywhere(alphas, 0.8)[:, 0]).all()


PROOFS = (
    dyn.theorems.published_contraction,
    dyn.theorems.centred_contraction,
    dyn.theorems.contraction,
    dyn.theorems.span_contraction,
    dyn.theorems.global_convergence,
    dyn.theorems.dimension_free_convergence,
)


class TestPosterior:
    def test_draws_are_beta(self):
        from scipy.stats import beta, kstest

        counts = np.array([[0.0, 7.5, 0.0], [2.5, 0.0, 1.0], [0.0, 0.0, 0.0]])
        found = posterior(counts, key=KEY, draws=4000, model="independent")
        for (i, j), (a, b) in {(0, 1): (8.0, 3.0), (0, 2): (0.5, 0.5), (1, 2): (1.5, 0.5)}.items():
            assert kstest(found.draws[:, i, j], beta(a, b).cdf).pvalue > 1e-3
            assert found.mean[i, j] == pytest.approx(a / (a + b))
        np.testing.assert_allclose(found.draws + np.swapaxes(found.draws, 1, 2), 1.0, atol=1e-15)
        assert found.comparisons == 11

    def test_both_sides_keep_their_precision_next_to_certainty(self):
        found = posterior(np.array([[0.0, 1e6], [0.0, 0.0]]), key=KEY, draws=50, model="independent", prior=0.1)
        assert (found.draws[:, 1, 0] > 0).all()
        assert (found.draws[:, 1, 0] < 1e-4).all()

    def test_wins_of_a_set(self, tmp_path):
        path = tmp_path / "wins.csv"
        path.write_text("winner,loser,count\na,b,3\nb,a,1\nb,c,4\n", encoding="utf-8")
        matrices = dyn.preferences.read(path, missing=0.5)
        np.testing.assert_allclose(matrices.wins(0), [[0, 3, 0], [1, 0, 4], [0, 0, 0]], atol=1e-15)
        with pytest.raises(ValueError, match="matrix 0 has no counts"):
            dyn.preferences.PreferenceSet([np.full((2, 2), 0.5)]).wins(0)


class TestVerdictProbability:
    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", OBJECTIVES)
    def test_shares_are_those_of_the_draws_one_by_one(self, kind):
        counts, alpha, lam, beta = cycle_counts(20, 0.2), 0.5, 1.0, KAPPA[kind] * 0.13
        found = verdict_probability(counts, kind(beta), alpha, lam, key=KEY, draws=24, rounds=400)
        stack = posterior(counts, key=KEY, draws=24).draws
        words, start = [], jax.nn.log_softmax(1e-3 * jnp.cos(jnp.arange(1.0, 4.0)))
        for P in stack:
            run = dyn.iterate(dyn.SelfSampling(P, kind(beta), alpha, lam), 400, measure="verdict", initial=start)
            words.append(dyn.diagnostics.VERDICTS[int(run.statistics["verdict"])])
        assert {w: s.value for w, s in found.verdicts.items() if s.value} == {
            w: words.count(w) / 24 for w in set(words)
        }
        radii = spectral_radii(stack, kind(beta), alpha, lam).radius
        assert found.unstable is not None
        assert found.radius_quantiles is not None
        assert found.unstable.value == (radii > 1).mean()
        assert 0 < found.unstable.value < 1
        np.testing.assert_allclose(found.radius_quantiles, np.quantile(radii, (0.05, 0.5, 0.95)))
        assert sum(s.value for s in found.verdicts.values()) == pytest.approx(1)

    @pytest.mark.thorough
    def test_many_comparisons_leave_no_doubt(self):
        for beta, unstable in ((0.1, 1.0), (0.2, 0.0)):  # statement 2.1: unstable below .3/(√3 √.75) = .2 at a = .3
            beta = beta + 0.02
            counts = cycle_counts(1_000_000, 0.3)
            found = verdict_probability(counts, dyn.IPO(beta), 0.5, 1.0, key=KEY, draws=24, rounds=400)
            assert found.unstable is not None
            assert found.unstable.value == unstable
            assert found.verdicts["oscillating" if unstable else "converged"].value == 1

    @pytest.mark.thorough
    def test_draws_without_an_optimum_have_a_share_of_their_own(self):
        """With hardly any prior, sides that never won get P = 0, where DPO has no optimum; nothing is dropped."""
        counts = np.zeros((3, 3))
        counts[0, 1] = counts[1, 2] = 5.0
        counts[2, 1] = 1.0
        found = verdict_probability(
            counts, dyn.DPO(0.5), 0.5, 1.0, key=KEY, draws=24, model="independent", prior=1e-4, rounds=400
        )
        assert found.not_found.value > 0.3
        assert found.verdicts["failed"].value == found.not_found.value
        assert sum(s.value for s in found.verdicts.values()) == pytest.approx(1)
        json.dumps(found.to_dict(), allow_nan=False)

    @pytest.mark.thorough
    def test_alpha_one_has_verdicts_and_no_radius(self):
        found = verdict_probability(cycle_counts(50, 0.3), dyn.IPO(0.5), 1.0, 1.0, key=KEY, draws=24, rounds=400)
        assert found.unstable is None
        assert found.radius_quantiles is None
        assert sum(s.value for s in found.verdicts.values()) == pytest.approx(1)
        assert "not defined" in str(found)
        json.dumps(found.to_dict(), allow_nan=False)

    @pytest.mark.thorough
    def test_ninety_percent_intervals_cover_nine_times_in_ten(self):
        """200 truths from the prior, counts from each: the stated interval holds the true spectral radius as often as it
        says. Exact but for its draws; ±5 percentage points are 2.4 standard errors of 200 trials.
        """
        K, truths, draws, prior = 3, 200, 160, 0.5
        rng = np.random.default_rng(2026)
        i, j = np.triu_indices(K, 1)
        P = np.full((truths, K, K), 0.5)
        P[:, i, j] = rng.beta(prior, prior, (truths, len(i)))
        P[:, j, i] = 1 - P[:, i, j]
        compared = rng.integers(1, 60, (truths, len(i)))
        counts = np.zeros((truths, K, K))
        counts[:, i, j] = rng.binomial(compared, P[:, i, j])
        counts[:, j, i] = compared - counts[:, i, j]
        keys = jax.random.split(jax.random.key(7), truths)
        options = {
            "draws": draws,
            "model": "independent",
            "prior": prior,
            "one_sided": True,
        }  # few comparisons do leave a side empty
        stack = np.concatenate([posterior(c, key=k, **options).draws for c, k in zip(counts, keys, strict=True)])
        for kind, beta in ((dyn.IPO, 0.15), (dyn.DPO, 0.6)):
            true = spectral_radii(P, kind(beta), 0.5, 1.0)
            found = spectral_radii(stack, kind(beta), 0.5, 1.0)
            assert (true.status == 0).all()
            assert (found.status == 0).mean() > 0.999
            low, high = np.nanquantile(found.radius.reshape(truths, draws), (0.05, 0.95), axis=1)
            covered = float(((low <= true.radius) & (true.radius <= high)).mean())
            assert 0.85 <= covered <= 0.95, (kind.__name__, covered)


class TestSafeBeta:
    def test_order_statistic_and_its_interval(self):
        values = np.arange(1.0, 101.0)[::-1, None, None]
        middle, low, high = _quantile(values, 0.95)
        assert middle[0, 0] == 95
        assert low[0, 0] < 95 < high[0, 0]
        assert np.isinf(_quantile(values[:3], 0.95)[2]).all()  # three draws bound nothing from above

    @pytest.mark.thorough
    @pytest.mark.parametrize("model", ["hierarchical", "independent"])
    @pytest.mark.parametrize("kind", OBJECTIVES)
    def test_rounds_are_stable_above_with_the_confidence_stated(self, kind, model):
        counts = cycle_counts(30, 0.25)
        found = safe_beta(counts, kind, [0.5], [1.0], key=KEY, confidence=0.9, draws=200, model=model)
        stack = posterior(counts, key=KEY, draws=200, model=model).draws
        beta = float(found.beta[0, 0])
        stable = [(spectral_radii(stack, kind(beta * x), 0.5, 1.0).radius < 1).mean() for x in (1 - 1e-6, 1 + 1e-6)]
        assert stable[0] < 0.9 <= stable[1]
        assert found.low[0, 0] <= beta <= found.high[0, 0]
        if kind is dyn.IPO:
            assert found.proven is not None
            assert beta < found.proven[0, 0] < found.proven_everywhere[0, 0]
        else:
            assert found.proven is None

    @pytest.mark.thorough
    def test_no_loss_down_to_the_floor_says_so(self):
        counts = 1e4 * np.asarray(dyn.preferences.bradley_terry(np.array([3.0, 0.0, -3.0]))) * (1 - np.eye(3))
        found = safe_beta(counts, dyn.DPO, [0.2], [1.0], key=KEY, draws=150, floor=0.5)
        assert found.beta[0, 0] == found.floor == 0.5

    @pytest.mark.thorough
    def test_the_larger_of_two_models_and_what_it_is_if_stability_can_be_lost(self):
        counts = cycle_counts(12, 0.15)
        both = safe_beta(counts, dyn.IPO, [0.0, 0.5], [1.0], key=KEY, draws=150)
        alone = {m: safe_beta(counts, dyn.IPO, [0.0, 0.5], [1.0], key=KEY, draws=150, model=m) for m in both.models}
        np.testing.assert_allclose(both.beta, np.maximum(*(found.beta for found in alone.values())), rtol=1e-9)
        for a, alpha in enumerate((0.0, 0.5)):
            assert both.beta[a, 0] == pytest.approx(alone[both.source[a, 0]].beta[a, 0], rel=1e-9)
            draws = posterior(counts, key=KEY, draws=150).draws
            limits = critical_betas(draws, dyn.IPO, [alpha], [1.0]).beta[:, 0, 0]
            lost = np.sort(limits[limits > 0])
            assert both.loses_stability.value[a, 0] == pytest.approx(len(lost) / 150)
            wanted = lost[int(np.ceil(0.95 * len(lost))) - 1]
            assert alone["hierarchical"].beta_if[a, 0] == pytest.approx(wanted, rel=1e-6)
        assert (both.beta_if >= both.beta).all()
        json.dumps(both.to_dict(), allow_nan=False)
        assert "posterior probability" in str(both)
        assert "confidence" not in str(both)

    @pytest.mark.thorough
    def test_a_large_gap_between_the_models_is_told(self):
        scores = np.linspace(-1, 1, 8)
        P = np.asarray(dyn.preferences.bradley_terry(scores))
        counts = 6 * P * (1 - np.eye(8))
        told = str(safe_beta(counts, dyn.IPO, [0.5], [1.0], key=KEY, draws=150))
        assert "the models differ: hierarchical" in told

    def test_known_matrix_is_its_own_critical_beta(self):
        P = dyn.preferences.cyclic(3, 0.3)
        found = known_beta(P, dyn.IPO, [0.5], [1.0])
        assert found.beta[0, 0] == pytest.approx(0.2, rel=1e-9)
        assert found.confidence is None
        json.dumps(found.to_dict(), allow_nan=False)

    def test_draws_without_an_optimum_leave_no_safe_beta(self):
        counts = np.zeros((3, 3))
        counts[0, 1] = counts[1, 2] = 5.0
        counts[2, 1] = 1.0
        found = safe_beta(counts, dyn.DPO, [0.5], [1.0], key=KEY, draws=150, prior=1e-4)
        assert found.by_model is not None
        assert np.isfinite(found.by_model["hierarchical"]).all()
        assert found.source is not None
        assert found.source[0, 0] == "independent"
        assert np.isinf(found.beta).all()
        assert found.without_optimum > 0.3
        assert found.to_dict()["beta"] == [[None]]


@pytest.fixture
def counted(tmp_path):
    path = tmp_path / "counted.npz"
    cycle = np.asarray(dyn.preferences.cyclic(3, 0.3))
    np.savez(path, P=np.stack([cycle, 0.25 + cycle / 2]), N=np.full((2, 3, 3), 40) * (1 - np.eye(3, dtype=int)))
    return path


@pytest.fixture
def uncounted(tmp_path):
    path = tmp_path / "uncounted.npz"
    np.savez(path, P=np.asarray(dyn.preferences.cyclic(3, 0.3)))
    return path


SMALL = ("--alpha", "0", "0.5", "--lam", "1", "--draws", "150")


@pytest.fixture(autouse=True)
def settings_stay(monkeypatch):
    """The entry point sets JAX's compilation cache; the process keeps the one it has."""
    monkeypatch.setattr("dynamics.cli._main._prepare", lambda **_: None)


def refuse(word: str) -> None:
    raise AssertionError(f"{word} in the JSON")


class TestCommand:
    @pytest.mark.thorough
    def test_json_is_what_the_library_finds(self, capsys, counted):
        cli.main(["advise", str(counted), "--index", "0", *SMALL, "--json", "--seed", "3"])
        row = json.loads(capsys.readouterr().out, parse_constant=refuse)["matrices"][0]
        counts = dyn.preferences.read(counted).wins(0)
        key = jax.random.fold_in(jax.random.key(3), 0)
        for kind in OBJECTIVES:
            wanted = safe_beta(counts, kind, [0, 0.5], [1.0], key=key, draws=150)
            assert row[kind.__name__.lower()] == wanted.to_dict()

    @pytest.mark.thorough
    def test_tables_and_figure(self, capsys, counted, tmp_path):
        out = tmp_path / "safe.png"
        cli.main(["advise", str(counted), "--index", "0", *SMALL, "--plot", str(out)])
        told = capsys.readouterr().out
        assert "with posterior probability 0.95, given 120 comparisons, by the larger beta" in " ".join(told.split())
        assert "proven to converge above (95%)" in told
        assert "alpha = 1 is left out" in told
        assert told.splitlines().count("IPO") == told.splitlines().count("DPO") == 1
        assert out.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.thorough
    def test_without_counts_it_is_a_point_estimate_and_says_so(self, capsys, uncounted):
        cli.main(["advise", str(uncounted), "--alpha", "0.5", "--lam", "1"])
        told = " ".join(capsys.readouterr().out.split())
        assert "which has no counts, so no confidence can be stated" in told
        assert "0.5 1 0.2 " in told  # .3/(√3 √.75), statement 2.1
        assert "probability" not in told

    def test_many_matrices_get_a_row_each(self, capsys, counted):
        cli.main(["advise", str(counted), "--draws", "150"])
        lines = capsys.readouterr().out.splitlines()
        rows = [line.split() for line in lines if line.split()[:1] in (["0"], ["1"])]
        assert [row[1] for row in rows] == ["120", "120"]
        assert float(rows[0][2]) > float(rows[1][2])  # the stronger cycle needs the larger beta
        assert any(line.startswith("alpha = 0.5, lam = 1.") for line in lines)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--confidence", "1"], "confidence = 1 is certainty"),
            (["--confidence", "95"], "confidence = 95 is outside (0, 1]"),
            (["--alpha", "1"], "alpha = 1 has no fixed point that could be followed"),
            (["--lam", "2"], "lam = 2 is outside [0, 1]"),
            (["--draws", "0"], "draws = 0"),
            (["--index", "9"], "--index 9 is not in"),
            (["--plot", "a.txt"], "--plot a.txt has suffix '.txt'"),
            (["--plot", "a.png"], "choose one with --index"),
            (["--alpha", "0", "0.5"], "--alpha has 2 values"),
        ],
    )
    def test_bad_input_is_one_sentence(self, capsys, counted, options, words):
        with pytest.raises(SystemExit) as stop:
            cli.main(["advise", str(counted), *options])
        out, err = capsys.readouterr()
        assert stop.value.code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert words in err

    def test_stability_tells_probabilities_where_counts_are_known(self, capsys, counted, uncounted):
        setting = ["--alpha", "0.5", "--lam", "1", "--beta", "0.5", "--rounds", "400"]
        cli.main(["stability", str(counted), "--index", "0", *setting])
        told = capsys.readouterr().out
        assert "given the counts" in told
        assert "200 draws of 400 rounds" in told
        cli.main(["stability", str(uncounted), *setting, "--json"])
        assert json.loads(capsys.readouterr().out)["matrices"][0]["probability"] is None


class TestFigure:
    def test_lines_are_the_results(self):
        found = safe_beta(cycle_counts(30, 0.25), dyn.IPO, [0.0, 0.5], [0.5, 1.0], key=KEY, draws=150)
        figure = dyn.plot.advice([found], title="a title")
        lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
        np.testing.assert_array_equal(lines["λ = 1"].get_ydata(), found.beta[:, 1])
        np.testing.assert_array_equal(lines["λ = 0.5"].get_xdata(), found.alpha)
        with pytest.raises(ValueError, match="found is empty"):
            dyn.plot.advice([])


class TestElections:
    @pytest.mark.thorough
    def test_regions_are_counted_by_family(self, tmp_path, counted, uncounted):
        from experiments import elections

        certain = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
        np.savez(tmp_path / "certain.npz", P=certain)
        out = tmp_path / "table" / "elections.csv"
        assert elections.main([str(tmp_path), "--beta", "0.21", "0.19", "--out", str(out)]) == 0
        lines = [line.split(",") for line in out.read_text(encoding="utf-8").splitlines()]
        rows = {tuple(row[i] for i in (0, 3, 4)): dict(zip(lines[0], row, strict=True)) for row in lines[1:]}
        # The cycle of .3 loses stability at .2 under IPO (2.1) and is proven stable above .3: 7.2 is 3/2 of it.
        assert rows["uncounted", "IPO", "0.21"]["locally stable"] == "1"
        assert rows["uncounted", "IPO", "0.19"]["unstable"] == "1"
        assert rows["counted", "IPO", "0.21"]["proven"] == "1"
        assert rows["certain", "DPO", "0.21"]["no optimum"] == "1"
        assert rows["all", "IPO", "0.21"]["matrices"] == "4"

    def test_bad_input_is_one_sentence(self, tmp_path, capsys, uncounted):
        from experiments import elections

        for options, words in (
            ([str(tmp_path / "none.npz")], "nothing could be read"),
            ([str(uncounted), "--alpha", "1"], "alpha = 1 has no fixed point"),
            ([str(uncounted), "--beta", "0"], "beta = 0 is outside"),
        ):
            assert elections.main(options) == 2
            err = capsys.readouterr().err
            assert words in err
            assert "Traceback" not in err
