"""One use of everything that a dependency does for the library, in a few minutes: what `.ci/versions` runs at the lowest and
at the newest versions.
"""

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import dynamics as dyn
from dynamics.cli import main
from dynamics.sweeps import summary

ROOT = Path(__file__).resolve().parents[2]
START = jax.nn.log_softmax(jnp.array([0.3, 0.0, -0.1]))
P = dyn.preferences.cyclic(3, advantage=0.4)


@pytest.fixture(scope="module")
def wins(tmp_path_factory):
    path = tmp_path_factory.mktemp("smoke") / "wins.csv"
    path.write_text("winner,loser,count\na,b,14\nb,a,6\nb,c,13\nc,b,7\nc,a,15\na,c,5\n")
    return path


def test_installed_versions_are_allowed():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    number = lambda text: tuple(map(int, re.findall(r"\d+", text)))
    for name, lowest in (entry.split(">=") for entry in known):
        assert number(metadata.version(name)) >= number(lowest), name


def test_rounds_measures_and_verdicts():
    loop = dyn.SelfSampling(P, dyn.IPO(0.25), alpha=0.5, lam=1.0)
    sol = dyn.iterate(loop, rounds=300, initial=START, measure=["entropy", "reward_margin", "period"])
    assert sol.log_policy.shape == (301, 3)
    assert np.isfinite(sol.log_policy).all()


@pytest.mark.parametrize("objective", [dyn.IPO(0.5), dyn.DPO(0.5)])
def test_stability_of_one_loop(objective):
    report = dyn.stability.analyze(dyn.SelfSampling(P, objective, alpha=0.5, lam=1.0))
    assert report.verdict in str(report)


def test_a_flow_a_descent_and_a_gradient():
    flow = dyn.MarginFlow(np.array([[1.0]]), np.array([0]), np.array([1]), dyn.SquaredMargin(beta=1.0))
    sol = dyn.gradient_flow(flow, t1=1.0, saveat=diffrax.SaveAt(ts=jnp.linspace(0, 1, 5)))
    assert np.isfinite(sol.reward_margin).all()
    policy = dyn.PreferenceFlow(dyn.Tabular(3), P, dyn.IPO(0.3), dyn.samplers.OnPolicy())
    assert np.isfinite(dyn.gradient_flow(policy, t1=2.0).log_policy).all()
    assert dyn.descend(policy, optax.adam(0.1), 2).log_policy.shape == (3, 3)
    inner = dyn.SelfSampling(P, dyn.IPO(0.3), alpha=0.5, lam=1.0, inner=dyn.Descend(optax.sgd(0.1), steps=10))
    slope = jax.grad(lambda z: jnp.sum(inner(z) ** 2))(START)
    assert np.isfinite(slope).all()


def test_a_stored_sweep_is_read_back(tmp_path, capsys):
    loop = dyn.SelfSampling(P, dyn.DPO(0.5), alpha=0.5, lam=1.0)
    over = {"alpha": np.linspace(0, 1, 5), "lam": np.linspace(0, 1, 3)}
    ask = lambda store: dyn.sweep(
        loop, over, measure=["final_entropy", "verdict"], rounds=30, initial=START, store=store
    )
    xr.testing.assert_identical(ask(tmp_path / "a.zarr").load().drop_attrs(), ask(None).drop_attrs())
    assert summary(tmp_path / "a.zarr")["blocks_done"] == 1
    (tmp_path / "a.zarr" / "final_entropy" / "0.0").unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        ask(tmp_path / "a.zarr")
    main(["results", str(tmp_path / "a.zarr")])
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["memory://smoke/a.zarr"])
def test_a_sweep_behind_an_address(address):
    pytest.importorskip("fsspec")
    loop = dyn.SelfSampling(P, dyn.IPO(0.5), alpha=0.5, lam=1.0)
    ds = dyn.sweep(loop, {"alpha": [0.1, 0.2]}, measure="final_entropy", rounds=5, initial=START, store=address)
    assert np.isfinite(ds["final_entropy"].values).all()


def test_commands_answer_and_refuse(wins, tmp_path, capsys):
    main(["classify", str(wins), "--json"])
    assert json.loads(capsys.readouterr().out)["matrices"][0]["K"] == 3
    main(["classify", str(wins)])
    assert "transitivity" in capsys.readouterr().out
    for args in (["classify"], ["clasify"], ["results", str(tmp_path)], ["stability", str(wins), "--alpha", "x"]):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_figure_is_drawn(tmp_path):
    from dynamics import plot

    loop = dyn.SelfSampling(P, dyn.IPO(0.5), alpha=0.5, lam=1.0)
    report = dyn.stability.analyze(loop)
    run = dyn.iterate(loop, 200, initial=report.log_initial)
    with plot.style():
        plot.report(report, run).savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
