"""Statements of docs/theory/games.md that no theorem measures: conditions, limits and critical steps of the round maps."""

import itertools

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import dynamics as dyn
from dynamics import games
from dynamics.theorems.games import frequencies, method_radius

RNG = np.random.default_rng(0)
OMEGA = 0.4 / np.sqrt(3)
CYCLE = np.asarray(dyn.preferences.cyclic(3, 0.4))
EVEN = np.full(3, -np.log(3))


def attracts(name, eta, tau, omega):
    """The conditions of the table of 8."""
    q, D, y = 1 - eta * tau, 1 + eta * tau, (eta * omega) ** 2
    return {
        "mirror": eta < 2 * tau / (tau**2 + omega**2),
        "magnetic": tau >= omega or eta < 2 * tau / (omega**2 - tau**2),
        "nash-md": q**2 * (1 + y) < 1,
        "extragradient": abs(q) < 1 and y**2 - q * (2 - q) * y < 1 - q**2,
        "mirror-prox": (D - y) ** 2 + y < D**4,
        "optimistic": abs(q) < 1 and 3 * y**2 + (6 - 8 * q + q**2) * y < 1 - q**2,
    }[name]


MAPS = {
    "mirror": games.MirrorDescent,
    "magnetic": lambda *x: games.MirrorDescent(*x, proximal=True),
    "nash-md": games.NashMD,
    "extragradient": games.Extragradient,
    "mirror-prox": lambda *x: games.Extragradient(*x, proximal=True),
    "optimistic": games.OptimisticMirrorDescent,
}


def eigenvalues(name, eta, tau, omega):
    """Of the rounds, written down from their two lines."""
    q, D, m = 1 - eta * tau, 1 + eta * tau, 1j * eta * omega
    half = {"extragradient": q + m, "mirror-prox": (1 + m) / D}
    if name == "optimistic":
        return np.linalg.eigvals(np.array([[q + 2 * m, -m], [1, 0]]))
    return {
        "mirror": lambda: q + m,
        "magnetic": lambda: (1 + m) / D,
        "nash-md": lambda: q + m * q,
        "extragradient": lambda: q + m * half[name],
        "mirror-prox": lambda: (1 + m * half[name]) / D,
    }[name]()


@pytest.mark.parametrize("name", MAPS)
def test_a_round_attracts_iff_the_condition_holds(name):
    """Far beyond 1/tau too, and with the largest of several frequencies."""
    seen = set()
    for _ in range(4000):
        tau, eta = 10 ** RNG.uniform(-3, 1.0), 10 ** RNG.uniform(-3, 2.5)
        omega = np.sort(RNG.uniform(0, 1, 3) ** 3 / np.pi)
        radius = max(np.abs(eigenvalues(name, eta, tau, w)).max() for w in omega)
        if abs(radius - 1) > 1e-9:
            assert (radius < 1) == attracts(name, eta, tau, omega[-1])
            seen.add(bool(radius < 1))
    assert len(seen) == 2


def test_mirror_prox_takes_any_step_at_temperatures_from_the_frequency_on():
    for share in (1.0, 1.3, 10.0):
        steps = np.geomspace(1e-4, 1e6, 400)
        assert all(method_radius("mirror-prox", np.array([OMEGA]), eta, share * OMEGA) < 1 for eta in steps)
    assert method_radius("mirror-prox", np.array([OMEGA]), 1e4, 0.95 * OMEGA) > 1


