"""Figures: what is drawn is what was handed in, readable in grey, and nothing falls off the page."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import dynamics as dyn
from dynamics import plot
from dynamics.plot._report import _window
from dynamics.stability import FixedPoint, Report

NAMES = ("Rock", "Paper", "Scissors")


@pytest.fixture
def ax():
    with plot.style():
        yield Figure().subplots()


def turning(rounds: int, size: int = 3, amplitude: float = 0.5, period: float = 6.0) -> xr.Dataset:
    """A policy that turns about uniform, from rest to a steady amplitude."""
    t = np.arange(rounds + 1)[:, None]
    growth = 1 / (1 + np.exp(-(t - rounds / 8) / 10.0))
    logits = amplitude * growth * np.cos(2 * np.pi * (t / period + np.arange(size) / size))
    log_policy = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return xr.Dataset({"log_policy": (("round", "response"), log_policy)}, {"round": np.arange(rounds + 1)})


def settling(rounds: int, size: int = 3, rate: float = 0.8) -> xr.Dataset:
    logits = np.arange(size) * (1 - rate ** np.arange(rounds + 1)[:, None])
    log_policy = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return xr.Dataset({"log_policy": (("round", "response"), log_policy)}, {"round": np.arange(rounds + 1)})


def point(eigenvalues, size: int = 3, vertex: int | None = None) -> FixedPoint:
    values = np.asarray(eigenvalues)
    log_policy = None if vertex is not None else np.full(size, -np.log(size))
    return FixedPoint(log_policy, 0.0, values, float(np.abs(values).max()), 0.1, vertex)


def a_report(**changes) -> Report:
    plain = Report(
        fixed_points=(point([0.5 + 0.9j, 0.5 - 0.9j]),),
        contraction_rate=None,
        lyapunov_exponent=0.0,
        period=6.0,
        verdict="oscillating",
        reason="after 300 rounds the policy keeps moving with amplitude 0.4 (threshold 1e-06) and turns once in 6 "
        "rounds; of 1 interior fixed point found 0 attract, smallest spectral radius 1.029563.",
        basins={"oscillating": 1.0},
        certificate="proven unstable",
        certificate_reason="[derived] statement 7.1: the only fixed point is unstable",
        numbers={},
        log_initial=np.full(3, -np.log(3.0)),
        rounds=300,
    )
    return dataclasses.replace(plain, **changes)


def drawn(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines if len(line.get_xdata())}


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_plot_imports_neither_jax_nor_matplotlib():
    code = "import sys, dynamics.plot; print([m for m in ('jax', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_style_is_a_context_with_colours_and_dashes_in_step():
    before = dict(matplotlib.rcParams)
    with plot.style():
        cycle = list(matplotlib.rcParams["axes.prop_cycle"])
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before
    assert (
        len({entry["color"] for entry in cycle}) == len({str(entry["linestyle"]) for entry in cycle}) == len(cycle) == 6
    )


class TestTrajectory:
    def test_lines_are_the_probabilities(self, ax):
        run = turning(60)
        plot.trajectory(run, ax, names=NAMES)
        lines = drawn(ax)
        assert list(lines) == list(NAMES) == legend(ax)
        for k, name in enumerate(NAMES):
            np.testing.assert_array_equal(lines[name][:, 0], run["round"])
            np.testing.assert_allclose(lines[name][:, 1], np.exp(run.log_policy[:, k]), rtol=1e-15)
        assert len({line.get_linestyle() + str(line._unscaled_dash_pattern) for line in ax.lines}) == 3

    def test_a_solution_and_its_dataset_draw_the_same(self, ax):
        loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.3), dyn.IPO(0.3), 0.5, 1.0)
        sol = dyn.iterate(loop, 20, initial=jnp.log(jnp.array([0.2, 0.3, 0.5])))
        other = Figure().subplots()
        plot.trajectory(sol, ax)
        plot.trajectory(sol.to_dataset(), other)
        assert list(drawn(ax)) == ["response 0", "response 1", "response 2"]
        assert all((drawn(ax)[name] == drawn(other)[name]).all() for name in drawn(ax))

    def test_window(self, ax):
        plot.trajectory(turning(60), ax, window=(10, 20))
        assert all((xy[0, 0], xy[-1, 0]) == (10, 20) for xy in drawn(ax).values())

    def test_the_rest_is_grey_and_counted(self, ax):
        run = settling(30, size=9)
        plot.trajectory(run, ax, most=3)
        told = [line for line in ax.lines if line.get_label().startswith("response")]
        # The last response wins here, and those before it peak at the start they share.
        assert "response 8" in legend(ax)
        assert len(told) == 3
        assert legend(ax)[-1] == "6 others"
        assert sum(line.get_color() == "#BBBBBB" and len(line.get_xdata()) > 1 for line in ax.lines) == 6

    def test_names_are_taken_literally(self, ax):
        plot.trajectory(turning(10), ax, names=["_x", "$5 or $6", "n" * 40])
        ax.figure.draw_without_rendering()
        assert [text.strip() for text in legend(ax)] == ["_x", r"\$5 or \$6", "n" * 17 + "…"]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"names": ["a", "b"]}, "names has 2 entries for 3"),
            ({"window": (100, 200)}, "holds no saved round"),
            ({"most": 0}, "most = 0"),
            ({"most": 7}, "most = 7"),
        ],
    )
    def test_refuses(self, ax, change, words):
        with pytest.raises(ValueError, match=words):
            plot.trajectory(turning(20), ax, **change)

    def test_refuses_what_has_no_rows(self, ax):
        with pytest.raises(ValueError, match="without log_policy rows"):
            plot.trajectory(xr.Dataset(), ax)
        with pytest.raises(ValueError, match="pass one run"):
            plot.trajectory(turning(20).expand_dims(alpha=2), ax)


class TestSimplex:
    def test_barycentric(self):
        with np.errstate(divide="ignore"):
            corners = plot.barycentric(np.log(np.eye(3)))
        np.testing.assert_allclose(corners, [[0, 0], [1, 0], [0.5, np.sqrt(0.75)]], atol=1e-15)
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
        np.testing.assert_allclose(sides, 1.0, rtol=1e-15)
        centre = plot.barycentric(np.full((1, 3), -np.log(3.0)))
        np.testing.assert_allclose(centre[0], corners.mean(axis=0), rtol=1e-15)

    def test_marks_dots_and_corner_names(self, ax):
        log_policy = turning(50).log_policy.values
        plot.simplex(log_policy, ax, names=NAMES, label="orbit")
        points = plot.barycentric(log_policy)
        dots = ax.collections[-1].get_offsets()
        np.testing.assert_array_equal(dots, points)
        start, end = (line for line in ax.lines if line.get_marker() in ("o", "s"))
        assert tuple(start.get_xydata()[0]) == tuple(points[0])
        assert tuple(end.get_xydata()[0]) == tuple(points[-1])
        assert end.get_label() == "orbit"
        assert {text.get_text() for text in ax.texts} == set(NAMES)

    def test_second_orbit_draws_no_second_frame(self, ax):
        plot.simplex(turning(10).log_policy.values, ax)
        before = len(ax.patches), len(ax.texts)
        plot.simplex(settling(10).log_policy.values, ax, color=plot.PALETTE[1], frame=False)
        assert (len(ax.patches), len(ax.texts)) == before

    def test_leaps_of_a_long_orbit_are_joined_at_its_beginning_only(self, ax):
        leaps = turning(600, amplitude=2.0, period=5.3).log_policy.values
        assert np.linalg.norm(np.diff(plot.barycentric(leaps[300:]), axis=0), axis=1).min() > 0.1
        plot.simplex(leaps, ax)
        chords = ax.collections[0].get_segments()
        assert 40 <= len(chords) < 200

    def test_one_policy_is_an_orbit(self, ax):
        plot.simplex(np.full((1, 3), -np.log(3.0)), ax)
        assert len(ax.collections[-1].get_offsets()) == 1

    @pytest.mark.parametrize("shape", [(5, 4), (5, 2), (0, 3)])
    def test_refuses_other_shapes(self, ax, shape):
        with pytest.raises(ValueError, match="pass three responses"):
            plot.simplex(np.full(shape, -1.1), ax)


class TestSpectrum:
    def test_eigenvalues_are_where_they_are(self, ax):
        plot.spectrum(a_report(), ax)
        marks = next(line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()))
        np.testing.assert_array_equal(marks.get_xydata(), [[0.5, 0.9], [0.5, -0.9]])
        assert legend(ax) == ["fixed point, ρ = 1.03"]
        circle = ax.patches[0].get_xy()
        np.testing.assert_allclose(np.hypot(*circle.T), 1.0, rtol=1e-12)

    def test_far_ones_stand_at_the_rim_and_point_outwards(self, ax):
        plot.spectrum(
            a_report(fixed_points=(point([7.0j, -7.0j, 0.5]), point([np.inf, 0.1], vertex=1))), ax, names=NAMES
        )
        triangles = [line for line in ax.lines if isinstance(line.get_marker(), tuple)]
        at = np.array([line.get_xydata()[0] for line in triangles])
        rim = ax.get_xlim()[1]
        assert np.abs(at).max() < rim == pytest.approx(2.8)
        np.testing.assert_allclose(
            at / np.linalg.norm(at, axis=1, keepdims=True), [[0, 1], [0, -1], [1, 0]], atol=1e-12
        )
        assert [line.get_marker()[2] for line in triangles] == pytest.approx([0.0, -180.0, -90.0])
        assert legend(ax) == ["interior, ρ = 7", "vertex Paper, ρ = ∞", "beyond the frame"]

    def test_more_points_than_the_legend_names(self, ax):
        plot.spectrum(a_report(fixed_points=tuple(point([0.1 * n, 0.0]) for n in range(7))), ax)
        assert legend(ax)[-1] == "3 more"
        assert len(legend(ax)) == 5

    def test_none_found(self, ax):
        plot.spectrum(a_report(fixed_points=()), ax)
        assert ax.texts[0].get_text() == "no fixed point found"

    def test_refuses(self, ax):
        with pytest.raises(ValueError, match="most = 9"):
            plot.spectrum(a_report(), ax, most=9)


CASES = {
    "oscillating": (a_report(), turning(300), NAMES),
    "long names": (a_report(), turning(300), ("Ada Lovelace", "Alan Mathison Turing of Wilmslow", "Grace Hopper")),
    "converged": (a_report(verdict="converged", period=None, certificate="proven stable"), settling(300), None),
    "many": (
        a_report(fixed_points=(point([1.2, 0.5], 9),)),
        turning(300, size=9),
        [f"Candidate {k}" for k in range(9)],
    ),
    "no point": (a_report(fixed_points=(), certificate="none"), turning(300, size=4), None),
    "undecided": (a_report(verdict="undecided", period=None), settling(3000, rate=0.999), None),
}


class TestReport:
    @pytest.mark.thorough
    @pytest.mark.parametrize("case", CASES)
    def test_nothing_falls_off_the_page(self, case):
        found, run, names = CASES[case]
        figure = plot.report(found, run, names=names, title="a title")
        assert len(figure.axes) == (3 if run.sizes["response"] == 3 else 2)
        figure.draw_without_rendering()
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        slack = 0.02  # inches: what antialiasing may add to a text
        assert min(box.x0, box.y0) > -slack
        assert box.x1 < width + slack
        assert box.y1 < height + slack

    @pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
    def test_saves(self, tmp_path, suffix):
        path = tmp_path / f"figure.{suffix}"
        figure = plot.report(a_report(), turning(100))
        with plot.style():
            figure.savefig(path)
        head = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
        assert path.read_bytes().startswith(head)

    @pytest.mark.parametrize(
        ("certificate", "words"),
        [
            ("proven stable", "Proven: stable; because."),
            ("proven unstable", "Proven: unstable; because."),
            ("unstable at every fixed point found", "Computed: unstable at every fixed point found; because."),
            ("none", "Proven: nothing; because."),
        ],
    )
    def test_caption_keeps_proof_and_measurement_apart(self, certificate, words):
        text = plot.caption(a_report(certificate=certificate, certificate_reason="because", reason="so it went."))
        assert text.splitlines() == ["Measured: oscillating; so it went.", words]

    def test_window_shows_the_transient_of_what_settles(self):
        run = settling(3000, rate=0.95)
        window, log = _window(a_report(verdict="converged", period=None), run["round"].values, run.log_policy.values)
        assert window is not None
        first, last = window
        assert first == 0
        assert not log
        policy = np.exp(run.log_policy.values)
        assert np.abs(policy[int(last)] - policy[-1]).max() < 0.01
        assert last < 200

    def test_window_shows_onset_and_turns_of_what_oscillates(self):
        run = turning(3000)
        window, log = _window(a_report(), run["round"].values, run.log_policy.values)
        assert window is not None
        # The amplitude is half grown at round 375.
        assert 300 < window[0] < 375 < window[1] < 450
        assert not log

    def test_window_of_switches_without_a_period(self):
        stay = np.repeat(np.arange(40) % 3, np.arange(1, 41))
        log_policy = np.log(0.01 + 0.97 * np.eye(3)[stay])
        window, log = _window(a_report(period=None), np.arange(len(stay)), log_policy)
        assert window == (0.0, 1 + sum(range(2, 14)))
        assert not log

    def test_slow_drift_is_shown_whole_on_a_logarithmic_axis(self):
        run = settling(3000, rate=0.999)
        found = a_report(verdict="undecided", period=None)
        assert _window(found, run["round"].values, run.log_policy.values) == (None, True)
        assert plot.report(found, run).axes[0].get_xscale() == "symlog"
