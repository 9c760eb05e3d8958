"""Maps of a loop in one call: what is drawn is what was computed, and what is computed agrees with the rooms that own it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import dynamics as dyn
from dynamics import atlas, plot, schema
from dynamics.schema import VERDICTS

CYCLE = dyn.preferences.cyclic(3, advantage=0.4)
FOUR = np.array([[0.5, 0.8, 0.3, 0.6], [0.2, 0.5, 0.9, 0.7], [0.7, 0.1, 0.5, 0.85], [0.4, 0.3, 0.15, 0.5]])
BETAS = np.linspace(0.2, 0.4, 9)
CONVERGED, OSCILLATING = VERDICTS.index("converged"), VERDICTS.index("oscillating")


def loop(P=CYCLE, objective=None, alpha=0.5, lam=1.0, **options):
    return dyn.SelfSampling(P, dyn.IPO(0.25) if objective is None else objective, alpha, lam, **options)


def labels(ax) -> list[str]:
    figure = ax.figure
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def shaded(ax, label: str) -> np.ndarray:
    """The cells that one layer of a map covers, in the order of the Dataset."""
    mesh = next(m for m in ax.collections if isinstance(m, QuadMesh) and m.get_label() == label)
    return ~np.ma.getmaskarray(mesh.get_array())


@pytest.fixture(scope="module")
def ipo():
    return atlas.stability_map(loop(), cells=9, rounds=1500, x_range=(0.0, 6.0))


@pytest.fixture(scope="module")
def game():
    mirror = dyn.games.MirrorDescent(CYCLE, eta=1.0, tau=0.1)
    return atlas.stability_map(mirror, "eta", "tau", x_range=(0, 6), y_range=(0.05, 0.3), cells=(7, 5), rounds=1500)


@pytest.fixture(scope="module")
def orbits():
    return atlas.orbit_diagram(loop(), "beta", BETAS, rounds=1200, keep=60)


@pytest.fixture(scope="module")
def portrait():
    return atlas.phase_portrait(loop(), arrows=6, rounds=12)


@pytest.fixture(scope="module")
def bistable():
    """Below a subcritical onset: the fixed point attracts from near, a cycle from afar (statement 7.5)."""
    rounds = loop(dyn.preferences.cyclic(3, 0.48), dyn.DPO(1.29))
    return rounds, atlas.basins(rounds, starts=11, rounds=3000)


class TestStabilityMap:
    @pytest.mark.thorough
    def test_the_radius_is_that_of_the_closed_form(self, ipo):
        """rho² = alpha² + (a lam/beta)²/3 at the uniform policy of the 3-cycle under IPO ([paper] Chen26)."""
        x, y = np.meshgrid(ipo.x, ipo.y)
        np.testing.assert_allclose(ipo.spectral_radius, np.hypot(y, 0.4 * x / np.sqrt(3)), rtol=1e-9)

    def test_proven_cells_are_those_of_contraction_rates(self, ipo):
        for j, i in [(0, 0), (4, 2), (4, 4), (8, 1), (0, 4), (2, 8)]:
            cell = loop(objective=dyn.IPO(1 / float(ipo.x[i])), alpha=float(ipo.y[j]))
            rates = dyn.stability.contraction_rates(cell)
            assert (int(ipo.proven[j, i]) > 0) == bool(rates)
            if rates:
                assert float(ipo.rate[j, i]) == pytest.approx(rates[0].rate, rel=1e-12)
                published = any(rate.statement.startswith("[paper]") for rate in rates)
                assert atlas.PROVEN[int(ipo.proven[j, i])] == ("proven, published" if published else "proven, derived")

    def test_layers_agree(self, ipo):
        proven, rho, verdict = ipo.proven.values > 0, ipo.spectral_radius.values, ipo.verdict.values
        assert proven.any()
        assert (rho[proven] < 1).all()
        assert not (verdict[proven] == OSCILLATING).any()
        assert (verdict[rho < 0.97] == CONVERGED).all()
        assert (verdict[rho > 1.05] == OSCILLATING).all()
        schema.validate(ipo)

    def test_the_figure_shows_the_layers(self, ipo):
        ax = plot.stability_map(ipo, title="a map")
        rho, proven = ipo.spectral_radius.values, ipo.proven.values
        assert (shaded(ax, "proven to converge (a published theorem)") == (proven == 1)).all()
        assert (shaded(ax, "proven to converge (a derived theorem)") == (proven == 2)).all()
        assert (shaded(ax, "computed: fixed point attracts; unproven") == ((proven == 0) & (rho < 1))).all()
        assert (shaded(ax, "computed: fixed point does not attract") == (rho >= 1)).all()
        assert (shaded(ax, "amplitude") == (ipo.verdict.values == OSCILLATING)).all()
        dots = next(c for c in ax.collections if c.get_label() == "simulated: converges")
        assert len(dots.get_offsets()) == (ipo.verdict.values == CONVERGED).sum()
        assert "computed: spectral radius 1" in labels(ax)
        assert ax.get_xlabel() == "λ/β"
        assert ax.get_title(loc="left") == "a map"
        np.testing.assert_allclose([*ax.get_xlim(), *ax.get_ylim()], [0, 6, 0, 1], atol=1e-12)

    def test_the_line_is_where_the_radius_is_one(self, ipo):
        ax = plot.stability_map(ipo)
        line = max((c for c in ax.collections if not isinstance(c, QuadMesh)), key=lambda c: c.get_zorder())
        xy = np.concatenate([path.vertices for path in line.get_paths()])
        assert len(xy) > 5
        np.testing.assert_allclose(np.hypot(xy[:, 1], 0.4 * xy[:, 0] / np.sqrt(3)), 1.0, atol=0.01)

    def test_on_given_axes(self, ipo):
        with plot.style():
            given = Figure().subplots()
        assert plot.stability_map(ipo, ax=given) is given
        assert given.get_legend() is not None

    def test_of_a_game(self, game):
        """rho² = (1 - eta tau)² + (eta omega)², and rounds are not defined beyond eta tau = 1."""
        x, y = np.meshgrid(game.x, game.y)
        defined = x * y <= 1
        assert (game.admitted.values == defined).all()
        assert not defined.all()
        want = np.sqrt((1 - x * y) ** 2 + (x * 0.4 / np.sqrt(3)) ** 2)
        np.testing.assert_allclose(game.spectral_radius.values[defined], want[defined], rtol=1e-9)
        assert np.isnan(game.spectral_radius.values[~defined]).all()
        ax = plot.stability_map(game)
        assert (shaded(ax, "rounds not defined") == ~defined).all()
        assert not any("failed" in text for text in labels(ax))
        assert ax.get_xlabel() == "η, step"

    @pytest.mark.thorough
    def test_four_responses_under_dpo(self):
        """The radii are those of the room of stability, which follows the fixed point from beta = ∞."""
        ds = atlas.stability_map(loop(FOUR, dyn.DPO(0.9)), cells=(4, 3), rounds=200)
        for j, i in np.ndindex(3, 4):
            beta = 1 / float(ds.x[i])
            want = dyn.stability.spectral_radii(FOUR[None], dyn.DPO(beta), float(ds.y[j]), 1.0, progress=False)
            assert float(ds.spectral_radius[j, i]) == pytest.approx(want.radius[0], rel=1e-7)
            np.testing.assert_allclose(ds.log_policy[j, i], want.log_policy[0], atol=1e-7)

    @pytest.mark.thorough
    def test_the_worst_of_several_starts(self):
        """Beyond a subcritical onset a run beside the fixed point settles and one from afar keeps turning."""
        strong = loop(dyn.preferences.cyclic(3, 0.48), dyn.DPO(1.29))
        ranges = {
            "x": "beta",
            "y": "alpha",
            "x_range": (1.27, 1.31),
            "y_range": (0.49, 0.51),
            "cells": 3,
            "rounds": 3000,
        }
        near, far = jnp.log(jnp.array([0.34, 0.33, 0.33])), jnp.log(jnp.array([0.9, 0.09, 0.01]))
        alone = [int(atlas.stability_map(strong, **ranges, initial=start).verdict[1, 1]) for start in (near, far)]
        assert alone == [CONVERGED, OSCILLATING]
        both = atlas.stability_map(strong, **ranges, initial=jnp.stack([near, far]))
        assert int(both.verdict[1, 1]) == OSCILLATING
        assert both.attrs["starts"] == 2

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"x": "gamma"}, r"x names 'gamma', which SelfSampling does not have; pass one of beta, alpha, lam"),
            ({"y": "preference"}, r"y names 'preference', which is not a single number"),
            ({"x": "lam/beta/alpha"}, r"pass a parameter, or a ratio of two"),
            ({"x": "beta/beta"}, r"is always 1"),
            ({"x": "lam/beta", "y": "beta"}, r"both set objective.beta"),
            ({"x": "alpha"}, r"both set alpha"),
            ({"y_range": (0.0, 2.0)}, r"outside \[0, 1\]"),
            ({"x_range": (2.0, 1.0)}, r"pass \(low, high\) with low < high"),
            ({"cells": 2}, r"cells = 2; pass a whole number of at least 3"),
            ({"rounds": 5}, r"rounds = 5; pass a whole number of at least 100"),
            ({"initial": [0.0, 0.0]}, r"initial"),
        ],
    )
    def test_refuses_by_name(self, change, words):
        with pytest.raises(ValueError, match=words):
            plot.stability_map(loop(), **change)

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (
                lambda: loop(samples=100),
                "draws samples, and stability_map is about deterministic rounds; pass the same loop",
            ),
            (lambda: loop(jnp.stack([CYCLE, CYCLE])), r"has 2 prompts.*pass loop.prompts\(\)\[0\]"),
            (
                lambda: dyn.games.MirrorDescent(CYCLE, 1.0, 0.1),
                r"which MirrorDescent does not have; pass one of eta, tau",
            ),
            (lambda: loop(lam=0.0), r"'lam/beta' is 0 at present, since lam = 0"),
            (lambda: loop(inner=dyn.Descend(optax.adam(0.1), steps=3)), r"derivatives|smooth|Adam"),
        ],
    )
    def test_refuses_loops(self, made, words):
        with pytest.raises(ValueError, match=words):
            plot.stability_map(made())

    def test_a_dataset_is_drawn_as_it_is(self, ipo):
        with pytest.raises(ValueError, match="cells would compute anew"):
            plot.stability_map(ipo, cells=5)
        with pytest.raises(ValueError, match="has no spectral_radius"):
            plot.stability_map(ipo.drop_vars("spectral_radius"))


class TestOrbitDiagram:
    def test_rows_are_those_of_iterate(self, orbits):
        ds = orbits
        start = jnp.log(jnp.array([100.0, 10.0, 1.0]) / 111.0)
        for n in (0, 3, 8):
            sol = dyn.iterate(loop(objective=dyn.IPO(float(BETAS[n]))), 1200, initial=start)
            np.testing.assert_allclose(ds.log_policy[n, 0], sol.log_policy[-60], atol=1e-6)
        assert ds["round"].values[[0, -1]].tolist() == [1141, 1200]

    def test_the_critical_value_is_that_of_critical(self, orbits):
        ds = orbits
        (crossing,) = dyn.stability.critical(loop(), "beta", (0.2, 0.4))
        assert ds.critical_value.values.tolist() == [crossing.value]
        assert crossing.value == pytest.approx(0.4 / np.sqrt(3 * 0.75), rel=1e-9)
        spread = np.ptp(np.exp(ds.log_policy.values[:, :, 0]), axis=1)
        assert (spread[BETAS < 0.26] > 0.1).all()
        assert (spread[BETAS > 0.28] < 1e-6).all()

    def test_the_figure_shows_both(self, orbits):
        ds = orbits
        ax = plot.orbit_diagram(ds, response="b", names=["a", "b", "c"])
        dots = ax.collections[0].get_offsets()
        np.testing.assert_array_equal(dots[:, 1], np.exp(ds.log_policy.values[:, :, 1]).ravel())
        np.testing.assert_array_equal(dots[:, 0], np.repeat(BETAS, 60))
        (line,) = ax.lines
        assert line.get_xdata() == [ds.critical_value.values[0]] * 2
        assert "Neimark–Sacker, supercritical" in line.get_label()
        assert ax.get_ylabel() == "probability of b"

    def test_by_default_values_lie_around_the_critical_one(self):
        ds = atlas.orbit_diagram(dyn.games.MirrorDescent(CYCLE, eta=1.0, tau=0.1), "eta", rounds=50, keep=2)
        omega = 0.4 / np.sqrt(3)
        assert ds.critical_value.values == pytest.approx([2 * 0.1 / (0.01 + omega**2)], rel=1e-6)
        assert ds.value.values[0] < ds.critical_value.values[0] < ds.value.values[-1]
        assert plot.orbit_diagram(ds).get_xscale() == "log"

    def test_where_nothing_can_be_followed_it_says_so(self):
        ds = atlas.orbit_diagram(dyn.games.SPPO(CYCLE, eta=1.0), "eta", np.linspace(0.5, 1.5, 4), rounds=50, keep=2)
        assert not ds.critical_value.size
        assert "changes its stability nowhere" in plot.orbit_diagram(ds).figure.get_supxlabel().replace("\n", " ")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"over": "betta"}, r"over names 'betta', which SelfSampling does not have; pass one of beta, alpha, lam"),
            ({"values": [0.3]}, r"pass at least two different numbers"),
            ({"values": [-0.1, 0.3]}, r"objective.beta = -0.1"),
            ({"keep": 0}, r"keep = 0"),
            ({"rounds": 10, "keep": 20}, r"rounds = 10; pass a whole number of at least 20"),
        ],
    )
    def test_refuses_by_name(self, change, words):
        with pytest.raises(ValueError, match=words):
            plot.orbit_diagram(loop(), **change)

    @pytest.mark.parametrize(
        ("response", "words"), [(3, "from 0 to 2"), ("a", "give names= too"), (True, "from 0 to 2")]
    )
    def test_refuses_a_response(self, orbits, response, words):
        with pytest.raises(ValueError, match=words):
            plot.orbit_diagram(orbits, response=response)


class TestPhasePortrait:
    def test_arrows_are_one_round(self, portrait):
        ds = portrait
        for n in (0, 7, 20):
            z = jnp.asarray(ds.log_policy.values[n])
            step = np.exp(np.asarray(dyn.iterate(loop(), 1, initial=z).log_policy[1])) - np.exp(z)
            np.testing.assert_allclose(ds.step.values[n], step, atol=1e-12)
        np.testing.assert_allclose(ds.step.sum("response"), 0.0, atol=1e-12)

    def test_the_field_is_drawn_in_the_direction_of_the_step(self, portrait):
        ds = portrait
        from matplotlib.quiver import Quiver

        ax = plot.phase_portrait(ds)
        field = next(c for c in ax.collections if isinstance(c, Quiver))
        corners = plot.barycentric(np.log(np.eye(3) + 1e-300))
        want = ds.step.values @ corners
        drawn = np.stack([field.U, field.V], axis=1)
        unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
        moving = np.linalg.norm(want, axis=1) > 1e-6
        np.testing.assert_allclose(unit(drawn[moving]), unit(want[moving]), atol=1e-9)
        assert (np.linalg.norm(drawn, axis=1) <= 0.8 / 6 + 1e-9).all()
        size = 0.5 * np.abs(ds.step.values).sum(axis=1)
        np.testing.assert_allclose(field.get_array()[moving], np.maximum(size, field.norm.vmin)[moving])

    @pytest.mark.parametrize(("beta", "attracts"), [(0.25, False), (0.3, True)])
    def test_fixed_points_are_told_apart(self, beta, attracts):
        rounds = loop(objective=dyn.IPO(beta))
        ax = plot.phase_portrait(rounds, arrows=3, rounds=1)
        (point,) = dyn.stability.find_fixed_points(rounds)
        mark = next(line for line in ax.lines if "fixed point" in str(line.get_label()))
        np.testing.assert_allclose(mark.get_xydata(), plot.barycentric(point.log_policy[None]), atol=1e-9)
        assert (mark.get_markerfacecolor() == "white") == (not attracts)
        word = "attracts" if attracts else "does not attract"
        assert mark.get_label() == f"fixed point, {word} (ρ = {point.spectral_radius:.3g})"

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (lambda: loop(FOUR), "loop has 4 responses, and phase_portrait draws the triangle of 3"),
            (lambda: loop(samples=10), "draws samples, and phase_portrait"),
            (lambda: dyn.games.OptimisticMirrorDescent(CYCLE, 1.0, 0.1), "its state has 4 numbers"),
            (lambda: loop(policy=dyn.LogLinear(jnp.array([[1.0], [0.0], [-1.0]]))), "its state has 1 numbers"),
        ],
    )
    def test_refuses(self, made, words):
        with pytest.raises(ValueError, match=words):
            plot.phase_portrait(made())


class TestBasins:
    @pytest.mark.thorough
    def test_each_start_has_the_fate_of_its_run(self, bistable):
        rounds, ds = bistable
        names = dict(zip(("converged", "oscillating"), atlas.FATES, strict=False))
        assert set(ds.fate.values) == {0, 1}
        for n in (0, 20, int(np.flatnonzero(ds.fate.values == 0)[0])):
            sol = dyn.iterate(rounds, 3000, initial=jnp.asarray(ds.log_policy.values[n]), every=3000, measure="verdict")
            assert atlas.FATES[int(ds.fate[n])] == names[VERDICTS[int(sol.verdict)]]
            if ds.fate[n] == 0:
                np.testing.assert_allclose(np.exp(ds.log_last.values[n]), np.exp(sol.log_policy[-1]), atol=1e-6)

    @pytest.mark.thorough
    def test_the_middle_settles_and_the_rest_turns(self, bistable):
        _, ds = bistable
        np.testing.assert_allclose(np.exp(ds.log_place.values), [[1 / 3] * 3], atol=1e-3)
        away = np.abs(np.exp(ds.log_policy.values) - 1 / 3).max(axis=1)
        assert away[ds.fate.values == 0].max() < away[ds.fate.values == 1].max()
        assert float(ds.share.sum()) == pytest.approx((ds.attractor.values == 0).mean())

    def test_tiles_are_the_starts(self, bistable):
        _, ds = bistable
        ax = plot.basins(ds)
        tiles = {c.get_label(): len(c.get_paths()) for c in ax.collections}
        assert list(tiles.values()) == [(ds.fate.values == 0).sum(), (ds.fate.values == 1).sum()]
        share = (ds.fate.values == 1).mean()
        assert f"keeps moving: {share:.0%} of starts" in tiles
        assert all(label in labels(ax) for label in tiles)

    @pytest.mark.thorough
    def test_a_vertex_is_told_by_its_name(self):
        """At alpha = 1 rounds end at the Condorcet winner, and vertices are fixed points with log-probabilities of -inf."""
        P = np.array([[0.5, 0.7, 0.6], [0.3, 0.5, 0.6], [0.4, 0.4, 0.5]])
        ds = atlas.basins(loop(P, dyn.IPO(0.5), alpha=1.0), starts=6, rounds=2000)
        ax = plot.basins(ds, names=["x", "y", "z"])
        assert np.exp(ds.log_place.values)[0].argmax() == 0  # the Condorcet winner
        assert "settles at x: 100% of starts" in labels(ax)
        assert np.isneginf(ds.log_fixed_point.values).any()

    @pytest.mark.parametrize(
        ("made", "options", "words"),
        [
            (
                lambda: loop(FOUR),
                {},
                "loop has 4 responses, and basins draws the triangle of 3; pass a loop with K = 3",
            ),
            (lambda: loop(samples=10), {}, "draws samples, and basins"),
            (loop, {"starts": 1}, "starts = 1; pass a whole number of at least 3"),
            (loop, {"rounds": 3}, "rounds = 3; pass a whole number of at least 100"),
        ],
    )
    def test_refuses(self, made, options, words):
        with pytest.raises(ValueError, match=words):
            plot.basins(made(), **options)


@pytest.mark.thorough
def test_nothing_falls_off_the_page(ipo, game):
    names = ["Ada Lovelace of London", "Alan Mathison Turing", "$x_1$"]
    small = {"arrows": 4, "rounds": 3}
    figures = [
        plot.stability_map(ipo).figure,
        plot.stability_map(game).figure,
        plot.phase_portrait(loop(), names=names, **small).figure,
        plot.basins(loop(objective=dyn.IPO(0.5)), names=names, starts=4, rounds=200).figure,
    ]
    for figure in figures:
        with plot.style():
            figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0) > -0.02
        assert box.x1 < width + 0.02
        assert box.y1 < height + 0.02
        for text in figure.findobj(lambda a: hasattr(a, "get_fontsize") and a.get_text()):
            assert text.get_fontsize() >= 7


def test_a_dataset_over_another_parameter_is_refused():
    loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.25), alpha=0.5, lam=1.0)
    found = atlas.orbit_diagram(loop, "beta", np.linspace(0.2, 0.4, 3), rounds=60, keep=5, progress=False)
    with pytest.raises(ValueError, match="over = 'alpha', and the Dataset is over 'beta'"):
        plot.orbit_diagram(found, "alpha")
    with pytest.raises(ValueError, match="values would compute anew"):
        plot.orbit_diagram(found, values=[0.2, 0.3])
    assert plot.orbit_diagram(found, "beta").get_xlabel().startswith("β")