TABLE = {  # statement 8.3: the steps of MAPS in order, by tau
    0.01: (0.374, 0.376, 0.377, 4.50, 4.71, 2.50),
    0.05: (1.79, 1.97, 2.25, 4.89, 6.48, 2.46),
    0.1: (3.16, 4.62, 13.1, 4.97, 9.89, 2.38),
    0.2: (4.29, 30.0, 7.5, 4.52, 47.0, 2.21),
    0.3: (4.19, np.inf, 5.4, 3.91, np.inf, 2.06),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_critical_steps_of_the_three_cycle(name):
    """Stable up to the step in the table, unstable just above it; by the implemented methods where they take the step."""
    for tau, row in TABLE.items():
        eta, room = row[list(MAPS).index(name)], 0.02
        if eta == np.inf:
            assert all(attracts(name, eta, tau, OMEGA) for eta in np.geomspace(1e-3, 1e6, 500))
            continue
        assert all(attracts(name, x, tau, OMEGA) for x in np.geomspace(1e-3, (1 - room) * eta, 200))
        assert not attracts(name, (1 + room) * eta, tau, OMEGA)
        if name in ("magnetic", "mirror-prox") or (1 + room) * eta * tau < 1:
            near = [
                float(dyn.stability.spectral_radius(MAPS[name](CYCLE, x * eta, tau), jnp.asarray(EVEN)))
                for x in (1 - room, 1 + room)
            ]
            assert near[0] < 1 < near[1]


def test_nash_md_is_stable_again_before_its_mixture_is_the_magnet():
    radii = [
        float(dyn.stability.spectral_radius(games.NashMD(CYCLE, x, 0.05), jnp.asarray(EVEN)))
        for x in (14.0, 14.3, 19.99)
    ]
    assert radii[0] > 1 > radii[1] > radii[2]
    assert radii[2] < 0.01


def matrix(K, most=0.49):
    upper = np.triu(RNG.uniform(-most, most, (K, K)), 1)
    return 0.5 + upper - upper.T


def test_averages_of_sppo():
    """r·A pbar ≤ log K/(eta T) + eta/8, with matrices of certain wins too."""
    for K, eta, T in ((2, 0.5, 50), (3, 1.0, 200), (5, 0.1, 400), (4, 5.0, 30)):
        P = matrix(K)
        if K == 4:
            P = np.triu(np.ones((K, K)), 1) + 0.5 * np.eye(K)
        if K == 3:
            P = np.asarray(dyn.preferences.cyclic(3, 0.5))
        start = np.full(K, -np.log(K))
        run = dyn.iterate(games.SPPO(P, eta), T, initial=start).log_policy[:-1]
        gain = ((P - 0.5) @ np.exp(np.asarray(run)).mean(axis=0)).max()
        assert gain <= np.log(K) / (eta * T) + eta / 8 + 1e-12


def interior(K):
    """P with A p = 0 for a p of full support."""
    p = RNG.dirichlet(np.ones(K))
    rows = np.linalg.svd(p[None])[2][1:]
    B = RNG.normal(size=(K - 1, K - 1))
    A = rows.T @ (B - B.T) @ rows
    return 0.5 + 0.45 * A / np.abs(A).max(), np.log(p)


@pytest.mark.thorough
@pytest.mark.parametrize("K", [3, 4, 5])
def test_the_proximal_point_comes_nearer_to_every_equilibrium(K):
    P, log_p = interior(K)
    start = oracles.log_softmax(3 * RNG.normal(size=K))
    run = np.asarray(dyn.iterate(games.ProximalPoint(P, 0.3), 4000, initial=start).log_policy)
    to = oracles.kl_divergence(log_p, run)
    moved = np.array([oracles.kl_divergence(b, a) for a, b in itertools.pairwise(run[:51])])
    np.testing.assert_allclose(np.diff(to[:51]), -moved, atol=1e-10)
    assert np.ptp((P - 0.5) @ np.exp(run[-1])) < 1e-6
    zero = (frequencies(P, log_p) < 1e-9).sum()
    assert zero == (K + 1) % 2  # an even K has a line of equilibria


def test_mirror_descent_converges_for_every_matrix_below_the_proven_steps():
    """8.1: the divergence falls by 7.15's factor in each round, at .999 of the proven step."""
    for K, tau, proximal in ((3, 0.05, False), (4, 0.2, False), (3, 0.05, True), (5, 0.3, True), (3, 0.6, True)):
        P, log_ref = matrix(K), oracles.log_softmax(2 * RNG.normal(size=K))
        A = P - 0.5
        D = max(np.ptp(A[i] - A[j]) for i in range(K) for j in range(K))
        if proximal:
            eta = 0.999 * tau / (D**2 / 16 - tau**2) if 4 * tau < D else 1e3
            alpha, x = 1 / (1 + eta * tau), eta * D / (4 * (1 + eta * tau))
        else:
            eta = min(0.999 * 16 * tau / D**2, 1 / tau)
            alpha, x = 1 - eta * tau, eta * D / 4
        factor = max(alpha, x**2 / (1 - alpha))
        assert factor < 1
        game = games.MirrorDescent(P, eta, tau, log_ref, proximal=proximal)
        start = oracles.log_softmax(5 * RNG.normal(size=K))
        run = np.asarray(dyn.iterate(game, 40, initial=start).log_policy)
        kl = oracles.kl_divergence(games.nash(P, tau, log_ref).log_policy, run)
        clear = kl[:-1] > 1e-18
        assert (kl[1:][clear] <= factor * kl[:-1][clear] * (1 + 1e-6)).all()


def test_when_nash_md_ends_at_the_equilibrium_of_its_temperature():
    """8.2: where A ref is constant and where CAC = 0, as at K = 2; else not, if K = 3 has a cycle."""
    eta, tau = 0.5, 0.4

    def distance(P, log_ref):
        end = np.asarray(dyn.iterate(games.NashMD(P, eta, tau, log_ref), 600, initial=log_ref).log_policy[-1])
        mixed = oracles.log_softmax((1 - eta * tau) * end + eta * tau * log_ref)
        goal = games.nash(P, tau, log_ref).log_policy
        return [np.abs(x - goal).max() for x in (end, mixed)]

    x = np.array([0.2, 0.05, -0.25])
    for P, log_ref, same in (
        (matrix(2), np.log([0.7, 0.3]), True),
        (0.5 + x[:, None] - x[None, :], np.log([0.2, 0.5, 0.3]), True),
        (CYCLE, np.log([0.2, 0.5, 0.3]), False),
    ):
        policy, mixture = distance(P, log_ref)
        assert (policy < 1e-9) == same
        assert mixture > 1e-3
    P, log_p = interior(3)
    assert max(distance(P, log_p)) < 1e-9
