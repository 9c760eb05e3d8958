"""The page's numbers are those of the oracle and of the simulators, and its command refuses bad input in one sentence."""

import contextlib
import dataclasses
import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics import cli, explore

CYCLE = np.array([[0.5, 0.7, 0.3], [0.3, 0.5, 0.7], [0.7, 0.3, 0.5]])
UNEVEN = np.array([[0.5, 0.8, 0.45], [0.2, 0.5, 0.7], [0.55, 0.3, 0.5]])
FOUR = np.array([[0.5, 0.82, 0.65, 0.45], [0.18, 0.5, 0.22, 0.19], [0.35, 0.78, 0.5, 0.11], [0.55, 0.81, 0.89, 0.5]])
GAMES = {
    "mirror": lambda P, eta, tau: dyn.games.MirrorDescent(P, eta, tau),
    "magnetic": lambda P, eta, tau: dyn.games.MirrorDescent(P, eta, tau, proximal=True),
    "sppo": lambda P, eta, tau: dyn.games.SPPO(P, eta),
    "nash_md": lambda P, eta, tau: dyn.games.NashMD(P, eta, tau),
    "egpo": lambda P, eta, tau: dyn.games.Extragradient(P, eta, tau),
    "mirror_prox": lambda P, eta, tau: dyn.games.Extragradient(P, eta, tau, proximal=True),
    "proximal_point": lambda P, eta, tau: dyn.games.ProximalPoint(P, tau),
}


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["ipo", "dpo"])
@pytest.mark.parametrize(("alpha", "lam", "beta"), [(0.5, 1.0, 0.1), (0.0, 0.6, 0.2), (0.9, 1.0, 0.6)])
@pytest.mark.parametrize("P", [CYCLE, UNEVEN, FOUR], ids=["cycle", "uneven", "four"])
def test_rounds_are_the_oracles(P, method, alpha, lam, beta):
    setting = explore.Setting(P, method=method, alpha=alpha, lam=lam, beta=beta)
    found = explore.view(setting)
    rounds = dyn.oracle.Rounds(P[None], method, alpha, lam, beta)
    start = explore.start_of(setting)
    fate = dyn.oracle.fates(rounds, start[None], setting.rounds)
    z = dyn.oracle.run(rounds, start[None], setting.rounds)[:, 0]
    policy = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found.policy, policy / policy.sum(axis=1, keepdims=True), rtol=0, atol=1e-14)
    assert found.verdict == fate.verdict[0]
    known = dyn.oracle.answer(P, method, alpha, lam, beta)
    assert found.radius == pytest.approx(known.spectral_radius, rel=1e-9)
    np.testing.assert_allclose(np.abs(found.eigenvalues), np.abs(known.eigenvalues), rtol=1e-8)
    critical = explore.advice(setting, found.radius).critical
    assert critical == pytest.approx(known.critical_beta, rel=1e-9)


