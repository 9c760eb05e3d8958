"""Links against mpmath, kappa against closed forms, and slopes that are not the derivative of their loss."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import dynamics as dyn
from dynamics.objectives import LINKS, Link, MarginLoss, SLiC, SquaredMargin, check_slope, kappa, slope_of

EXACT = {
    "logistic": (lambda r: mp.log1p(mp.exp(-r)), lambda r: -1 / (1 + mp.exp(r))),
    "linear": (lambda r: r * r / 2 - r / 2, lambda r: r - mp.mpf(1) / 2),
    "probit": (lambda r: mp.npdf(r) - r * mp.erfc(r / mp.sqrt(2)) / 2, lambda r: -mp.erfc(r / mp.sqrt(2)) / 2),
    "cauchit": (
        lambda r: r * mp.atan(r) / mp.pi - mp.log1p(r * r) / (2 * mp.pi) - r / 2,
        lambda r: -mp.atan2(1, r) / mp.pi,
    ),
}
KAPPA = {"logistic": 4.0, "linear": 1.0, "probit": np.sqrt(2 * np.pi), "cauchit": np.pi}


@pytest.mark.thorough
@pytest.mark.parametrize("name", LINKS)
def test_losses_and_slopes_are_right_in_the_tails(name):
    """e^-(r²/2) of the probit link is known to 800 eps at r = 37, beyond which it leaves the floats."""
    margins = np.concatenate([np.linspace(-37.0, 37.0, 297), [-40.0, 1e-3, 2.999, 3.001]])
    margins = np.append(margins, 40.0) if name != "probit" else margins
    link = Link(1.0, name)
    value, slope = (jax.jit(lambda r, f=f: f(r))(margins) for f in (link.loss, link.slope))
    derived = jax.jit(slope_of(link.loss))(margins)
    tolerance = 1e-13 if name == "probit" else 5e-15
    with mp.workdps(400):
        for n, r in enumerate(margins):
            loss, first = (f(mp.mpf(float(r))) for f in EXACT[name])
            assert abs(mp.mpf(float(value[n])) - loss) <= tolerance * abs(loss)
            assert abs(mp.mpf(float(slope[n])) - first) <= tolerance * abs(first)
            assert abs(mp.mpf(float(derived[n])) - first) <= 2 * tolerance * abs(first)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_kappa_and_label_smoothing(name, eps):
    link, clean = Link(0.3, name, label_smoothing=eps), Link(0.3, name)
    np.testing.assert_allclose(kappa(link), KAPPA[name] * (1 - 2 * eps), 1e-14)
    r = jnp.linspace(-5.0, 5.0, 21)
    np.testing.assert_allclose(link.loss(r), (1 - eps) * clean.loss(r) + eps * clean.loss(-r), 1e-13, 1e-14)
    # f' + (1 - 2 eps)/2 is odd and increasing.
    L = np.asarray(link.slope(r)) + (1 - 2 * eps) / 2
    np.testing.assert_allclose(L, -L[::-1], atol=1e-15)
    assert (np.diff(L) > 0).all()
    check_slope(link)


def test_kappa_of_the_losses_here():
    for objective, expected in ((dyn.IPO(0.3), 1.0), (dyn.DPO(0.3), 4.0), (SquaredMargin(0.3), 2.0)):
        np.testing.assert_allclose(kappa(objective), expected, 1e-14)
        check_slope(objective)
    np.testing.assert_allclose(jax.jit(lambda beta: kappa(dyn.IPO(beta)))(0.7), 1.0, 1e-14)
    slope = jax.grad(lambda eps: kappa(Link(1.0, "probit", label_smoothing=eps)))(0.1)
    np.testing.assert_allclose(slope, -2 * np.sqrt(2 * np.pi), 1e-14)


def test_the_logistic_link_is_dpo_and_the_linear_one_has_ipos_optimum():
    r = jnp.linspace(-30.0, 30.0, 31)
    np.testing.assert_allclose(Link(1.0).loss(r), dyn.DPO(1.0).loss(r), 1e-15)
    linear = Link(2.0, "linear")
    np.testing.assert_allclose(2 * (linear.loss(r) + 0.125), 4.0 * dyn.IPO(2.0).loss(r), 1e-13)


@pytest.mark.parametrize("name", LINKS)
def test_second_derivatives_exist_everywhere(name):
    link = Link(1.0, name)
    r = jnp.array([-50.0, -8.0, -1.0, 0.0, 1.0, 2.9, 3.1, 8.0, 50.0])
    second = jax.jit(slope_of(slope_of(link.loss)))(r)
    np.testing.assert_allclose(second, jax.jit(slope_of(link.slope))(r), 1e-10, 1e-300)
    assert bool((second >= 0).all())
    assert bool(jnp.isfinite(jax.jit(slope_of(slope_of(slope_of(link.loss))))(r)).all())


class Wrong(MarginLoss):
    def loss(self, margin):
        return (margin - 1.0) ** 2

    def slope(self, margin):
        return margin - 1.0


class Summed(MarginLoss):
    def loss(self, margin):
        return jnp.sum(margin**2)

    def slope(self, margin):
        return 2.0 * margin


class Flat(MarginLoss):
    def loss(self, margin):
        return -margin + 0.1 * margin**4

    def slope(self, margin):
        return -1.0 + 0.4 * margin**3


class Exploding(MarginLoss):
    def loss(self, margin):
        return jnp.exp(-(margin**3))

    def slope(self, margin):
        return -3 * margin**2 * jnp.exp(-(margin**3))


def test_bad_losses_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Wrong\.slope is -21 at r = -20, where the derivative of Wrong\.loss is -42"):
        check_slope(Wrong(1.0))
    with pytest.raises(ValueError, match=r"Summed\.loss makes shape \(\) of margins \(25,\)"):
        check_slope(Summed(1.0))
    with pytest.raises(ValueError, match=r"Exploding\.loss is not finite at r = -20"):
        check_slope(Exploding(1.0))
    with pytest.raises(ValueError, match="SLiC is not smooth, so kappa is not defined"):
        kappa(SLiC(1.0))
    with pytest.raises(ValueError, match="Flat does not curve upward at r = 0"):
        kappa(Flat(1.0))
    check_slope(SLiC(1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"link": "clog"}, "link = 'clog' is unknown; pass one of logistic"),
        ({"label_smoothing": 0.5}, "label_smoothing = 0.5 is outside"),
        ({"label_smoothing": -0.1}, "label_smoothing = -0.1 is outside"),
        ({"beta": 0.0}, "beta = 0 is outside"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        Link(**{"beta": 1.0} | arguments)
