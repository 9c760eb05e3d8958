"""Fixed points are points that a round leaves where they are, not points so far out that rounding hides its move."""

import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn

RANKED = dyn.preferences.bradley_terry(jnp.array([1.0, 0.0, -1.0]))


@pytest.mark.thorough
@pytest.mark.parametrize("objective", [dyn.DPO(1.0), dyn.IPO(1.0)], ids=["dpo", "ipo"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_nothing_but_vertices_is_fixed_where_one_response_beats_all(objective, lam):
    # At alpha = 1 every round adds (P mu)_1 - (P mu)_j > 0, or DPO's f_1 - f_j, to the log-odds of the first response.
    found = dyn.stability.find_fixed_points(dyn.SelfSampling(RANKED, objective, 1.0, lam))
    assert [point.vertex for point in found] in ([0, 1, 2], [])
    assert all(point.log_policy is None for point in found)
    report = dyn.stability.analyze(dyn.SelfSampling(RANKED, objective, 1.0, lam))
    assert "interior fixed points" not in report.reason


def test_a_fixed_point_far_out_that_a_round_resolves_is_kept():
    # log pi = log ref + P mu/(beta (1 - alpha)) with 1/(beta (1 - alpha)) = 2e9: its logits are large, and determined.
    loop = dyn.SelfSampling(RANKED, dyn.IPO(1e-9), 0.5, 0.0)
    (point,) = dyn.stability.find_fixed_points(loop)
    expected = 2e9 * np.asarray(RANKED).mean(1)
    expected -= expected.max()
    assert np.allclose(point.log_policy, expected, rtol=1e-9)
    assert point.spectral_radius == pytest.approx(0.5)


def test_a_line_of_fixed_points_is_found():
    # All tie at alpha = 1: every policy is fixed, and neutral.
    found = dyn.stability.find_fixed_points(dyn.SelfSampling(jnp.full((3, 3), 0.5), dyn.IPO(1.0), 1.0, 1.0))
    inside = [point for point in found if point.vertex is None]
    assert inside
    assert all(point.spectral_radius == pytest.approx(1.0) for point in inside)
    assert all(np.abs(point.log_policy).max() < 1e4 for point in inside)