@pytest.mark.parametrize("method", ["ipo", "dpo"])
def test_a_guess_from_nearby_finds_the_same_fixed_point(method):
    setting = explore.Setting(UNEVEN, method=method, beta=0.11)
    near = explore.view(dataclasses.replace(setting, beta=0.1))
    assert explore.view(setting, near.logits).radius == pytest.approx(explore.view(setting).radius, rel=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("method", GAMES)
@pytest.mark.parametrize("P", [CYCLE, UNEVEN], ids=["cycle", "uneven"])
def test_games_are_those_of_the_library(P, method):
    setting = explore.Setting(P, method=method, eta=2.0, tau=0.15, rounds=60)
    found = explore.view(setting)
    game = GAMES[method](P, 2.0, 0.15)
    start = jax.nn.log_softmax(jnp.asarray(explore.start_of(setting)))
    run = dyn.iterate(game, 60, initial=start)
    np.testing.assert_allclose(found.policy, np.exp(run.log_policy), rtol=0, atol=1e-10)
    at = jax.nn.log_softmax(jnp.asarray(found.logits))
    # The fixed point is one, and the spectrum is that of the simulator.
    np.testing.assert_allclose(dyn.iterate(game, 1, initial=at).log_policy[1], at, rtol=0, atol=1e-9)
    assert found.radius == pytest.approx(float(dyn.stability.spectral_radius(game, at)), rel=1e-8)


@pytest.mark.parametrize(("method", "reward"), [("ipo", "win-rate"), ("dpo", "bradley-terry")])
def test_an_entropy_weight_is_reverse_kl(method, reward):
    setting = explore.Setting(UNEVEN, method=method, alpha=0.6, lam=0.7, beta=0.1, gamma=0.05, rounds=40)
    loop = dyn.SelfSampling(UNEVEN, dyn.ReverseKL(0.05, 0.1, reward), alpha=0.6, lam=0.7)
    start = jax.nn.log_softmax(jnp.asarray(explore.start_of(setting)))
    run = dyn.iterate(loop, 40, initial=start)
    np.testing.assert_allclose(explore.view(setting).policy, np.exp(run.log_policy), rtol=0, atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("P", [CYCLE, UNEVEN, FOUR], ids=["cycle", "uneven", "four"])
@pytest.mark.parametrize(("method", "lam"), [("ipo", 1.0), ("dpo", 1.0), ("dpo", 0.5)])
def test_the_boundary_of_the_map_is_the_oracles(P, method, lam):
    found = explore.stability_map(explore.Setting(P, method=method, lam=lam))
    chosen = slice(0, None, 15)
    x, edge = found.x[chosen], found.edge[chosen]
    assert (edge < 299).any() or P is not CYCLE
    for alpha, y in zip(x, edge, strict=True):
        critical = dyn.oracle.critical_beta(P, method, float(alpha), lam, floor=lam / 300)
        known = 300.0 if critical == 0 else lam / critical
        assert y == pytest.approx(known, rel=3e-3)  # between points of the curve it is interpolated


def test_the_proven_regions_are_those_of_the_theorems():
    found = explore.stability_map(explore.Setting(UNEVEN, method="ipo", lam=0.5))
    known = dyn.stability.proven_beta(UNEVEN[None], found.fine, 0.5)[0, :, 0]
    np.testing.assert_allclose(explore.proven_beta(UNEVEN, found.fine, 0.5), known, rtol=1e-12)
    np.testing.assert_allclose(found.matrix, 0.5 / known, rtol=1e-12)
    np.testing.assert_allclose(found.everyone, 1 / dyn.stability.proven_everywhere(found.fine, 1.0)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.local, 1 / dyn.stability.stable_everywhere(found.fine, 1.0)[:, 0], rtol=1e-12)
    assert len(explore.stability_map(explore.Setting(UNEVEN, method="dpo")).fine) == 0


@pytest.mark.parametrize("method", ["nash_md", "egpo", "mirror_prox"])
def test_the_map_of_a_game_ends_where_its_radius_is_one(method):
    found = explore.stability_map(explore.Setting(CYCLE, method=method))
    k = 12
    for factor, stable in ((0.97, True), (1.03, False)):
        setting = explore.Setting(CYCLE, method=method, tau=float(found.x[k]), eta=float(found.edge[k]) * factor)
        assert (explore.view(setting).radius < 1) is stable


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"beta": 1.0}, "whatever people prefer [derived 7.15]"),
        ({"beta": 0.25}, "for this matrix"),
        ({"beta": 0.1}, "not proven"),
        ({"alpha": 1.0}, "at alpha = 1 no beta"),
        ({"lam": 0.0}, "rounds are linear"),
        ({"method": "dpo"}, "no theorem here covers it"),
        ({"method": "nash_md", "tau": 0.4}, "of its mixture"),
        ({"method": "proximal_point"}, "an equilibrium of full support exists"),
    ],
)
def test_what_is_proven_is_said(setting, words):
    made = explore.Setting(CYCLE, **setting)
    told = explore.claims(made, explore.view(made))
    assert [claim.kind for claim in told] == ["measured", "computed", "proven"]
    assert words in told[-1].text


def advised(line: str) -> dict[str, float]:
    """The parameter and the value that a line of advice names."""
    words = line.split()
    name = "gamma" if words[0] == "entropy" else words[0]
    return {name: next(float(word) for word in words if word.replace(".", "", 1).isdigit())}


@pytest.mark.thorough
@pytest.mark.parametrize("P", [CYCLE, UNEVEN, FOUR], ids=["cycle", "uneven", "four"])
@pytest.mark.parametrize("method", ["ipo", "dpo", "nash_md", "egpo", "mirror", "mirror_prox"])
def test_advice_makes_it_stable(P, method):
    given = {"beta": 0.03, "eta": 12.0, "tau": 0.02}
    setting = explore.Setting(P, method=method, alpha=0.8, **given)
    radius = explore.view(setting).radius
    found = explore.advice(setting, radius)
    if radius < 1:
        assert found.lines[0].startswith("nothing")
        return
    for line in found.lines:
        changed = dataclasses.replace(setting, **advised(line))
        assert explore.view(changed).radius < 1 + 2e-3, line  # three digits of the value are printed


@pytest.mark.parametrize("method", ["ipo", "dpo"])
def test_few_comparisons_are_fitted_as_in_the_library(method):
    setting = explore.Setting(UNEVEN, method=method, alpha=0.0, beta=1.0, comparisons=40)
    z = explore.sampled(setting, 1)
    assert np.array_equal(z, explore.sampled(setting, 1))
    # The counts of the first round, drawn again, give the same policy by the library's fit.
    mu = np.exp(explore.start_of(setting))
    won = 2 * np.outer(mu / mu.sum(), mu / mu.sum()) * UNEVEN
    won[np.diag_indices(3)] /= 1.0
    wins = np.random.default_rng(0).multinomial(40, (won / won.sum()).ravel()).reshape(3, 3) * (1.0 - np.eye(3))
    objective, smoothing = (dyn.IPO(1.0), 0.0) if method == "ipo" else (dyn.DPO(1.0), 0.5)
    fit = dyn.fit(objective, wins, log_reference=jnp.full(3, -np.log(3.0)), smoothing=smoothing)
    log_policy = z[1] - np.log(np.exp(z[1]).sum())
    np.testing.assert_allclose(log_policy, np.ravel(fit.log_policy), rtol=0, atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["ipo", "dpo", "mirror", "nash_md", "proximal_point"])
def test_the_script_prints_the_views_numbers(method):
    gamma = 0.02 if method == "ipo" else 0.0
    setting = explore.Setting(UNEVEN, ('a"b', "c\nd", "e'\\"), method, gamma=gamma, rounds=50)
    found = explore.view(setting)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(explore.script(setting), "script", "exec"), {})
    verdict, radius, last = printed.getvalue().splitlines()
    assert verdict == found.verdict
    assert float(radius.split()[0]) == pytest.approx(found.radius, rel=1e-8)
    assert list(eval(last)) == list(setting.names)
    np.testing.assert_allclose(list(eval(last).values()), found.policy[-1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"P": np.full((11, 11), 0.5)}, "draws 2 to 10"),
        ({"names": ("a",)}, "names has 1 entries for 3"),
        ({"method": "ppo"}, "method is 'ppo'"),
        ({"alpha": 1.5}, "alpha = 1.5"),
        ({"beta": 0.0}, "beta = 0"),
        ({"method": "egpo", "eta": 20.0, "tau": 0.1}, "above 1"),
    ],
)
def test_bad_settings_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        explore.Setting(**({"P": CYCLE} | given))


def test_preferences_without_an_optimum_are_refused():
    with pytest.raises(ValueError, match="no finite optimum"):
        explore.view(explore.Setting(np.array([[0.5, 1.0], [0.0, 0.5]]), method="dpo"))


def failing(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(["explore", *args])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_command_refuses_in_one_sentence(capsys, tmp_path, monkeypatch):
    votes = tmp_path / "votes.csv"
    votes.write_text("winner,loser,count\na,b,3\nb,a,1\n")
    assert "--port 70000 is no port" in failing(capsys, "--port", "70000")
    assert "--index 4 is not in" in failing(capsys, str(votes), "--index", "4")
    assert "nowhere.csv" in failing(capsys, str(tmp_path / "nowhere.csv"))
    monkeypatch.setitem(sys.modules, "bokeh", None)
    for name in [name for name in sys.modules if name.startswith("bokeh.") or name.endswith("._page")]:
        monkeypatch.delitem(sys.modules, name)
    assert "pip install 'alignment-dynamics[explore]'" in failing(capsys, "--no-browser")
